// The form: choosing and dropping files, checking them against the limits, sending them.

import { patiently, upload } from "./api.js";
import { $, bytes, el, percent } from "./dom.js";
import { announce, clearProblem, showProblem } from "./messages.js";
import { addOptions, limits } from "./options.js";
import { say } from "./words.js";

let chosen = []; // [{file, notes: [[key, values], ...], refused: whether a note forbids sending}]
let refusal = null; // {place, detail} of a file that the server refused

// accepted: called with the job after an upload.
export function startUpload(accepted) {
  $("choose").addEventListener("click", () => $("files").click());
  $("roll").addEventListener("click", () => $("roll-files").click());
  for (const input of [$("files"), $("roll-files")]) {
    input.addEventListener("change", () => {
      add(input.files);
      input.value = "";
    });
  }
  let depth = 0; // dragenter and dragleave come for every element on the way
  const mark = (change) => {
    depth = Math.max(0, depth + change);
    $("drop").classList.toggle("over", depth > 0);
  };
  const withFiles = (event) => !$("start").hidden && [...(event.dataTransfer?.types ?? [])].includes("Files");
  addEventListener("dragenter", (event) => withFiles(event) && mark(1));
  addEventListener("dragleave", (event) => withFiles(event) && mark(-1));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    mark(-depth);
    if (withFiles(event) && $("sending").hidden) add(event.dataTransfer.files);
  });
  $("form").addEventListener("invalid", () => ($("options").open = true), true); // a field in there is wrong
  $("form").addEventListener("submit", (event) => {
    event.preventDefault();
    send(accepted);
  });
}

function add(files) {
  clearProblem();
  refusal = null;
  chosen.push(...[...files].map((file) => ({ file })));
  draw();
  announce("chosen.count", { count: chosen.length });
}

function remove(one) {
  refusal = null;
  chosen = chosen.filter((other) => other !== one);
  draw();
  (chosen.length ? $("chosen").querySelector("button") : $("choose")).focus();
}

// What is wrong with a file before it is sent. Only the server knows what it can read, so a strange type is a remark.
function check(one, place) {
  one.notes = [];
  if (limits && one.file.size > limits.file_bytes)
    one.notes.push(["chosen.large", { most: () => bytes(limits.file_bytes) }]);
  if (limits && place >= limits.files) one.notes.push(["chosen.many", { most: limits.files }]);
  one.refused = one.notes.length > 0;
  const type = one.file.type;
  if (type && !/^(image|video)\/|octet-stream/.test(type)) one.notes.push(["chosen.strange", {}]);
}

function draw() {
  chosen.forEach(check);
  const total = chosen.reduce((sum, one) => sum + one.file.size, 0);
  const heavy = limits && total > limits.job_bytes;
  $("chosen").replaceChildren(...chosen.map(row));
  if (heavy)
    $("chosen").append(el("li", { class: "bad", say: ["chosen.heavy", { most: () => bytes(limits.job_bytes) }] }));
  $("send").hidden = chosen.length === 0;
  $("send").disabled = Boolean(heavy) || chosen.some((one) => one.refused);
  say($("send"), chosen.length === 1 ? "send.one" : "send.many", { count: chosen.length });
}

function row(one, place) {
  const { file } = one;
  const away = el("button", {
    type: "button",
    class: "quiet",
    say: "chosen.remove",
    label: ["chosen.remove.name", { name: file.name }],
    on: { click: () => remove(one) },
  });
  const size = el("span", { class: "small", say: ["chosen.size", { size: () => bytes(file.size) }] });
  const notes = one.notes.map((note) => el("p", { class: one.refused ? "bad" : "warn", say: note }));
  if (refusal?.place === place && chosen.length > 1)
    notes.push(el("p", { class: "bad", text: refusal.detail, lang: "en" }));
  return el("li", {}, el("span", { class: "name", text: file.name }), size, away, ...notes);
}

function showSending(shown) {
  $("form").hidden = shown;
  $("sending").hidden = !shown;
}

async function send(accepted) {
  if (!chosen.length || $("send").disabled) return;
  clearProblem();
  const form = new FormData();
  for (const { file } of chosen) form.append("files", file, file.name);
  addOptions(form);
  const stop = new AbortController();
  const cancel = () => stop.abort();
  $("sending-cancel").addEventListener("click", cancel);
  const uploading = () => say($("sending-title"), "sending.title");
  uploading();
  $("sending-bar").value = 0;
  $("sending-words").textContent = "";
  showSending(true);
  $("sending-title").focus({ preventScroll: true });
  $("sending").scrollIntoView({ block: "center" });
  const progress = (sent, all) => {
    uploading();
    $("sending-bar").value = sent / all;
    say($("sending-words"), sent < all ? "sending.words" : "sending.last", {
      share: () => percent(sent / all),
      sent: () => bytes(sent),
      all: () => bytes(all),
    });
  };
  const waiting = (seconds) => {
    say($("sending-title"), "sending.busy");
    say($("sending-words"), "busy.words", { seconds });
  };
  // One token for all tries: the server takes the same upload once, even if its first answer was lost.
  const idempotency = [...crypto.getRandomValues(new Uint8Array(16))]
    .map((value) => value.toString(16).padStart(2, "0"))
    .join("");
  try {
    const job = await patiently(() => upload(form, { progress, signal: stop.signal, idempotency }), {
      signal: stop.signal,
      waiting,
    });
    chosen = [];
    draw();
    accepted(job);
  } catch (error) {
    const place = /^files\[(\d+)\]/.exec(error.field ?? "")?.[1];
    refusal = place === undefined ? null : { place: Number(place), detail: error.detail };
    draw();
    showProblem(error);
  } finally {
    $("sending-cancel").removeEventListener("click", cancel);
    showSending(false);
  }
}
