/** What a file says of itself. */

import { counted, el, fill, fresh } from "./dom.js";
import { bytes, grouped } from "./numbers.js";

const LONG_TEXT = 240, LONG_NAME = 80;
const TYPING_MS = 250;

/**
 * @param {any} card the answer of /card
 * @param {string} level of its headings
 * @returns {HTMLElement[]}
 */
export function card(card, level = "h4") {
  return [
    facts([
      ["File", card.file],
      ["Size", `${bytes(card.size_bytes)}, ${counted(card.parameters, "parameter").replace(/\d+/, grouped)}`],
      ["Input", card.inputs.map(tensor).join("\n")],
      ["Output", card.outputs.map(tensor).join("\n")],
      ["Picture", picture(card)],
      ["Frame", card.frame
        ? `${card.frame.mode}: ${card.frame.description} (${card.frame.source})` : "The file names none."],
      ["Normalisation", card.normalization ? normalization(card.normalization) : "The file names none."],
      ["Opset, IR", `opset ${card.opset ?? "unknown"}, IR ${card.ir_version}`],
      ["Made by", card.producer || "unknown"],
      ["Nodes", `${card.nodes}: ${operators(card.operators)}`],
      ["SHA-256", el("code", {}, card.sha256)],
    ]),
    el(level, {}, "Classes"), ...classes(card.class_names),
    el(level, {}, "Evidence"), ...pairs(card.evidence, "The file carries no evidence of its making."),
    el(level, {}, "Metadata"), ...pairs(card.metadata, "The file carries no metadata."),
  ];
}

/** @param {{mean: number[], std: number[]}} values */
const normalization = ({ mean, std }) => `mean ${mean.join(", ")}; std ${std.join(", ")} (pixels 0..255)`;

/** @param {Record<string, number>} counts */
const operators = (counts) => Object.entries(counts).map(([name, many]) => `${many} ${name}`).join(", ");

/** @param {any} put */
const tensor = ({ name, dtype, shape }) => `${shortened(name)}: ${dtype} [${shape.join(", ")}]`;

/** The output's name holds every class. @param {string} name */
const shortened = (name) => (name.length > LONG_NAME ? `${name.slice(0, LONG_NAME)}…` : name);

/** @param {any} card */
function picture({ channels, height_px, width_px, layout }) {
  const size = height_px && width_px ? `${width_px} × ${height_px} px` : "any size";
  return [size, channels && counted(channels, "channel"), layout].filter(Boolean).join(", ");
}

/** @param {[string, any][]} rows */
const facts = (rows) =>
  el("dl", { class: "facts" }, rows.map(([term, value]) =>
    el("div", {}, el("dt", {}, term), el("dd", {}, value))));

/** @param {Record<string, string>} entries @param {string} none */
function pairs(entries, none) {
  const rows = Object.entries(entries);
  if (rows.length === 0) return [el("p", { class: "soft" }, none)];
  return [facts(rows.map(([key, text]) => [key, long(String(text))]))];
}

/** @param {string} text */
function long(text) {
  if (text.length <= LONG_TEXT) return text;
  const start = `${text.slice(0, 60)}… (${grouped(text.length)} characters)`;
  return el("details", {}, el("summary", {}, start), text);
}

/** The list of classes, with a search box. @param {string[]} names */
function classes(names) {
  if (names.length === 0) return [el("p", { class: "soft" }, "The file names no classes.")];
  const rows = names.map((name, id) =>
    el("li", {}, el("span", { class: "soft" }, id), " ", el("span", {}, name)));
  const field = fresh("search"), all = counted(names.length, "class", "classes");
  const status = el("p", { class: "soft", role: "status" }, all);
  const list = el("ul", { class: "classes" }, rows);
  const sought = names.map((name, id) => `${id} ${name}`.toLowerCase());
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let pause;

  function filter(/** @type {any} */ event) {
    const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
    let matches = 0;
    rows.forEach((row, id) => {
      row.hidden = !words.every((/** @type {string} */ word) => sought[id].includes(word));
      if (!row.hidden) matches += 1;
    });
    clearTimeout(pause); // who listens hears the number once, not for every key
    const found = `${matches} of ${all} ${matches === 1 ? "matches" : "match"}.`;
    pause = setTimeout(() => fill(status, words.length ? found : all), TYPING_MS);
  }

  return [
    el("p", {}, el("label", { for: field }, "Search by name or number"),
      el("input", { type: "search", id: field, autocomplete: "off", spellcheck: "false", oninput: filter })),
    status,
    el("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Classes" }, list),
  ];
}
