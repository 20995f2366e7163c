/** The page: puts its parts together. */

import { complain } from "./alerts.js";
import { json, onKeyNeeded, Problem } from "./api.js";
import { Asking } from "./asking.js";
import { camera } from "./camera.js";
import { card } from "./card.js";
import { byId, el, fill } from "./dom.js";
import { gallery } from "./gallery.js";
import { isModel, onChoose, onDrop, onPaste } from "./intake.js";
import { askForKey } from "./key.js";
import { lazyDetails } from "./lazy.js";
import { inBrief, Result } from "./result.js";
import { rules } from "./rules.js";
import { Upload } from "./upload.js";
import { Visit } from "./visit.js";

const NO_UPLOADS = new Problem({
  detail: "This server takes no models.",
  hint: "Start it with edgeworthy serve --allow-upload to check and repair files here.",
});

async function start() {
  fill(byId("alert"));
  try {
    const served = await json("/v1/models");
    open(served);
  } catch (error) {
    complain(byId("alert"), error, { again: start });
  }
}

/** @param {any} served the answer of /v1/models */
function open(served) {
  const visit = new Visit();
  const hasModels = served.models.length > 0;
  const status = byId("status"), title = byId("result-title");
  const alerts = byId(hasModels ? "pictures-alert" : "alert");
  const asking = new Asking(served, visit, { fieldset: byId("asked"), status, alerts });
  const upload = served.allow_upload ? new Upload(served.limits) : null;

  const take = (/** @type {File[]} */ files) => {
    const models = files.filter(isModel), pictures = files.filter((file) => !isModel(file));
    asking.take(pictures);
    if (models.length === 0) return;
    if (upload) upload.take(models);
    else complain(alerts, NO_UPLOADS, { about: models[0].name });
  };
  onDrop(byId("drop"), take, window);
  onPaste(take);
  onChoose(byId("choose"), byId("files"), take);
  camera({
    onpicture: (file) => take([file]),
    onproblem: (problem) => complain(alerts, problem, { about: "Camera" }),
  });

  new Result({ section: byId("result"), title, body: byId("result-body") }, visit, served.models);
  gallery({
    section: byId("tried"), tiles: byId("tiles"),
    json: byId("save-json"), csv: byId("save-csv"), clear: byId("clear"),
  }, visit, {
    version: served.version,
    onpick: (tried) => {
      title.focus();
      asking.complete(tried);
    },
    onclear: () => {
      asking.forget();
      byId("choose").focus();
    },
  });

  fill(byId("version"), `Served by edgeworthy ${served.version}. Nothing is sent anywhere else.`);
  byId("pictures").hidden = !hasModels;
  byId("models").hidden = !hasModels;
  fill(byId("models-body"), served.models.map(aboutModel));
}

/** @param {any} model */
function aboutModel(model) {
  const path = `/v1/models/${encodeURIComponent(model.name)}`;
  return el("article", { class: "panel" },
    el("h3", {}, model.name),
    el("p", { class: "soft" }, `${inBrief(model)}.`),
    lazyDetails("Card", {
      busy: "Reading the file.",
      load: (onwait) => json(`${path}/card`, { onwait }),
      render: (its) => card(its),
    }),
    lazyDetails("Rules", {
      busy: "Checking the file. This takes a few seconds.",
      load: (onwait) => json(`${path}/check`, { onwait }),
      render: (check) => rules(check),
    }));
}

// A file that misses its place must not take the page's.
for (const event of ["dragover", "drop"]) addEventListener(event, (drag) => drag.preventDefault());
onKeyNeeded(askForKey);
start();
