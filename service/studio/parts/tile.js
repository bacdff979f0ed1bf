// One film in a frame of its own: what is to be seen of it now, and how its job goes on.

import { films, isOpen } from "../api/films.js";
import { postJson } from "../api/client.js";
import { el, iconButton, mayMove } from "./dom.js";
import { factList, tookFacts } from "./facts.js";
import { seconds } from "./format.js";
import { marked } from "./words.js";

// A film much smaller than its frame is shown pixel by pixel rather than smeared
const SHARP_BELOW_PX = 200;

export class Tile {
  #shown = null;

  /** `role`: what it is here, as "Source". `against`: the prompt whose changes are marked.
   * `actions(video)`: buttons below it. `close`: takes the tile away; none: it stays. `autoplay`:
   * it plays by itself, with controls of its own; else whoever holds the tile plays it. */
  constructor(id, { role, against = null, actions = () => [], close = null, autoplay = false }) {
    Object.assign(this, { id, role, against, actions, autoplay, said: [] });
    this.video = el("video", { muted: true, playsInline: true, loop: autoplay, controls: autoplay, hidden: true, preload: "auto", tabIndex: autoplay ? 0 : -1 });
    this.still = el("img", { alt: "", hidden: true });
    this.status = el("p", { class: "status" });
    this.bar = el("progress", { max: 100, value: 0, "aria-label": "Progress" });
    this.picture = el("div", { class: "picture" }, this.video, this.still, el("div", { class: "over" }, this.status, this.bar));
    this.caption = el("figcaption");
    this.facts = el("div");
    this.buttons = el("div", { class: "row buttons" });
    this.element = el(
      "figure",
      { class: "tile", "data-id": id, "data-role": role },
      el("div", { class: "row between head" }, el("span", { class: "badge" }, role), close && iconButton("close", "Take it off the stage", close)),
      this.picture,
      this.caption,
      this.facts,
      this.buttons,
    );
    this.draw();
  }

  /** Show the film as the page knows it now; whether it can be played. */
  draw() {
    const video = films.get(this.id);
    if (!video) return this.#gone();
    const live = films.live(this.id);
    const [width, height] = video.size.split("x").map(Number);
    this.picture.style.aspectRatio = `${width} / ${height}`;
    this.picture.classList.toggle("sharp", height < SHARP_BELOW_PX);
    this.element.dataset.status = video.status;
    this.video.setAttribute("aria-label", video.prompt);
    this.caption.replaceChildren(this.against === null ? video.prompt : marked(this.against, video.prompt));
    this.#drawJob(video, live);
    this.#drawFacts(video, live);
    this.#drawButtons(video);
    if (video.status === "completed") this.#load(video);
  }

  /** A fact that is known from elsewhere: `[name, text]`. */
  say(fact) {
    this.said.push(fact);
    this.draw();
  }

  get playable() {
    return !this.video.hidden && films.get(this.id) !== null;
  }

  #drawJob(video, live) {
    const open = isOpen(video);
    this.bar.hidden = !open;
    const total = live.total ?? video.num_inference_steps;
    this.bar.value = live.step !== undefined ? (100 * live.step) / total : video.progress;
    if (live.preview && open) Object.assign(this.still, { src: live.preview, hidden: false });
    this.picture.classList.toggle("blurred", Boolean(live.preview) && open);
    this.status.textContent = open ? progressText(video, live) : video.status === "failed" ? failureText(video) : "";
    this.status.classList.toggle("failed", video.status === "failed");
  }

  #drawFacts(video, live) {
    this.facts.replaceChildren(...(isOpen(video) ? [] : [factList([...tookFacts(video, live), ...this.said])]));
  }

  #drawButtons(video) {
    const open = isOpen(video);
    const kind = `${video.status}`;
    if (this.#shown === kind) return; // a button that is being pressed is not to be replaced
    this.#shown = kind;
    const cancel = open && el("button", { type: "button", click: (event) => this.#cancel(event.target) }, "Cancel");
    this.buttons.replaceChildren(...[cancel, ...this.actions(video)].filter(Boolean));
  }

  async #cancel(button) {
    button.disabled = true;
    try {
      films.put(await postJson(`videos/${this.id}/cancel`));
    } catch (error) {
      this.status.textContent = error.message;
      button.disabled = false;
    }
  }

  async #load(video) {
    if (this.loading) return;
    this.loading = true;
    try {
      this.video.src = await films.content(video.id, "video");
      this.video.addEventListener("loadeddata", () => {
        this.still.hidden = true;
        this.video.hidden = false;
        this.element.dispatchEvent(new Event("playable", { bubbles: true }));
        if (this.autoplay && mayMove()) this.video.play().catch(() => {});
      }, { once: true });
      if (video.attention !== null) await films.times(video.id);
    } catch (error) {
      this.status.textContent = error.message;
    }
  }

  #gone() {
    this.status.textContent = "This film was deleted.";
    this.bar.hidden = true;
    this.buttons.replaceChildren();
  }
}

function progressText(video, live) {
  if (video.status === "queued" || live.step === undefined) return video.status === "queued" ? "Waiting in the queue" : "Starting";
  const left = live.eta > 0 ? `, ${seconds(live.eta)} left` : "";
  return live.step >= live.total ? "Writing the film" : `Step ${live.step} of ${live.total}${left}`;
}

function failureText(video) {
  if (video.error?.code === "cancelled") return "Cancelled";
  return video.error?.message ?? "Failed";
}
