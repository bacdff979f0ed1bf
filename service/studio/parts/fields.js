// A form from the fields of a schema (api/schema.js): one control for each, and what they say as the
// value that the API takes. What is left alone is left out, so that the server's defaults hold.

import { el } from "./dom.js";
import { numbers, ranges, title } from "./format.js";

let count = 0;

/** Controls for `fields` within `container`. `about[name]`, dotted for what lies in a group, may
 * give `label`, `hint`, `placeholder`, `minimum`, `maximum`, `step`, `options`, `value`, `skip`. */
export class Fields {
  #controls = new Map();

  constructor(container, fields, about = {}, prefix = "") {
    for (const field of fields) {
      const path = prefix + field.name;
      const told = about[path] ?? {};
      if (told.skip) continue;
      const control = controlOf({ ...field, ...told, path }, about);
      this.#controls.set(field.name, control);
      container.append(control.element);
    }
  }

  /** The value of each field that says something. */
  values() {
    const found = {};
    for (const [name, control] of this.#controls) {
      const value = control.value();
      if (value !== undefined) found[name] = value;
    }
    return found;
  }

  get(name) {
    return this.#controls.get(name);
  }

  /** Mark the field that the API's `param` (`capture.layers`) names; false where none is here. */
  blame(param, message) {
    const [name, ...rest] = param.split(".");
    const control = this.#controls.get(name);
    if (!control) return false;
    if (rest.length && control.group?.blame(rest.join("."), message)) return true;
    mark(control.input, message);
    return true;
  }
}

/** Show that `input` is at fault, until it is changed; focus it. */
export function mark(input, message) {
  input.setCustomValidity?.(message);
  input.setAttribute("aria-invalid", "true");
  for (let place = input.closest("details"); place; place = place.parentElement.closest("details")) place.open = true;
  input.focus();
  input.addEventListener("input", () => {
    input.setCustomValidity?.("");
    input.removeAttribute("aria-invalid");
  }, { once: true });
}

function controlOf(field, about) {
  const make = { number: field.slider ? slider : number, text, choice, choices, flag, numbers: list, group, flagOrGroup, json }[field.kind];
  return make(field, about);
}

function labelled(field, input, ...more) {
  input.id = `field-${(count += 1)}`;
  input.name = field.path;
  const hint = field.hint && el("small", { class: "hint", id: `${input.id}-hint` }, field.hint);
  if (hint) input.setAttribute("aria-describedby", hint.id);
  return el("div", { class: "field" }, el("label", { for: input.id }, field.label ?? title(field.name)), input, ...more, hint);
}

function number(field) {
  const shown = field.placeholder ?? field.standard;
  const input = el("input", {
    type: "number",
    min: field.minimum ?? "",
    max: field.maximum ?? "",
    step: field.step ?? (field.integer ? 1 : "any"),
    placeholder: shown ?? "",
    value: field.value ?? "",
  });
  const value = () => (input.value === "" ? undefined : field.integer ? exact(input.value) : Number(input.value));
  return { input, value, element: labelled(field, input) };
}

/** A whole number as it was typed: seeds may be larger than a number here can be. */
function exact(text) {
  const value = Number(text);
  return Number.isSafeInteger(value) || !/^\d+$/.test(text) ? value : BigInt(text);
}

function slider(field) {
  const standard = field.value ?? field.standard;
  const input = el("input", { type: "range", min: field.minimum, max: field.maximum, step: field.step ?? 0.05, value: standard });
  const output = el("output", {}, String(standard));
  input.addEventListener("input", () => (output.textContent = input.value));
  const value = () => (Number(input.value) === field.standard ? undefined : Number(input.value));
  return { input, value, element: labelled(field, input, output) };
}

function text(field) {
  const long = (field.maxLength ?? 0) > 1000;
  const input = el(long ? "textarea" : "input", { placeholder: field.placeholder ?? field.standard ?? "", value: field.value ?? "", ...(long ? { rows: 2 } : { type: "text" }) });
  let options = null;
  if (field.options && !long) {
    options = el("datalist", { id: `options-${(count += 1)}` }, field.options.map((each) => el("option", { value: each })));
    input.setAttribute("list", options.id);
  }
  return { input, value: () => (input.value === "" ? undefined : input.value), element: labelled(field, input, options) };
}

