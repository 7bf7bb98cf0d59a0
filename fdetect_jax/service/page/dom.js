// Elements and their words: small helpers. Text is only ever set as text.

import { locale, say } from "./words.js";

export const $ = (id) => document.getElementById(id);

// An element. attributes: "say" takes a key or [key, values]; "text" plain text; "on" {event: handler}; a value of
// false or null leaves the attribute out, true sets it empty. children: elements or null.
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === false || value === undefined) continue;
    if (name === "say") say(node, ...[value].flat());
    else if (name === "label") say(node, ...pair(value), "aria-label");
    else if (name === "alt") say(node, ...pair(value), "alt");
    else if (name === "text") node.textContent = value;
    else if (name === "on") for (const [event, handler] of Object.entries(value)) node.addEventListener(event, handler);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter(Boolean));
  return node;
}

const pair = (value) => (Array.isArray(value) ? [value[0], value[1] ?? {}] : [value, {}]);

// An SVG element, by the same rules as far as plain attributes go.
export function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children.filter(Boolean));
  return node;
}

// Seconds as minutes and seconds: 75.25 -> "1:15.2".
export function clock(seconds) {
  const tenths = Math.floor(Math.max(seconds, 0) * 10 + 1e-6);
  const minutes = Math.floor(tenths / 600);
  const rest = ((tenths % 600) / 10).toFixed(1).padStart(4, "0");
  return `${minutes}:${rest}`;
}

// Bytes as "1.2 MB".
export function bytes(count) {
  const units = ["kilobyte", "megabyte", "gigabyte"];
  const power = Math.min(Math.max(Math.floor(Math.log10(Math.max(count, 1)) / 3), 1), units.length);
  const value = count / 1000 ** power;
  const style = {
    style: "unit",
    unit: units[power - 1],
    unitDisplay: "short",
    maximumFractionDigits: value < 10 ? 1 : 0,
  };
  return new Intl.NumberFormat(locale(), style).format(value);
}

export const percent = (share) => new Intl.NumberFormat(locale(), { style: "percent" }).format(share);

// A moment of the API as a date and a time of this browser's zone.
export function moment(text) {
  const options = { month: "short", day: "numeric", hour: "numeric", minute: "2-digit" };
  return new Intl.DateTimeFormat(locale(), options).format(new Date(text));
}

// The verdict that a score alone would have.
export function wordOf(score, row) {
  if (score >= row.threshold) return "fake";
  return row.suspicious !== null && score >= row.suspicious ? "suspicious" : "real";
}
