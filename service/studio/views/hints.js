// What the page says of fields beyond their names; a field that is not here shows its name alone.

import { el, one } from "../parts/dom.js";
import { mark } from "../parts/fields.js";
import { ranges } from "../parts/format.js";

const CAPTURE = {
  "capture.form": { hint: "What is kept: hidden states fit most uses, latents are the smallest" },
  "capture.codec": { hint: "int8 is lossy, the others are not" },
  "capture.max_bytes": { hint: "The artifact may not be larger" },
  "capture.ttl_s": { label: "Keep for (seconds)" },
};

const TRANSFER = {
  "transfer.strength": { slider: true },
  "transfer.strength_end": { label: "Strength at the last step", hint: "With it, strength changes evenly over the steps" },
  "transfer.steps": { hint: "Of the denoising, from 0: early ones settle the layout" },
  "transfer.source_branch": { label: "Source branch" },
  "transfer.anchor": { hint: "Follow the source's known path and compute the difference only" },
  "transfer.anchor.interval": { hint: "Compute every so many steps" },
  "transfer.anchor.scale": { hint: "How far to go from the source" },
};

/** About the fields of a new film of `model`: its own limits and defaults. */
export function aboutMake(model) {
  const { width, height, num_frames: frames, fps, num_inference_steps: steps } = model;
  return {
    ...CAPTURE,
    prompt: { skip: true },
    model: { skip: true },
    seconds: { skip: true }, // num_frames says it
    webhook_url: { skip: true },
    preview_every: { skip: true },
    size: { placeholder: model.default_size, options: sizes(model), hint: `Width ${span(width)}, height ${span(height)}` },
    num_frames: { ...limits(frames), label: "Frames", hint: `${(frames.default / fps.default).toFixed(1)} s at ${fps.default} fps` },
    fps: { ...limits(fps), label: "Frames a second" },
    num_inference_steps: { ...limits(steps), label: "Steps", hint: "More steps, finer film" },
    guidance_scale: { placeholder: model.guidance_scale, maximum: model.max_guidance_scale, hint: "How closely it follows the prompt" },
    negative_prompt: { placeholder: model.negative_prompt },
    seed: { placeholder: "random", hint: "The same seed and words give the same film" },
    capture: { label: "Keep the attention", value: model.supports_transfer ? "yes" : "", placeholder: "as the server is set", names: { yes: "yes, for edits", set: "choose what is kept" }, hint: "Edits are quickest where it is kept" },
    "capture.layers": { total: model.layers },
    ...(model.supports_transfer ? {} : { capture: { skip: true } }),
  };
}

/** About the fields of an edit by `model`, with the values that `preset` gives as placeholders. */
export function aboutEdit(model, preset) {
  const all = (count) => `all of 0-${count - 1}`;
  const about = {
    ...CAPTURE,
    ...TRANSFER,
    "transfer.preset": { skip: true },
    "transfer.layers": { total: model.layers, placeholder: all(model.layers) },
    "transfer.heads": { total: model.heads, placeholder: all(model.heads) },
    "transfer.branches": { hint: "All unless ticked" },
    guidance_scale: { placeholder: "the source's", maximum: model.max_guidance_scale },
    negative_prompt: { placeholder: "the source's" },
    capture: { label: "Keep its attention", placeholder: "as the server is set", hint: "For edits of this edit" },
    "capture.layers": { total: model.layers },
  };
  for (const [name, value] of Object.entries(preset ?? {})) if (value !== null) tellPreset(about, `transfer.${name}`, value);
  return about;
}

/** What a preset puts where nothing is said, of any field that it has. */
function tellPreset(about, path, value) {
  const tell = (more) => (about[path] = { ...about[path], ...more });
  if (path === "transfer.steps") tell({ placeholder: value === 1 ? "all" : `the first ${Math.round(100 * value)} %` });
  else if (Array.isArray(value)) tell(value.every(Number.isInteger) ? { placeholder: ranges(value) } : { hint: `The preset takes ${value.join(", ")}` });
  else if (typeof value === "object") {
    const entries = Object.entries(value);
    tell({ placeholder: `as the preset: ${entries.map(([name, each]) => `${name} ${each}`).join(", ")}` });
    for (const [name, each] of entries) tellPreset(about, `${path}.${name}`, each);
  } else tell({ placeholder: String(value) });
}

const limits = ({ minimum, maximum, default: standard, step, offset }) => ({ minimum: Math.max(minimum, offset % step), maximum, step, placeholder: standard });
const span = ({ minimum, maximum, step }) => `${minimum} to ${maximum}${step > 1 ? ` by ${step}` : ""}`;

/** A few sizes that the model can do, its default first. */
function sizes(model) {
  const [width, height] = model.default_size.split("x").map(Number);
  const fit = (value, range) => Math.min(range.maximum, Math.max(range.minimum, Math.round(value / range.step) * range.step));
  const made = [1, 0.75, 0.5].flatMap((scale) => [[width, height], [height, width], [height, height]].map(([w, h]) => `${fit(w * scale, model.width)}x${fit(h * scale, model.height)}`));
  return [...new Set([model.default_size, ...made])];
}

/** Show an error in `form`: at the field that it names, and in words. */
export function showError(form, error, fields = []) {
  const place = one(".error", form);
  place.textContent = error.message;
  place.hidden = false;
  if (!error.param) return;
  if (fields.some((each) => each.blame(error.param, error.message))) return;
  const input = form.elements.namedItem(error.param);
  if (input instanceof HTMLElement) mark(input, error.message);
}

export function clearError(form) {
  one(".error", form).hidden = true;
}

/** A select of what `models` offers. */
export function modelSelect(models, change) {
  return el("select", { name: "model", input: change }, models.map((model) => el("option", { value: model.id }, model.id)));
}
