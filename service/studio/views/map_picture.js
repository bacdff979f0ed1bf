// The picture of an attention map, with its frames ruled off and one row framed.

import { el } from "../parts/dom.js";

/** A canvas that shows `map` (parts/heat.js) of a video of `frames` latent frames, with the row
 * `cell` framed. A click calls `picked(row)`. */
export function mapPicture(map, frames, cell, picked) {
  const { bitmap, bins } = map;
  const { width, height } = bitmap;
  const canvas = el("canvas", { width, height, role: "img", "aria-label": "Attention map" });
  const context = canvas.getContext("2d");
  context.drawImage(bitmap, 0, 0);
  context.fillStyle = "rgb(255 255 255 / 0.22)";
  for (let frame = 1; frame < frames; frame += 1) {
    context.fillRect(Math.round((frame * width) / frames), 0, 1, height);
    context.fillRect(0, Math.round((frame * height) / frames), width, 1);
  }
  context.fillStyle = "#fff";
  const thick = Math.max(1, Math.round(height / 400));
  context.fillRect(0, Math.round((cell * height) / bins) - thick, width, thick);
  context.fillRect(0, Math.round(((cell + 1) * height) / bins), width, thick);
  canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect();
    const row = Math.floor(((event.clientY - box.top) / box.height) * bins);
    picked(Math.max(0, Math.min(bins - 1, row)));
  });
  return canvas;
}
