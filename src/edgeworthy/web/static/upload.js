/** A file of the user's own: checked, repaired, and handed back. */

import { alertBox, complain } from "./alerts.js";
import { json, Problem, request } from "./api.js";
import { card } from "./card.js";
import { byId, el, fill } from "./dom.js";
import { isReadable, onChoose, onDrop } from "./intake.js";
import { busyNote, spinner } from "./lazy.js";
import { bytes } from "./numbers.js";
import { repairForm } from "./repairform.js";
import { rules } from "./rules.js";
import { save } from "./saving.js";

/** One file at a time. */
export class Upload {
  /** @param {{upload_bytes: number}} limits */
  constructor(limits) {
    this.limits = limits;
    this.section = byId("upload");
    this.status = byId("upload-status");
    this.progress = byId("upload-progress");
    this.alerts = byId("upload-alert");
    this.body = byId("upload-body");
    this.isBusy = false;
    /** @type {string | null} */
    this.id = null;
    this.section.hidden = false;
    const take = (/** @type {File[]} */ files) => this.take(files);
    onDrop(byId("upload-drop"), take);
    onChoose(byId("upload-choose"), byId("upload-file"), take);
  }

  /** @param {File[]} files */
  async take(files) {
    if (files.length === 0) return;
    if (this.isBusy) {
      const busy = new Problem({ detail: "The last file is still being worked on.", hint: "Wait for it." });
      complain(this.alerts, busy, { about: files[0].name });
      return;
    }
    this.section.scrollIntoView({ block: "start" });
    await this.working(async () => {
      await this.forget();
      const [file] = files;
      if (files.length > 1) throw new Problem({ detail: "One file at a time, please." });
      await this.require(file);
      this.render(await this.send(file));
    }, files[0].name);
  }

  /** @param {File} file */
  async require(file) {
    const most = this.limits.upload_bytes;
    if (!(await isReadable(file))) {
      throw new Problem({ detail: "It cannot be read.", hint: "Is it a folder?" });
    }
    if (file.size > most) {
      throw new Problem({ detail: `It has ${bytes(file.size)}; the server takes ${bytes(most)} at most.` });
    }
  }

  /** @param {File} file */
  async send(file) {
    this.say(`Sending ${file.name}, ${bytes(file.size)}.`);
    this.progress.hidden = false;
    this.progress.value = 0;
    return json(`/v1/uploads?${new URLSearchParams({ name: file.name })}`, {
      method: "POST",
      body: file,
      type: "application/octet-stream",
      onwait: (seconds) => this.say(busyNote(seconds)),
      onprogress: (share) => {
        this.progress.value = share;
        if (share === 1) this.say(`Checking ${file.name}. This takes a few seconds.`);
      },
    });
  }

  /** @param {any} uploaded */
  render(uploaded) {
    this.id = uploaded.id;
    this.outcome = el("div");
    this.state = el("div");
    this.size = el("p", { class: "soft" });
    this.title = el("h3", { tabindex: "-1" }, uploaded.name);
    const form = repairForm((wishes) => this.repair(wishes));
    const repair = el("details", { open: !uploaded.check?.conforms }, el("summary", {}, "Repair"),
      el("p", { class: "soft" },
        "What the rules ask for is mended, and the repaired file is proven to predict what the file ",
        "predicted. Tell only what the file does not say, or what you want otherwise."),
      form);
    this.show(uploaded);
    fill(this.status, `${uploaded.name} is checked: ${brief(uploaded)}`);
    fill(this.body, el("article", { class: "panel" },
      this.title, this.size, this.outcome, this.state, repair,
      el("p", {}, el("button", { type: "button", onclick: () => this.remove() }, "Remove the file"))));
  }

  /** @param {any} uploaded */
  show({ size_bytes: size, card: its, check, problem }) {
    fill(this.size, bytes(size));
    fill(this.state,
      problem && alertBox(new Problem(problem)),
      check && el("section", {}, el("h4", {}, "Rules"), rules(check)),
      its && el("details", {}, el("summary", {}, "Card"), card(its, "h4")));
  }

