"""Eyes, brows, nose, mouth and folds, painted into the layers.

In: `Layers` over a `Grid`, and the `Person`, `Shot` and `Face` they show. Out: the same layers, changed.
"""

import math
from functools import lru_cache

import cv2
import numpy as np

from fdetect_jax.facesim.canvas import Grid, clamp, curve, spline_matrix
from fdetect_jax.facesim.layers import BLOOD, MELANIN, Layers, Pair, mix, pair, planes, step, tile, window
from fdetect_jax.facesim.person import Person, Shot
from fdetect_jax.facesim.shape import LIP_X, SEAM_X, SIDES, Eyes, Face

_F = np.float32
_IRIS = 0.60  # radius, cm
_ROOT_TO_TIP = np.array([0, 0.6, 1])


def paint_nose(g: Grid, layers: Layers, face: Face) -> None:
    """Nostrils, the creases round the wings, the shade below."""
    half, _ = face.nose_size
    base = float(face.points[33, 1])
    at, xs, ys = window(g, -half - 0.9, half + 0.9, base - 2.0, base + 0.7)
    ax, down = np.abs(xs), ys - base
    off = np.square((ax - half * 0.42) / (half * 0.24)) + np.square((down + (0.20 - 0.084) + 0.12 * ax) / 0.19)
    hole = np.exp(-off * np.sqrt(off))
    layers.albedo[:, at[0], at[1]] *= 1 - 0.85 * hole
    out = ax - half * 0.62
    wing = np.exp(-np.square((np.hypot(out / 0.95, (down + 0.72) / 1.05) - 0.62) / 0.11))
    wing *= clamp(out * 3, 0, 1) * clamp(down * 2 + 2.7, 0, 1)
    under = np.exp(-np.square((down - 0.10) / 0.16) - np.square(np.square(ax / (half * 0.8))))
    layers.occlusion[at] *= (1 - 0.6 * hole) * (1 - 0.45 * wing) * (1 - 0.22 * under)


_BROW_LENGTH, _BROW_HALF = 3.9, 0.36  # of the brow on whose hairs the maps below are drawn, cm
_BROW_BOX = (-0.6, 4.6, -1.1, 0.8)  # left, right, top, bottom of these maps, cm from the root end of that brow
_BROW_FINE = 34.0  # pixels per cm they are drawn with


@lru_cache(maxsize=512)
def _brow_hairs(variant: int, count: int, ppc: float) -> tuple[np.ndarray, np.ndarray]:
    """Coverage of the left and the right brow by `count` hairs each, float32 in [0, 1], `ppc` pixels per cm."""
    left, right, top, bottom = _BROW_BOX
    maps = []
    for side in (-1, 1):
        rng = np.random.default_rng([variant, 7 + side])
        u = rng.random((4, 250))
        s, across, lean, grow = (v[:count] for v in (u[0], 2 * u[1] - 1, rng.normal(0, 0.16, 250), 0.8 + 0.4 * u[2]))
        taper = np.minimum(1, 0.55 + 1.5 * s) * np.sqrt(np.clip(1.08 - s, 0, 1))
        angle = 1.3 * np.clip(1 - 2.0 * s, 0, 1) - 0.25 * s + 0.25 * across * (s > 0.3) + lean
        tip = np.stack([np.cos(angle), -np.sin(angle)], -1) * (0.42 * grow)[:, None]
        strokes = tip[:, None] * _ROOT_TO_TIP[:, None]
        strokes[:, 2, 1] += 0.06
        strokes += np.stack([_BROW_LENGTH * s, across * (_BROW_HALF * taper + 0.03)], -1)[:, None]
        drawn = np.zeros((round((bottom - top) * _BROW_FINE), round((right - left) * _BROW_FINE)), np.uint8)
        at = np.rint((strokes - (left, top)) * (_BROW_FINE * 16) - 8).astype(np.int32)
        cv2.polylines(drawn, list(at), False, 255, 1, cv2.LINE_AA, 4)
        shape = (math.ceil((right - left) * ppc), math.ceil((bottom - top) * ppc))
        maps.append(cv2.resize(drawn, shape, interpolation=cv2.INTER_AREA).astype(_F) * _F(1 / 255))
    return tuple(maps)


