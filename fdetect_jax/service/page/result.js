// The result of a job: one file at a time.

import { Files } from "./api.js";
import { actions } from "./actions.js";
import { $, el } from "./dom.js";
import { evidence } from "./evidence.js";
import { faceCards } from "./faces.js";
import { timeline } from "./timeline.js";
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
  const row = job.rows[number], name = job.files[number].name;
  document.title = `${t(`verdict.${row.verdict}`)} · ${name} · fdetect`;
  const choose = (other) => {
    showResult(job, gone, other);
    $("result").querySelector("[aria-current]").focus();
  };
  const { media, seek } = mediaOf(row);
  const left = [media, actions(job, number, gone)];
  const right = [faceCards(row, files, seek), kinds(row), evidence(row, files)].filter(Boolean);
  $("result").append(...[
    job.rows.length > 1 ? switcher(job, number, choose) : null,
    hero(row, name, job.options.model),
    el("div", { class: right.length ? "columns result" : "result" }, el("div", {}, ...left.filter(Boolean)), right.length ? el("div", {}, ...right) : null),
  ].filter(Boolean));
}

function switcher(job, number, choose) {
  const button = (row, place) => el("button", {
    type: "button", "aria-current": place === number ? "true" : null, on: { click: () => choose(place) },
  }, el("span", { class: "name", text: job.files[place].name }), el("span", { class: `badge ${row.verdict}`, say: `verdict.${row.verdict}` }));
  return el("nav", { class: "switcher", label: "result.files" }, el("ul", {}, ...job.rows.map((row, place) => el("li", {}, button(row, place)))));
}

// The annotated copy: a video with its timeline, or a picture. seek is null where there is nothing to seek.
function mediaOf(row) {
  if (!row.annotated) return { media: null, seek: null };
  const caption = el("h2", { id: "media-title", say: row.kind === "video" ? "media.video" : "media.image" });
  if (row.kind !== "video") {
    const image = files.show(el("img", { alt: ["media.alt", {}] }), row.annotated);
    return { media: el("section", { class: "card media", "aria-labelledby": "media-title" }, caption, image), seek: null };
  }
  const video = el("video", { controls: true, playsinline: true, preload: "metadata", label: "media.video", id: "video" });
  if (row.poster) files.show(video, row.poster, "poster");
  files.show(video, row.annotated);
  const seek = (time) => {
    video.currentTime = time;
    video.scrollIntoView({ block: "nearest" });
  };
  const lines = row.score === null ? null : timeline(row, video);
  return { media: el("section", { class: "card media", "aria-labelledby": "media-title" }, caption, video, lines), seek };
}
