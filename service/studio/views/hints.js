// Labels, hints and limits of form fields. A field that is not mentioned here still gets a control,
// labelled with its name.

import { el, one } from "../parts/dom.js";
import { mark } from "../parts/fields.js";
import { ranges } from "../parts/format.js";

const PREVIEWS = 8; // of a video; its event stream keeps no more

const CAPTURE = {
  "capture.form": { hint: "What is kept: hidden states fit most uses, latents are the smallest" },
  "capture.codec": { hint: "int8 is lossy, the others are not" },
  "capture.max_bytes": { hint: "The artifact may not be larger" },
  "capture.ttl_s": { label: "Keep for (seconds)" },
};

const TRANSFER = {
  "transfer.strength": { slider: true },
  "transfer.strength_end": {
    label: "Strength at the last step",
    hint: "With it, strength changes evenly over the steps",
  },
  "transfer.steps": { hint: "Of the denoising, from 0: early ones settle the layout" },
  "transfer.source_branch": { label: "Source branch" },
  "transfer.anchor": {
    hint: "Follow the source and compute only how the edit differs",
    names: { none: "none: a whole second generation", set: "choose interval and scale" },
  },
  "transfer.anchor.interval": { hint: "Steps from one computed difference to the next" },
  "transfer.anchor.scale": { hint: "How much of the difference is added" },
};

/** A picture to start from, for models that take one. */
function aboutPicture(model, hint) {
  if (!model.inputs.includes("image"))
    return { input_reference: { skip: true }, input_reference_fit: { skip: true } };
  return {
    input_reference: { kind: "picture", label: "Start from a picture", hint },
    input_reference_fit: { label: "Fit of the picture", placeholder: "crop" },
  };
}

/** For the fields of a new video: the limits and defaults of `model`. */
export function aboutMake(model) {
  const { width, height, num_frames: frames, fps, num_inference_steps: steps } = model;
  const needed = model.required_inputs.includes("image");
  return {
    ...CAPTURE,
    ...aboutPicture(model, needed ? "This model needs one" : "PNG, JPEG or WebP"),
    prompt: { skip: true },
    model: { skip: true },
    seconds: { skip: true }, // num_frames sets the length
    webhook_url: { skip: true },
    preview_every: { skip: true },
    size: {
      placeholder: model.default_size,
      options: sizes(model),
      hint: `Width ${span(width)}, height ${span(height)}`,
    },
    num_frames: {
      ...limits(frames),
      label: "Frames",
      hint: `${(frames.default / fps.default).toFixed(1)} s at ${fps.default} fps`,
    },
    fps: { ...limits(fps), label: "Frames a second" },
    num_inference_steps: { ...limits(steps), label: "Steps", hint: "More steps, finer video" },
    guidance_scale: {
      placeholder: model.guidance_scale,
      maximum: model.max_guidance_scale,
      hint: "How closely it follows the prompt",
    },
    negative_prompt: { placeholder: model.negative_prompt },
    seed: { placeholder: "random", hint: "The same seed and words give the same video" },
    capture: {
      label: "Keep the attention",
      value: model.supports_transfer ? "yes" : "",
      placeholder: "as the server is set",
      names: { yes: "yes, for edits", set: "choose what is kept" },
      hint: "Edits are quickest where it is kept",
    },
    "capture.layers": { total: model.layers },
    ...(model.supports_transfer ? {} : { capture: { skip: true } }),
  };
}

/** For the fields of an edit by `model`: the values of `preset` as placeholders. */
export function aboutEdit(model, preset) {
  const all = (count) => `all of 0-${count - 1}`;
  const about = {
    ...CAPTURE,
    ...TRANSFER,
    ...aboutPicture(model, "Left out: the source's"),
    "transfer.preset": { skip: true },
    "transfer.layers": { total: model.layers, placeholder: all(model.layers) },
    "transfer.heads": { total: model.heads, placeholder: all(model.heads) },
    "transfer.branches": { hint: "All unless ticked" },
    guidance_scale: {
      placeholder: "the source's",
      maximum: model.max_guidance_scale,
      hint: "Its own only without an anchor",
    },
    negative_prompt: { placeholder: "the source's", hint: "Its own only without an anchor" },
    capture: {
      label: "Keep its attention",
      placeholder: "as the server is set",
      hint: "For edits of this edit",
    },
    "capture.layers": { total: model.layers },
  };
  for (const [name, value] of Object.entries(preset ?? {}))
    tellPreset(about, `transfer.${name}`, value);
  return about;
}

/** Add to `about` the value that a preset has for the field at `path`. */
function tellPreset(about, path, value) {
  const tell = (more) => (about[path] = { ...about[path], ...more });
  if (value === null)
    return path === "transfer.anchor" && tell({ placeholder: "as the preset: none" });
  if (path === "transfer.steps")
    tell({ placeholder: value === 1 ? "all" : `the first ${Math.round(100 * value)} %` });
  else if (Array.isArray(value))
    tell(
      value.every(Number.isInteger)
        ? { placeholder: ranges(value) }
        : { hint: `The preset takes ${value.join(", ")}` },
    );
  else if (typeof value === "object") {
    const entries = Object.entries(value).filter(([, each]) => each !== null);
    tell({
      placeholder: `as the preset: ${entries.map(([name, each]) => `${name} ${each}`).join(", ")}`,
    });
    for (const [name, each] of entries) tellPreset(about, `${path}.${name}`, each);
  } else tell({ placeholder: String(value) });
}

const limits = ({ minimum, maximum, default: standard, step, offset }) => ({
  minimum: offset + step * Math.ceil((minimum - offset) / step), // the first that is allowed
  maximum,
  step,
  placeholder: standard,
});
const span = ({ minimum, maximum, step }) =>
  `${minimum} to ${maximum}${step > 1 ? ` by ${step}` : ""}`;

/** Some sizes that the model can make, its default first. */
function sizes(model) {
  const [width, height] = model.default_size.split("x").map(Number);
  const fit = (value, range) =>
    Math.min(range.maximum, Math.max(range.minimum, Math.round(value / range.step) * range.step));
  const made = [1, 0.75, 0.5].flatMap((scale) =>
    [
      [width, height],
      [height, width],
      [height, height],
    ].map(([w, h]) => `${fit(w * scale, model.width)}x${fit(h * scale, model.height)}`),
  );
  return [...new Set([model.default_size, ...made])];
}

/** Show the message of an error in `form`, and mark the field that it names. */
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

/** The setting of a request that asks for previews, if the model makes them. */
export function previewsOf(model, steps) {
  return model.supports_preview ? { preview_every: Math.max(1, Math.ceil(steps / PREVIEWS)) } : {};
}

/** A select with the ids of `models`. */
export function modelSelect(models, change) {
  return el(
    "select",
    { name: "model", input: change },
    models.map((model) => el("option", { value: model.id }, model.id)),
  );
}
