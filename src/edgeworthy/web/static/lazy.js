/** Parts of the page that are fetched when they are opened. */

import { alertBox } from "./alerts.js";
import { el, fill } from "./dom.js";

/**
 * A disclosure that is loaded when it is opened for the first time.
 *
 * @template Loaded
 * @param {string} title
 * @param {object} how
 * @param {string} how.busy what is said meanwhile
 * @param {(onwait: (seconds: number) => void) => Promise<Loaded>} how.load
 * @param {(loaded: Loaded) => Node[]} how.render
 */
export function lazyDetails(title, { busy, load, render }) {
  const status = el("p", { class: "status", role: "status" });
  const body = el("div");
  const details = el("details", { ontoggle: () => details.open && opened() },
    el("summary", {}, title), status, body);
  let isAsked = false;

  async function opened() {
    if (isAsked) return;
    isAsked = true;
    details.setAttribute("aria-busy", "true");
    fill(body);
    fill(status, spinner(), busy);
    try {
      fill(body, render(await load((seconds) => fill(status, spinner(), busyNote(seconds)))));
    } catch (error) {
      isAsked = false;
      fill(body, el("div", { role: "alert" }, alertBox(error, { again: opened })));
    }
    fill(status);
    details.removeAttribute("aria-busy");
  }
  return details;
}

export const spinner = () => el("span", { class: "spinner", "aria-hidden": "true" });

/** @param {number} seconds */
export const busyNote = (seconds) => `The server is busy. It is asked again in ${seconds} s.`;
