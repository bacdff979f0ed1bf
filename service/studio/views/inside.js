// Look inside: the map of any layer, head and step, and where one spot of the video looks.

import { ApiError, getBlob, getJson, patiently } from "../api/client.js";
import { artifacts, models } from "../api/catalogue.js";
import { store } from "../api/store.js";
import { debounced, el, one } from "../parts/dom.js";
import { bytes, ranges, title } from "../parts/format.js";
import { HeatMap, cellOf } from "../parts/heat.js";
import { Frames } from "./frames.js";
import { clearError, showError } from "./hints.js";
import { mapPicture } from "./map_picture.js";
import { Spot } from "./spot.js";

const MAX_BINS = 1024; // the most that the API pools a map into
const CACHED_MAPS = 30;

const form = one("#inside-form");
const place = one("#inside-map");
const frames = new Frames(one("#inside-frames"), (token) => look(token));
const maps = new Map(); // by what they show
let kept = [];
let artifact = null;
let controls = {}; // by name: a function that gives its value
let spot = null;
let map = null;
let request = new AbortController();

export async function open(id) {
  kept = await artifacts();
  const named = [id, artifact?.id].map((each) => kept.find((entry) => entry.id === each));
  const found = named.find(Boolean) ?? kept[0];
  one("#inside-empty").hidden = Boolean(found);
  form.hidden = one("#inside-view").hidden = !found;
  if (!found) return;
  drawChoice(found);
  if (found.id !== artifact?.id) await choose(found);
}

function drawChoice(found) {
  const text = ({ recipe, form: kind, stored_bytes: size }) =>
    `${recipe.generation.prompt} · ${kind}, ${bytes(size)}${recipe.source ? ", of an edit" : ""}`;
  const options = kept.map((each) => el("option", { value: each.id }, text(each)));
  form.elements.artifact.replaceChildren(...options);
  form.elements.artifact.value = found.id;
}

form.elements.artifact.addEventListener("input", ({ target }) => {
  location.hash = `inside/${target.value}`;
});
form.addEventListener("submit", (event) => event.preventDefault());

async function choose(found) {
  [artifact, map] = [found, null];
  request.abort(); // what was asked of the one before
  place.classList.add("waiting");
  const { model } = found.recipe.generation;
  drawControls((await models()).find((each) => each.id === model) ?? null);
  spot = new Spot(one("#inside-spot"), artifact.grid, look);
  const url = await videoOf(artifact);
  await frames.show(artifact.grid, url).catch((error) => showError(form, error));
  look(spot.token);
  await ask();
}

/** URL of the video that this attention was captured from; null if it was deleted. */
async function videoOf({ id, source_key: key }) {
  const { videos } = await getJson(`attention/artifacts/${id}`);
  for (const name of videos) {
    const video = store.get(name) ?? (await store.fetch(name));
    if (video?.source_key !== key || video.status !== "completed") continue;
    return store.content(name, "video");
  }
  return null;
}

function drawControls(model) {
  const { layers, steps, recipe, form: kind } = artifact;
  const storedOnly = recipe.source || !model; // of an edit, no more can be shown
  const all = (count) => Array.from({ length: count }, (_, index) => index);
  const guided = !storedOnly && recipe.generation.guidance_scale > 1;
  const branch = el("select", { name: "branch", input: askSoon });
  const branches = guided ? model.branches : artifact.branches;
  branch.append(...branches.map((each) => el("option", { value: each }, each)));
  controls = { branch: () => branch.value };
  one("#inside-fields").replaceChildren(
    slider("layer", storedOnly ? layers : all(model.layers), middle(layers)),
    slider("head", all(model?.heads ?? 1), 0),
    slider("step", storedOnly ? steps : all(recipe.generation.num_inference_steps), middle(steps)),
    el("label", { class: "field" }, el("span", {}, "Guidance branch"), branch),
  );
  const stored = `Kept as ${kind}: layers ${ranges(layers)}, steps ${ranges(steps)}.`;
  const rest = storedOnly
    ? "Of an edit, only these can be shown."
    : "Other layers and steps are computed again, which takes longer.";
  one("#inside-note").textContent = `${stored} ${rest}`;
}

const middle = (list) => list[Math.floor(list.length / 2)];

/** A slider over `values`, which need not be consecutive. */
function slider(name, values, value) {
  const at = values.indexOf(value);
  const input = el("input", { type: "range", name, min: 0, max: values.length - 1, value: at });
  const output = el("output");
  const chosen = () => values[Number(input.value)];
  const draw = () => {
    output.textContent = `${chosen()} of ${ranges(values)}`;
    input.setAttribute("aria-valuetext", String(chosen()));
  };
  draw();
  input.addEventListener("input", () => {
    draw();
    askSoon();
  });
  controls[name] = chosen;
  return el("label", { class: "field" }, el("span", {}, title(name)), input, output);
}

/** Show where `token` looks. */
function look(token) {
  spot.show(token);
  const cell = map && cellOf(token, spot.tokens, map.bins);
  frames.draw(token, map && map.row(cell));
  if (!map) return place.replaceChildren();
  // the token in the middle of the row's cell
  const pick = (row) => look(Math.floor(((row + 0.5) * spot.tokens) / map.bins));
  place.replaceChildren(mapPicture(map, artifact.grid[0], cell, pick));
}

const askSoon = debounced(() => ask(), 250);

async function ask() {
  clearError(form);
  request.abort();
  request = new AbortController();
  const { signal } = request;
  const values = Object.entries(controls).map(([name, chosen]) => [name, chosen()]);
  const query = { ...Object.fromEntries(values), bins: Math.min(MAX_BINS, spot.tokens) };
  place.classList.add("waiting");
  try {
    map = await mapOf(artifact.id, query, signal);
  } catch (error) {
    if (signal.aborted) return;
    map = null;
    if (!(error instanceof ApiError)) throw error;
    showError(form, error);
  }
  if (signal.aborted) return;
  place.classList.remove("waiting");
  look(spot.token);
}

async function mapOf(id, query, signal) {
  const name = [id, ...Object.values(query)].join(" ");
  if (!maps.has(name)) {
    const get = () => getBlob(`attention/artifacts/${id}/map`, { query, signal });
    const blob = await patiently(get, "map_not_ready", signal);
    maps.set(name, new HeatMap(await createImageBitmap(blob), query.bins));
    if (maps.size > CACHED_MAPS) maps.delete(maps.keys().next().value);
  }
  return maps.get(name);
}
