// Builds a form from the fields of a schema (api/schema.js) and reads its values. Fields that the
// user leaves alone are left out of the request, so the server's defaults apply.

import { choice, choices, flag, json, labelled, list, number, slider, text } from "./controls.js";
import { el } from "./dom.js";
import { title } from "./format.js";
import { picture } from "./picture.js";

/** Controls for `fields`, added to `container`. `about` adds to a field what the schema does not
 * say, by its path (`transfer.layers`): `label`, `hint`, `placeholder`, `minimum`, `maximum`,
 * `step`, `options`, `names` of options, `value`, `total`, `slider`, `skip`; or another `kind`. */
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

  /** Resolves once the files that the user chose are read, so that `values` has them. */
  async ready() {
    await Promise.all([...this.#controls.values()].map((control) => control.ready?.()));
  }

  /** The values of the fields that the user filled in. */
  values() {
    const found = {};
    for (const [name, control] of this.#controls) {
      const value = control.value();
      if (value !== undefined) found[name] = value;
    }
    return found;
  }

  /** Mark the field that an error's `param` names (`capture.layers`); false if it is not here. */
  blame(param, message) {
    const [name, ...rest] = param.split(".");
    const control = this.#controls.get(name);
    if (!control) return false;
    if (rest.length && control.group?.blame(rest.join("."), message)) return true;
    mark(control.input, message);
    return true;
  }
}

/** Mark `input` as invalid until it is changed, and focus it. */
export function mark(input, message) {
  input.setCustomValidity?.(message);
  input.setAttribute("aria-invalid", "true");
  for (let place = input.closest("details"); place; place = place.parentElement.closest("details"))
    place.open = true;
  input.focus();
  input.addEventListener(
    "input",
    () => {
      input.setCustomValidity?.("");
      input.removeAttribute("aria-invalid");
    },
    { once: true },
  );
}

function controlOf(field, about) {
  const make = {
    number: field.slider ? slider : number,
    text,
    choice,
    choices,
    flag,
    numbers: list,
    group,
    flagOrGroup,
    json,
    picture,
  }[field.kind];
  return make(field, about);
}

/** An object. The user chooses: the default, null if the schema allows it, or the fields below. */
function group(field, about) {
  const names = field.names ?? {};
  const modes = {
    "": field.placeholder ?? "default",
    ...(field.nullable && { none: "none" }),
    set: "choose",
    ...names,
  };
  return moded(field, about, modes, (mode, inner) =>
    mode === "none" ? null : mode === "set" ? inner.values() : undefined,
  );
}

/** A boolean or an object, as `capture` is. */
function flagOrGroup(field, about) {
  const modes = { "": field.placeholder ?? "default", yes: "yes", no: "no", set: "choose" };
  const names = field.names ?? {};
  const values = { yes: true, no: false };
  return moded(field, about, { ...modes, ...names }, (mode, inner) =>
    mode === "set" ? inner.values() : values[mode],
  );
}

/** A select and, for its mode `set`, the fields of the object below it. */
function moded(field, about, modes, valueOf) {
  const input = el(
    "select",
    {},
    Object.entries(modes).map(([mode, name]) => el("option", { value: mode }, name)),
  );
  input.value = field.value ?? "";
  const body = el("div", {
    class: "fields nested",
    role: "group",
    "aria-label": field.label ?? title(field.name),
  });
  const inner = new Fields(body, field.fields, about, `${field.path}.`);
  const draw = () => (body.hidden = input.value !== "set");
  input.addEventListener("input", draw);
  draw();
  return {
    input,
    group: inner,
    value: () => valueOf(input.value, inner),
    element: el("div", { class: "whole" }, labelled(field, input), body),
  };
}
