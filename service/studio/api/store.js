// The videos that the page knows: their records, the progress of their jobs, their content. The
// event "change" (detail: the id of a video, or null for many) tells views to draw again.

import { ApiError, getBlob, getJson } from "./client.js";
import { follow, timeOf } from "./events.js";

// A browser opens six connections to a server, shared by all its tabs; leave some for requests
const STREAMS = 3;
const POLL_MS = 2000;
const KEPT_BLOBS = 120;
const PAGE = 50;
const ENDED = ["completed", "failed"];

class VideoStore extends EventTarget {
  #videos = new Map();
  #live = new Map();
  #watched = new Map(); // by id: the cursor of its event stream
  #blobs = new Map(); // by "id variant": {url: promise, made: URL}, least recently used first
  #streams = new Set();
  #last = null;
  hasMore = false;

  constructor() {
    super();
    setInterval(() => this.#poll(), POLL_MS);
    document.addEventListener("visibilitychange", () => this.#fill());
  }

  get(id) {
    return this.#videos.get(id) ?? null;
  }

  /** All known videos, newest first. */
  all() {
    return [...this.#videos.values()].sort((a, b) => (a.id < b.id ? 1 : -1));
  }

  /** Progress of a job: `{step, total, eta, preview, queued, started, ended}`, as far as known. */
  live(id) {
    return this.#live.get(id) ?? {};
  }

  put(video) {
    this.#videos.set(video.id, video);
    this.#changed(video.id);
  }

  remove(id) {
    this.#videos.delete(id);
    this.#live.delete(id);
    this.#watched.delete(id);
    this.#changed(id);
  }

  /** Load one video; null if it does not exist. */
  async fetch(id) {
    try {
      const video = await getJson(`videos/${id}`);
      this.put(video);
      return video;
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 404) throw error;
      this.remove(id);
      return null;
    }
  }

  /** Load the newest videos; with `more`, the next page of older ones. */
  async load(more = false) {
    const query = { limit: PAGE, ...(more && this.#last ? { after: this.#last } : {}) };
    const page = await getJson("videos", { query });
    for (const video of page.data) this.#videos.set(video.id, video);
    if (more || this.#last === null) {
      this.#last = page.last_id;
      this.hasMore = page.has_more;
    }
    this.#changed(null);
  }

  /** Follow a job to its end: by polling until an event stream is free, then by its stream. */
  watch(id) {
    if (this.#watched.has(id)) return;
    this.#watched.set(id, {});
    this.#fill();
  }

  /** Promise of a URL for a completed video's `video`, `thumbnail` or `spritesheet`. */
  content(id, variant) {
    const name = `${id} ${variant}`;
    const found = this.#blobs.get(name) ?? this.#fetchBlob(id, variant);
    this.#blobs.delete(name);
    this.#blobs.set(name, found);
    found.url.catch(() => this.#blobs.delete(name));
    if (this.#blobs.size > KEPT_BLOBS) this.#forgetOldest();
    return found.url;
  }

  /** Load the times of an ended job (`queued`, `started`, `ended`: ms since 1970) into `live`. */
  async times(id) {
    const live = this.live(id);
    if (live.ended === undefined) await follow(id, (event) => this.#hear(id, event));
    return this.live(id);
  }

  #fetchBlob(id, variant) {
    // a redirect to the object store would leave what the page's policy allows
    const query = { variant, delivery: "bytes" };
    const entry = { made: null };
    entry.url = getBlob(`videos/${id}/content`, { query }).then(
      (blob) => (entry.made = URL.createObjectURL(blob)),
    );
    return entry;
  }

  #forgetOldest() {
    const shown = new Set([...document.querySelectorAll("video")].map((video) => video.src));
    for (const [name, { made }] of this.#blobs) {
      if (!made || shown.has(made)) continue;
      URL.revokeObjectURL(made);
      this.#blobs.delete(name);
      return;
    }
  }

  #changed(id) {
    this.dispatchEvent(new CustomEvent("change", { detail: id }));
  }

  /** Open streams for watched jobs, as many as allowed. A hidden page closes its streams. */
  #fill() {
    if (document.hidden) {
      for (const stream of this.#streams) stream.abort();
      return;
    }
    for (const [id, cursor] of this.#watched) {
      if (this.#streams.size >= STREAMS) return;
      if (!cursor.streaming) this.#stream(id, cursor);
    }
  }

  async #stream(id, cursor) {
    const stream = new AbortController();
    this.#streams.add(stream);
    cursor.streaming = true;
    try {
      await follow(id, (event) => this.#hear(id, event), { signal: stream.signal, cursor });
      if (!stream.signal.aborted) await this.#ended(id);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      await this.#ended(id); // for instance, the video was deleted
    } finally {
      cursor.streaming = false;
      this.#streams.delete(stream);
      this.#fill();
    }
  }

  async #ended(id) {
    this.#watched.delete(id);
    await this.fetch(id);
  }

  #hear(id, { type, data, ...event }) {
    const live = { ...this.live(id) };
    if (type === "queued") Object.assign(live, { queued: live.queued ?? timeOf(event), step: 0 });
    if (type === "started") live.started = timeOf(event);
    if (type === "progress") Object.assign(live, data);
    if (type === "preview") live.preview = pictureOf(data.jpeg, live.preview);
    if (ENDED.includes(type)) live.ended = timeOf(event);
    this.#live.set(id, live);
    const video = this.#videos.get(id);
    if (video?.status === "queued" && type !== "queued" && !ENDED.includes(type))
      this.put({ ...video, status: "in_progress" });
    else this.#changed(id);
  }

  /** Update the watched jobs that have no stream. */
  async #poll() {
    const waiting = [...this.#watched].filter(([, cursor]) => !cursor.streaming);
    if (document.hidden || !waiting.length) return;
    const page = await getJson("videos", { query: { limit: 100 } }).catch(() => ({ data: [] })); // the next time, then
    for (const video of page.data) {
      if (!this.#videos.has(video.id)) continue;
      this.put(video);
      if (ENDED.includes(video.status) && this.#watched.get(video.id)?.streaming === false)
        this.#watched.delete(video.id);
    }
  }
}

/** A URL of the picture; the URL of the one before is revoked. */
function pictureOf(jpeg, before) {
  if (before) URL.revokeObjectURL(before);
  const data = Uint8Array.from(atob(jpeg), (char) => char.charCodeAt(0));
  return URL.createObjectURL(new Blob([data], { type: "image/jpeg" }));
}

export const store = new VideoStore();
export const isOpen = (video) => !ENDED.includes(video.status);
