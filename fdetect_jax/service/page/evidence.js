// What the other analyses found, in words, with their pictures.

import { el, percent } from "./dom.js";
import { has } from "./words.js";

export function evidence(row, files) {
  const others = (row.evidence ?? []).filter((one) => one.name !== "detector");
  if (!others.length && !row.heat_map) return null;
  return el(
    "section",
    { class: "card evidence", "aria-labelledby": "evidence-title" },
    el("h2", { id: "evidence-title", say: "evidence.title" }),
    el("p", { class: "small", say: "evidence.words" }),
    el("ul", { class: "plain" }, ...others.map((one) => item(one, files)), row.heat_map ? sheet(row, files) : null),
  );
}

function item(one, files) {
  const key = `evidence.${one.name}`;
  const title = has(key) ? { say: key } : { text: one.title ?? one.name, lang: "en" };
  const side = one.strength > 0 ? one.speaks_for : "neither";
  const strong =
    side === "neither"
      ? null
      : el("span", { class: "small", say: ["evidence.strength", { share: () => percent(one.strength) }] });
  return el(
    "li",
    {},
    el("h3", {}, el("span", title), " ", el("span", { class: `badge ${side}`, say: `speaks.${side}` }), " ", strong),
    el("p", { text: one.words, lang: "en" }),
    one.picture ? shown("evidence.picture", one.picture, files) : null,
  );
}

const sheet = (row, files) =>
  el("li", {}, el("h3", { say: "evidence.heat_map" }), shown("evidence.open", row.heat_map, files));

// A picture that is fetched when it is opened.
function shown(key, url, files) {
  const image = el("img", { alt: "evidence.picture.alt" });
  const box = el("details", {}, el("summary", { say: key }), image);
  box.addEventListener("toggle", () => files.show(image, url), { once: true });
  return box;
}
