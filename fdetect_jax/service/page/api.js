// The service's API: requests with the key, problems, uploads with progress, files that need the key.

import { t } from "./words.js";
import { read, write } from "./store.js";

const STORED = "fdetect.key";
let key = read("sessionStorage", STORED);
let askKey = async () => false;

export const hasKey = () => Boolean(key);

export function setKey(value) {
  key = value || null;
  write("sessionStorage", STORED, key);
}

// handler: (problem) -> promise of whether a key was entered; called when the server answers 401.
export function onKeyWanted(handler) {
  askKey = handler;
}

// An error of the server (RFC 9457) or of the connection (code "network", status 0). wait: seconds, of Retry-After.
export class Problem extends Error {
  constructor(document, status = 0, wait = null) {
    super(document.detail || document.title);
    Object.assign(this, { code: "", title: "", detail: "", field: null, ...document, status, wait });
  }

  get passing() {
    return this.status === 429 || this.status === 503;
  }
}

const offline = () => new Problem({ code: "network", title: t("problem.network"), detail: "" });

function problemOf(status, text, after) {
  let found = {};
  try {
    found = JSON.parse(text);
  } catch {
    /* not from the service, maybe from a proxy before it */
  }
  if (!found || typeof found.title !== "string")
    found = { code: "", title: t("problem.other", { status }), detail: "" };
  const seconds = Number.parseFloat(after);
  return new Problem(found, status, Number.isFinite(seconds) ? Math.max(seconds, 1) : null);
}

const authorization = () => (key ? { Authorization: `Bearer ${key}` } : {});

// A response that is no error. Raises Problem; asks for the key where the server wants one.
export async function request(path, options = {}) {
  for (;;) {
    let response;
    try {
      response = await fetch(path, { ...options, headers: { ...options.headers, ...authorization() } });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw offline();
    }
    if (response.ok) return response;
    const problem = problemOf(response.status, await response.text(), response.headers.get("Retry-After"));
    if (problem.status !== 401 || !(await askKey(problem))) throw problem;
  }
}

export async function get(path, options = {}) {
  return (await request(path, options)).json();
}

export async function post(path, body) {
  const headers = { "Content-Type": "application/json" };
  await request(path, { method: "POST", body: JSON.stringify(body), headers });
}

// Sends a form with files. progress: called with (sent bytes, all bytes). Gives the job.
export async function upload(form, { progress, signal, idempotency }) {
  for (;;) {
    try {
      return await sendOnce(form, progress, signal, idempotency);
    } catch (error) {
      if (error.status !== 401 || !(await askKey(error))) throw error;
    }
  }
}

function sendOnce(form, progress, signal, idempotency) {
  return new Promise((resolve, reject) => {
    const sender = new XMLHttpRequest();
    sender.open("POST", "/v1/jobs");
    sender.setRequestHeader("Idempotency-Key", idempotency);
    for (const [name, value] of Object.entries(authorization())) sender.setRequestHeader(name, value);
    const stop = () => sender.abort();
    signal.addEventListener("abort", stop);
    sender.upload.onprogress = (event) => event.lengthComputable && progress(event.loaded, event.total);
    sender.onload = () => {
      if (sender.status === 202) resolve(JSON.parse(sender.responseText));
      else reject(problemOf(sender.status, sender.responseText, sender.getResponseHeader("Retry-After")));
    };
    sender.onerror = () => reject(offline());
    sender.onabort = () => reject(new DOMException("cancelled", "AbortError"));
    sender.onloadend = () => signal.removeEventListener("abort", stop);
    sender.send(form);
  });
}

// Does work() again after each 429 and 503, at most `tries` times. waiting: called each second with the seconds left.
export async function patiently(work, { signal, waiting, tries = 5 }) {
  for (let turn = 1; ; turn += 1) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof Problem) || !error.passing || turn >= tries) throw error;
      for (let left = Math.ceil(error.wait ?? 2 ** turn); left > 0; left -= 1) {
        waiting(left, error);
        await pause(1000, signal);
      }
    }
  }
}

export function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(new DOMException("cancelled", "AbortError"));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    signal?.addEventListener("abort", stop, { once: true });
    if (signal?.aborted) stop();
  });
}

// Files of one job as addresses for <img> and <video>. They need the key, which an element cannot send: with a key they
// are fetched and shown from memory until release() is called.
export class Files {
  #made = [];

  async address(url) {
    if (!key) return url;
    const made = URL.createObjectURL(await (await request(url)).blob());
    this.#made.push(made);
    return made;
  }

  // Sets the address of an element when it is known; hides the element where the file cannot be had.
  show(node, url, attribute = "src") {
    node.addEventListener("error", () => (node.hidden = true), { once: true });
    this.address(url).then(
      (address) => (node[attribute] = address),
      () => (node.hidden = true),
    );
    return node;
  }

  release() {
    for (const made of this.#made) URL.revokeObjectURL(made);
    this.#made = [];
  }
}
