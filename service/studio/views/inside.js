// Look inside: the map of any layer, head and step of what is kept, and where one spot looks.

import { ApiError, getBlob, getJson, patiently } from "../api/client.js";
import { artifacts, films, models } from "../api/films.js";
import { debounced, el, one } from "../parts/dom.js";
import { bytes, ranges } from "../parts/format.js";
import { HeatMap, cellOf } from "../parts/heat.js";
import { Frames } from "./frames.js";
import { clearError, showError } from "./hints.js";

const MAX_BINS = 1024;
const SPOT = ["frame", "row", "column"];

const form = one("#inside-form");
const frames = new Frames(one("#inside-frames"), (token) => look(token));
const maps = new Map(); // by what they show
let kept = [], artifact, model, controls = {}, spot = {}, token = 0, map = null, asking = null;

export async function open(id) {
  kept = await artifacts();
  const found = kept.find((each) => each.id === id) ?? kept.find((each) => each.id === artifact?.id) ?? kept[0];
  one("#inside-empty").hidden = Boolean(found);
  form.hidden = !found;
  one("#inside-view").hidden = !found;
  if (!found) return;
  drawChoice(found);
  if (found.id !== artifact?.id) await choose(found);
}

function drawChoice(found) {
  const name = (each) => `${each.recipe.generation.prompt} · ${each.form}, ${bytes(each.stored_bytes)}${each.recipe.source ? ", of an edit" : ""}`;
  form.elements.artifact.replaceChildren(...kept.map((each) => el("option", { value: each.id }, name(each))));
  form.elements.artifact.value = found.id;
}

form.elements.artifact.addEventListener("input", (event) => (location.hash = `inside/${event.target.value}`));
form.addEventListener("submit", (event) => event.preventDefault());

async function choose(found) {
  [artifact, map] = [found, null];
  model = (await models()).find((each) => each.id === found.recipe.generation.model) ?? null;
  drawControls();
  drawSpot();
  const [count, rows, columns] = artifact.grid;
  token = ((Math.floor(count / 2) * rows) + Math.floor(rows / 2)) * columns + Math.floor(columns / 2);
  await frames.show(artifact.grid, await filmOf(artifact)).catch((error) => showError(form, error));
  frames.draw(token, null);
  await ask();
}

/** The film whose attention this is, where it is still there. */
async function filmOf({ id, source_key: key }) {
  const { videos } = await getJson(`attention/artifacts/${id}`);
  for (const name of videos) {
    const video = films.get(name) ?? (await films.fetch(name));
    if (video?.source_key === key && video.status === "completed") return films.content(name, "video");
  }
  return null;
}

function drawControls() {
  const { layers, steps, branches, recipe, form: kind } = artifact;
  const edit = Boolean(recipe.source);
  const limits = {
    layer: edit || !model ? Math.max(...layers) : model.layers - 1,
    head: model ? model.heads - 1 : 0,
    step: recipe.generation.num_inference_steps - 1,
  };
  const first = { layer: layers[Math.floor(layers.length / 2)], head: 0, step: steps[Math.floor(steps.length / 2)] };
  controls = {};
  const fields = Object.entries(limits).map(([name, maximum]) => slider(name, maximum, first[name]));
  controls.branch = el("select", { name: "branch", input: askSoon }, branches.map((each) => el("option", { value: each }, each)));
  fields.push(el("label", { class: "field" }, el("span", {}, "Guidance branch"), controls.branch));
  one("#inside-fields").replaceChildren(...fields);
  const shown = `Kept as ${kind}: layers ${ranges(layers)}, steps ${ranges(steps)}.`;
  one("#inside-note").textContent = edit ? `${shown} Of an edit only these can be shown.` : `${shown} Any other is made again when it is asked for.`;
}

function slider(name, maximum, value) {
  const input = el("input", { type: "range", name, min: 0, max: maximum, step: 1, value });
  const output = el("output", {}, `${value} of 0-${maximum}`);
  input.addEventListener("input", () => {
    output.textContent = `${input.value} of 0-${maximum}`;
    askSoon();
  });
  controls[name] = input;
  return el("label", { class: "field" }, el("span", {}, name[0].toUpperCase() + name.slice(1)), input, output);
}

