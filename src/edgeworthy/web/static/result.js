/** One picture and what each model says of it. */

import { counted, el, fill, fresh } from "./dom.js";
import { duration } from "./numbers.js";
import { agreement, bars, said } from "./scores.js";

/** @typedef {import("./scores.js").Answer} Answer */
/** @typedef {import("./visit.js").Tried} Tried */

const TINY_PX = 64;
const SOURCES = { "the file's evidence": "the file's own", chosen: "chosen at the start" };

/** Shows the visit's current picture. */
export class Result {
  /**
   * @param {{section: HTMLElement, title: HTMLElement, body: HTMLElement}} parts
   * @param {import("./visit.js").Visit} visit
   * @param {any[]} models served
   */
  constructor({ section, title, body }, visit, models) {
    this.section = section;
    this.title = title;
    this.body = body;
    this.visit = visit;
    this.models = models;
    visit.addEventListener("show", () => this.render());
    visit.addEventListener("choose", () => this.compare());
  }

  render() {
    const tried = this.visit.shown;
    this.section.hidden = !tried;
    if (!tried) return;
    fill(this.title, tried.name);
    this.together = el("p", { class: "together" });
    const seen = this.seen(tried);
    const what = tried.isReplaced ? "What a model gets" : "The picture as sent";
    fill(this.body,
      this.together,
      el("div", { class: "result" },
        el("figure", { class: "sent" },
          el("img", { src: tried.picture, alt: what }),
          el("figcaption", { class: "soft" }, `${tried.width_px} × ${tried.height_px} px.`,
            tried.isReplaced && " The browser cannot show this file; this is what a model gets.")),
        el("div", { class: "columns" }, seen.map((model) => this.column(tried, model)))));
    this.compare();
  }

  /** Models in the order in which they are served. @param {Tried} tried */
  seen(tried) {
    const names = this.visit.modelsOf(tried);
    return this.models.filter(({ name }) => names.includes(name));
  }

  /** Say whether the models agree. */
  compare() {
    const tried = this.visit.shown;
    if (!tried || !this.together) return;
    const answers = this.seen(tried).map(({ name }) => ({ who: name, answer: tried.answer(name) }));
    this.together.hidden = answers.length < 2;
    if (answers.length < 2) return;
    const { isOne, text } = agreement(answers, "models");
    this.together.classList.toggle("parted", !isOne);
    fill(this.together, text);
  }

  /** @param {Tried} tried @param {any} model */
  column(tried, model) {
    const scores = el("div"), note = el("p", { class: "soft" });
    const spoken = el("p", { class: "unseen", role: "status" });
    const show = (/** @type {boolean} */ isSpoken) => {
      const answer = tried.answer(model.name);
      fill(scores, bars(answer));
      fill(note, `${answer.description}. ${duration(answer.seconds)}.`);
      if (isSpoken) fill(spoken, `With ${answer.frame}, ${model.name} says ${said(answer)}.`);
    };
    const answers = tried.answersOf(model.name);
    const choose = (/** @type {string} */ frame) => {
      this.visit.choose(tried, model.name, frame);
      show(true);
    };
    show(false);
    return el("article", { class: "panel" },
      el("h3", {}, model.name),
      frames(answers, { model, chosen: tried.answer(model.name).frame, choose }),
      framesTogether(answers),
      scores, note, spoken);
  }
}

/** What the model gets, and the choice between it. */
function frames(/** @type {Answer[]} */ answers, /** @type {any} */ { model, chosen, choose }) {
  const group = fresh("frame");
  const isTiny = (model.width_px ?? TINY_PX) < TINY_PX;
  return el("fieldset", { class: "frames" }, el("legend", {}, `Frame: what ${model.name} gets`),
    answers.map((answer) => el("label", {},
      answer.image
        ? el("img", { src: answer.image, alt: "", class: isTiny ? "tiny" : null })
        : el("span", { class: "blank" }, "no picture"),
      el("span", { class: "row" },
        el("input", {
          type: "radio", name: group, value: answer.frame, checked: answer.frame === chosen,
          onchange: () => choose(answer.frame),
        }),
        answer.frame),
      answer.frame === model.frame && el("small", { class: "soft" }, source(model.frame_source)))));
}

/** @param {string} said */
const source = (said) => /** @type {any} */ (SOURCES)[said] ?? said;

/** @param {Answer[]} answers */
function framesTogether(answers) {
  if (answers.length < 2) return null;
  const { isOne, text } = agreement(answers.map((answer) => ({ who: answer.frame, answer })), "frames");
  return el("p", { class: isOne ? "soft" : "parted" }, text);
}

/** "224 × 224 px, 3 channels, 1000 classes". @param {any} model */
export function inBrief({ channels, width_px, height_px, classes }) {
  const size = width_px && height_px ? `${width_px} × ${height_px} px` : "any size";
  return [size, channels && counted(channels, "channel"), counted(classes, "class", "classes")]
    .filter(Boolean).join(", ");
}
