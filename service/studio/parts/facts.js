// Facts about a video as short texts: its settings, its cost, its measures.

import { el } from "./dom.js";
import { priceText, ranges, seconds, title } from "./format.js";

const ORIGINS = { stored: "read from the store", replayed: "the source was run again" };

/** A transfer in words: which of the source's attention was used, and how. */
export function transferText(transfer) {
  if (!transfer) return null;
  const parts = Object.entries(transfer)
    .filter(([, value]) => value !== null)
    .map(([name, value]) => partText(name, value))
    .filter(Boolean);
  return parts.length ? parts.join(" · ") : "all of the attention";
}

function partText(name, value) {
  if (name === "source_branch") return value === "own" ? null : `${value} maps into every branch`;
  if (name === "strength") return value === 1 ? null : `strength ${value}`;
  if (Array.isArray(value))
    return `${name} ${value.every(Number.isInteger) ? ranges(value) : value.join(", ")}`;
  if (name === "steps") return `steps ${value.start}-${value.stop - 1}`;
  if (typeof value === "object")
    return `${name} ${Object.entries(value)
      .map(([key, each]) => `${key} ${each}`)
      .join(", ")}`;
  return `${title(name).toLowerCase()} ${value}`;
}

/** `[name, text]` pairs: times, price, origin of the attention, measures. */
export function tookFacts(video, live) {
  const facts = [];
  if (live.started && live.ended) {
    facts.push(["Took", seconds((live.ended - live.started) / 1000)]);
    if (live.queued && live.started - live.queued > 1000)
      facts.push(["Waited", seconds((live.started - live.queued) / 1000)]);
  }
  if (typeof video.cost === "number") facts.push(["Price", priceText(video.cost)]);
  if (ORIGINS[video.attention]) facts.push(["Attention", ORIGINS[video.attention]]);
  if (video.attention_not_kept) facts.push(["Not kept for edits", video.attention_not_kept]);
  return [...facts, ...metricFacts(video.metrics)];
}

/** Every measure that the server gives. */
function metricFacts(metrics) {
  return Object.entries(metrics ?? {})
    .filter(([, value]) => typeof value === "number")
    .map(([name, value]) => [
      title(name),
      Number.isInteger(value) ? String(value) : value.toFixed(Math.abs(value) < 10 ? 3 : 1),
    ]);
}

/** `[name, text]` pairs: every setting that the video was made with. */
export function settingFacts(video) {
  return [
    ["Model", video.model],
    [
      "Size",
      `${video.size}, ${video.num_frames} frames at ${video.fps} fps (${Number(video.seconds).toFixed(1)} s)`,
    ],
    ["Seed", String(video.seed)],
    ["Steps", String(video.num_inference_steps)],
    ["Guidance", String(video.guidance_scale)],
    video.negative_prompt && ["Negative prompt", video.negative_prompt],
    video.loras?.length && [
      "LoRAs",
      video.loras.map(([name, scale]) => `${name} ${scale}`).join(", "),
    ],
    video.transfer && ["Transfer", transferText(video.transfer)],
  ].filter(Boolean);
}

export function factList(facts) {
  return el(
    "dl",
    { class: "facts" },
    facts.map(([name, text]) => el("div", {}, el("dt", {}, name), el("dd", {}, text))),
  );
}