  /** @param {() => Record<string, unknown>} wishes */
  async repair(wishes) {
    const done = await this.working(async () => {
      const body = JSON.stringify(wishes());
      this.say("Repairing the file, and proving that it predicts what it predicted. This takes a while.");
      return json(`/v1/uploads/${this.id}/repair`, {
        method: "POST", body, type: "application/json",
        onwait: (seconds) => this.say(busyNote(seconds)),
      });
    }, "Repair");
    if (!done) return;
    const title = el("h4", { tabindex: "-1" }, "What was repaired");
    fill(this.outcome, el("section", { class: "outcome" }, title, changes(done.changes), proof(done.parity),
      el("p", {}, el("button", { type: "button", class: "main", onclick: () => this.download(done.name) },
        "Download the repaired file"))));
    this.show(done);
    fill(this.status, `${done.name} is repaired: ${brief(done)}`);
    title.focus();
  }

  /** @param {string} name */
  async download(name) {
    const content = await this.working(async () => {
      this.say("Fetching the file.");
      const answer = await request(`/v1/uploads/${this.id}/file`);
      return answer.blob();
    }, "Download");
    if (!content) return;
    fill(this.status, "The file is downloaded.");
    save(content, "application/octet-stream", name.replace(/(\.onnx)?$/i, "-repaired.onnx"));
  }

  async remove() {
    await this.working(() => this.forget(), "Remove");
    byId("upload-choose").focus();
  }

  /** Have the server drop the last file. */
  async forget() {
    const id = this.id;
    this.id = null;
    fill(this.body);
    if (id === null) return;
    await request(`/v1/uploads/${id}`, { method: "DELETE" }).catch(() => null); // others will take its place
  }

  /**
   * Do one thing at a time, and say what goes wrong.
   *
   * @template Made
   * @param {() => Promise<Made>} work
   * @param {string} about
   * @returns {Promise<Made | undefined>}
   */
  async working(work, about) {
    if (this.isBusy) return undefined;
    this.isBusy = true;
    fill(this.alerts);
    this.section.setAttribute("aria-busy", "true");
    try {
      const made = await work();
      if (this.status.querySelector(".spinner")) fill(this.status);
      return made;
    } catch (error) {
      fill(this.status);
      complain(this.alerts, error, { about });
      this.alerts.scrollIntoView({ block: "nearest" });
      return undefined;
    } finally {
      this.isBusy = false;
      this.progress.hidden = true;
      this.section.removeAttribute("aria-busy");
    }
  }

  /** @param {string} text */
  say(text) {
    fill(this.status, spinner(), text);
  }
}

/** @param {any} uploaded */
function brief({ check, problem }) {
  if (problem || !check) return "something stood in the way.";
  return check.conforms ? "it keeps the contract." : "it does not keep the contract.";
}

/** @param {{repair: string, message: string}[]} made */
function changes(made) {
  if (made.length === 0) return el("p", {}, "Nothing had to be changed.");
  return el("ul", { class: "changes" }, made.map(({ repair, message }) =>
    el("li", {}, el("b", {}, `${repair}: `), message)));
}

/** @param {{verdict: string, max_abs_diff: number} | null} parity */
function proof(parity) {
  if (!parity) return null;
  const most = `Scores differ by ${Number(parity.max_abs_diff.toPrecision(2))} at most.`;
  const words = /** @type {Record<string, string>} */ ({
    same: `The repaired file predicts what the file predicted. ${most}`,
    different: `The repaired file does not predict what the file predicted. ${most}`,
    inconclusive: `The scores hardly move from picture to picture: the comparison proves little. ${most}`,
  });
  return el("p", {}, words[parity.verdict] ?? `${parity.verdict}. ${most}`);
}
