// Follows a job by server-sent events. EventSource cannot send a key, so the stream is read with fetch.

import { get, patiently, pause, Problem, request } from "./api.js";

export const FINAL = ["done", "failed", "cancelled", "expired"];

// Calls changed(job) with the job now and at each change, until a final state or an abort. A broken stream is opened
// again. waiting: as for api.patiently. Raises Problem when the job cannot be had.
export async function follow(id, { changed, waiting, signal }) {
  const path = `/v1/jobs/${id}`;
  for (let broken = 0; ; broken += 1) {
    try {
      const job = await patiently(() => get(path, { signal }), { signal, waiting });
      changed(job);
      if (FINAL.includes(job.state)) return;
      const response = await patiently(() => request(`${path}/events`, { signal }), { signal, waiting });
      let over = false;
      for await (const found of jobsOf(response)) {
        broken = 0;
        over = FINAL.includes(found.state);
        if (over) break; // the rows of a finished job come with the job itself
        changed(found);
      }
      if (!over) await pause(1000, signal);
    } catch (error) {
      const cut = error instanceof TypeError || (error instanceof Problem && error.code === "network");
      if (!cut || broken > 8) throw error;
      await pause(Math.min(500 * 2 ** broken, 10_000), signal);
    }
  }
}

// The jobs in a stream of events: fields end with a line, events with an empty line.
async function* jobsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const parts = (rest + value).replaceAll("\r\n", "\n").split("\n\n");
      rest = parts.pop();
      for (const part of parts) {
        const data = part.split("\n").filter((line) => line.startsWith("data:"));
        if (data.length) yield JSON.parse(data.map((line) => line.slice(5)).join("\n"));
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