def paint_brows(g: Grid, layers: Layers, person: Person, face: Face) -> None:
    """Maps of drawn hairs, bent to the shape of the brows."""
    inner, outer = face.brow[[0, -1], 0].tolist()
    tops, shift = face.brow[:, 1].tolist(), abs(float(face.brow_shift[0]))
    at, xs, ys = pair(g, inner - 0.5, outer + 0.6, min(tops) - shift - 0.8, max(tops) + shift + 0.9)
    dense = min(max(person.shape["brow_thick"], -2), 2)
    hairs = _brow_hairs(person.texture & 31, 170 + 40 * round(dense), min(2 * g.ppc, _BROW_FINE))
    left, right, top, bottom = _BROW_BOX
    high, wide = hairs[0].shape
    stretch = _BROW_LENGTH / (outer - inner)
    thin = _BROW_HALF / (_BROW_HALF + 0.085 * person.shape["brow_thick"])
    u = ((xs - inner) * stretch - left) * (wide / (right - left)) - 0.5
    v = (ys - curve(xs[0], face.brow[:, 0], face.brow[:, 1]).astype(_F) - 0.12) * thin - top
    v = v * (high / (bottom - top)) - 0.5
    u = np.repeat(u.astype(_F), len(v), 0)
    lower = (face.brow_shift * (thin * high / (bottom - top))).tolist()
    alpha = np.stack([cv2.remap(m, u, v - _F(d), cv2.INTER_LINEAR) for m, d in zip(hairs, lower, strict=True)])
    albedo = at.of(layers.albedo)
    albedo += (planes(person.brow_color) - albedo) * np.minimum(alpha * 1.05, 0.93)[:, None]
    at.put(layers.albedo, albedo)
    at.put(layers.gloss, at.of(layers.gloss) * (1 - alpha))


@lru_cache(maxsize=256)
def _spokes(variant: int) -> np.ndarray:
    """(512,) brightness of the iris around the pupil."""
    rng = np.random.default_rng([variant, 3])
    return cv2.resize(rng.normal(0, 1, (1, 48)).astype(_F), (512, 1), interpolation=cv2.INTER_CUBIC)[0]


def _iris(person: Person, dx: np.ndarray, dy: np.ndarray, r: np.ndarray) -> np.ndarray:
    """(2, 3, h, w) colour of both irises and pupils, at dx, dy and distance r from their centres, cm."""
    turn = ((np.arctan2(dy, dx) * _F(0.5 / np.pi) + _F(0.5)) * 511).astype(np.int32)
    light = 1 + 0.28 * _spokes(person.texture & 255)[turn] + 0.5 * clamp(1 - r / 0.42, 0, 1)
    light += 0.3 * clamp(dy / _IRIS, -1, 1)
    light = clamp(light, 0.25, 2.2) * (1 - 0.75 * clamp((r - 0.46) / 0.14, 0, 1))
    return planes(person.iris) * light[:, None]


def paint_eyes(g: Grid, layers: Layers, person: Person, shot: Shot, eyes: Eyes) -> None:
    """Eyeballs, their place in the height, their glints, and the lids around them."""
    inner, outer = eyes.inner, eyes.outer
    x, middle = (inner + outer) / 2, eyes.middle.tolist()
    at, xs, ys = pair(g, inner - 0.5, outer + 0.9, min(middle) - 1.9, max(middle) + 1.5)
    s = (xs - inner) / (outer - inner)
    upper, lower = (lid.astype(_F)[:, None] for lid in eyes.lids(clamp(s[0].astype(float), 0, 1)))
    up, low = ys - upper, ys - lower
    ends = np.minimum(xs - inner, outer - xs)
    inside = step(up, g, 0.05) * step(-low, g, 0.05) * step(ends + 0.02, g)
    sides = SIDES.astype(_F)[:, None, None]
    dx = xs - (float(shot.gaze[0]) * 1.15 * sides + _F(x - 0.1))
    dy = ys - (eyes.middle + (float(shot.gaze[1]) * 0.9 - 0.02)).astype(_F)[:, None, None]
    r = np.sqrt(np.square(dx) + np.square(dy))
    iris = _iris(person, dx * sides, dy, r)
    iris *= (step(r - 0.23, g, 0.05) * _F(0.98) + _F(0.02))[:, None]
    colour = planes([0.60, 0.55, 0.51]) * (_F(1 - 0.14 * person.wrinkles) * (0.55 + 0.45 * clamp(ends / 0.6, 0, 1)))
    colour += (planes([0.42, 0.19, 0.16]) - colour) * (0.8 * np.exp(-np.square((xs - inner - 0.12) / 0.14)))
    colour = colour + (iris - colour) * step(_IRIS - r, g, 0.07)[:, None]
    albedo = at.of(layers.albedo)
    albedo += (colour * (0.42 + 0.58 * clamp(up / 0.42, 0, 1))[:, None] - albedo) * inside[:, None]
    gloss = at.of(layers.gloss)
    at.put(layers.gloss, gloss + (0.6 - gloss) * inside)
    height = np.square((ys - eyes.middle.astype(_F)[:, None, None]) / 1.5) + np.square((xs - x) / 1.7)
    height = at.of(layers.height) + inside * (0.5 * clamp(1 - height, 0, 1) - 0.22)
    spot = dx - (0.2 if shot.key[0] >= 0 else -0.2) * sides
    glint = np.exp(-np.square(spot / 0.10) - np.square((dy + 0.2) / 0.11)) * inside
    at.put(layers.glint, 0.85 * (0.4 + 0.6 * (1 - shot.softness)) * glint)
    _lids(layers, person, eyes, at, s, up, low, albedo, height)


