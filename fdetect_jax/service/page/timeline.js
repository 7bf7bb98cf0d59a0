// The timeline of scores below a video: shows where the video is, and seeks it by click, drag and keys.

import { clock, el, svg, wordOf } from "./dom.js";
import { canvas, ground, heightOf, scoreLine, TALL, WIDE } from "./plot.js";
import { say, t } from "./words.js";

export const PATTERNS = 5; // looks of a face's line; further faces begin again

// Connects a timeline of the row to the video. Gives {now, whole}: the words of the moment, and the timeline.
export function timeline(row, video) {
  const { duration, frames, tracks } = row;
  const several = tracks.length > 1;
  const lines = tracks.map((track, place) =>
    scoreLine(
      track.faces.map((face) => [face.time, face.score]),
      duration,
      `face pattern-${place % PATTERNS}`,
    ),
  );
  const cursor = svg("line", { y1: 0, y2: TALL, class: "cursor", "vector-effect": "non-scaling-stroke" });
  const picture = canvas("plot", ...ground(row), scoreLine(frames, duration, "all"), ...(several ? lines : []), cursor);
  const slider = el(
    "div",
    {
      class: "slider",
      id: "timeline",
      role: "slider",
      tabindex: "0",
      label: "timeline.label",
      "aria-valuemin": "0",
      "aria-valuemax": duration.toFixed(2),
    },
    picture,
    ...levels(row),
  );
  const now = el("p", { class: "now", id: "now" });

  let last = -1;
  const show = () => {
    const time = Math.min(video.currentTime, duration);
    if (time === last) return;
    last = time;
    const place = duration > 0 ? (time / duration) * WIDE : 0;
    cursor.setAttribute("x1", place);
    cursor.setAttribute("x2", place);
    slider.setAttribute("aria-valuenow", time.toFixed(2));
    const score = scoreAt(frames, time);
    const key = score === null ? "timeline.none" : "timeline.at";
    const values = { time: clock(time), score: score?.toFixed(2), verdict: () => t(`verdict.${wordOf(score, row)}`) };
    say(slider, key, values, "aria-valuetext");
    say(now, key, values).dataset.verdict = score === null ? "" : wordOf(score, row);
  };
  const seek = (time) => {
    video.currentTime = Math.min(Math.max(time, 0), duration);
    show();
  };
  const follow = () => {
    show();
    if (!video.paused && !video.ended && slider.isConnected) requestAnimationFrame(follow);
  };
  video.addEventListener("play", follow);
  for (const event of ["timeupdate", "seeking", "seeked", "loadedmetadata"]) video.addEventListener(event, show);
  slider.addEventListener("keydown", (event) => {
    const time = keyed(event.key, video.currentTime, duration, frames);
    if (time === null) return;
    event.preventDefault();
    seek(time);
  });
  const drag = (event) => {
    const box = slider.getBoundingClientRect();
    seek(((event.clientX - box.left) / box.width) * duration);
  };
  slider.addEventListener("pointerdown", (event) => {
    slider.setPointerCapture(event.pointerId);
    drag(event);
  });
  slider.addEventListener("pointermove", (event) => slider.hasPointerCapture(event.pointerId) && drag(event));
  show();
  const times = el(
    "p",
    { class: "times small", "aria-hidden": "true" },
    el("span", { text: clock(0) }),
    el("span", { text: clock(duration) }),
  );
  const whole = el(
    "div",
    { class: several ? "timeline several" : "timeline" },
    slider,
    times,
    several ? legend(tracks) : null,
    el("p", { class: "small", say: "timeline.help" }),
  );
  return { now, whole };
}

// Where a key leads from `time`: arrows to the neighbouring sampled frame, Page keys a tenth on, Home and End.
function keyed(name, time, duration, frames) {
  const moments = frames.map(([moment]) => moment);
  const near = 0.02; // a video shows a moment some milliseconds away from where it was sent
  if (name === "ArrowRight" || name === "ArrowUp") return moments.find((one) => one > time + near) ?? duration;
  if (name === "ArrowLeft" || name === "ArrowDown") return moments.findLast((one) => one < time - near) ?? 0;
  const jumps = { PageUp: time + duration / 10, PageDown: time - duration / 10, Home: 0, End: duration };
  return jumps[name] ?? null;
}

// The score of the sampled frame nearest to a moment.
function scoreAt(frames, time) {
  let best = null,
    least = Infinity;
  for (const [moment, score] of frames) {
    if (Math.abs(moment - time) < least) [best, least] = [score, Math.abs(moment - time)];
  }
  return best;
}

// The numbers of the thresholds at their lines, on the side where there is room.
function levels(row) {
  const { suspicious: low, threshold: high } = row;
  const label = (level, side) => {
    const node = el("span", { class: `level ${side}`, "aria-hidden": "true", text: String(Number(level.toFixed(3))) });
    node.style.bottom = `${heightOf(level) * 100}%`;
    return node;
  };
  const highSide = high > 0.9 ? "below" : "above";
  if (low === null) return [label(high, highSide)];
  const lowSide = low < 0.1 ? "above" : "below";
  const aside = lowSide === highSide && high - low < 0.15 ? " aside" : "";
  return [label(high, highSide), label(low, lowSide + aside)];
}

function legend(tracks) {
  const sample = (name) =>
    svg(
      "svg",
      { viewBox: "0 0 32 8", width: 32, height: 8, "aria-hidden": "true" },
      svg("path", { d: "M0 4H32", class: `score-line ${name}` }),
    );
  const faces = tracks.map((track, place) =>
    el(
      "li",
      {},
      sample(`face pattern-${place % PATTERNS}`),
      el("span", { say: ["face.title", { number: track.track + 1 }] }),
    ),
  );
  return el(
    "ul",
    { class: "legend small" },
    el("li", {}, sample("all"), el("span", { say: "timeline.all" })),
    ...faces,
  );
}
