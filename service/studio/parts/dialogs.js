// The two questions that the page asks: for a key, and whether to delete.

import { one } from "./dom.js";

/** The key that its user gives, or null. `message`: what the server said. */
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

/** Whether its user confirms. */
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
