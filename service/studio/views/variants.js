// The form of one variant: its prompt, preset and strength, and under "Advanced" every other field
// that the API offers for an edit.

import { all, el, iconButton } from "../parts/dom.js";
import { Fields } from "../parts/fields.js";
import { marked } from "../parts/words.js";
import { aboutEdit } from "./hints.js";

const PRESETS = {
  auto: "auto",
  recolour: "recolour",
  restyle: "restyle (weather, light)",
  object: "object (another thing)",
  background: "background",
  paper: "paper (no anchor)",
};
const WITHOUT = ["prompt", "preview_every", "webhook_url", "priority"]; // no fields for these

export class Variant {
  /** `fields`: of an edit, from the schema. `changed()` is called after every change, `remove()`
   * when the user removes the variant. */
  constructor(source, model, fields, { changed, remove }) {
    Object.assign(this, { source, model });
    this.schema = fields;
    this.prompt = el("textarea", {
      name: "prompt",
      rows: 2,
      required: true,
      value: source.prompt,
      "aria-label": "Words of this variant",
    });
    this.marks = el("p", { class: "marks" });
    this.preset = el(
      "select",
      { "aria-label": "Preset" },
      Object.keys(model.presets).map((name) =>
        el("option", { value: name }, PRESETS[name] ?? name),
      ),
    );
    this.body = el("div", { class: "fields" });
    this.details = el("details", {}, el("summary", {}, "Advanced"), this.body);
    this.strength = el("div");
    this.element = el(
      "fieldset",
      { class: "variant" },
      el("legend", {}, "Variant"),
      remove && iconButton("close", "Remove this variant", remove),
      el("label", { class: "field" }, el("span", {}, "Words"), this.prompt),
      this.marks,
      el(
        "div",
        { class: "pair" },
        el("label", { class: "field" }, el("span", {}, "Preset"), this.preset),
        this.strength,
      ),
      this.details,
    );
    this.preset.addEventListener("input", () => this.#drawFields());
    this.prompt.addEventListener("input", () => this.#drawMarks());
    this.element.addEventListener("input", changed);
    this.#drawMarks();
    this.#drawFields();
  }

  /** Say which variant of how many this is. */
  number(index, count) {
    this.element.firstChild.textContent = count > 1 ? `Variant ${index + 1}` : "The edit";
  }

  /** Resolves once what the user chose is read, so that `request` has it. */
  ready() {
    return this.fields.ready();
  }

  /** The edit, as the API takes it. */
  request() {
    const { transfer = {}, ...rest } = this.fields.values();
    const { transfer: main = {} } = this.main.values();
    return {
      prompt: this.prompt.value,
      ...rest,
      transfer: { preset: this.preset.value, ...transfer, ...main },
    };
  }

  blame(param, message) {
    return this.main.blame(param, message) || this.fields.blame(param, message);
  }

  #drawMarks() {
    const same = this.prompt.value.trim() === this.source.prompt.trim();
    this.marks.replaceChildren(
      same
        ? el("span", { class: "hint" }, "Change a word or two above; changes are marked here.")
        : marked(this.source.prompt, this.prompt.value),
    );
  }

  #drawFields() {
    const about = aboutEdit(this.model, this.model.presets[this.preset.value]);
    const transfer = this.schema.find((field) => field.name === "transfer");
    const isMain = (field) => field.name === "strength";
    const open = [
      { ...transfer, kind: "group", nullable: false, fields: transfer.fields.filter(isMain) },
    ];
    const hidden = [
      { ...transfer, fields: transfer.fields.filter((field) => !isMain(field)) },
      ...this.schema.filter((field) => field !== transfer && !WITHOUT.includes(field.name)),
    ];
    for (const place of [this.strength, this.body]) place.replaceChildren();
    this.main = new Flat(this.strength, open, about);
    this.fields = new Flat(this.body, hidden, about);
  }
}

/** Fields of an edit in which those of `transfer` are not set apart as a group. */
class Flat {
  constructor(container, fields, about) {
    const transfer = fields.find((field) => field.name === "transfer");
    this.inner = new Fields(container, transfer.fields, about, "transfer.");
    this.outer = new Fields(
      container,
      fields.filter((field) => field !== transfer),
      about,
    );
  }

  ready() {
    return this.outer.ready();
  }

  values() {
    return { ...this.outer.values(), transfer: this.inner.values() };
  }

  blame(param, message) {
    if (param.startsWith("transfer."))
      return this.inner.blame(param.slice("transfer.".length), message);
    return this.outer.blame(param, message);
  }
}

/** Number the variants in `container`; a single one cannot be removed. */
export function renumber(variants, container) {
  variants.forEach((variant, index) => variant.number(index, variants.length));
  for (const button of all("fieldset.variant > button.icon", container))
    button.hidden = variants.length === 1;
}
