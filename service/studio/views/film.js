// An edit of a film of the user's own, on the page where videos are made: the file is uploaded, and
// edited by the server's defaults. What comes of it is a video like any other.

import { ApiError, postForm, submit } from "../api/client.js";
import { models } from "../api/catalogue.js";
import { announce, one } from "../parts/dom.js";
import { clearError, modelSelect, previewsOf, showError } from "./hints.js";

const form = one("#film-form");
let able = [];
let show;

/** Offer the form if a model takes films. `showVideo(video)` is called with the edit. */
export async function offerFilm(showVideo) {
  show = showVideo;
  able = (await models()).filter((model) => model.supports_uploads);
  one("#make-film").hidden = !able.length;
  const chosen = form.elements.model?.value;
  const select = modelSelect(able, () => {});
  if (able.some((model) => model.id === chosen)) select.value = chosen;
  one("#film-model").hidden = able.length < 2;
  one("#film-model select")?.remove();
  one("#film-model").append(select);
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  clearError(form);
  const button = one("button[type=submit]", form);
  button.disabled = true;
  try {
    show(await edit());
    announce("The edit of your film is queued.");
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    showError(form, error);
  } finally {
    button.disabled = false;
  }
});

async function edit() {
  const { file, source_prompt: source, prompt, fit, model: select } = form.elements;
  const model = able.find((each) => each.id === select.value);
  const body = new FormData();
  body.append("file", file.files[0]);
  const { id } = await postForm("uploads", body);
  return submit("videos/edits", {
    prompt: prompt.value,
    source_prompt: source.value,
    video: { id },
    fit: fit.value,
    model: model.id,
    ...previewsOf(model, model.num_inference_steps.default),
  });
}
