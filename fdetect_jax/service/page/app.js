// The page: which part is shown, by the address. `#j…` is a job; anything else is the form.

import { $, el } from "./dom.js";
import { remember, showHistory, startHistory } from "./history.js";
import { leaveJob, openJob } from "./job.js";
import { startKey } from "./key.js";
import { clearProblem, setTitle, showProblem } from "./messages.js";
import { limits, load, startOptions } from "./options.js";
import { write } from "./store.js";
import { startUpload } from "./upload.js";
import { VERDICTS } from "./verdict.js";
import { language, setLanguage, t, translate } from "./words.js";

const JOB = /^#(j[\w-]+)$/;

function route() {
  const job = JOB.exec(location.hash)?.[1];
  $("start").hidden = Boolean(job);
  $("job").hidden = !job;
  if (job) openJob(job, home);
  else {
    leaveJob();
    setTitle(() => t("title"));
    showHistory(limits !== null).catch(showProblem);
  }
}

function home() {
  location.hash = "";
}

// Limits and models are wanted before anything is shown that needs them.
async function begin() {
  try {
    await load();
  } catch (error) {
    showProblem(error, begin);
  }
  route();
}

function startLanguage() {
  const label = () => {
    const other = language() === "ja" ? ["en", "English"] : ["ja", "日本語"];
    $("language").lang = other[0];
    $("language").textContent = other[1];
  };
  $("language").addEventListener("click", () => {
    setLanguage(language() === "ja" ? "en" : "ja");
    label();
  });
  label();
}

function startTheme() {
  $("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    write("localStorage", "fdetect.theme", root.dataset.theme);
  });
}

translate();
$("meanings").append(
  ...VERDICTS.map((word) =>
    el("div", { class: `meaning ${word}` }, el("dt", { say: `verdict.${word}` }), el("dd", { say: `means.${word}` })),
  ),
);
startLanguage();
startTheme();
startKey(begin);
startOptions();
startHistory();
startUpload((job) => {
  remember(job);
  location.hash = job.id;
});
$("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address belongs to the jobs
  $("main").focus();
});
addEventListener("hashchange", () => {
  clearProblem();
  route();
  if (!$("start").hidden) $("start-title").focus();
});
begin();
