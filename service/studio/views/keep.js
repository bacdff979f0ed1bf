// Keep the shot: a source, its variants, and all of them on one stage.

import { ApiError, submit } from "../api/client.js";
import { artifacts, films, isOpen, modelOf } from "../api/films.js";
import { priceOf, priceText } from "../api/price.js";
import { fieldsOf } from "../api/schema.js";
import { announce, debounced, el, one } from "../parts/dom.js";
import { plural } from "../parts/format.js";
import { Stage } from "../parts/stage.js";
import { Tile } from "../parts/tile.js";
import { clearError, showError } from "./hints.js";
import { Variant, renumber } from "./variants.js";
import { drawSources } from "./sources.js";

const SHOWN_EDITS = 5; // of those that were there before
const PREVIEWS = 6;
const PLAIN = "Plain re-generation";

const form = one("#keep-form");
const stage = new Stage();
one("#keep-stage").append(stage.element);
let source, model, variants = [];
let tiles = new Map();
let hidden = new Set();
let fresh = new Set(); // made here, so shown whatever their number
let kept = null;

export async function open(id) {
  await films.load();
  const wanted = id ? (films.get(id) ?? (await films.fetch(id))) : null;
  const completed = films.all().filter((video) => video.status === "completed");
  const chosen = wanted?.status === "completed" ? wanted : (source && films.get(source.id)) || completed.find((video) => !video.transfer) || completed[0];
  one("#keep-empty").hidden = Boolean(chosen);
  form.hidden = one("#keep-stage").hidden = !chosen;
  if (!chosen) return;
  drawSources(one("#keep-sources"), completed, chosen, (video) => (location.hash = `keep/${video.id}`));
  if (chosen.id !== source?.id) await choose(chosen);
  arrange();
}

export const leave = () => stage.pause();

async function choose(video) {
  const found = await modelOf(video);
  if (!found) throw new Error(`Model “${video.model}” is not loaded: films of it cannot be edited now.`);
  [source, model, variants, tiles, hidden, fresh] = [video, found, [], new Map(), new Set(), new Set()];
  kept = null;
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
  one("#keep-go").textContent = variants.length > 1 ? `Make ${plural(variants.length, "edit")}` : "Make the edit";
  askPrice();
}

one("#keep-add").addEventListener("click", async () => (await addVariant()).prompt.focus());

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  clearError(form);
  const button = one("#keep-go");
  button.disabled = true;
  try {
    const previews = model.supports_preview ? { preview_every: Math.max(1, Math.ceil(source.num_inference_steps / PREVIEWS)) } : {};
    const made = await submit(`videos/${source.id}/edits`, { edits: variants.map((variant) => variant.request()), ...previews });
    for (const video of made.data) add(video);
    arrange();
    announce(`${plural(made.data.length, "edit")} queued.`);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    blame(error);
  } finally {
    button.disabled = false;
  }
});

/** Show an error at the variant that it names: `edits.1.transfer.layers`; or at the first. */
function blame(error) {
  const match = /^edits\.(\d+)\.(.*)$/.exec(error.param ?? "");
  const variant = variants[Number(match?.[1] ?? 0)];
  const param = match?.[2] ?? error.param;
  showError(form, error);
  if (param && param !== "prompt") variant.blame(param, error.message);
  if (param === "prompt") variant.prompt.focus();
}

function add(video) {
  films.put(video);
  films.watch(video.id);
  fresh.add(video.id);
}

/** The same seed and settings with the edit's words, and nothing of the source's attention. */
async function regenerate(edit, button) {
  button.disabled = true;
  const names = ["model", "seed", "size", "num_frames", "fps", "num_inference_steps", "guidance_scale", "negative_prompt", "prompt"];
  const body = Object.fromEntries(names.map((name) => [name, edit[name]]));
  try {
    add(await submit("videos", { ...body, ...(source.loras?.length ? { loras: source.loras } : {}), capture: false }));
    arrange();
  } catch (error) {
    button.disabled = false;
    showError(form, error);
  }
}

