// Make: a form for a new video, and the videos being made, with previews.

import { ApiError, submit } from "../api/client.js";
import { models } from "../api/catalogue.js";
import { isOpen, store } from "../api/store.js";
import { exampleOf, fieldsOf } from "../api/schema.js";
import { announce, el, one } from "../parts/dom.js";
import { Fields } from "../parts/fields.js";
import { Tile } from "../parts/tile.js";
import { offerFilm } from "./film.js";
import { aboutMake, clearError, modelSelect, previewsOf, showError } from "./hints.js";

const PICTURE = ["input_reference", "input_reference_fit"];
const MAIN = [...PICTURE, "size", "num_frames", "num_inference_steps", "seed", "capture"];

const form = one("#make-form");
const tiles = new Map();
let main, more, model, drawnFor;

export async function open() {
  const [offered, fields] = await Promise.all([models(), fieldsOf("CreateVideo")]);
  if (!offered.length)
    throw new Error(
      "No model is loaded yet: a worker is still starting. Open this page again in a moment.",
    );
  if (!model || !offered.some((each) => each.id === model.id)) model = offered[0];
  if (drawnFor !== model.id) draw(offered, fields);
  await offerExample();
  await offerFilm(show);
  await showOpenJobs();
}

function draw(offered, fields) {
  drawnFor = model.id;
  const about = aboutMake(model);
  const [first, rest] = [one("#make-fields"), one("#make-more")];
  first.replaceChildren();
  rest.replaceChildren();
  if (offered.length > 1) first.append(modelField(offered, fields));
  const named = MAIN.map((name) => fields.find((field) => field.name === name)).filter(Boolean);
  main = new Fields(first, named, about);
  more = new Fields(
    rest,
    fields.filter((field) => !MAIN.includes(field.name)),
    about,
  );
}

function modelField(offered, fields) {
  const select = modelSelect(offered, () => {
    model = offered.find((each) => each.id === select.value);
    draw(offered, fields);
    one("select[name=model]", form).focus();
  });
  select.value = model.id;
  return el("label", { class: "field" }, el("span", {}, "Model"), select);
}

async function offerExample() {
  const example = (await exampleOf("/v1/videos"))?.prompt;
  const hint = one("#make-example");
  if (!example || form.elements.prompt.value) return;
  const use = () => {
    form.elements.prompt.value = example;
    form.elements.prompt.focus();
    hint.hidden = true;
  };
  hint.replaceChildren(
    "For example: ",
    el("button", { type: "button", class: "link", click: use }, example),
  );
  hint.hidden = false;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  clearError(form);
  const button = one("button[type=submit]", form);
  button.disabled = true;
  try {
    await Promise.all([main.ready(), more.ready()]);
    show(await submit("videos", request()));
    announce("The video is queued.");
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    showError(form, error, [main, more]);
  } finally {
    button.disabled = false;
  }
});

function request() {
  const values = { ...more.values(), ...main.values() };
  const steps = values.num_inference_steps ?? model.num_inference_steps.default;
  return {
    prompt: form.elements.prompt.value,
    model: model.id,
    ...values,
    ...previewsOf(model, steps),
  };
}

/** Show the jobs that are already queued or running. */
async function showOpenJobs() {
  await store.load();
  for (const video of store.all().reverse()) if (isOpen(video) && !video.transfer) show(video);
}

function show(video) {
  store.put(video);
  store.watch(video.id);
  if (tiles.has(video.id)) return;
  const actions = (made) =>
    made.status === "completed"
      ? [
          el("a", { class: "button primary", href: `#keep/${made.id}` }, "Keep the shot"),
          el("a", { class: "button", href: `#library/${made.id}` }, "Details"),
        ]
      : [];
  const tile = new Tile(video.id, { role: "Video", actions, autoplay: true });
  tiles.set(video.id, tile);
  one("#make-jobs").prepend(tile.element);
  one("#make-empty").hidden = true;
}

store.addEventListener("change", ({ detail: id }) => {
  const tile = tiles.get(id);
  if (!tile) return;
  const before = tile.element.dataset.status;
  tile.draw();
  const now = tile.element.dataset.status;
  if (now !== before && now !== "in_progress")
    announce(now === "completed" ? "The video is made." : "The video was not made.");
});
