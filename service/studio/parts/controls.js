// Controls for the fields of a request, one function for each kind of field. A control is
// `{input, value(), element}`; `value()` is undefined if the user left the field alone.

import { el } from "./dom.js";
import { numbers, ranges, title } from "./format.js";

let count = 0;

export function labelled(field, input, ...more) {
  input.id = `field-${(count += 1)}`;
  input.name = field.path;
  const hint = field.hint && el("small", { class: "hint", id: `${input.id}-hint` }, field.hint);
  if (hint) input.setAttribute("aria-describedby", hint.id);
  return el(
    "div",
    { class: "field" },
    el("label", { for: input.id }, field.label ?? title(field.name)),
    input,
    ...more,
    hint,
  );
}

export function number(field) {
  const shown = field.placeholder ?? field.standard;
  const input = el("input", {
    type: "number",
    min: field.minimum ?? "",
    max: field.maximum ?? "",
    step: field.step ?? (field.integer ? 1 : "any"),
    placeholder: shown ?? "",
    value: field.value ?? "",
  });
  const value = () =>
    input.value === "" ? undefined : field.integer ? exact(input.value) : Number(input.value);
  return { input, value, element: labelled(field, input) };
}

/** The whole number in `text`; a BigInt if it is too large to be exact as a number (seeds). */
function exact(text) {
  const value = Number(text);
  return Number.isSafeInteger(value) || !/^\d+$/.test(text) ? value : BigInt(text);
}

export function slider(field) {
  const standard = field.value ?? field.standard;
  const input = el("input", {
    type: "range",
    min: field.minimum,
    max: field.maximum,
    step: field.step ?? 0.05,
    value: standard,
  });
  const output = el("output", {}, String(standard));
  input.addEventListener("input", () => (output.textContent = input.value));
  const value = () => (Number(input.value) === field.standard ? undefined : Number(input.value));
  return { input, value, element: labelled(field, input, output) };
}

export function text(field) {
  const long = (field.maxLength ?? 0) > 1000;
  const input = el(long ? "textarea" : "input", {
    placeholder: field.placeholder ?? field.standard ?? "",
    value: field.value ?? "",
    ...(long ? { rows: 2 } : { type: "text" }),
  });
  let options = null;
  if (field.options && !long) {
    options = el(
      "datalist",
      { id: `options-${(count += 1)}` },
      field.options.map((each) => el("option", { value: each })),
    );
    input.setAttribute("list", options.id);
  }
  return {
    input,
    value: () => (input.value === "" ? undefined : input.value),
    element: labelled(field, input, options),
  };
}

export function choice(field) {
  const unset = field.nullable || field.standard === undefined;
  const input = el(
    "select",
    {},
    unset && el("option", { value: "" }, field.placeholder ?? "default"),
    field.options.map((each) =>
      el(
        "option",
        { value: String(each) },
        field.names?.[each] ?? String(each).replaceAll("_", " "),
      ),
    ),
  );
  input.value = field.value ?? (unset ? "" : field.standard);
  const value = () => {
    const chosen = field.options.find((each) => String(each) === input.value);
    return chosen === field.standard ? undefined : chosen;
  };
  return { input, value, element: labelled(field, input) };
}

export function flag(field) {
  const options = ["yes", "no"];
  const control = choice({
    ...field,
    options,
    nullable: field.nullable,
    standard: field.standard == null ? field.standard : field.standard ? "yes" : "no",
  });
  const value = () => ({ yes: true, no: false })[control.value()];
  return { ...control, value };
}

/** A checkbox for each option; with none ticked the field is left alone. */
export function choices(field) {
  const boxes = field.options.map((each) =>
    el("input", { type: "checkbox", value: each, name: field.path }),
  );
  const element = el(
    "fieldset",
    { class: "field" },
    el("legend", {}, field.label ?? title(field.name)),
    el(
      "div",
      { class: "row" },
      boxes.map((box) => el("label", { class: "check" }, box, el("span", {}, box.value))),
    ),
    field.hint && el("small", { class: "hint" }, field.hint),
  );
  const value = () => {
    const chosen = boxes.filter((box) => box.checked).map((box) => box.value);
    return chosen.length ? chosen : undefined;
  };
  return { input: boxes[0], value, element };
}

/** A list of numbers, typed as "0-3, 6". With `total`, a strip of cells shows it and can be clicked. */
export function list(field) {
  const input = el("input", {
    type: "text",
    inputMode: "numeric",
    placeholder: field.placeholder ?? "all",
    autocomplete: "off",
  });
  const value = () =>
    input.value.trim() === "" ? undefined : (numbers(input.value) ?? input.value);
  const strip = field.total ? cells(field.total, input) : null;
  return { input, value, element: labelled(field, input, strip) };
}

function cells(total, input) {
  const strip = el("div", { class: "cells", "aria-hidden": "true" });
  const chosen = () => new Set(numbers(input.value) ?? []);
  const draw = () => {
    const now = chosen();
    strip.replaceChildren(
      ...Array.from({ length: total }, (_, index) =>
        el("i", { class: now.has(index) ? "on" : "", title: String(index) }),
      ),
    );
  };
  strip.addEventListener("click", (event) => {
    const index = [...strip.children].indexOf(event.target);
    if (index < 0) return;
    const now = chosen();
    if (!now.delete(index)) now.add(index);
    input.value = ranges(now);
    input.dispatchEvent(new Event("input", { bubbles: true }));
  });
  input.addEventListener("input", draw);
  draw();
  return strip;
}

/** Any other field: its value as JSON. */
export function json(field) {
  const input = el("input", {
    type: "text",
    placeholder: field.placeholder ?? "JSON",
    autocomplete: "off",
    spellcheck: false,
  });
  const value = () => {
    if (input.value.trim() === "") return undefined;
    try {
      return JSON.parse(input.value);
    } catch {
      return input.value; // let the server say what is wrong
    }
  };
  return { input, value, element: labelled(field, input) };
}
