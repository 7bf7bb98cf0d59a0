// The result of a job: one file at a time.

import { Files } from "./api.js";
import { actions } from "./actions.js";
import { $, el } from "./dom.js";
import { evidence } from "./evidence.js";
import { faceCards } from "./faces.js";
import { setTitle } from "./messages.js";
import { player } from "./player.js";
import { hero, kinds } from "./verdict.js";
import { t } from "./words.js";

const files = new Files();

export function clearResult() {
  files.release();
  $("result").replaceChildren();
}

// Shows the file `number` of a done job. gone: called after the job was deleted.
export function showResult(job, gone, number = 0) {
  clearResult();
  const row = job.rows[number],
    name = job.files[number].name;
  setTitle(() => `${t(`verdict.${row.verdict}`)} · ${name}`);
  const choose = (other) => {
    showResult(job, gone, other);
    $("result").querySelector("[aria-current]").focus();
  };
  const { media, seek } = player(row, files);
  const others = [faceCards(row, files, seek), kinds(row)].filter(Boolean);
  const parts = [media, others.length ? el("div", { class: "others" }, ...others) : null, evidence(row, files)];
  $("result").append(
    ...[
      job.rows.length > 1 ? switcher(job, number, choose) : null,
      hero(row, name, job.options.model),
      actions(job, number, gone),
      el("div", { class: others.length ? "parts two" : "parts" }, ...parts),
    ].filter(Boolean),
  );
}

function switcher(job, number, choose) {
  const button = (row, place) =>
    el(
      "button",
      {
        type: "button",
        "aria-current": place === number ? "true" : null,
        on: { click: () => choose(place) },
      },
      el("span", { class: "name", text: job.files[place].name }),
      el("span", { class: `badge ${row.verdict}`, say: `verdict.${row.verdict}` }),
    );
  return el(
    "nav",
    { class: "switcher", label: "result.files" },
    el("ul", {}, ...job.rows.map((row, place) => el("li", {}, button(row, place)))),
  );
}
