// Library: all videos as a list, or as a tree with each edit below its source.

import { isOpen, store } from "../api/store.js";
import { el, one } from "../parts/dom.js";
import { when } from "../parts/format.js";
import { marked } from "../parts/words.js";
import { close as closeDetail, show as showDetail } from "./detail.js";

const form = one("#library-filter");
const list = one("#library-list");
const cards = new Map();
let chosen = null;

export async function open(id) {
  await store.load();
  if (id && !store.get(id)) await store.fetch(id);
  chosen = id && store.get(id) ? id : null;
  draw();
  if (chosen) await showDetail(chosen);
  else closeDetail();
  for (const video of store.all()) if (isOpen(video)) store.watch(video.id);
}

form.addEventListener("input", draw);
form.addEventListener("submit", (event) => event.preventDefault());

const more = one("#library-more");
more.addEventListener("click", async () => {
  more.disabled = true;
  try {
    await store.load(true);
  } finally {
    more.disabled = false;
    draw();
  }
});

store.addEventListener("change", ({ detail: id }) => {
  if (one("#library").hidden) return;
  const known = id && cards.get(id);
  if (known && store.get(id)) known.update();
  else draw();
});

function draw() {
  const words = form.elements.words.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
  const status = form.elements.status.value;
  const fits = (video) =>
    (!status || video.status === status) &&
    words.every((word) =>
      `${video.prompt} ${video.id} ${video.model}`.toLowerCase().includes(word),
    );
  const known = store.all();
  const shown = known.filter(fits);
  const focused = document.activeElement;
  list.replaceChildren(
    form.elements.tree.checked ? tree(known, new Set(shown.map((video) => video.id))) : flat(shown),
  );
  if (focused !== document.activeElement) focused.focus(); // moving an element takes its focus
  one("#library-empty").hidden = shown.length > 0;
  more.hidden = !store.hasMore;
}

function flat(videos) {
  return el(
    "ul",
    { class: "cards" },
    videos.map((video) => el("li", {}, cardOf(video))),
  );
}

/** The videos that pass the filter, each below its source. A source that does not pass is shown
 * dimmed if one of its edits does. */
function tree(videos, fitting) {
  const ids = new Set(videos.map((video) => video.id));
  const children = Map.groupBy(videos, (video) =>
    ids.has(video.remixed_from_video_id) ? video.remixed_from_video_id : null,
  );
  const branch = (video) => {
    const below = (children.get(video.id) ?? []).map(branch).filter(Boolean);
    if (!fitting.has(video.id) && !below.length) return null;
    const card = cardOf(video);
    card.classList.toggle("dim", !fitting.has(video.id));
    return el("li", {}, card, below.length > 0 && el("ul", {}, below));
  };
  return el("ul", { class: "tree" }, (children.get(null) ?? []).map(branch).filter(Boolean));
}

function cardOf(video) {
  const card = cards.get(video.id) ?? new Card(video.id);
  cards.set(video.id, card);
  card.update();
  return card.element;
}

class Card {
  constructor(id) {
    this.id = id;
    this.image = el("img", { alt: "", hidden: true });
    this.prompt = el("strong");
    this.note = el("small", { class: "hint" });
    this.bar = el("progress", { max: 100, "aria-label": "Progress" });
    this.element = el(
      "a",
      { class: "card entry", href: `#library/${id}` },
      el("span", { class: "thumb" }, this.image),
      el("span", { class: "text" }, this.prompt, this.note, this.bar),
    );
  }

  update() {
    const video = store.get(this.id);
    const live = store.live(this.id);
    const source = store.get(video.remixed_from_video_id);
    this.prompt.replaceChildren(source ? marked(source.prompt, video.prompt) : video.prompt);
    const state = {
      queued: "queued",
      in_progress: "being made",
      failed: video.error?.code === "cancelled" ? "cancelled" : "failed",
    }[video.status];
    this.note.textContent = [state, video.transfer ? "edit" : null, when(video.created_at)]
      .filter(Boolean)
      .join(" · ");
    this.bar.hidden = !isOpen(video);
    this.bar.value = live.total ? (100 * live.step) / live.total : video.progress;
    this.element.toggleAttribute("aria-current", this.id === chosen);
    this.element.dataset.status = video.status;
    if (live.preview && isOpen(video))
      Object.assign(this.image, { src: live.preview, hidden: false });
    if (video.status === "completed") this.#load();
  }

  #load() {
    if (this.loaded) return;
    this.loaded = true;
    store.content(this.id, "thumbnail").then(
      (url) => Object.assign(this.image, { src: url, hidden: false }),
      () => (this.loaded = false),
    );
  }
}
