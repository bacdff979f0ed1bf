// The latent frames of a video as small pictures. The user picks a spot in one of them, and each
// shows how much attention that spot pays to its tokens.

import { el } from "../parts/dom.js";
import { brightness, cellOf } from "../parts/heat.js";

const CELL_PX = 12; // the side of a token in a picture

export class Frames {
  #pictures = [];
  #stills = [];

  /** `picked(token)` is called when the user clicks a spot. */
  constructor(container, picked) {
    this.container = container;
    this.picked = picked;
  }

  /** Show the frames of `grid` (frames, rows, columns). `url`: the video; null: it was deleted. */
  async show(grid, url) {
    this.grid = grid;
    const [frames, rows, columns] = grid;
    this.#stills = [];
    this.#pictures = Array.from({ length: frames }, (_, frame) => {
      const canvas = el("canvas", {
        width: columns * CELL_PX,
        height: rows * CELL_PX,
        "aria-hidden": "true",
      });
      canvas.addEventListener("click", (event) => this.picked(this.#tokenAt(canvas, frame, event)));
      return canvas;
    });
    this.container.replaceChildren(
      ...this.#pictures.map((canvas, frame) =>
        el("figure", {}, canvas, el("figcaption", {}, `Frame ${frame}`)),
      ),
    );
    if (url) this.#stills = await stills(url, frames);
  }

  #tokenAt(canvas, frame, event) {
    const box = canvas.getBoundingClientRect();
    const [, rows, columns] = this.grid;
    const row = Math.min(rows - 1, Math.floor(((event.clientY - box.top) / box.height) * rows));
    const column = Math.min(
      columns - 1,
      Math.floor(((event.clientX - box.left) / box.width) * columns),
    );
    return (frame * rows + row) * columns + column;
  }

  /** Draw where `token` looks. `shares`: its row of the map (parts/heat.js); null: not known. */
  draw(token, shares) {
    const [frames, rows, columns] = this.grid;
    const tokens = frames * rows * columns;
    this.#pictures.forEach((canvas, frame) => {
      const context = canvas.getContext("2d");
      context.fillStyle = "#101014";
      context.fillRect(0, 0, canvas.width, canvas.height);
      if (this.#stills[frame]) {
        context.filter = "grayscale(1) brightness(0.55)";
        context.drawImage(this.#stills[frame], 0, 0, canvas.width, canvas.height);
        context.filter = "none";
      }
      for (let cell = 0; shares && cell < rows * columns; cell += 1) {
        const value = brightness(
          shares[cellOf(frame * rows * columns + cell, tokens, shares.length)],
        );
        if (value <= 0) continue;
        context.fillStyle = `rgb(255 ${Math.round(80 + 160 * value)} ${Math.round(40 + 110 * value * value)} / ${0.9 * value ** 1.4})`;
        context.fillRect(
          (cell % columns) * CELL_PX,
          Math.floor(cell / columns) * CELL_PX,
          CELL_PX,
          CELL_PX,
        );
      }
      const at = token - frame * rows * columns;
      if (at >= 0 && at < rows * columns)
        outline(context, (at % columns) * CELL_PX, Math.floor(at / columns) * CELL_PX);
    });
  }
}

function outline(context, x, y) {
  for (const [style, width] of [
    ["#000", 4],
    ["#fff", 2],
  ]) {
    Object.assign(context, { strokeStyle: style, lineWidth: width });
    context.strokeRect(x - 1, y - 1, CELL_PX + 2, CELL_PX + 2);
  }
}

/** `count` pictures of the video, evenly spaced from the first frame to the last. */
async function stills(url, count) {
  const video = el("video", { muted: true, preload: "auto", src: url });
  await new Promise((resolve, reject) => {
    video.addEventListener("loadeddata", resolve, { once: true });
    video.addEventListener(
      "error",
      () => reject(new Error("This browser cannot play the video.")),
      { once: true },
    );
  });
  const found = [];
  for (let index = 0; index < count; index += 1) {
    const seeked = new Promise((resolve) =>
      video.addEventListener("seeked", resolve, { once: true }),
    );
    video.currentTime = count > 1 ? (index / (count - 1)) * (video.duration - 0.01) : 0.001;
    await seeked;
    found.push(await createImageBitmap(video));
  }
  return found;
}