def _lids(layers: Layers, person: Person, eyes: Eyes, at: Pair, s, up, low, albedo, height) -> None:
    """Lash lines, the fold above, the bag below. s: inner to outer corner; up, low: cm below each lid."""
    p = person.shape
    along = clamp(np.minimum(s + 0.05, 1.12 - s) * 6, 0, 1)
    make = float(person.makeup[4])
    thick = 0.055 + 0.05 * make + 0.03 * (1 - person.masculine)
    flick = (0.4 + 1.3 * make) * np.maximum(s - 0.9, 0) + 0.03
    lash = np.exp(-np.square((up + flick) / (thick * (0.6 + 0.7 * s)))) * (0.72 + 0.25 * make)
    lash = np.maximum(lash, np.exp(-np.square((low - 0.02) / 0.05)) * (0.25 + 0.3 * make)) * along
    albedo += (planes(np.minimum(person.brow_color, 0.02)) - albedo) * lash[:, None]
    height_of_fold = (0.34 + 0.06 * p["eye_open"] + 0.1 * (1 - eyes.open)).astype(_F)[:, None, None]
    above = up + height_of_fold * np.sqrt(clamp(4 * s * (1.06 - s), 0.05, 1))
    fold = np.exp(-np.square(above / 0.075)) * (along * min(max(0.55 - 0.22 * p["fold"], 0.05), 0.9))
    if make > 0.3:
        shadow = clamp(up / -0.5, 0, 1) * clamp((above + 0.45) / 0.4, 0, 1) * (0.4 * make * along)
        albedo += (planes((0.10, 0.05, 0.05)) - albedo) * shadow[:, None]
    rim = np.exp(-np.square((low - 0.09) / 0.06)) * along
    albedo *= 1 + rim[:, None] * planes([0.06, -0.08, -0.08])
    at.put(layers.albedo, albedo)
    roll = np.exp(-np.square((up + 0.16) / 0.16)) * clamp(up * -4, 0, 1) * along
    at.put(layers.height, height + (0.08 * roll - 0.07 * fold))
    bag = np.exp(-np.square((low - 0.80) / 0.10)) * (along * (0.10 + 0.45 * person.wrinkles))
    at.put(layers.occlusion, at.of(layers.occlusion) * (1 - 0.55 * fold) * (1 - 0.35 * bag))


_MOUTH_X = np.linspace(-1, 1, 513)
_LIP_CURVES = np.stack([curve(_MOUTH_X, LIP_X, unit) for unit in np.eye(7)], 1)
_SEAM_CURVES = np.stack([curve(_MOUTH_X, np.concatenate([[-1], SEAM_X, [1]]), unit) for unit in np.eye(7)], 1)


def _mouth(face: Face, xs: np.ndarray) -> np.ndarray:
    """(4, w) y of the four lines of the lips at these x, constant beyond the corners."""
    upper, seam_up, seam_low, lower = face.lips
    seams = [np.concatenate([upper[:1], line, upper[-1:]]) for line in (seam_up, seam_low)]
    lines = np.concatenate([np.stack([upper, lower]) @ _LIP_CURVES.T, np.stack(seams) @ _SEAM_CURVES.T])
    x = xs / face.mouth_half
    return np.stack([np.interp(x, _MOUTH_X, line) for line in lines]).astype(_F)


