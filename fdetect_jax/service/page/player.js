// The annotated copy: a picture, or a video with its own buttons and the timeline of scores as its slider. The
// browser's controls would cover the lower part of the video, where the verdict is drawn.

import { el, svg } from "./dom.js";
import { timeline } from "./timeline.js";
import { say } from "./words.js";

const PLAY = "M8 5v14l11-7z";
const PAUSE = "M7 5h4v14H7zM13 5h4v14h-4z";

// {media: element or null, seek: (seconds) -> nothing, or null where there is nothing to seek}
export function player(row, files) {
  if (!row.annotated) return { media: null, seek: null };
  const caption = el("h2", { id: "media-title", say: row.kind === "video" ? "media.video" : "media.image" });
  const card = el("section", { class: "card media", "aria-labelledby": "media-title" }, caption);
  if (row.kind !== "video") {
    card.append(files.show(el("img", { alt: "media.alt" }), row.annotated));
    return { media: card, seek: null };
  }
  const bare = row.score === null; // without scores there is no timeline, and the browser's controls serve
  const video = el("video", {
    id: "video",
    playsinline: true,
    preload: "metadata",
    label: "media.video",
    controls: bare,
  });
  if (row.poster) files.show(video, row.poster, "poster");
  files.show(video, row.annotated);
  card.append(video);
  if (!bare) {
    const { now, whole } = timeline(row, video);
    card.append(controls(video, now), whole);
  }
  const seek = (time) => {
    video.currentTime = time;
    video.scrollIntoView({ block: "nearest" });
  };
  return { media: card, seek };
}

function controls(video, now) {
  const shape = svg("path", { d: PLAY, fill: "currentColor" });
  const words = el("span", { say: "media.play" });
  const icon = svg("svg", { viewBox: "0 0 24 24", width: 22, height: 22, "aria-hidden": "true" }, shape);
  const toggle = () => (video.paused ? video.play().catch(() => {}) : video.pause());
  const button = el("button", { type: "button", id: "play", on: { click: toggle } }, icon, words);
  const show = () => {
    shape.setAttribute("d", video.paused ? PLAY : PAUSE);
    say(words, video.paused ? "media.play" : "media.pause");
  };
  for (const event of ["play", "pause", "ended"]) video.addEventListener(event, show);
  video.addEventListener("click", () => video.controls || toggle());
  const sound = el("button", { type: "button", class: "quiet", "aria-pressed": "false", say: "media.mute" });
  sound.addEventListener("click", () => {
    video.muted = !video.muted;
    sound.setAttribute("aria-pressed", String(video.muted));
  });
  const large =
    video.requestFullscreen && document.fullscreenEnabled
      ? el("button", {
          type: "button",
          class: "quiet",
          say: "media.large",
          on: { click: () => video.requestFullscreen() },
        })
      : null;
  video.addEventListener("fullscreenchange", () => (video.controls = document.fullscreenElement === video));
  return el("div", { class: "controls" }, button, now, sound, large);
}
