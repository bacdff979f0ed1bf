// The details of one video in the library, with its actions and the code that makes it again.

import { artifacts } from "../api/catalogue.js";
import { getJson, send } from "../api/client.js";
import { curlOf, pythonOf, stepsOf } from "../api/recipe_code.js";
import { isOpen, store } from "../api/store.js";
import { confirmDelete } from "../parts/dialogs.js";
import { announce, el, one } from "../parts/dom.js";
import { factList, settingFacts, transferText } from "../parts/facts.js";
import { when } from "../parts/format.js";
import { Tile } from "../parts/tile.js";
import { marked } from "../parts/words.js";

const panel = one("#library-detail");
let tile = null;

export function close() {
  panel.hidden = true;
  panel.replaceChildren();
  tile = null;
}

/** Show the details of the video `id`. */
export async function show(id) {
  const video = store.get(id);
  tile = new Tile(id, {
    role: video.transfer ? "Edit" : "Video",
    actions: actionsOf,
    autoplay: true,
  });
  if (isOpen(video)) store.watch(id);
  const rest = el("div", {}, factList([...settingFacts(video), ...recordFacts(video)]));
  panel.replaceChildren(tile.element, rest);
  panel.hidden = false;
  panel.scrollTop = 0;
  panel.focus();
  try {
    const links = (await getJson(`videos/${id}/lineage`)).data;
    if (tile?.id === id) rest.append(...lineage(links), code(stepsOf(video, links)));
  } catch (error) {
    rest.append(el("p", { class: "error", role: "alert" }, error.message));
  }
}

function recordFacts({ id, created_at: created, expires_at: expires }) {
  const kept = expires ? [["Kept until", when(expires)]] : [];
  return [["Asked for", when(created)], ...kept, ["Id", id]];
}

store.addEventListener("change", ({ detail: id }) => {
  if (tile && id === tile.id) tile.draw();
});

function actionsOf(video) {
  const remove = el(
    "button",
    { type: "button", class: "danger", click: () => deleteVideo(video) },
    "Delete",
  );
  if (video.status !== "completed") return [remove];
  return [
    el("a", { class: "button primary", href: `#keep/${video.id}` }, "Keep the shot"),
    el("button", { type: "button", click: (event) => download(video, event.target) }, "Download"),
    el("button", { type: "button", click: (event) => inside(video, event.target) }, "Look inside"),
    remove,
  ];
}

async function download(video, button) {
  button.disabled = true;
  try {
    const link = el("a", {
      href: await store.content(video.id, "video"),
      download: `${video.id}.mp4`,
    });
    link.click();
  } catch (error) {
    complain(error);
  } finally {
    button.disabled = false;
  }
}

async function inside(video, button) {
  const kept = (await artifacts()).find((each) => each.source_key === video.source_key);
  if (kept) location.hash = `inside/${kept.id}`;
  else Object.assign(button, { disabled: true, textContent: "No attention kept" });
}

async function deleteVideo(video) {
  const edits = store.all().filter((each) => each.remixed_from_video_id === video.id).length;
  const text = `“${video.prompt}” and everything stored for it are removed for good.${edits ? " Its edits stay." : ""}`;
  if (!(await confirmDelete("Delete this video?", text))) return;
  try {
    await send("DELETE", `videos/${video.id}`);
    store.remove(video.id);
    announce("The video is deleted.");
    location.hash = "library";
  } catch (error) {
    complain(error);
  }
}

function complain(error) {
  announce(error.message);
  if (tile) tile.status.textContent = error.message;
}

/** The chain of sources, from the first generation to the video itself. */
function lineage(links) {
  if (links.length < 2) return [];
  const chain = [...links].reverse();
  const entries = chain.map((link, index) => {
    const words = index ? marked(chain[index - 1].prompt, link.prompt) : link.prompt;
    const name =
      link.video_id && link.exists
        ? el("a", { href: `#library/${link.video_id}` }, words)
        : el(
            "span",
            {},
            words,
            " ",
            el(
              "small",
              { class: "hint" },
              link.video_id ? "(deleted)" : "(named by prompt and seed)",
            ),
          );
    return el(
      "li",
      {},
      name,
      link.transfer && el("small", { class: "hint" }, transferText(link.transfer)),
    );
  });
  return [el("h2", {}, "Where it comes from"), el("ol", { class: "chain" }, entries)];
}

function code(steps) {
  const block = (name, text) => {
    const pre = el("pre", { tabIndex: 0, "aria-label": name, "data-code": name }, text);
    return el(
      "details",
      {},
      el("summary", {}, `${name} that makes it again`),
      el(
        "button",
        { type: "button", class: "quiet", click: (event) => copy(pre, event.target) },
        "Copy",
      ),
      pre,
    );
  };
  return el(
    "div",
    { class: "code" },
    block("Python", pythonOf(steps)),
    block("curl", curlOf(steps)),
  );
}

async function copy(pre, button) {
  getSelection().selectAllChildren(pre);
  // over plain http browsers have no clipboard API: the text stays selected, to be copied by hand
  await navigator.clipboard?.writeText(pre.textContent).catch(() => {});
  button.textContent = navigator.clipboard ? "Copied" : "Selected";
}
