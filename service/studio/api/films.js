// The films that the page knows, kept up to date: what the API says of each, how its job goes on,
// and its pictures. Views listen for "change" (detail: the film's id) and draw what they show.

import { ApiError, getBlob, getJson, listAll } from "./client.js";
import { follow, timeOf } from "./events.js";

// A browser holds six connections to a server, over all its tabs: streams may not take them all
const STREAMS = 3;
const POLL_MS = 2000;
const MODELS_MS = 30_000;
const KEPT_BLOBS = 120;
const PAGE = 50;
const ENDED = ["completed", "failed"];

class Films extends EventTarget {
  #videos = new Map();
  #live = new Map();
  #watched = new Map(); // id: cursor of its events
  #blobs = new Map(); // "id variant": {url: a promise, made: the URL itself}, least recently used first
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

  /** Newest first. */
  all() {
    return [...this.#videos.values()].sort((a, b) => (a.id < b.id ? 1 : -1));
  }

  /** `{step, total, eta, preview, queued, started, ended}` of a job that is or was followed. */
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

  /** The film as the server has it, or null where it is gone. */
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

  /** The newest films; with `more`, those behind the oldest that were loaded. */
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

  /** Follow a job to its end, by its stream of events as soon as one is free. */
  watch(id) {
    if (this.#watched.has(id)) return;
    this.#watched.set(id, {});
    this.#fill();
  }

  /** URL of a completed film's `video`, `thumbnail` or `spritesheet`. */
  content(id, variant) {
    const name = `${id} ${variant}`;
    const found = this.#blobs.get(name) ?? this.#fetchBlob(id, variant);
    this.#blobs.delete(name);
    this.#blobs.set(name, found);
    found.url.catch(() => this.#blobs.delete(name));
    if (this.#blobs.size > KEPT_BLOBS) this.#forgetOldest();
    return found.url;
  }

  /** When the job was queued, started and ended, in ms since 1970; asked for where not yet known. */
  async times(id) {
    const live = this.live(id);
    if (live.ended === undefined) await follow(id, (event) => this.#hear(id, event));
    return this.live(id);
  }

  #fetchBlob(id, variant) {
    // as bytes: a store's own address is no part of this page's policy, and wants no key of ours
    const query = { variant, delivery: "bytes" };
    const entry = { made: null };
    entry.url = getBlob(`videos/${id}/content`, { query }).then((blob) => (entry.made = URL.createObjectURL(blob)));
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

  /** Give free streams to watched jobs; a page that nobody sees gives its own back. */
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
      await this.#ended(id); // it was deleted, or the key may not follow it
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
    if (video?.status === "queued" && type !== "queued" && !ENDED.includes(type)) this.put({ ...video, status: "in_progress" });
    else this.#changed(id);
  }

  /** What no stream tells: watched jobs that wait for one. */
  async #poll() {
    const waiting = [...this.#watched].filter(([, cursor]) => !cursor.streaming);
    if (document.hidden || !waiting.length) return;
    const page = await getJson("videos", { query: { limit: 100 } }).catch(() => ({ data: [] })); // the next time, then
    for (const video of page.data) {
      if (!this.#videos.has(video.id)) continue;
      this.put(video);
      if (ENDED.includes(video.status) && this.#watched.get(video.id)?.streaming === false) this.#watched.delete(video.id);
    }
  }
}

/** A URL of the picture; the one that it replaces is let go. */
function pictureOf(jpeg, before) {
  if (before) URL.revokeObjectURL(before);
  const data = Uint8Array.from(atob(jpeg), (char) => char.charCodeAt(0));
  return URL.createObjectURL(new Blob([data], { type: "image/jpeg" }));
}

export const films = new Films();
export const isOpen = (video) => !ENDED.includes(video.status);

let modelsAsked = { at: -Infinity, list: null };
/** What can be asked for, as `/v1/models` tells it. */
export function models() {
  if (performance.now() - modelsAsked.at > MODELS_MS) {
    const list = getJson("models").then(({ data }) => data);
    modelsAsked = { at: performance.now(), list };
    const forget = () => (modelsAsked.at = -Infinity);
    list.then((found) => found.length || forget(), forget); // a worker may just be starting
  }
  return modelsAsked.list;
}

export async function modelOf(video) {
  return (await models()).find((model) => model.id === video.model) ?? null;
}

/** What is kept of attention, newest first. */
export const artifacts = () => listAll("attention/artifacts");
