// A card for each face: crop, heat map, score, kind, score over time.

import { clock, el, wordOf } from "./dom.js";
import { canvas, ground, scoreLine } from "./plot.js";
import { PATTERNS } from "./timeline.js";
import { kindAttributes, likeliest } from "./verdict.js";

// files: shows pictures (api.Files). seek: (seconds) -> nothing, or null of a photo.
export function faceCards(row, files, seek) {
  if (!row.tracks.length) return null;
  return el(
    "section",
    { class: "faces", "aria-labelledby": "faces-title" },
    el("h2", { id: "faces-title", say: ["faces.title", { count: row.tracks.length }] }),
    el("ul", { class: "face-cards" }, ...row.tracks.map((track, place) => card(row, track, place, files, seek))),
  );
}

function card(row, track, place, files, seek) {
  const word = wordOf(track.score, row);
  const number = track.track + 1;
  const kind = word === "real" ? null : likeliest(row);
  const highest = track.faces.reduce((best, face) => (face.score > best.score ? face : best), track.faces[0]);
  const facts = el(
    "dl",
    { class: "facts" },
    el("dt", { say: "face.score" }),
    el(
      "dd",
      {},
      el("b", { text: track.score.toFixed(3) }),
      " ",
      el("span", { class: `badge ${word}`, say: `verdict.${word}` }),
    ),
    ...(kind
      ? [el("dt", { say: row.tracks.length > 1 ? "face.kind.all" : "face.kind" }), el("dd", kindAttributes(kind))]
      : []),
    ...(seek
      ? [
          el("dt", { say: "face.highest" }),
          el(
            "dd",
            {},
            el("button", {
              type: "button",
              class: "link",
              say: ["face.seek", { time: clock(highest.time), score: highest.score.toFixed(2) }],
              on: { click: () => seek(highest.time) },
            }),
          ),
        ]
      : []),
  );
  return el(
    "li",
    { class: "card face-card" },
    picture(track, number, files),
    el(
      "div",
      { class: "face-words" },
      el("h3", { say: ["face.title", { number }] }),
      facts,
      seek && track.faces.length > 1
        ? el(
            "div",
            { class: "spark" },
            canvas(
              "plot",
              ...ground(row),
              scoreLine(
                track.faces.map((face) => [face.time, face.score]),
                row.duration,
                `face pattern-${place % PATTERNS}`,
              ),
            ),
          )
        : null,
    ),
  );
}

// The crop, and over it the heat map, which a button shows and hides.
function picture(track, number, files) {
  if (!track.crop) return null;
  const crop = files.show(
    el("img", { class: "crop", alt: ["face.alt", { number }], width: 160, height: 160 }),
    track.crop,
  );
  if (!track.heat) return el("div", { class: "face-picture" }, crop);
  const heat = files.show(
    el("img", { class: "heat", alt: ["face.heat.alt", { number }], width: 160, height: 160, hidden: true }),
    track.heat,
  );
  const button = el("button", {
    type: "button",
    class: "small-button",
    "aria-pressed": "false",
    say: "face.heat",
    label: ["face.heat.name", { number }],
  });
  button.addEventListener("click", () => {
    heat.hidden = !heat.hidden;
    button.setAttribute("aria-pressed", String(!heat.hidden));
  });
  return el("div", { class: "face-picture" }, el("div", { class: "stack" }, crop, heat), button);
}
