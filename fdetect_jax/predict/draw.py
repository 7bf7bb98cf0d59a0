"""What a verdict looks like on a picture: boxes on faces, and below it the verdict and the scores over time.

In: (H, W, 3) uint8 frames and a ``Verdict``. Out: (H + strip, W, 3) uint8. OpenCV and Pillow; no JAX.
"""

import bisect
import functools
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fdetect_jax.inference.mask_shape import ALTERED
from fdetect_jax.predict.verdict import Sighting, TrackVerdict, Verdict

_PAPER, _INK, _MUTED, _GRID = (22, 27, 34), (236, 240, 245), (140, 150, 163), (52, 60, 72)
COLOURS = {"real": (64, 156, 255), "suspicious": (240, 190, 60), "fake": (255, 112, 51)}
COLOURS |= dict.fromkeys(("not_applicable", "unable_to_evaluate"), _MUTED)
_WORDS = {"real": "REAL", "suspicious": "SUSPICIOUS", "fake": "FAKE"}
_WORDS |= {"not_applicable": "NO FACE", "unable_to_evaluate": "NOT EVALUATED"}
_HELD = 0.75  # of the time between two samples: how long a box stays after the last one of its track


class Painter:
    """Draws one verdict on the frames of its file.

    verdict: what to show. size: (width, height) of the frames, in pixels.
    """

    def __init__(self, verdict: Verdict, size: tuple[int, int]):
        self._verdict, self._size = verdict, size
        self._scale = max(0.5, min(size) / 360)
        self._strip, self._plot = self._drawn_strip()
        self._times = {track.track: [one.time for one in track.sightings] for track in verdict.tracks}
        self._gap = _spacing([time for time, _ in verdict.frames])

    def __call__(self, frame: np.ndarray, time: float) -> np.ndarray:
        """The frame of the moment ``time`` (seconds from the start) with its boxes, and the strip below it."""
        height = frame.shape[0]
        canvas = np.concatenate([frame, self._strip])
        for track in self._verdict.tracks:
            seen = _at(track.sightings, self._times[track.track], time, self._gap)
            if seen is not None:
                self._box(canvas[:height], track, seen)
        if self._plot is not None:
            left, right, top, bottom = self._plot
            x = left + round(min(max(time / self._verdict.duration, 0.0), 1.0) * (right - left))
            cv2.line(canvas, (x, height + top), (x, height + bottom), _INK, self._thick())
        return canvas

    def _thick(self) -> int:
        return max(1, round(self._scale))

    def _box(self, frame: np.ndarray, track: TrackVerdict, seen: Sighting) -> None:
        colour = COLOURS[self._verdict.word_of(seen.score)]
        x0, y0, x1, y1 = (round(value) for value in seen.box)
        cv2.rectangle(frame, (x0, y0), (x1, y1), colour, max(2, round(2 * self._scale)), cv2.LINE_AA)
        number = f"#{track.track + 1} " if len(self._verdict.tracks) > 1 else ""
        label = text(f" {number}{seen.score:.2f} ", round(15 * self._scale), (255, 255, 255), colour)
        y = y0 - label.shape[0] if y0 >= label.shape[0] else y1
        paste(frame, label, x0, y)

    def _drawn_strip(self) -> tuple[np.ndarray, tuple[int, int, int, int] | None]:
        """The strip without the mark of the present moment, and where its plot lies (left, right, top, bottom)."""
        verdict, (width, height) = self._verdict, self._size
        unit = self._scale
        tall = round(64 * unit)
        tall += (height + tall) % 2  # H.264 wants even sides
        strip = np.empty((tall, width, 3), np.uint8)
        strip[:] = _PAPER
        pad = round(8 * unit)
        word = text(_WORDS[verdict.verdict], round(19 * unit), COLOURS[verdict.verdict], _PAPER)
        paste(strip, word, pad, pad)
        below = f"P(fake) {verdict.score:.3f}" if verdict.score is not None else verdict.reason
        note = text(below, round(12 * unit), _INK, _PAPER)
        paste(strip, note, pad, pad + word.shape[0] + round(3 * unit))
        left = pad + max(word.shape[1], note.shape[1]) + round(16 * unit)
        right, top, bottom = width - pad, pad, tall - pad
        if not verdict.duration or verdict.score is None or right - left < 40:
            return strip, None
        self._curve(strip, left, right, top, bottom)
        return strip, (left, right, top, bottom)

    def _curve(self, strip: np.ndarray, left: int, right: int, top: int, bottom: int) -> None:
        verdict = self._verdict

        def place(time: float, score: float) -> tuple[int, int]:
            across = min(max(time / verdict.duration, 0.0), 1.0)
            return left + round(across * (right - left)), bottom - round(score * (bottom - top))

        cv2.rectangle(strip, (left, top), (right, bottom), _GRID, 1)
        level = place(0, verdict.threshold)[1]
        for x in range(left, right, 8):
            cv2.line(strip, (x, level), (min(x + 4, right), level), _MUTED, 1)
        before = None
        for time, score in verdict.frames:
            if score is None:
                before = None
                continue
            point = place(time, score)
            colour = COLOURS[verdict.word_of(score)]
            if before is None:
                cv2.circle(strip, point, self._thick(), colour, -1, cv2.LINE_AA)
            else:
                cv2.line(strip, before, point, colour, max(2, round(2 * self._scale)), cv2.LINE_AA)
            before = point


