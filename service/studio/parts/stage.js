// The videos of one shot side by side, with one set of controls that plays them in sync.

import { store } from "../api/store.js";
import { el, icon, iconButton, mayMove } from "./dom.js";
import { Compare, MODES } from "./compare.js";
import { Player } from "./player.js";

const RATES = [0.25, 0.5, 1, 2];

export class Stage {
  #tiles = [];
  #player = new Player();
  #compare = new Compare();
  #scrubber = el("input", { type: "range", min: 0, max: 0, value: 0, "aria-label": "Frame" });
  #counter = el("output", { class: "counter" });
  #playButton = iconButton("play", "Play (space)", () => this.#player.toggle());
  #loop = el("input", { type: "checkbox", checked: true });
  #rate = el(
    "select",
    { "aria-label": "Speed" },
    RATES.map((rate) => el("option", { value: rate, selected: rate === 1 }, `${rate}×`)),
  );
  #modes = Object.entries(MODES).map(([mode, name]) =>
    el(
      "label",
      { class: "segment" },
      el("input", { type: "radio", name: "mode", value: mode, checked: mode === "side" }),
      el("span", {}, name),
    ),
  );
  #pair = [0, 1].map((place) => el("select", { "aria-label": place ? "with" : "Compare" }));
  #pairRow = el(
    "p",
    { class: "row", hidden: true },
    this.#pair[0],
    el("span", {}, "with"),
    this.#pair[1],
  );
  #grid = el("div", { class: "tiles" });

  constructor() {
    this.element = el(
      "div",
      { class: "stage" },
      el(
        "div",
        { class: "row between" },
        el("div", { class: "segments", role: "radiogroup", "aria-label": "View" }, this.#modes),
        this.#pairRow,
      ),
      this.#compare.element,
      this.#grid,
      this.#controls(),
    );
    this.#player.addEventListener("frame", () => this.#drawTransport());
    this.element.addEventListener("playable", () => this.#gather(true));
    for (const input of [...this.#modes, ...this.#pair])
      input.addEventListener("input", () => this.#drawCompare());
    addEventListener("keydown", (event) => this.#key(event));
  }

  #controls() {
    this.#scrubber.addEventListener("input", () => this.#player.show(Number(this.#scrubber.value)));
    this.#loop.addEventListener("input", () => (this.#player.loop = this.#loop.checked));
    this.#rate.addEventListener("input", () => (this.#player.rate = Number(this.#rate.value)));
    return el(
      "div",
      { class: "transport", role: "group", "aria-label": "Playback" },
      iconButton("back", "One frame back (left)", () => this.#player.step(-1)),
      this.#playButton,
      iconButton("next", "One frame on (right)", () => this.#player.step(1)),
      this.#scrubber,
      this.#counter,
      el("label", { class: "check" }, this.#loop, el("span", {}, "Loop")),
      this.#rate,
    );
  }

  /** Show these tiles, in this order. */
  show(tiles) {
    this.#tiles = tiles;
    const elements = tiles.map((tile) => tile.element);
    // a video stops when its element is moved, so move only those that are out of place
    for (const child of [...this.#grid.children]) if (!elements.includes(child)) child.remove();
    elements.forEach(
      (element, index) =>
        this.#grid.children[index] === element ||
        this.#grid.insertBefore(element, this.#grid.children[index] ?? null),
    );
    this.#gather(false);
  }

  pause() {
    this.#player.pause();
  }

  #gather(arrived) {
    const ready = this.#tiles.filter((tile) => tile.playable);
    const first = this.#player.frames === 0;
    this.#player.videos = ready.map(({ id, video }) => {
      const { fps, num_frames: frames } = store.get(id);
      return {
        element: video,
        fps,
        frames: Math.min(frames, Math.round(video.duration * fps)) || frames,
      };
    });
    this.#drawPairs(ready);
    this.#drawTransport();
    if (arrived && first && ready.length && mayMove()) this.#player.play();
  }

  #drawPairs(ready) {
    this.#pair.forEach((select, place) => {
      const before = select.value;
      select.replaceChildren(
        ...ready.map((tile) => el("option", { value: tile.id }, nameOf(tile))),
      );
      const fallback = ready[Math.min(place, ready.length - 1)]?.id ?? "";
      select.value = ready.some((tile) => tile.id === before) ? before : fallback;
    });
    if (ready.length > 1 && this.#pair[0].value === this.#pair[1].value)
      this.#pair[1].value = ready.find((tile) => tile.id !== this.#pair[0].value).id;
    this.#drawCompare();
  }

  #drawCompare() {
    const mode = this.#modes.find((label) => label.firstChild.checked).firstChild.value;
    const chosen = this.#pair.map((select) => this.#tiles.find((tile) => tile.id === select.value));
    this.#pairRow.hidden = mode === "side";
    this.element.classList.toggle("comparing", mode !== "side");
    this.#compare.show(
      mode,
      chosen.map((tile) => tile?.video),
      chosen.map((tile) => (tile ? nameOf(tile) : "")),
    );
    const size = store.get(chosen[0]?.id)?.size.split("x").map(Number);
    if (size) this.#compare.picture.style.aspectRatio = `${size[0]} / ${size[1]}`;
    this.#compare.picture.classList.toggle("sharp", Boolean(size) && size[1] < 200);
  }

  #drawTransport() {
    const { frame, frames, playing } = this.#player;
    this.#scrubber.max = Math.max(0, frames - 1);
    this.#scrubber.value = frame;
    this.#scrubber.disabled = !frames;
    this.#counter.textContent = frames ? `${frame + 1} / ${frames}` : "–";
    const label = playing ? "Pause (space)" : "Play (space)";
    if (this.#playButton.title === label) return;
    Object.assign(this.#playButton, { title: label });
    this.#playButton.setAttribute("aria-label", label);
    this.#playButton.replaceChildren(icon(playing ? "pause" : "play"));
  }

  /** Shortcuts: space, the arrows and l, unless the focused element uses the key itself. */
  #key(event) {
    if (!this.element.offsetParent || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, textarea, select, button, a, summary, dialog")) return;
    const action = {
      " ": () => this.#player.toggle(),
      ArrowLeft: () => this.#player.step(-1),
      ArrowRight: () => this.#player.step(1),
      l: () => this.#loop.click(),
    }[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }
}

function nameOf(tile) {
  const prompt = store.get(tile.id)?.prompt ?? "";
  return `${tile.role}: ${prompt.length > 48 ? `${prompt.slice(0, 47)}…` : prompt}`;
}
