// What the page says beside its parts: an alert with a problem, and a word for screen readers.

import { Problem } from "./api.js";
import { $, el } from "./dom.js";
import { has, say } from "./words.js";

// A problem as elements: its title in the reader's language where the code is known, its detail as the server wrote it.
export function problemParts(error) {
  const known = error instanceof Problem;
  const key = known ? `problem.${error.code}` : "problem.unexpected";
  const title = has(key) ? el("strong", { say: key }) : el("strong", { text: error.title, lang: "en" });
  const detail = known ? error.detail : error.message;
  return [title, detail ? el("span", { text: detail, lang: "en" }) : null].filter(Boolean);
}

// Shows a problem above everything. again: what to do on "try again", if there is something.
export function showProblem(error, again = null) {
  if (error.name === "AbortError") return;
  if (!(error instanceof Problem)) console.error(error);
  const close = el("button", { type: "button", class: "quiet", say: "close", on: { click: clearProblem } });
  const retry =
    again &&
    el("button", {
      type: "button",
      say: "again",
      on: {
        click: () => {
          clearProblem();
          again();
        },
      },
    });
  $("alert").replaceChildren(el("p", {}, ...problemParts(error)), el("div", { class: "row" }, retry, close));
  $("alert").scrollIntoView({ block: "nearest" });
}

export function clearProblem() {
  $("alert").replaceChildren();
}

// The title of the window. words: text, or a function that gives it in the present language.
export function setTitle(words) {
  say(document.querySelector("title"), "title.of", { words });
}

// Says something to a screen reader; shows it too, until the next word, where `seen`.
export function announce(key, values = {}, seen = false) {
  say($("status"), key, values).className = seen ? "toast" : "unseen";
}