def paint_mouth(g: Grid, layers: Layers, person: Person, face: Face) -> None:
    """Lips, the seam between them, and the open mouth."""
    half = face.mouth_half
    at, xs, ys = window(g, -half - 0.5, half + 0.5, face.lips[0].min() - 0.5, face.lips[3].max() + 0.7)
    top, bottom, mid_up, mid_low = _mouth(face, xs[0])
    ends = half - np.abs(xs)
    under_top, over_bottom, under_seam, over_seam = ys - top, bottom - ys, ys - mid_up, mid_low - ys
    within = step(ends, g)
    lips = step(under_top, g, 0.10) * step(over_bottom, g, 0.14) * within
    opening = within * clamp((mid_low - mid_up - 0.03) / 0.08, 0, 1)
    gap = step(under_seam, g, 0.05) * step(over_seam, g, 0.05) * opening
    albedo = layers.albedo
    dark = np.exp(-BLOOD * 1.0 - MELANIN * 0.05).astype(_F)
    grooves = tile("strand", g.n, (person.texture >> 3) & 3)[at]
    tint = 1 + (planes(dark) - 1) * (lips * _F(0.9 - 0.25 * person.masculine))
    albedo[:, at[0], at[1]] *= tint * (1 + _F(0.05) * grooves * lips)
    mix(albedo, at, planes(person.makeup[1:4]), lips * _F(person.makeup[0]))
    layers.gloss[at] += lips * (0.35 + 0.3 * float(person.makeup[0]))
    profile_up = clamp(under_top / np.maximum(mid_up - top, 0.1), 0, 1)
    profile_low = clamp(over_bottom / np.maximum(bottom - mid_low, 0.1), 0, 1)
    bulge = np.where(under_seam < 0, 0.52 * profile_up * (1.15 - profile_up), 0.34 * np.sqrt(profile_low))
    layers.height[at] += bulge * lips * clamp(ends / 1.2, 0, 1) - 0.3 * gap
    seam = np.exp(-np.square((under_seam - over_seam) / 0.14)) * step(ends + 0.12, g, 0.2) * (1 - gap)
    below = np.exp(-np.square((over_bottom + 0.28) / 0.26) - np.square(xs / 1.5))
    layers.occlusion[at] *= (1 - 0.72 * seam) * (1 - 0.16 * below)
    if gap.any():
        _inside(g, layers, person, face, at, xs, ys, under_seam, over_seam, gap)


def _inside(g: Grid, layers: Layers, person: Person, face: Face, at, xs, ys, under_seam, over_seam, gap) -> None:
    """Teeth and the dark behind them."""
    rest = float(face.points[60, 1] + face.points[64, 1]) / 2 * 0.25 + float(face.points[62, 1]) * 0.75
    middle = np.square(xs / 1.3)
    tongue = np.exp(-np.square((over_seam + 0.02) / 0.5) - middle)
    cavity = planes([0.055, 0.014, 0.012]) + tongue * planes([0.20, 0.06, 0.055])
    ax = np.abs(xs)
    lines = np.abs(ax - _TEETH).min(0)[None]
    tooth = planes([0.74, 0.69, 0.58]) * (1 - _F(0.25 * person.wrinkles) * planes([0.4, 0.7, 1.2]))
    light = (1 - 0.30 * np.exp(-np.square(lines / 0.06))) * np.exp(-((ax / 2.5) ** 3))
    light = light * (0.55 + 0.45 * clamp(under_seam / 0.3, 0, 1))
    teeth = step((rest + 0.72 - 0.045 * np.square(xs)) - ys, g, 0.06)
    low_teeth = 0.5 * step(0.32 - over_seam, g, 0.08) * np.exp(-np.square(middle)) * (1 - teeth)
    colour = cavity + (tooth * light - cavity) * np.maximum(teeth, low_teeth)
    mix(layers.albedo, at, colour * (0.75 + 0.25 * clamp(over_seam / 0.2, 0, 1)), gap)
    gloss = layers.gloss[at]
    gloss += (0.35 * teeth - gloss) * gap


_TEETH = np.array([0, 0.86, 1.5, 2.2, 2.8], _F)[:, None]  # |x| of the lines between the teeth


