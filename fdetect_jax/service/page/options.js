// The options of a job, and the limits and models that the server names.

import { get } from "./api.js";
import { $, bytes, el } from "./dom.js";
import { say } from "./words.js";

export let limits = null;
export let models = [];

// Fetches limits and models and shows them. Raises Problem.
export async function load() {
  const [found, listed] = await Promise.all([get("/v1/limits"), get("/v1/models")]);
  limits = found;
  models = listed.models;
  const values = { files: limits.files, each: () => bytes(limits.file_bytes), all: () => bytes(limits.job_bytes) };
  say($("limits"), "limits.words", values);
  const { per_minute: minute, per_day: day } = limits;
  $("rates").hidden = minute === null && day === null;
  if (minute !== null && day !== null) say($("rates"), "limits.both", { minute, day });
  else if (minute !== null) say($("rates"), "limits.minute", { minute });
  else if (day !== null) say($("rates"), "limits.day", { day });
  say($("privacy-words"), "privacy.words", { hours: limits.retention_hours });
  const chosen = $("model").value;
  $("model").replaceChildren(...models.map((one) => el("option", { value: one.name, text: one.name })));
  $("model").value = models.some((one) => one.name === chosen) ? chosen : models.find((one) => one.default)?.name;
  $("model-field").hidden = models.length < 2;
  describe();
}

export const modelOf = (name) => models.find((one) => one.name === name) ?? null;

function describe() {
  $("model-words").textContent = modelOf($("model").value)?.description ?? "";
}

export function startOptions() {
  $("model").addEventListener("change", describe);
  $("sampling").addEventListener("change", () => {
    const rate = $("sampling").value === "per_second";
    Object.assign($("amount"), {
      min: rate ? 0.1 : 1,
      max: rate ? 60 : 1000,
      step: rate ? 0.1 : 1,
      value: rate ? 2 : 32,
    });
  });
}

// Adds the options to a form of the API; what is not chosen is left to the server.
export function addOptions(form) {
  if (models.length > 1) form.append("model", $("model").value);
  form.append("faces", $("faces").value);
  form.append($("sampling").value, $("amount").value);
  form.append("heat_map", $("heat").checked);
  form.append("keep", $("keep").checked);
  form.append("again", $("again").checked);
}
