// The verdict on one file: the word, what it means, the score on a scale with both thresholds, what the model knows.

import { el, percent } from "./dom.js";
import { modelOf } from "./options.js";
import { has } from "./words.js";

export const VERDICTS = ["real", "suspicious", "fake", "not_applicable", "unable_to_evaluate"];

const CLOSE = 0.15; // of the scale: where two numbers would meet

const figure = (value) => String(Number(value.toFixed(3)));

export function hero(row, name, model) {
  const word = row.verdict;
  return el(
    "section",
    { class: "hero", "data-verdict": word, "aria-labelledby": "verdict" },
    el(
      "div",
      { class: "hero-main" },
      el("p", { class: "file-name", text: name }),
      el("h1", { id: "verdict", class: "word", tabindex: "-1", say: `verdict.${word}` }),
      el("p", { class: "means", say: `means.${word}` }),
      row.score === null ? null : scale(row),
      el(
        "p",
        { class: "reason small" },
        el("span", { say: "verdict.reason" }),
        " ",
        el("span", { text: row.reason, lang: "en" }),
      ),
      row.note
        ? el(
            "div",
            { class: "note" },
            el("strong", { say: "verdict.note" }),
            " ",
            el("span", { text: row.note, lang: "en" }),
          )
        : null,
    ),
    rests(model),
  );
}

// The scale from 0 to 1: a zone for each verdict, a mark at the score, the thresholds as numbers below.
function scale(row) {
  const edges = [
    ["real", 0, row.suspicious ?? row.threshold],
    ["suspicious", row.suspicious ?? row.threshold, row.threshold],
    ["fake", row.threshold, 1],
  ];
  const zones = edges
    .filter(([, low, high]) => high > low)
    .map(([name, low, high]) => placed(el("span", { class: `zone ${name}` }), low, high));
  const mark = el("span", { class: "mark" }, el("b", { text: row.score.toFixed(3) }));
  mark.style.left = `${row.score * 100}%`;
  mark.dataset.side = row.score < 0.08 ? "left" : row.score > 0.92 ? "right" : "";
  const ticks = levels(row);
  const drawn = el(
    "div",
    { class: "scale-drawn", "aria-hidden": "true" },
    mark,
    el("div", { class: "bar" }, ...zones),
    el(
      "div",
      { class: "ticks" },
      ...ticks,
      (row.suspicious ?? row.threshold) > CLOSE ? el("span", { text: "0" }) : null,
      row.threshold < 1 - CLOSE ? el("span", { class: "high", text: "1" }) : null,
    ),
  );
  const keys =
    row.suspicious === null ? ["scale.real", "scale.fake"] : ["scale.real", "scale.suspicious", "scale.fake"];
  const low = figure(row.suspicious ?? row.threshold),
    high = figure(row.threshold);
  return el(
    "div",
    { class: "scale" },
    el(
      "p",
      { class: "unseen" },
      el("span", { say: "scale.score" }),
      " ",
      el("b", { id: "score", text: row.score.toFixed(3) }),
    ),
    drawn,
    el(
      "ul",
      { class: "scale-keys small" },
      ...keys.map((key) => el("li", { class: key.slice(6), say: [key, { low, high }] })),
    ),
    el("p", { class: "small", say: "scale.words" }),
  );
}

// The numbers of the thresholds below the scale, each on the side of its line where there is room.
function levels(row) {
  const { suspicious: low, threshold: high } = row;
  const tick = (level, side) => {
    const node = el("span", { class: `tick ${side}`, text: figure(level) });
    node.style.left = `${level * 100}%`;
    return node;
  };
  const highSide = high > 1 - CLOSE ? "left" : "right";
  if (low === null) return [tick(high, highSide)];
  const lowSide = low < CLOSE ? "right" : "left";
  const second = lowSide === highSide && high - low < CLOSE ? " second" : "";
  return [tick(low, lowSide + second), tick(high, highSide)];
}

function placed(node, low, high) {
  node.style.left = `${low * 100}%`;
  node.style.width = `${(high - low) * 100}%`;
  return node;
}

// What the verdict rests on, beside it: the model's data and its known gaps, from its card (in English).
function rests(name) {
  const model = modelOf(name);
  const part = (key, text) => [el("dt", { say: key }), el("dd", { text, lang: "en" })];
  return el(
    "aside",
    { class: "rests", "aria-labelledby": "rests-title" },
    el("h2", { id: "rests-title", say: "rests.title" }),
    el(
      "dl",
      {},
      el("dt", { say: "rests.model" }),
      el(
        "dd",
        {},
        el("span", { text: name }),
        model?.description ? el("span", { class: "small about", text: model.description, lang: "en" }) : null,
      ),
      ...(model?.trained_on ? part("rests.trained_on", model.trained_on) : []),
      ...(model?.misses ? part("rests.misses", model.misses) : []),
    ),
    el("p", { class: "small", say: "rests.words" }),
  );
}

// A kind of forgery in the reader's language, or the model's own name for it.
export const kindAttributes = (name) => (has(`kind.${name}`) ? { say: `kind.${name}` } : { text: name, lang: "en" });

// The likeliest kind of forgery, or null where the model has no kinds.
export function likeliest(row) {
  const kinds = Object.entries(row.classes).slice(1);
  return kinds.length > 1 ? kinds.reduce((best, one) => (one[1] > best[1] ? one : best))[0] : null;
}

// All classes as bars; nothing where no forgery was found whose kind could be said.
export function kinds(row) {
  const found = Object.entries(row.classes);
  if (found.length < 3 || row.verdict === "real") return null;
  const bar = ([name, share]) => {
    const fill = el("span", { class: "fill" });
    fill.style.width = `${share * 100}%`;
    return el(
      "li",
      {},
      el("span", kindAttributes(name)),
      el("span", { class: "share", say: ["kinds.share", { share: () => percent(share) }] }),
      el("span", { class: "track", "aria-hidden": "true" }, fill),
    );
  };
  return el(
    "section",
    { class: "card", "aria-labelledby": "kinds-title" },
    el("h2", { id: "kinds-title", say: "kinds.title" }),
    el("ul", { class: "kinds" }, ...found.map(bar)),
    el("p", { class: "small", say: "kinds.words" }),
  );
}
