// Scores over time as SVG: zones of the verdicts, thresholds, lines. One unit across is the duration, one up is P = 1.

import { svg } from "./dom.js";

export const WIDE = 1000;
export const TALL = 200;
const MARGIN = 8; // above P = 1 and below P = 0, so that lines there are seen whole

const x = (time, duration) => (duration > 0 ? Math.min(Math.max(time / duration, 0), 1) * WIDE : 0);
const y = (score) => (1 - score) * TALL;

// The path through (seconds, score or null) pairs, broken where there is no score. A lone point becomes a dot.
function path(points, duration) {
  let drawn = "",
    open = false;
  for (const [time, score] of points) {
    if (score === null) {
      open = false;
      continue;
    }
    const place = `${x(time, duration).toFixed(1)} ${y(score).toFixed(1)}`;
    drawn += open ? `L${place}` : `M${place}L${place}`;
    open = true;
  }
  return drawn;
}

// A line of scores; the class says how it looks.
export function scoreLine(points, duration, name) {
  return svg("path", { d: path(points, duration), class: `score-line ${name}`, "vector-effect": "non-scaling-stroke" });
}

// The ground: zones of the verdicts and threshold lines of a row.
export function ground(row) {
  const levels = [
    ["fake", row.threshold, 1],
    ["real", 0, row.suspicious ?? row.threshold],
  ];
  if (row.suspicious !== null) levels.push(["suspicious", row.suspicious, row.threshold]);
  const zones = levels.map(([name, low, high]) =>
    zone(name, high === 1 ? -MARGIN : y(high), low === 0 ? TALL + MARGIN : y(low)),
  );
  const lines = [row.threshold, row.suspicious]
    .filter((level) => level !== null)
    .map((level) =>
      svg("line", {
        x1: 0,
        x2: WIDE,
        y1: y(level),
        y2: y(level),
        class: "threshold",
        "vector-effect": "non-scaling-stroke",
      }),
    );
  return [...zones, ...lines];
}

const zone = (name, top, bottom) =>
  svg("rect", { x: 0, width: WIDE, y: top, height: Math.max(bottom - top, 0), class: `zone ${name}` });

// How far above the lower edge of a plot a score is, as a share of its height.
export const heightOf = (score) => (MARGIN + score * TALL) / (TALL + 2 * MARGIN);

export const canvas = (name, ...parts) =>
  svg(
    "svg",
    {
      viewBox: `0 ${-MARGIN} ${WIDE} ${TALL + 2 * MARGIN}`,
      preserveAspectRatio: "none",
      class: name,
      "aria-hidden": "true",
    },
    ...parts,
  );