def _folds(person: Person, shot: Shot, face: Face) -> tuple[np.ndarray, np.ndarray]:
    """Lines (k, 12, 2) in cm and their depths (k,).

    By kind: nasolabial, crow's feet, marionette, glabella, bags, forehead; by number of knots in the result.
    """
    e, w = shot.expression, person.wrinkles
    half, tip = face.nose_size
    smile = max(e["smile"], abs(e["smirk"]) * 0.5)
    wobble = _wobble(person.texture & 1023)
    out: dict[int, list] = {2: [], 3: [], 4: []}
    depth: dict[int, list] = {2: [], 3: [], 4: []}

    def fold(strength: float, *knots: tuple[float, float]) -> None:
        if strength >= 0.04:
            out[len(knots)].append(knots)
            depth[len(knots)].append(strength)

    for side in (-1, 1):
        mx, my = face.points[54 if side > 0 else 48].tolist()
        ex, ix, ey = side * face.eyes.outer, side * face.eyes.inner, float(face.points[36 if side < 0 else 45, 1])
        fold(
            0.10 + 0.5 * smile + 0.5 * w,
            (side * (half + 0.15), tip - 0.1),
            (side * (half + 0.75), tip + 0.9),
            (mx + side * 0.62, my - 0.9),
            (mx + side * 0.8, my + 0.3),
        )
        for k in range(3):
            far = 0.9 + 0.4 * abs(wobble[3 + k])
            slope = math.sin((k - 1) * 0.5 + 0.1 + 0.08 * wobble[k])
            fold(
                (0.1 + 0.9 * max(e["smile"], e["squint"])) * w * 0.8 + 0.12 * w,
                (ex + side * 0.35, ey + 0.25 * (k - 1)),
                (ex + side * far, ey + far * slope),
            )
        fold(0.45 * max(w - 0.25, 0) + 0.2 * e["sad"], (mx + side * 0.25, my + 0.15), (mx + side * 0.55, my + 1.5))
        gx = side * (0.42 + 0.05 * wobble[8])
        fold(0.8 * e["frown"] + 0.35 * max(w - 0.2, 0), (gx, -2.7), (gx * 1.15, -1.5))
        fold(0.12 + 0.5 * w, (ix + side * 0.2, ey + 0.75), (ix + side * 1.1, ey + 1.3), (ix + side * 2.3, ey + 1.15))
    lines = [_SMOOTH[k] @ np.array(v) for k, v in out.items() if v]
    depths = [d for v in depth.values() for d in v]
    brow = 0.5 * e["raise"] * (0.35 + w) + 0.42 * max(w - 0.15, 0)
    if brow >= 0.04:
        k = np.arange(4)[:, None]
        xs = np.linspace(-1, 1, 12) * (3.9 - 0.4 * k)
        bend = 0.16 * np.cos(xs * 1.1 + np.array(wobble[15:19])[:, None]) - e["raise"] * 0.35 * np.exp(
            -np.square(np.abs(xs) - 2.6)
        )
        lines.append(np.stack([xs, -3.6 - 0.85 * k + 0.1 * np.array(wobble[10:14])[:, None] + bend], 2))
        depths += [brow] * 4
    return np.concatenate(lines), np.array(depths)


_SMOOTH = {2: np.linspace([1.0, 0.0], [0.0, 1.0], 12)} | {knots: spline_matrix(knots, 12) for knots in (3, 4)}


@lru_cache(maxsize=1024)
def _wobble(variant: int) -> list[float]:
    return np.random.default_rng([variant, 11]).normal(0, 1, 40).tolist()


def paint_folds(g: Grid, layers: Layers, person: Person, shot: Shot, face: Face) -> None:
    """Folds as grooves in the height and as occlusion."""
    drawn = np.zeros((g.n, g.n), np.uint8)
    width = max(1, round(0.14 * g.ppc))
    lines, depths = _folds(person, shot, face)
    at = np.round(g.pixel(lines) * 16).astype(np.int32)
    values = np.minimum(255, 255 * depths * min(1.0, 0.14 * g.ppc / width)).astype(int).tolist()
    for line, value in zip(at, values, strict=True):
        cv2.polylines(drawn, [line], False, value, width, cv2.LINE_AA, 4)
    groove = cv2.GaussianBlur(drawn, (0, 0), 0.11 * g.ppc).astype(_F) * _F(1 / 255)
    layers.height -= _F(0.22) * groove
    layers.occlusion *= 1 - _F(0.42) * groove