function drawSpot() {
  spot = {};
  const inputs = SPOT.map((name, axis) => {
    spot[name] = el("input", { type: "number", name, min: 0, max: artifact.grid[axis] - 1, step: 1, value: 0, input: () => look(tokenOfInputs()) });
    return el("label", { class: "field inline" }, el("span", {}, name[0].toUpperCase() + name.slice(1)), spot[name]);
  });
  one("#inside-spot").replaceChildren(...inputs);
}

function tokenOfInputs() {
  const at = SPOT.map((name, axis) => Math.max(0, Math.min(artifact.grid[axis] - 1, Math.floor(Number(spot[name].value)) || 0)));
  const [, rows, columns] = artifact.grid;
  return (at[0] * rows + at[1]) * columns + at[2];
}

const tokens = () => artifact.grid.reduce((product, side) => product * side, 1);

/** Show where `picked` looks. */
function look(picked) {
  token = picked;
  const [, rows, columns] = artifact.grid;
  const at = [Math.floor(token / (rows * columns)), Math.floor(token / columns) % rows, token % columns];
  SPOT.forEach((name, axis) => {
    if (document.activeElement !== spot[name]) spot[name].value = at[axis];
  });
  const cell = map ? cellOf(token, tokens(), map.bins) : 0;
  frames.draw(token, map ? map.row(cell) : null);
  if (map) drawMap(cell);
}

const askSoon = debounced(() => ask(), 250);

async function ask() {
  clearError(form);
  asking?.abort();
  asking = new AbortController();
  const { signal } = asking;
  const query = { layer: controls.layer.value, head: controls.head.value, step: controls.step.value, branch: controls.branch.value, bins: Math.min(MAX_BINS, tokens()) };
  const place = one("#inside-map");
  place.classList.add("waiting");
  try {
    map = await mapOf(artifact.id, query, signal);
    if (signal.aborted) return;
    look(token);
  } catch (error) {
    if (signal.aborted) return;
    map = null;
    place.replaceChildren();
    frames.draw(token, null);
    if (!(error instanceof ApiError)) throw error;
    showError(form, error);
  }
  place.classList.remove("waiting");
}

async function mapOf(id, query, signal) {
  const name = [id, ...Object.values(query)].join(" ");
  if (!maps.has(name)) {
    const blob = await patiently(() => getBlob(`attention/artifacts/${id}/map`, { query, signal }), "map_not_ready", signal);
    maps.set(name, new HeatMap(await createImageBitmap(blob), query.bins));
    if (maps.size > 30) maps.delete(maps.keys().next().value);
  }
  return maps.get(name);
}

/** The map with the row of `cell` framed; a click picks another. */
function drawMap(cell) {
  const { bitmap, bins } = map;
  const canvas = el("canvas", { width: bitmap.width, height: bitmap.height, role: "img", "aria-label": "Attention map" });
  const context = canvas.getContext("2d");
  const scale = bitmap.width / bins;
  context.drawImage(bitmap, 0, 0);
  const [count] = artifact.grid;
  context.fillStyle = "rgb(255 255 255 / 0.22)";
  for (let frame = 1; frame < count; frame += 1) {
    const at = Math.round((frame * bitmap.width) / count);
    context.fillRect(at, 0, 1, bitmap.height);
    context.fillRect(0, at, bitmap.width, 1);
  }
  context.fillStyle = "#fff";
  const thick = Math.max(1, Math.round(bitmap.height / 400));
  context.fillRect(0, Math.round(cell * scale) - thick, bitmap.width, thick);
  context.fillRect(0, Math.round((cell + 1) * scale), bitmap.width, thick);
  canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect();
    const row = Math.min(bins - 1, Math.floor(((event.clientY - box.top) / box.height) * bins));
    look(Math.min(tokens() - 1, Math.floor(((row + 0.5) * tokens()) / bins)));
  });
  one("#inside-map").replaceChildren(canvas);
}
