/** What the rules say of a file. */

import { counted, el, fill } from "./dom.js";

const SEVERITIES = { error: ["✕", "Error"], warning: ["!", "Warning"], info: ["i", "Note"] };

/**
 * @param {any} check the answer of /check
 * @returns {HTMLElement[]}
 */
export function rules(check) {
  const { findings, passed, skipped } = check;
  const found = counted(findings.length, "finding"), kept = counted(passed.length, "rule");
  return [
    el("p", { class: "verdict" }, check.conforms ? mark("✓", "right") : mark("✕", "wrong"), verdict(check)),
    el("p", { class: "soft" }, `${found}, ${kept} passed, ${skipped.length} skipped.`),
    findings.length > 0 && el("ul", { class: "findings" }, findings.map(finding)),
    check.repair && repairCommand(check.repair),
    skipped.length > 0 && el("details", {},
      el("summary", {}, `Skipped rules (${skipped.length})`),
      el("ul", {}, skipped.map((/** @type {any} */ one) =>
        el("li", {}, el("b", {}, `${one.code} ${one.name}: `), one.reason)))),
    passed.length > 0 && el("details", {},
      el("summary", {}, `Passed rules (${passed.length})`),
      el("p", { class: "codes" }, passed.join(" "))),
  ].filter(Boolean);
}

/** @param {any} check */
function verdict({ conforms, findings }) {
  if (!conforms) return "The file does not keep the platform's contract.";
  if (findings.length > 0) return "The file keeps the platform's contract. Read what was found all the same.";
  return "The file keeps the platform's contract.";
}

/** @param {string} sign @param {string} kind */
const mark = (sign, kind) => el("span", { class: `mark ${kind}`, "aria-hidden": "true" }, sign);

/** @param {any} one */
function finding(one) {
  const [sign, word] = /** @type {any} */ (SEVERITIES)[one.severity] ?? ["?", one.severity];
  return el("li", { class: `finding ${one.severity}` },
    el("p", {}, mark(sign, one.severity), el("b", {}, word), ` ${one.code} ${one.name}`),
    el("p", { class: "message" }, one.message),
    el("p", { class: "soft" }, one.why),
    one.where && el("p", { class: "soft" }, "Where: ", el("code", {}, one.where)));
}

/** @param {string} command */
function repairCommand(command) {
  const code = el("code", {}, command);
  const note = el("span", { class: "soft", role: "status" });
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(command);
      fill(note, "Copied.");
    } catch { // no clipboard outside secure contexts
      getSelection()?.selectAllChildren(code);
      fill(note, "Selected. Copy it with Ctrl+C.");
    }
  };
  return el("div", { class: "command" },
    el("p", {}, "This command may mend it:"),
    el("p", { class: "row" },
      code, el("button", { type: "button", onclick: copy }, "Copy the command"), note));
}
