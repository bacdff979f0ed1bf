// Elements without markup: every text becomes a text node, whatever it says.

const SVG = "http://www.w3.org/2000/svg";
const ICONS = {
  play: "M7 4.5v15l12-7.5z",
  pause: "M7 5h3.5v14H7zM13.5 5H17v14h-3.5z",
  back: "M16 5v14L8 12zM6 5h2v14H6z",
  next: "M8 5v14l8-7zM16 5h2v14h-2z",
  close: "M6.7 5.3 12 10.6l5.3-5.3 1.4 1.4L13.4 12l5.3 5.3-1.4 1.4L12 13.4l-5.3 5.3-1.4-1.4L10.6 12 5.3 6.7z",
};

/** An element. `props`: properties by name; `class`, `role`, `aria-*` and `data-*` are attributes;
 * functions listen, by the event's name. Children that are null or false are left out. */
export function el(name, props = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(props)) {
    if (value === undefined || value === null) continue;
    if (typeof value === "function") element.addEventListener(key, value);
    else if (key === "class" || key === "role" || key === "for" || key.includes("-"))
      element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children.flat().filter((child) => child !== null && child !== false && child !== undefined));
  return element;
}

/** The one element that `selector` names, below `root`. */
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

/** A button that shows an icon and says `label`. */
export function iconButton(name, label, click, more = {}) {
  return el("button", { type: "button", class: "icon", title: label, "aria-label": label, click, ...more }, icon(name));
}

/** Whether films may start by themselves. */
export const mayMove = () => !matchMedia("(prefers-reduced-motion: reduce)").matches;

/** Say `text` to who hears the page rather than sees it. */
export function announce(text) {
  one("#announce").textContent = text;
}

/** `call` once it has not been wanted for `ms`; the returned function wants it. */
export function debounced(call, ms) {
  let timer;
  return (...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => call(...args), ms);
  };
}
