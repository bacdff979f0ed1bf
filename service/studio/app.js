// The page as a whole: which section is shown, the connection, the theme and the key.

import { ApiError, key } from "./api/client.js";
import { connection } from "./api/connection.js";
import { all, announce, el, mayMove, one } from "./parts/dom.js";
import * as inside from "./views/inside.js";
import * as keep from "./views/keep.js";
import * as library from "./views/library.js";
import * as make from "./views/make.js";

const VIEWS = { make, keep, inside, library };
let shown = null;

/** Show the section and the video that the address names, as in `#keep/video_…`. */
async function route() {
  const [name, ...rest] = location.hash.slice(1).split("/");
  const view = VIEWS[name] ? name : "make";
  for (const section of all(".view")) section.hidden = section.id !== view;
  for (const link of all(".bar nav a"))
    link.toggleAttribute("aria-current", link.hash === `#${view}`);
  one(`#${view} .failure`)?.remove();
  document.title = `${one(`#${view}-title`).textContent} · Retake Studio`;
  if (shown !== null && shown !== view) {
    VIEWS[shown].leave?.();
    one(`#${view}-title`).focus();
  }
  shown = view;
  // autoplaying videos play only while their section is shown
  for (const video of all("video[loop]"))
    video.offsetParent && mayMove() ? video.play().catch(() => {}) : video.pause();
  try {
    await VIEWS[view].open(rest.join("/") || null);
  } catch (error) {
    showFailure(view, error);
  }
}

function showFailure(view, error) {
  if (!(error instanceof ApiError)) console.error(error);
  const again = el("button", { type: "button", click: route }, "Try again");
  one(`#${view} .failure`)?.remove();
  one(`#${view}`).prepend(
    el("div", { class: "failure banner", role: "alert" }, el("span", {}, error.message), again),
  );
}

const banner = one("#connection");
connection.addEventListener("lost", () => {
  banner.textContent =
    "The server does not answer. What is shown stays; the page goes on when it is back.";
  banner.hidden = false;
});
connection.addEventListener("back", () => {
  banner.hidden = true;
  announce("The server is back.");
});

const themes = ["", "light", "dark"];
const themeButton = one("#theme");
function drawTheme() {
  const now = document.documentElement.dataset.theme;
  themeButton.textContent = `Theme: ${now || "auto"}`;
}
themeButton.addEventListener("click", () => {
  const next = themes[(themes.indexOf(document.documentElement.dataset.theme) + 1) % themes.length];
  document.documentElement.dataset.theme = next;
  localStorage.setItem("retake.theme", next);
  drawTheme();
});

const forget = one("#forget-key");
const drawKey = () => (forget.hidden = !key.get());
addEventListener("retake:key", drawKey);
forget.addEventListener("click", () => {
  key.forget();
  location.reload(); // what the key gave access to is no longer shown
});

// not by following the link: its hash would name a section
one(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  one("#view").focus();
});

addEventListener("hashchange", route);
addEventListener("unhandledrejection", (event) => showFailure(shown, event.reason));
drawTheme();
drawKey();
route();
