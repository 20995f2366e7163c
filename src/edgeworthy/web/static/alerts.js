/** What went wrong, said next to where it went wrong. */

import { Problem } from "./api.js";
import { el, fill } from "./dom.js";

/**
 * Something that can be tried again, or is over.
 *
 * @param {unknown} error
 * @param {{about?: string, again?: () => void}} [more] what it is about, and how to try again
 */
export function alertBox(error, { about = "", again } = {}) {
  const isProblem = error instanceof Problem;
  if (!isProblem) console.error(error);
  const message = isProblem ? error.message : "The page has made a mistake.";
  const hint = isProblem ? error.hint : "Reload it. If that does not help, tell the makers of edgeworthy.";
  const isNamed = about === "" || message.includes(about);
  return el("div", { class: "alert" },
    el("p", {}, el("strong", {}, isNamed ? "Problem: " : `${about}: `), message),
    hint && el("p", { class: "soft" }, hint),
    again && el("p", {}, el("button", { type: "button", onclick: again }, "Try again")));
}

/** @param {Element} region @param {unknown} error @param {Parameters<typeof alertBox>[1]} [more] */
export const complain = (region, error, more) => fill(region, alertBox(error, more));
