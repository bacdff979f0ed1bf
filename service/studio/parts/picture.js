// A control for a picture of the user's: its value is the data URL that the API takes.

import { labelled } from "./controls.js";
import { el } from "./dom.js";

export function picture(field) {
  const input = el("input", { type: "file", accept: "image/png,image/jpeg,image/webp" });
  const shown = el("img", { class: "picked", alt: "The picture that was chosen", hidden: true });
  let value;
  let reading = null;
  input.addEventListener("change", () => {
    const [file] = input.files;
    if (shown.src) URL.revokeObjectURL(shown.src);
    shown.hidden = !file;
    if (file) shown.src = URL.createObjectURL(file);
    value = undefined;
    reading = file && dataUrl(file).then((url) => (value = { image_url: url }));
  });
  return {
    input,
    value: () => value,
    ready: () => reading,
    element: labelled(field, input, shown),
  };
}

function dataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(reader.result));
    reader.addEventListener("error", () => reject(new Error(`${file.name} cannot be read.`)));
    reader.readAsDataURL(file);
  });
}
