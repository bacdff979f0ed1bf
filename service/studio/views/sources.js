// A strip of videos to pick a source from. They are radio buttons, so arrow keys work.

import { store } from "../api/store.js";
import { el } from "../parts/dom.js";

/** Fill `strip` with `videos`. `pick(video)` is called when the user picks another than `chosen`. */
export function drawSources(strip, videos, chosen, pick) {
  const listed = videos.some((video) => video.id === chosen.id) ? videos : [chosen, ...videos];
  strip.replaceChildren(...listed.map((video) => option(video, video.id === chosen.id, pick)));
  const current = strip.querySelector("input:checked").closest("label");
  strip.scrollLeft = current.offsetLeft - strip.clientWidth / 2 + current.clientWidth / 2;
}

function option(video, checked, pick) {
  const image = el("img", { alt: "", loading: "lazy" });
  store.content(video.id, "thumbnail").then(
    (url) => (image.src = url),
    () => {},
  );
  const input = el("input", {
    type: "radio",
    name: "source",
    value: video.id,
    checked,
    change: () => pick(video),
  });
  return el("label", { title: video.prompt }, input, image, el("span", {}, video.prompt));
}
