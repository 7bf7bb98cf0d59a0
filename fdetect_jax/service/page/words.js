// The page's words in two languages. say() writes a phrase on an element and remembers it, so that setLanguage() writes
// everything anew without building anything anew: a playing video goes on.

import en from "./en.js";
import ja from "./ja.js";
import { write } from "./store.js";

const LANGUAGES = { en, ja };
const spoken = new WeakMap(); // element -> {attribute or "": [key, values]}

export const language = () => document.documentElement.lang;

// How dates and numbers are written: as the reader's own region does it, where it speaks the page's language.
export const locale = () => navigator.languages.find((name) => name.startsWith(language())) ?? language();

// The phrase of a key; {name} in it is replaced by values[name], which may be a function (for dates and numbers).
export function t(key, values = {}) {
  const words = LANGUAGES[language()] ?? en;
  const fill = (_, name) => (typeof values[name] === "function" ? values[name]() : String(values[name] ?? ""));
  return (words[key] ?? key).replace(/\{(\w+)\}/g, fill);
}

export const has = (key) => key in en;

// Writes a phrase as the element's text, or as an attribute. Gives the element back.
export function say(node, key, values = {}, attribute = "") {
  spoken.set(node, { ...spoken.get(node), [attribute]: [key, values] });
  node.setAttribute("data-said", "");
  put(node, attribute, t(key, values));
  return node;
}

// Writes text that is in no dictionary, for instance a sentence of the server; lang: of that text.
export function quote(node, text, lang = null) {
  spoken.delete(node);
  node.removeAttribute("data-said");
  node.textContent = text;
  if (lang) node.lang = lang;
  else node.removeAttribute("lang");
  return node;
}

// Fills the elements of the HTML that name a phrase: data-t for the text, data-t-label for the aria-label.
export function translate() {
  for (const node of document.querySelectorAll("[data-t]")) say(node, node.dataset.t);
  for (const node of document.querySelectorAll("[data-t-label]")) say(node, node.dataset.tLabel, {}, "aria-label");
}

export function setLanguage(name) {
  document.documentElement.lang = name;
  write("localStorage", "fdetect.language", name);
  for (const node of document.querySelectorAll("[data-said]")) {
    for (const [attribute, [key, values]] of Object.entries(spoken.get(node) ?? {})) {
      put(node, attribute, t(key, values));
    }
  }
}

function put(node, attribute, text) {
  if (!attribute) node.textContent = text;
  else node.setAttribute(attribute, text);
}
