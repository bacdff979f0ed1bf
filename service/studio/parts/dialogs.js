// The two dialogs of the page: the one for the key, and the one before a deletion.

import { one } from "./dom.js";

/** Ask for a key; resolves to it, or to null. `message`: what the server said. */
export function askForKey(message) {
  const dialog = one("#key-dialog");
  one("#key-message").textContent = message;
  const input = one("input", dialog);
  input.value = "";
  return new Promise((resolve) => {
    dialog.onclose = () => resolve(dialog.returnValue === "key" ? input.value.trim() : null);
    dialog.returnValue = "";
    dialog.showModal();
  });
}

/** Ask whether to delete; resolves to true or false. */
export function confirmDelete(question, text) {
  const dialog = one("#confirm-dialog");
  one("#confirm-title").textContent = question;
  one("#confirm-text").textContent = text;
  return new Promise((resolve) => {
    dialog.onclose = () => resolve(dialog.returnValue === "yes");
    dialog.returnValue = "no";
    dialog.showModal();
  });
}
