/** Files that the page makes for the user. */

import { el } from "./dom.js";

/** @typedef {import("./visit.js").Tried} Tried */

const COLUMNS = ["picture", "model", "frame", "rank", "class_id", "name", "probability"];

/** @param {Tried[]} tried @param {string} version */
export function asJson(tried, version) {
  const pictures = tried.map(({ name, width_px, height_px, chosen, answers }) => ({
    name, width_px, height_px,
    chosen: Object.fromEntries(chosen),
    answers: [...answers.values()].flat().map(({ image: _, ...answer }) => answer),
  }));
  return `${JSON.stringify({ made_by: `edgeworthy ${version}`, pictures }, null, 2)}\n`;
}

/** As RFC 4180 wants it: every model, frame and rank in a row. @param {Tried[]} tried */
export function asCsv(tried) {
  const rows = tried.flatMap(({ name, answers }) =>
    [...answers.values()].flat().flatMap(({ model, frame, scores }) =>
      scores.map((score, place) => [
        text(name), text(model), text(frame), place + 1,
        score.class_id, text(score.name), score.probability ?? "",
      ])));
  return [COLUMNS, ...rows].map((row) => `${row.map(quoted).join(",")}\r\n`).join("");
}

/** A spreadsheet takes text that begins like this for a formula. @param {string} value */
const text = (value) => (/^[=+\-@\t\r]/.test(value) ? `'${value}` : value);

/** @param {string | number} value */
function quoted(value) {
  const cell = String(value);
  return /[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell;
}

/**
 * Hand a file to the user.
 *
 * @param {BlobPart} content
 * @param {string} type
 * @param {string} name
 */
export function save(content, type, name) {
  const address = URL.createObjectURL(new Blob([content], { type }));
  const link = el("a", { href: address, download: name, hidden: true });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