function choice(field) {
  const unset = field.nullable || field.standard === undefined;
  const input = el(
    "select",
    {},
    unset && el("option", { value: "" }, field.placeholder ?? "default"),
    field.options.map((each) => el("option", { value: String(each) }, field.names?.[each] ?? String(each).replaceAll("_", " "))),
  );
  input.value = field.value ?? (unset ? "" : field.standard);
  const value = () => {
    const chosen = field.options.find((each) => String(each) === input.value);
    return chosen === field.standard ? undefined : chosen;
  };
  return { input, value, element: labelled(field, input) };
}

function flag(field) {
  const options = ["yes", "no"];
  const control = choice({ ...field, options, nullable: field.nullable, standard: field.standard == null ? field.standard : field.standard ? "yes" : "no" });
  const value = () => ({ yes: true, no: false })[control.value()];
  return { ...control, value };
}

/** Some of a few names: a box for each; none ticked says nothing. */
function choices(field) {
  const boxes = field.options.map((each) => el("input", { type: "checkbox", value: each, name: field.path }));
  const element = el(
    "fieldset",
    { class: "field" },
    el("legend", {}, field.label ?? title(field.name)),
    el("div", { class: "row" }, boxes.map((box) => el("label", { class: "check" }, box, el("span", {}, box.value)))),
    field.hint && el("small", { class: "hint" }, field.hint),
  );
  const value = () => {
    const chosen = boxes.filter((box) => box.checked).map((box) => box.value);
    return chosen.length ? chosen : undefined;
  };
  return { input: boxes[0], value, element };
}

/** Numbers from 0, as "0-3, 6": with `total` a strip of cells shows them, and takes clicks. */
function list(field) {
  const input = el("input", { type: "text", inputMode: "numeric", placeholder: field.placeholder ?? "all", autocomplete: "off" });
  const value = () => (input.value.trim() === "" ? undefined : (numbers(input.value) ?? input.value));
  const strip = field.total ? cells(field.total, input) : null;
  return { input, value, element: labelled(field, input, strip) };
}

function cells(total, input) {
  const strip = el("div", { class: "cells", "aria-hidden": "true" });
  const chosen = () => new Set(numbers(input.value) ?? []);
  const draw = () => {
    const now = chosen();
    strip.replaceChildren(...Array.from({ length: total }, (_, index) => el("i", { class: now.has(index) ? "on" : "", title: String(index) })));
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

/** An object: left to the server, null where it may be, or its own fields. */
function group(field, about) {
  const modes = { "": field.placeholder ?? "default", ...(field.nullable ? { none: "none" } : {}), set: "choose" };
  return moded(field, about, modes, (mode, inner) => (mode === "none" ? null : mode === "set" ? inner.values() : undefined));
}

function flagOrGroup(field, about) {
  const modes = { "": field.placeholder ?? "default", yes: "yes", no: "no", set: "choose" };
  const names = field.names ?? {};
  const values = { yes: true, no: false };
  return moded(field, about, { ...modes, ...names }, (mode, inner) => (mode === "set" ? inner.values() : values[mode]));
}

function moded(field, about, modes, valueOf) {
  const input = el("select", {}, Object.entries(modes).map(([mode, name]) => el("option", { value: mode }, name)));
  input.value = field.value ?? "";
  const body = el("div", { class: "fields nested", role: "group", "aria-label": field.label ?? title(field.name) });
  const inner = new Fields(body, field.fields, about, `${field.path}.`);
  const draw = () => (body.hidden = input.value !== "set");
  input.addEventListener("input", draw);
  draw();
  return { input, group: inner, value: () => valueOf(input.value, inner), element: el("div", { class: "whole" }, labelled(field, input), body) };
}

/** What has no control of its own: JSON, as the API takes it. */
function json(field) {
  const input = el("input", { type: "text", placeholder: field.placeholder ?? "JSON", autocomplete: "off", spellcheck: false });
  const value = () => {
    if (input.value.trim() === "") return undefined;
    try {
      return JSON.parse(input.value);
    } catch {
      return input.value; // the server says what is wrong with it
    }
  };
  return { input, value, element: labelled(field, input) };
}
