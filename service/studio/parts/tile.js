// One video: its preview and progress while it is made, then the video with its facts and actions.

import { store, isOpen } from "../api/store.js";
import { postJson } from "../api/client.js";
import { el, iconButton, mayMove } from "./dom.js";
import { factList, tookFacts } from "./facts.js";
import { seconds } from "./format.js";
import { marked } from "./words.js";

// Videos smaller than this are enlarged with sharp pixels rather than blurred
const SHARP_BELOW_PX = 200;

export class Tile {
  #shown = null;

  /** `role`: a heading, such as "Source". `against`: mark the changes from this prompt.
   * `actions(video)`: buttons below it. `close`: takes the tile away; none: it stays. `autoplay`:
   * it plays by itself, with controls of its own; else whoever holds the tile plays it. */
  constructor(id, { role, against = null, actions = () => [], close = null, autoplay = false }) {
    Object.assign(this, { id, role, against, actions, autoplay });
    this.video = el("video", {
      muted: true,
      playsInline: true,
      loop: autoplay,
      controls: autoplay,
      hidden: true,
      preload: "auto",
      tabIndex: autoplay ? 0 : -1,
    });
    this.still = el("img", { alt: "", hidden: true });
    this.status = el("p", { class: "status" });
    this.bar = el("progress", { max: 100, value: 0, "aria-label": "Progress" });
    this.picture = el(
      "div",
      { class: "picture" },
      this.video,
      this.still,
      el("div", { class: "over" }, this.status, this.bar),
    );
    this.caption = el("figcaption");
    this.facts = el("div");
    this.buttons = el("div", { class: "row buttons" });
    this.element = el(
      "figure",
      { class: "tile", "data-id": id, "data-role": role },
      el(
        "div",
        { class: "row between head" },
        el("span", { class: "badge" }, role),
        close && iconButton("close", "Take it off the stage", close),
      ),
      this.picture,
      this.caption,
      this.facts,
      this.buttons,
    );
    this.draw();
  }

  /** Show the current state of the video. */
  draw() {
    const video = store.get(this.id);
    if (!video) return this.#gone();
    const live = store.live(this.id);
    const [width, height] = video.size.split("x").map(Number);
    this.picture.style.aspectRatio = `${width} / ${height}`;
    this.picture.classList.toggle("sharp", height < SHARP_BELOW_PX);
    this.element.dataset.status = video.status;
    this.video.setAttribute("aria-label", video.prompt);
    this.caption.replaceChildren(
      this.against === null ? video.prompt : marked(this.against, video.prompt),
    );
    this.#drawJob(video, live);
    this.#drawFacts(video, live);
    this.#drawButtons(video);
    if (video.status === "completed") this.#load(video);
  }

  get playable() {
    return !this.video.hidden && store.get(this.id) !== null;
  }

  #drawJob(video, live) {
    const open = isOpen(video);
    this.bar.hidden = !open;
    const total = live.total ?? video.num_inference_steps;
    this.bar.value = live.step !== undefined ? (100 * live.step) / total : video.progress;
    if (live.preview && open) Object.assign(this.still, { src: live.preview, hidden: false });
    this.picture.classList.toggle("blurred", Boolean(live.preview) && open);
    this.status.textContent = open
      ? progressText(video, live)
      : video.status === "failed"
        ? failureText(video)
        : "";
    this.status.classList.toggle("failed", video.status === "failed");
  }

  #drawFacts(video, live) {
    this.facts.replaceChildren(...(isOpen(video) ? [] : [factList(tookFacts(video, live))]));
  }

  #drawButtons(video) {
    const open = isOpen(video);
    const kind = open ? "open" : video.status;
    if (this.#shown === kind) return; // never replace a button while it is pressed
    this.#shown = kind;
    const cancel =
      open &&
      el("button", { type: "button", click: (event) => this.#cancel(event.target) }, "Cancel");
    this.buttons.replaceChildren(...[cancel, ...this.actions(video)].filter(Boolean));
  }

  async #cancel(button) {
    button.disabled = true;
    try {
      store.put(await postJson(`videos/${this.id}/cancel`));
    } catch (error) {
      this.status.textContent = error.message;
      button.disabled = false;
    }
  }

  async #load(video) {
    if (this.loading) return;
    this.loading = true;
    try {
      this.video.src = await store.content(video.id, "video");
      this.video.addEventListener(
        "loadeddata",
        () => {
          this.still.hidden = true;
          this.video.hidden = false;
          this.element.dispatchEvent(new Event("playable", { bubbles: true }));
          if (this.autoplay && mayMove()) this.video.play().catch(() => {});
        },
        { once: true },
      );
      if (video.attention !== null) await store.times(video.id);
    } catch (error) {
      this.status.textContent = error.message;
    }
  }

  #gone() {
    this.status.textContent = "This video was deleted.";
    this.bar.hidden = true;
    this.buttons.replaceChildren();
  }
}

function progressText(video, live) {
  if (video.status === "queued" || live.step === undefined)
    return video.status === "queued" ? "Waiting in the queue" : "Starting";
  const left = live.eta > 0 ? `, ${seconds(live.eta)} left` : "";
  return live.step >= live.total
    ? "Writing the video"
    : `Step ${live.step} of ${live.total}${left}`;
}

function failureText(video) {
  if (video.error?.code === "cancelled") return "Cancelled";
  return video.error?.message ?? "Failed";
}