/** Whether `plain` is what the words of `edit` give without the source's attention. */
function isPlainOf(plain, edit) {
  const same = ["prompt", "model", "seed", "size", "num_frames", "num_inference_steps", "guidance_scale", "negative_prompt"];
  return !plain.transfer && plain.id !== source.id && same.every((name) => plain[name] === edit[name]);
}

/** Source, then each edit with its plain re-generation beside it where there is one. */
function arrange() {
  const known = films.all();
  const edits = known.filter((video) => video.remixed_from_video_id === source.id);
  const shown = edits.filter((video, index) => (fresh.has(video.id) || index < SHOWN_EDITS) && !hidden.has(video.id)).reverse();
  const order = [{ id: source.id, role: "Source" }];
  for (const edit of shown) {
    order.push({ id: edit.id, role: "Edit" });
    const plain = known.find((video) => isPlainOf(video, edit));
    if (plain && !hidden.has(plain.id) && !order.some(({ id }) => id === plain.id)) order.push({ id: plain.id, role: PLAIN });
  }
  stage.show(order.map(({ id, role }) => tileOf(id, role)));
}

function tileOf(id, role) {
  const found = tiles.get(id);
  if (found) return found;
  const close = role === "Source" ? null : () => {
    hidden.add(id);
    arrange();
  };
  const tile = new Tile(id, { role, against: role === "Source" ? null : source.prompt, actions: (video) => actionsOf(video, role), close });
  tiles.set(id, tile);
  if (isOpen(films.get(id))) films.watch(id);
  showPrice(tile, films.get(id));
  return tile;
}

function actionsOf(video, role) {
  if (video.status !== "completed") return [];
  const plain = role === "Edit" && el("button", { type: "button", title: "The same seed and the new words, without the source's attention", click: (event) => regenerate(video, event.target) }, PLAIN);
  return [plain, role === "Edit" && el("a", { class: "button", href: `#keep/${video.id}` }, "Edit this"), el("a", { class: "button", href: `#library/${video.id}` }, "Details")];
}

films.addEventListener("change", ({ detail: id }) => {
  const tile = tiles.get(id);
  if (!tile) return;
  const before = tile.element.dataset.status;
  tile.draw();
  showPrice(tile, films.get(id));
  const now = tile.element.dataset.status;
  if (now !== before && now !== "in_progress") announce(now === "completed" ? `${tile.role}: made.` : `${tile.role}: not made.`);
});

/** What the edits will take, where the server can say. */
const askPrice = debounced(async () => {
  const [place, of] = [one("#keep-price"), source];
  try {
    const stored = await keptOfSource();
    const prices = await Promise.all(variants.map((variant) => priceOf(of, variant.request().transfer, stored)));
    if (of !== source) return;
    const total = prices.reduce((sum, price) => sum + price, 0);
    place.textContent = `Price: about ${priceText(total)}. The source's attention ${stored.length ? "is kept." : "is not kept, so the source runs beside the edit."}`;
  } catch {
    place.textContent = ""; // good to know, not needed: what is wrong is said when the edit is asked for
  }
}, 400);

/** What is kept of the source's attention; asked for once for each source. */
function keptOfSource() {
  const { source_key: name } = source;
  kept ??= artifacts().then((found) => found.filter((each) => each.source_key === name));
  return kept;
}

/** Say on its tile what an edit took; once for each. */
async function showPrice(tile, edit) {
  if (edit?.status !== "completed" || tile.priced || tile.role !== "Edit") return;
  tile.priced = true;
  const of = source;
  const price = await keptOfSource()
    .then((stored) => priceOf(of, edit.transfer, edit.attention === "replayed" ? [] : stored))
    .catch(() => null);
  if (price !== null) tile.say(["Price", priceText(price)]);
}
