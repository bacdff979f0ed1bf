// Keep the shot: pick a source, write variants of its prompt, and watch all of them together.

import { ApiError, submit } from "../api/client.js";
import { priceOf } from "../api/price.js";
import { fieldsOf } from "../api/schema.js";
import { artifacts, modelOf } from "../api/catalogue.js";
import { isOpen, store } from "../api/store.js";
import { announce, debounced, el, one } from "../parts/dom.js";
import { plural, priceText } from "../parts/format.js";
import { Stage } from "../parts/stage.js";
import { Tile } from "../parts/tile.js";
import { clearError, previewsOf, showError } from "./hints.js";
import { PLAIN, firstSource, orderOf, plainOf, plainRequest } from "./shot.js";
import { drawSources } from "./sources.js";
import { Variant, renumber } from "./variants.js";

const form = one("#keep-form");
const stage = new Stage();
one("#keep-stage").append(stage.element);
let source = null;
let model = null;
let variants = [];
let tiles = new Map();
let shown = { fresh: new Set(), hidden: new Set() };
let kept = null; // promise of the source's artifacts

export async function open(id) {
  await store.load();
  if (id && !store.get(id)) await store.fetch(id);
  const completed = store.all().filter((video) => video.status === "completed");
  const known = [id, source?.id].map((each) => completed.find((video) => video.id === each));
  const chosen = known.find(Boolean) ?? firstSource(completed);
  one("#keep-empty").hidden = Boolean(chosen);
  form.hidden = one("#keep-stage").hidden = !chosen;
  if (!chosen) return;
  const pick = (video) => (location.hash = `keep/${video.id}`);
  drawSources(one("#keep-sources"), completed, chosen, pick);
  if (chosen.id !== source?.id) await choose(chosen);
  arrange();
}

export const leave = () => stage.pause();

async function choose(video) {
  const found = await modelOf(video);
  if (!found)
    throw new Error(`Model “${video.model}” is not loaded, so its videos cannot be edited.`);
  [source, model, variants, kept] = [video, found, [], null];
  tiles = new Map();
  shown = { fresh: new Set(), hidden: new Set() };
  one("#keep-variants").replaceChildren();
  clearError(form);
  await addVariant();
}

async function addVariant() {
  const fields = await fieldsOf("RemixVideo");
  const remove = () => {
    variants = variants.filter((each) => each !== variant);
    variant.element.remove();
    drawCount();
  };
  const variant = new Variant(source, model, fields, { changed: askPrice, remove });
  variants.push(variant);
  one("#keep-variants").append(variant.element);
  drawCount();
  return variant;
}

function drawCount() {
  renumber(variants, one("#keep-variants"));
  const many = variants.length > 1;
  one("#keep-go").textContent = many ? `Make ${plural(variants.length, "edit")}` : "Make the edit";
  askPrice();
}

one("#keep-add").addEventListener("click", async () => (await addVariant()).prompt.focus());

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  clearError(form);
  const button = one("#keep-go");
  button.disabled = true;
  try {
    await Promise.all(variants.map((variant) => variant.ready()));
    const edits = variants.map((variant) => variant.request());
    const previews = previewsOf(model, source.num_inference_steps);
    const made = await submit(`videos/${source.id}/edits`, { edits, ...previews });
    made.data.forEach(follow);
    arrange();
    announce(`${plural(made.data.length, "edit")} queued.`);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    blame(error);
  } finally {
    button.disabled = false;
  }
});

/** Show an error at the variant that its param names (`edits.1.transfer.layers`), or the first. */
function blame(error) {
  const match = /^edits\.(\d+)\.(.*)$/.exec(error.param ?? "");
  const variant = variants[Number(match?.[1] ?? 0)];
  const param = match?.[2] ?? error.param;
  showError(form, error);
  if (param === "prompt") variant.prompt.focus();
  else if (param) variant.blame(param, error.message);
}

function follow(video) {
  store.put(video);
  store.watch(video.id);
  shown.fresh.add(video.id);
}

async function regenerate(edit, button) {
  button.disabled = true;
  try {
    follow(await submit("videos", plainRequest(edit)));
    arrange();
  } catch (error) {
    button.disabled = false;
    showError(form, error);
  }
}

function arrange() {
  const order = orderOf(source, store.all(), shown);
  stage.show(order.map(({ id, role }) => tiles.get(id) ?? addTile(id, role)));
}

function addTile(id, role) {
  const hide = () => {
    shown.hidden.add(id);
    arrange();
  };
  const tile = new Tile(id, {
    role,
    against: role === "Source" ? null : source.prompt,
    actions: (video) => actionsOf(video, role),
    close: role === "Source" ? null : hide,
  });
  tiles.set(id, tile);
  if (isOpen(store.get(id))) store.watch(id);
  return tile;
}

function actionsOf(video, role) {
  if (video.status !== "completed") return [];
  const details = el("a", { class: "button", href: `#library/${video.id}` }, "Details");
  if (role !== "Edit") return [details];
  const title = "The same seed and the new words, without the source's attention";
  const click = (event) => regenerate(video, event.target);
  // its picture is not to be had again, nor is a film the plain run's
  const alike = !video.input_reference && !video.film;
  const missing = alike && !plainOf(video, store.all());
  return [
    missing && el("button", { type: "button", title, click }, PLAIN),
    el("a", { class: "button", href: `#keep/${video.id}` }, "Edit this"),
    details,
  ];
}

store.addEventListener("change", ({ detail: id }) => {
  const tile = tiles.get(id);
  if (!tile) return;
  const before = tile.element.dataset.status;
  tile.draw();
  const now = tile.element.dataset.status;
  if (now === before || now === "in_progress") return;
  announce(`${tile.role}: ${now === "completed" ? "made" : "not made"}.`);
});

/** Show what the edits will cost. A price that cannot be had is left out: the server says what is
 * wrong with an edit when it is asked for. */
const askPrice = debounced(async () => {
  const asked = source;
  let text = "";
  try {
    const stored = await keptOfSource();
    const ask = (variant) => priceOf(asked, variant.request().transfer, stored);
    text = sumText(await Promise.all(variants.map(ask)), stored.length > 0);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
  }
  if (asked === source) one("#keep-price").textContent = text;
}, 400);

function sumText(prices, isStored) {
  const sum = (name) => prices.reduce((total, price) => total + price[name], 0);
  const again = priceText(sum("replayed"));
  if (!isStored)
    return `Price: about ${again}. No attention is kept of the source: it is run again.`;
  return `Price: about ${priceText(sum("stored"))}, or ${again} if what it reads is not kept.`;
}

function keptOfSource() {
  const { source_key: name } = source;
  kept ??= artifacts().then((found) => found.filter((each) => each.source_key === name));
  return kept;
}
