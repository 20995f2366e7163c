/** What was tried in this visit. It is kept in memory and nowhere else. */

/** @typedef {import("./scores.js").Answer} Answer */

let last = 0;

/** One picture and the answers to it. */
export class Tried {
  /** @param {File} file @param {any} answered an entry of the answer's `pictures` */
  constructor(file, { width_px, height_px }) {
    this.id = ++last;
    this.file = file;
    this.name = file.name; // the answer has it as forms write it: %22 for a quotation mark
    this.width_px = width_px;
    this.height_px = height_px;
    /** Addresses of what the browser shows. */
    this.picture = this.thumbnail = "";
    /** @type {Map<string, Answer[]>} */
    this.answers = new Map();
    /** @type {Map<string, string>} */
    this.chosen = new Map();
    /** Whether the browser cannot show the picture, and what a model gets stands in for it. */
    this.isReplaced = false;
  }

  /** @param {Answer[]} answers @param {any[]} models served, with their own frames */
  add(answers, models) {
    for (const model of models) {
      const its = answers.filter((answer) => answer.model === model.name);
      if (its.length === 0) continue;
      this.answers.set(model.name, its);
      this.chosen.set(model.name, (its.find(({ frame }) => frame === model.frame) ?? its[0]).frame);
    }
  }

  /** @param {string} model */
  answersOf(model) {
    return this.answers.get(model) ?? [];
  }

  /** In the frame that is chosen. @param {string} model @returns {Answer} */
  answer(model) {
    const its = this.answersOf(model);
    return its.find(({ frame }) => frame === this.chosen.get(model)) ?? its[0];
  }
}

/** All of them. Fires `show`, `choose` and `change`. */
export class Visit extends EventTarget {
  /** @type {Tried[]} */
  tried = [];
  /** @type {Tried | null} */
  shown = null;
  /** Models that are switched off. @type {Set<string>} */
  off = new Set();

  /** Models whose answers are to be seen. @param {Tried} tried */
  modelsOf(tried) {
    return [...tried.answers.keys()].filter((model) => !this.off.has(model));
  }

  /** @param {Tried} tried */
  add(tried) {
    this.tried.push(tried);
    this.dispatchEvent(new Event("change"));
  }

  /** @param {Tried | null} tried */
  show(tried) {
    this.shown = tried;
    this.dispatchEvent(new Event("show"));
  }

  /** @param {Tried} tried @param {string} model @param {string} frame */
  choose(tried, model, frame) {
    tried.chosen.set(model, frame);
    this.dispatchEvent(new Event("choose"));
  }

  clear() {
    for (const address of this.tried.flatMap(({ picture, thumbnail }) => [picture, thumbnail])) {
      if (address.startsWith("blob:")) URL.revokeObjectURL(address);
    }
    this.tried = [];
    this.show(null);
    this.dispatchEvent(new Event("change"));
  }
}
