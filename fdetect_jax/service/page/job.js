// One job from its address on: waits for it with progress, then shows its result, or how else it ended.

import { request } from "./api.js";
import { askDelete } from "./actions.js";
import { $, el, percent } from "./dom.js";
import { FINAL, follow } from "./events.js";
import { forget, remember } from "./history.js";
import { announce, clearProblem, setTitle, showProblem } from "./messages.js";
import { limits, load } from "./options.js";
import { clearResult, showResult } from "./result.js";
import { has, say, t } from "./words.js";

let current = null; // {id, stop: AbortController}

export function leaveJob() {
  current?.stop.abort();
  current = null;
  clearResult();
}

// gone: called after the job was deleted.
export async function openJob(id, gone) {
  leaveJob();
  clearProblem();
  const own = (current = { id, stop: new AbortController() });
  const { signal } = own.stop;
  let told = null; // the state and the tenth of the progress that a screen reader heard of
  part("waiting");
  say($("waiting-title"), "waiting.opening");
  $("waiting-words").textContent = "";
  $("waiting-files").replaceChildren();
  $("waiting-bar").removeAttribute("value");
  setTitle(() => t("waiting.opening"));
  const changed = (job) => {
    if (signal.aborted) return;
    remember(job);
    if (FINAL.includes(job.state)) {
      finish(job, gone);
      return;
    }
    showWaiting(job);
    const news = `${job.state} ${Math.floor(job.progress * 10)}`;
    if (news !== told)
      announce(job.state === "queued" ? "waiting.queued" : "waiting.heard", { share: () => percent(job.progress) });
    told = news;
  };
  const waiting = (seconds) => say($("waiting-words"), "busy.words", { seconds });
  $("waiting-cancel").onclick = () => cancel(id);
  $("waiting-title").focus();
  try {
    if (!limits) await load();
    await follow(id, { changed, waiting, signal });
  } catch (error) {
    if (error.name === "AbortError" || signal.aborted) return;
    if (error.status === 404) forget(id);
    else showProblem(error, () => openJob(id, gone));
    ended(error.status === 404 ? "missing" : "unknown", null, id, gone);
  }
}

function part(name) {
  for (const one of ["waiting", "ended", "result"]) $(one).hidden = one !== name;
}

function showWaiting(job) {
  part("waiting");
  const running = job.state === "running";
  say($("waiting-title"), running ? "waiting.running" : "waiting.queued");
  if (running) $("waiting-bar").value = job.progress;
  else $("waiting-bar").removeAttribute("value");
  const ahead = job.ahead ?? 0;
  if (running) say($("waiting-words"), "waiting.share", { share: () => percent(job.progress) });
  else say($("waiting-words"), ahead > 0 ? "waiting.ahead" : "waiting.next", { ahead });
  $("waiting-files").replaceChildren(...job.files.map((file) => el("li", { text: file.name })));
  setTitle(() => (running ? percent(job.progress) : t("waiting.queued")));
}

function finish(job, gone) {
  if (job.state !== "done") {
    ended(job.state, job.problem, job.id, gone);
    return;
  }
  part("result");
  showResult(job, gone);
  announce("waiting.done", { verdict: () => t(`verdict.${job.rows[0].verdict}`) });
  $("verdict").focus({ preventScroll: true });
}

// A job without a result. state: failed, cancelled, expired, missing, unknown.
function ended(state, problem, id, gone) {
  part("ended");
  say($("ended-title"), `ended.${state}`);
  say($("ended-words"), problem && has(`problem.${problem.code}`) ? `problem.${problem.code}` : `ended.${state}.words`);
  $("ended-detail").textContent = problem?.detail ?? "";
  $("ended-delete").hidden = state === "missing" || state === "unknown";
  $("ended-delete").onclick = () => askDelete(id, gone);
  setTitle(() => t(`ended.${state}`));
  $("ended-title").focus();
}

async function cancel(id) {
  $("waiting-cancel").disabled = true;
  try {
    await request(`/v1/jobs/${id}`, { method: "DELETE" });
  } catch (error) {
    if (error.status !== 404) showProblem(error);
  } finally {
    $("waiting-cancel").disabled = false;
  }
}
