// A strip of films to pick one from, as radio buttons: arrow keys move along it.

import { films } from "../api/films.js";
import { el } from "../parts/dom.js";

/** Fill `strip` with `videos`, `chosen` checked; `pick(video)` when another is. */
export function drawSources(strip, videos, chosen, pick) {
  const listed = videos.some((video) => video.id === chosen.id) ? videos : [chosen, ...videos];
  strip.replaceChildren(...listed.map((video) => option(video, video.id === chosen.id, pick)));
  const current = strip.querySelector("input:checked").closest("label");
  strip.scrollLeft = current.offsetLeft - strip.clientWidth / 2 + current.clientWidth / 2;
}

function option(video, checked, pick) {
  const image = el("img", { alt: "", loading: "lazy" });
  films.content(video.id, "thumbnail").then((url) => (image.src = url), () => {});
  const input = el("input", { type: "radio", name: "source", value: video.id, checked, change: () => pick(video) });
  return el("label", { title: video.prompt }, input, image, el("span", {}, video.prompt));
}
