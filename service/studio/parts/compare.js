// Two videos in one picture: a wipe between them, or their difference.

import { el } from "./dom.js";

export const MODES = { side: "Side by side", wipe: "Wipe", difference: "Difference" };

export class Compare {
  #context;
  #pair = [null, null];
  #mode = "side";
  #split = el("div", { class: "split", "aria-hidden": "true" });
  #canvas = el("canvas", { role: "img" });
  #slider = el("input", {
    type: "range",
    min: 0,
    max: 100,
    step: 0.5,
    value: 50,
    "aria-label": "Where the one video ends and the other begins",
  });
  #gain = el("input", {
    type: "range",
    min: 1,
    max: 10,
    step: 0.5,
    value: 2,
    "aria-label": "How much the difference is brightened",
  });
  #names = el("div", { class: "row between names" });

  constructor() {
    this.#context = this.#canvas.getContext("2d");
    this.picture = el("div", { class: "picture" }, this.#canvas, this.#split);
    this.element = el(
      "div",
      { class: "compare", hidden: true },
      this.picture,
      this.#slider,
      this.#gain,
      this.#names,
    );
    this.#slider.addEventListener("input", () => this.draw());
    this.#gain.addEventListener("input", () => this.draw());
    const drag = (event) => event.buttons && this.#wipeTo(event.clientX);
    this.picture.addEventListener("pointerdown", drag);
    this.picture.addEventListener("pointermove", drag);
  }

  get mode() {
    return this.#mode;
  }

  /** Compare two video elements by `mode` (a key of MODES); `names`: what they are called. */
  show(mode, pair, names) {
    this.#mode = mode;
    this.#pair = pair;
    this.element.hidden = mode === "side" || !pair.every(Boolean);
    this.#slider.hidden = this.#split.hidden = mode !== "wipe";
    this.#gain.hidden = mode !== "difference";
    this.picture.classList.toggle("wiping", mode === "wipe");
    this.#names.replaceChildren(
      ...(mode === "wipe"
        ? names.map((name) => el("span", {}, name))
        : [el("span", {}, `Black where “${names[0]}” and “${names[1]}” are alike`)]),
    );
    this.#canvas.setAttribute("aria-label", `${MODES[mode]}: ${names.join(" and ")}`);
    cancelAnimationFrame(this.drawing);
    if (!this.element.hidden) this.#run();
  }

  #run() {
    this.draw();
    this.drawing = requestAnimationFrame(() => this.element.isConnected && this.#run());
  }

  /** Draw the current frames. */
  draw() {
    const [one, other] = this.#pair;
    if (!this.element.offsetParent || !one?.videoWidth || !other?.videoWidth) return;
    const [canvas, context] = [this.#canvas, this.#context];
    if (canvas.width !== one.videoWidth || canvas.height !== one.videoHeight)
      [canvas.width, canvas.height] = [one.videoWidth, one.videoHeight];
    const { width, height } = canvas;
    context.drawImage(one, 0, 0, width, height);
    if (this.#mode === "wipe") this.#wipe(other, width, height);
    else this.#difference(other, width, height);
  }

  #wipe(other, width, height) {
    const at = Number(this.#slider.value) / 100;
    const from = Math.round(at * width);
    this.#canvas.style.filter = "";
    this.#split.style.left = `${at * 100}%`;
    if (from < width)
      this.#context.drawImage(
        other,
        (from / width) * other.videoWidth,
        0,
        ((width - from) / width) * other.videoWidth,
        other.videoHeight,
        from,
        0,
        width - from,
        height,
      );
  }

  #difference(other, width, height) {
    this.#context.globalCompositeOperation = "difference";
    this.#context.drawImage(other, 0, 0, width, height);
    this.#context.globalCompositeOperation = "source-over";
    this.#canvas.style.filter = `brightness(${this.#gain.value})`;
  }

  #wipeTo(x) {
    if (this.#mode !== "wipe") return;
    const box = this.picture.getBoundingClientRect();
    this.#slider.value = (100 * (x - box.left)) / box.width;
    this.draw();
  }
}
