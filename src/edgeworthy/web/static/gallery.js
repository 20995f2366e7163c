/** The pictures of this visit, to go back to and to take along. */

import { el, fill } from "./dom.js";
import { asCsv, asJson, save } from "./saving.js";
import { said } from "./scores.js";

const THUMBNAIL_PX = 320;

/**
 * @param {Record<"section" | "tiles" | "json" | "csv" | "clear", any>} parts
 * @param {import("./visit.js").Visit} visit
 * @param {{version: string, onpick: (tried: import("./visit.js").Tried) => void, onclear: () => void}} more
 */
export function gallery({ section, tiles, json, csv, clear }, visit, { version, onpick, onclear }) {
  const render = () => {
    section.hidden = visit.tried.length === 0;
    fill(tiles, visit.tried.toReversed().map((tried) => tile(tried, visit, onpick)));
  };
  for (const event of ["change", "show", "choose"]) visit.addEventListener(event, render);
  json.onclick = () => save(asJson(visit.tried, version), "application/json", "pictures.json");
  csv.onclick = () => save(asCsv(visit.tried), "text/csv;charset=utf-8", "pictures.csv");
  clear.onclick = () => {
    visit.clear();
    onclear();
  };
}

/**
 * @param {import("./visit.js").Tried} tried
 * @param {import("./visit.js").Visit} visit
 * @param {(tried: import("./visit.js").Tried) => void} onpick
 */
function tile(tried, visit, onpick) {
  const pick = () => {
    visit.show(tried);
    onpick(tried);
  };
  const answers = visit.modelsOf(tried).map((model) => {
    const answer = tried.answer(model);
    return el("span", {}, el("span", { class: "soft" }, `${model}, ${answer.frame}: `), said(answer));
  });
  return el("li", {}, el("button", {
    type: "button", class: "tile", onclick: pick, "aria-current": visit.shown === tried ? "true" : null,
  }, el("img", { src: tried.thumbnail, alt: "" }), el("b", {}, tried.name), answers));
}

/**
 * A small copy of a picture; null where the browser cannot read it.
 *
 * @param {File} file
 * @returns {Promise<string | null>}
 */
export async function thumbnail(file) {
  try {
    const whole = await createImageBitmap(file);
    const scale = Math.min(1, THUMBNAIL_PX / Math.max(whole.width, whole.height));
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, Math.round(scale * whole.width));
    canvas.height = Math.max(1, Math.round(scale * whole.height));
    const context = canvas.getContext("2d");
    if (!context) return null;
    context.imageSmoothingQuality = "high";
    context.drawImage(whole, 0, 0, canvas.width, canvas.height);
    whole.close();
    const blob = await new Promise((/** @type {(made: Blob | null) => void} */ made) => canvas.toBlob(made));
    return blob && URL.createObjectURL(blob);
  } catch {
    return null;
  }
}