def text(line: str, size: int, ink: tuple[int, int, int], paper: tuple[int, int, int]) -> np.ndarray:
    """A line of text as a picture (h, w, 3) uint8, ``size`` pixels tall letters on a plain ground."""
    return _text(line, max(size, 8), ink, paper)


@functools.lru_cache(maxsize=512)
def _text(line: str, size: int, ink: tuple[int, int, int], paper: tuple[int, int, int]) -> np.ndarray:
    font = ImageFont.load_default(size)
    wide, tall = round(font.getlength(line)) + 2, sum(font.getmetrics())
    picture = Image.new("RGB", (wide, tall), paper)
    ImageDraw.Draw(picture).text((1, 0), line, ink, font)
    return np.asarray(picture)


def paste(canvas: np.ndarray, picture: np.ndarray, x: int, y: int) -> None:
    """Puts ``picture`` on ``canvas`` with its corner at (x, y); what reaches over an edge is cut off."""
    x0, y0 = max(x, 0), max(y, 0)
    x1, y1 = min(x + picture.shape[1], canvas.shape[1]), min(y + picture.shape[0], canvas.shape[0])
    if x0 < x1 and y0 < y1:
        canvas[y0:y1, x0:x1] = picture[y0 - y : y1 - y, x0 - x : x1 - x]


def _spacing(times: Sequence[float]) -> float:
    return float(np.median(np.diff(times))) if len(times) > 1 else 0.0


def _at(sightings: Sequence[Sighting], times: Sequence[float], time: float, gap: float) -> Sighting | None:
    """The face at a moment: between two samples of a track its box moves in a straight line, its score is the nearer
    sample's. None before the first sample and after the last, and where the track was out of sight."""
    after = bisect.bisect_left(times, time)
    if after < len(times) and times[after] - time <= 1e-6:
        return sightings[after]
    if after == 0 or after == len(times):
        end = sightings[0 if after == 0 else -1]
        return end if abs(end.time - time) <= _HELD * gap or not gap else None
    one, other = sightings[after - 1], sightings[after]
    if other.time - one.time > 2.5 * gap:
        near = min((one, other), key=lambda seen: abs(seen.time - time))
        return near if abs(near.time - time) <= _HELD * gap else None
    share = (time - one.time) / (other.time - one.time)
    box = tuple((1 - share) * a + share * b for a, b in zip(one.box, other.box, strict=True))
    return Sighting(time, (one if share < 0.5 else other).score, box)


def heat_sheet(
    images: np.ndarray, attention: np.ndarray, scores: np.ndarray, masks: bool = False, side: int = 192
) -> np.ndarray:
    """Each face beside itself under the detector's heat map, P(fake) below.

    images: (N, S, S, 3) uint8. attention: (N, h, w) in [0, 1]. scores: (N,). masks: the maps are masks of what was
    altered: what is at 0.5 or above is tinted and outlined, and its share of the crop stands below. Returns (H, W, 3)
    uint8.
    """
    tiles = []
    for image, where, score in zip(images, attention, scores, strict=True):
        face = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA if len(image) > side else cv2.INTER_CUBIC)
        under, below = overlaid(face, where, masks), f"P(fake) {score:.3f}"
        if masks:
            below += f", {np.mean(where >= ALTERED):.0%} altered"
        label = np.empty((24, 2 * side, 3), np.uint8)
        label[:] = _PAPER
        paste(label, text(below, 14, _INK, _PAPER), 6, 3)
        tiles.append(np.concatenate([np.concatenate([face, under], axis=1), label]))
    if len(tiles) % 2:
        tiles.append(np.full_like(tiles[0], _PAPER))
    half = len(tiles) // 2
    return np.concatenate([np.concatenate(tiles[row : row + 2], axis=1) for row in range(0, 2 * half, 2)])


def overlaid(face: np.ndarray, where: np.ndarray, masks: bool) -> np.ndarray:
    """A face (S, S, 3) uint8 under its heat map (h, w) in [0, 1], or with its mask outlined; the same shape."""
    side = face.shape[1], face.shape[0]
    how = cv2.INTER_LINEAR if masks else cv2.INTER_CUBIC
    heat = np.clip(cv2.resize(where.astype(np.float32), side, interpolation=how), 0, 1)
    if masks:
        return _outlined(face, heat >= ALTERED)
    colours = cv2.applyColorMap((heat * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    return (0.5 * face + 0.5 * colours).astype(np.uint8)


def _outlined(face: np.ndarray, marked: np.ndarray) -> np.ndarray:
    """The face with what is marked, (H, W) bool, tinted and outlined."""
    tint = np.array(COLOURS["fake"], np.float64)
    under = np.where(marked[..., None], 0.7 * face + 0.3 * tint, face).astype(np.uint8)
    outlines, _ = cv2.findContours(marked.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(under, outlines, -1, COLOURS["fake"], 2)
