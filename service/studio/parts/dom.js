// Making and finding elements. Texts always become text nodes, never markup.

const SVG = "http://www.w3.org/2000/svg";
const ICONS = {
  play: "M7 4.5v15l12-7.5z",
  pause: "M7 5h3.5v14H7zM13.5 5H17v14h-3.5z",
  back: "M16 5v14L8 12zM6 5h2v14H6z",
  next: "M8 5v14l8-7zM16 5h2v14h-2z",
  close:
    "M6.7 5.3 12 10.6l5.3-5.3 1.4 1.4L13.4 12l5.3 5.3-1.4 1.4L12 13.4l-5.3 5.3-1.4-1.4L10.6 12 5.3 6.7z",
};

/** A new element. `props` are properties; `class`, `role`, `for` and names with a dash are set as
 * attributes, functions as listeners of the event of that name. Null and false children are left out. */
export function el(name, props = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(props)) {
    if (value === undefined || value === null) continue;
    if (typeof value === "function") element.addEventListener(key, value);
    else if (key === "class" || key === "role" || key === "for" || key.includes("-"))
      element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(
    ...children.flat().filter((child) => child !== null && child !== false && child !== undefined),
  );
  return element;
}

/** The first element that matches `selector`. */
export const one = (selector, root = document) => root.querySelector(selector);
export const all = (selector, root = document) => [...root.querySelectorAll(selector)];

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** A button with an icon, and `label` as its accessible name. */
export function iconButton(name, label, click, more = {}) {
  return el(
    "button",
    { type: "button", class: "icon", title: label, "aria-label": label, click, ...more },
    icon(name),
  );
}

/** Whether videos may start without being asked. */
export const mayMove = () => !matchMedia("(prefers-reduced-motion: reduce)").matches;

/** Have screen readers say `text`. */
export function announce(text) {
  one("#announce").textContent = text;
}

/** A function that runs `call` when it has not been called again for `ms`. */
export function debounced(call, ms) {
  let timer;
  return (...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => call(...args), ms);
  };
}
