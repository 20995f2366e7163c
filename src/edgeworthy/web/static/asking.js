/** Sending pictures to the models, one after the other. */

import { complain } from "./alerts.js";
import { json, Problem } from "./api.js";
import { counted, el, fill } from "./dom.js";
import { thumbnail } from "./gallery.js";
import { isReadable } from "./intake.js";
import { busyNote, spinner } from "./lazy.js";
import { bytes } from "./numbers.js";
import { said } from "./scores.js";
import { Tried } from "./visit.js";

const TOP_K = 5;

/** Knows which models are asked. */
export class Asking {
  /**
   * @param {any} served the answer of /v1/models
   * @param {import("./visit.js").Visit} visit
   * @param {{fieldset: any, status: any, alerts: any}} parts
   */
  constructor(served, visit, { fieldset, status, alerts }) {
    this.served = served;
    this.visit = visit;
    this.status = status;
    this.alerts = alerts;
    /** @type {File[]} */
    this.waiting = [];
    this.isBusy = false;
    this.rounds = 0; // of the visit; what was asked in an earlier one is of no interest any more
    fieldset.hidden = served.models.length < 2;
    fieldset.append(...served.models.map(({ name }) => el("label", { class: "row" },
      el("input", { type: "checkbox", checked: true, onchange: (/** @type {any} */ event) =>
        this.turn(name, event.target.checked) }), name)));
  }

  get models() {
    return this.served.models.filter((/** @type {any} */ { name }) => !this.visit.off.has(name));
  }

  /** @param {File[]} files */
  async take(files) {
    this.waiting.push(...files);
    if (this.isBusy || files.length === 0) return;
    this.isBusy = true;
    fill(this.alerts);
    const many = { done: 0, failed: 0, isShown: false, round: this.rounds };
    for (let file = this.waiting.shift(); file; file = this.waiting.shift()) {
      const all = many.done + many.failed + this.waiting.length + 1;
      const place = all > 1 ? ` (${many.done + many.failed + 1} of ${all})` : "";
      this.say(`Asking about ${file.name}${place}.`);
      if (await this.ask(file, many)) many.done += 1;
      else many.failed += 1;
    }
    this.isBusy = false;
    if (many.round === this.rounds) this.finish(many);
  }

  /** Ask nothing more of what waits. */
  forget() {
    this.rounds += 1;
    this.waiting = [];
    fill(this.alerts);
    fill(this.status, "Cleared.");
  }

  /** @param {{done: number, failed: number}} many */
  finish({ done, failed }) {
    const tried = this.visit.shown;
    if (done + failed > 1) {
      fill(this.status, `${done} of ${counted(done + failed, "picture")} answered.`);
    } else if (failed) {
      fill(this.status);
    } else if (tried) {
      this.tell(tried);
    }
  }

  /** @param {File} file @param {{isShown: boolean, round: number}} many */
  async ask(file, many) {
    try {
      const answered = await this.predict(file, this.models);
      const tried = new Tried(file, answered);
      tried.add(answered.answers, this.served.models);
      const small = await thumbnail(file);
      const instead = answered.answers[0]?.image ?? "/static/icon.svg"; // a browser cannot show TIFF
      tried.thumbnail = small ?? instead;
      tried.picture = small ? URL.createObjectURL(file) : instead;
      tried.isReplaced = !small;
      if (many.round !== this.rounds) return false;
      this.visit.add(tried);
      if (!many.isShown) this.visit.show(tried);
      many.isShown = true;
      return true;
    } catch (error) {
      const box = el("div");
      const isPassing = error instanceof Problem && error.isPassing;
      complain(box, error, { about: file.name, again: isPassing ? () => this.take([file]) : undefined });
      this.alerts.append(...box.children);
      return false;
    }
  }

  /** @param {File} file @param {any[]} models */
  async predict(file, models) {
    await this.require(file, models);
    const query = new URLSearchParams([
      ...models.map(({ name }) => ["model", name]),
      ...this.served.frames.map((/** @type {string} */ frame) => ["frame", frame]),
      ["top_k", String(TOP_K)], ["images", "true"],
    ]);
    const body = new FormData();
    body.append("picture", file, file.name);
    const { pictures } = await json(`/v1/predict?${query}`, {
      method: "POST", body, onwait: (seconds) => this.say(busyNote(seconds)),
    });
    if (pictures[0].problem) throw new Problem(pictures[0].problem);
    return pictures[0];
  }

  /**
   * Say at once what the server would say after the whole upload.
   *
   * @param {File} file
   * @param {any[]} models
   */
  async require(file, models) {
    const most = this.served.limits.body_bytes;
    if (this.served.models.length === 0) throw new Problem({ detail: "No model is served." });
    if (models.length === 0) throw new Problem({ detail: "No model is chosen.", hint: "Choose one above." });
    if (!(await isReadable(file))) {
      throw new Problem({ detail: "It cannot be read.", hint: "A folder cannot be sent; its pictures can." });
    }
    if (file.size > most) {
      throw new Problem({ detail: `It has ${bytes(file.size)}; the server takes ${bytes(most)} at most.` });
    }
  }

  /** Ask a model or not, about what is shown too. @param {string} name @param {boolean} isOn */
  async turn(name, isOn) {
    if (isOn) this.visit.off.delete(name);
    else this.visit.off.add(name);
    const tried = this.visit.shown;
    if (!tried) return;
    this.visit.show(tried);
    await this.complete(tried);
  }

  /** Ask the models that have not been asked about a picture. @param {Tried} tried */
  async complete(tried) {
    const models = this.models.filter((/** @type {any} */ { name }) => !tried.answers.has(name));
    if (models.length === 0) return;
    const round = this.rounds;
    fill(this.alerts);
    this.say(`Asking about ${tried.name}.`);
    try {
      tried.add((await this.predict(tried.file, models)).answers, models);
      if (round !== this.rounds) return;
      this.tell(tried);
      if (this.visit.shown === tried) this.visit.show(tried);
    } catch (error) {
      fill(this.status);
      complain(this.alerts, error, { about: tried.name });
    }
  }

  /** Who sees the page finds the answers below; who hears it is told them. @param {Tried} tried */
  tell(tried) {
    const answers = this.visit.modelsOf(tried).map((model) => {
      const answer = tried.answer(model);
      return ` ${model} says ${said(answer)}, with ${answer.frame}.`;
    });
    fill(this.status, `${tried.name} is answered.`, el("span", { class: "unseen" }, answers.join("")));
  }

  /** @param {string} text */
  say(text) {
    fill(this.status, spinner(), text);
  }
}
