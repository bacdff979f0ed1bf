// What is said of a film, in few words: how it was made, what it took, how it was measured.

import { el } from "./dom.js";
import { ranges, seconds, title } from "./format.js";

/** A transfer as a sentence: what of the source's attention was put in. */
export function transferText(transfer) {
  if (!transfer) return null;
  const parts = Object.entries(transfer).filter(([, value]) => value !== null).map(([name, value]) => partText(name, value)).filter(Boolean);
  return parts.length ? parts.join(" · ") : "all of the attention";
}

function partText(name, value) {
  if (name === "source_branch") return value === "own" ? null : `${value} maps into every branch`;
  if (name === "strength") return value === 1 ? null : `strength ${value}`;
  if (Array.isArray(value)) return `${name} ${value.every(Number.isInteger) ? ranges(value) : value.join(", ")}`;
  if (name === "steps") return `steps ${value.start}-${value.stop - 1}`;
  if (typeof value === "object") return `${name} ${Object.entries(value).map(([key, each]) => `${key} ${each}`).join(", ")}`;
  return `${title(name).toLowerCase()} ${value}`;
}

/** `[name, text]` of what it took: time in the queue, time of the run, where attention came from. */
export function tookFacts(video, live) {
  const facts = [];
  if (live.started && live.ended) {
    facts.push(["Took", seconds((live.ended - live.started) / 1000)]);
    if (live.queued && live.started - live.queued > 1000) facts.push(["Waited", seconds((live.started - live.queued) / 1000)]);
  }
  if (video.attention === "stored") facts.push(["Attention", "read from the store"]);
  if (video.attention === "replayed") facts.push(["Attention", "source run beside it"]);
  return [...facts, ...metricFacts(video.metrics)];
}

/** Measures of the film, whichever the server gives. */
function metricFacts(metrics) {
  return Object.entries(metrics ?? {})
    .filter(([, value]) => typeof value === "number")
    .map(([name, value]) => [title(name), Number.isInteger(value) ? String(value) : value.toFixed(Math.abs(value) < 10 ? 3 : 1)]);
}

/** Every setting that the film was made with. */
export function settingFacts(video) {
  return [
    ["Model", video.model],
    ["Size", `${video.size}, ${video.num_frames} frames at ${video.fps} fps (${Number(video.seconds).toFixed(1)} s)`],
    ["Seed", String(video.seed)],
    ["Steps", String(video.num_inference_steps)],
    ["Guidance", String(video.guidance_scale)],
    video.negative_prompt && ["Negative prompt", video.negative_prompt],
    video.loras?.length && ["LoRAs", video.loras.map(([name, scale]) => `${name} ${scale}`).join(", ")],
    video.transfer && ["Transfer", transferText(video.transfer)],
  ].filter(Boolean);
}

export function factList(facts) {
  return el("dl", { class: "facts" }, facts.map(([name, text]) => el("div", {}, el("dt", {}, name), el("dd", {}, text))));
}
