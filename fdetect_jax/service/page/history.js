// The jobs of this browser: ids, states and times, in localStorage alone. No names, no verdicts.

import { get, request } from "./api.js";
import { $, el, moment } from "./dom.js";
import { announce } from "./messages.js";
import { read, write } from "./store.js";
import { quote, say } from "./words.js";

const STORED = "fdetect.jobs";
const MOST = 50;

export function remembered() {
  try {
    const found = JSON.parse(read("localStorage", STORED) ?? "[]");
    return Array.isArray(found) ? found.filter((one) => /^j[\w-]+$/.test(one?.id)) : [];
  } catch {
    return [];
  }
}

const store = (jobs) => write("localStorage", STORED, jobs.length ? JSON.stringify(jobs.slice(0, MOST)) : null);

export function remember(job) {
  const all = remembered();
  const entry = { id: job.id, state: job.state, time: job.created };
  const place = all.findIndex((one) => one.id === job.id);
  if (place >= 0) all[place] = entry;
  else all.unshift(entry);
  store(all);
}

export const forget = (id) => store(remembered().filter((one) => one.id !== id));

// Draws the list; then, where `asking`, asks the server once for the names and states of these jobs.
export async function showHistory(asking) {
  const jobs = remembered();
  $("history-none").hidden = jobs.length > 0;
  $("history-foot").hidden = jobs.length === 0;
  const lines = new Map(jobs.map((job) => [job.id, line(job)]));
  $("history").replaceChildren(...[...lines.values()].map((one) => one.item));
  if (!jobs.length || !asking) return;
  const known = (await get(`/v1/jobs?limit=${MOST}`)).jobs.filter((job) => lines.has(job.id));
  for (const job of known) {
    const { name, state } = lines.get(job.id);
    const others = job.files.length - 1;
    if (others > 0) say(name, "history.several", { name: job.files[0].name, others });
    else if (job.files.length) quote(name, job.files[0].name);
    if (job.state !== state.dataset.state) {
      say(state, `state.${job.state}`).dataset.state = job.state;
      remember(job);
    }
  }
}

function line(job) {
  const name = el("span", { class: "name", say: "history.job" });
  const state = el("span", { class: "state", say: `state.${job.state}`, "data-state": job.state });
  const time = el("time", { datetime: job.time, say: ["history.time", { time: () => moment(job.time) }] });
  return {
    name,
    state,
    item: el("li", {}, el("a", { href: `#${job.id}` }, name, el("span", { class: "small" }, time, state))),
  };
}

export function startHistory() {
  $("history-clear").addEventListener("click", () => {
    store([]);
    showHistory(false);
    announce("history.cleared", {}, true);
    $("choose").focus();
  });
}

// Removes a job from the server and from the list.
export async function removeJob(id) {
  await request(`/v1/jobs/${id}`, { method: "DELETE" });
  forget(id);
}
