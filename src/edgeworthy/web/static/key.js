/** Asking the user for the server's key. */

import { byId, fill } from "./dom.js";

/**
 * The key that the user gives, null where none is given.
 *
 * @param {boolean} isWrong whether the server did not take the last one
 * @returns {Promise<string | null>}
 */
export function askForKey(isWrong) {
  const dialog = byId("key-dialog"), form = byId("key-form"), field = byId("key");
  field.value = "";
  fill(byId("key-wrong"), isWrong && "The server did not take this key.");
  dialog.showModal();
  field.focus();
  return new Promise((resolve) => {
    /** @type {string | null} */
    let key = null;
    form.onsubmit = (/** @type {Event} */ event) => {
      event.preventDefault();
      key = field.value.trim();
      dialog.close();
    };
    byId("key-cancel").onclick = () => dialog.close();
    dialog.onclose = () => {
      field.value = "";
      resolve(key);
    };
  });
}
