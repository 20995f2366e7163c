/** What a repair can be told. */

import { Problem } from "./api.js";
import { el, fresh } from "./dom.js";

const BUILT_IN = "imagenet-1k";
const AS_IS = ["", "as the file has it"], FOUND = ["", "found out"];

const UNSAFE = {
  "bgr": "The model was trained on BGR pictures. Turn it around, so that it takes RGB.",
  "softmax-twice": "Take away the second of two softmaxes. The best class stays, every score changes.",
  "unit-scale": "Mean and std look meant for pixels 0..1. Bring them to 0..255.",
  "numbered-classes": "Nobody knows the class names. Write “class 0”, “class 1” and so on.",
};

/**
 * @param {(wishes: () => Record<string, unknown>) => void} onrepair gets what reads the form
 * @returns {HTMLFormElement}
 */
export function repairForm(onrepair) {
  const submit = (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    onrepair(() => wishes(form));
  };
  const form = el("form", { class: "repair", novalidate: true, onsubmit: submit },
    el("fieldset", {}, el("legend", {}, "What the file may not say"),
      field("classes", "Classes",
        `One name a line, in the order of the scores. Or ${BUILT_IN}, for the 1000 classes of ImageNet.`,
        el("textarea", { rows: 4, spellcheck: "false" })),
      el("div", { class: "fields" },
        field("mean", "Mean", "One number, or one a channel, in the order RGB: 0.485 0.456 0.406.", input()),
        field("std", "Standard deviation", "As many numbers as the mean has, on the same scale.", input()),
        field("scale", "Scale of the two", "Pixels 0..1 or 0..255, where the numbers leave it open.",
          choice(FOUND, ["1", "0..1"], ["255", "0..255"])),
        field("input_size", "Input size", "Channels, height and width, where the file leaves them open: 3 224 224.",
          input()),
        field("output", "Output", "The name of the one that holds the scores, where there are several.", input()))),
    el("fieldset", {}, el("legend", {}, "What shall be otherwise"),
      el("div", { class: "fields" },
        field("opset", "Opset", "The file is converted to it, up or down.",
          choice(AS_IS, ...["12", "13", "14", "15", "16", "17"].map((one) => [one, one]))),
        field("activation", "Activation", "What makes probabilities of the scores.",
          choice(FOUND, ["softmax", "softmax"], ["sigmoid", "sigmoid"], ["none", "none"])),
        field("layout", "Layout", "The order of the input's axes.",
          choice(AS_IS, ["nchw", "nchw: channels first"], ["nhwc", "nhwc: channels last"]))),
      tick("fix_names", "Mend names", "Class names that the platform cannot carry are changed."),
      tick("strict", "Strict", "What only warnings speak of is mended, too.")),
    el("fieldset", {}, el("legend", {}, "Repairs that can change predictions"),
      el("p", { class: "soft" }, "They are made only when you allow them."),
      Object.entries(UNSAFE).map(([name, meaning]) => tick("allow", name, meaning, name))),
    el("p", {}, el("button", { type: "submit", class: "main" }, "Repair")));
  return form;
}

const input = () => el("input", { type: "text", autocomplete: "off", spellcheck: "false" });

/** @param {...string[]} options */
const choice = (...options) =>
  el("select", {}, options.map(([value, text]) => el("option", { value }, text)));

/** @param {string} name @param {string} label @param {string} help @param {HTMLElement} control */
function field(name, label, help, control) {
  const id = fresh(name), note = fresh("note");
  const attributes = { id, name, "aria-describedby": note };
  for (const [key, value] of Object.entries(attributes)) control.setAttribute(key, value);
  return el("div", { class: "field" },
    el("label", { for: id }, label), control, el("small", { class: "soft", id: note }, help));
}

/** @param {string} name @param {string} label @param {string} help @param {string} [value] */
function tick(name, label, help, value = "yes") {
  const id = fresh(name), note = fresh("note");
  return el("div", { class: "tick" },
    el("input", { type: "checkbox", id, name, value, "aria-describedby": note }),
    el("div", {}, el("label", { for: id }, label), el("small", { class: "soft", id: note }, help)));
}

/** What the form says; what is left open is left out. @param {HTMLFormElement} form */
function wishes(form) {
  const data = new FormData(form);
  const said = (/** @type {string} */ name) => String(data.get(name) ?? "").trim();
  const all = {
    classes: classesIn(said("classes")),
    mean: numbersIn(form, "mean"),
    std: numbersIn(form, "std"),
    scale: said("scale") && Number(said("scale")),
    input_size: numbersIn(form, "input_size"),
    output: said("output"),
    opset: said("opset") && Number(said("opset")),
    activation: said("activation"),
    layout: said("layout"),
    fix_names: data.has("fix_names"),
    strict: data.has("strict"),
    allow: data.getAll("allow"),
  };
  return Object.fromEntries(Object.entries(all).filter(([, value]) =>
    (Array.isArray(value) ? value.length > 0 : Boolean(value))));
}

/** @param {string} text */
const classesIn = (text) =>
  text === BUILT_IN ? BUILT_IN : text.split("\n").map((line) => line.trim()).filter(Boolean);

/**
 * Numbers between spaces, commas or semicolons.
 *
 * @param {HTMLFormElement} form
 * @param {string} name
 * @throws {Problem} on anything else
 */
function numbersIn(form, name) {
  const control = /** @type {HTMLInputElement} */ (form.elements.namedItem(name));
  const numbers = control.value.split(/[\s,;]+/).filter(Boolean).map(Number);
  const isSound = numbers.every(Number.isFinite);
  control.setAttribute("aria-invalid", String(!isSound));
  if (isSound) return numbers;
  control.focus();
  const detail = `The ${name.replace("_", " ")} is not made of numbers.`;
  throw new Problem({ detail, hint: "Such are 0.485 0.456 0.406, and sizes 3 224 224." });
}
