"""Eyes, brows, nose, mouth and folds, painted into the layers.

In: `Layers` over a `Grid`, and the `Person`, `Shot` and `Face` they show. Out: the same layers, changed.
"""

import math
from functools import lru_cache

import cv2
import numpy as np

from fdetect_jax.data.facesim_geometry import Eye, Face, Grid, clamp, curve, spline_matrix
from fdetect_jax.data.facesim_layers import BLOOD, MELANIN, Layers, mix, planes, step, tile, window
from fdetect_jax.data.facesim_person import Person, Shot

_F = np.float32
_IRIS = 0.60  # radius, cm
_ROOT_TO_TIP = np.array([0, 0.6, 1])


def paint_nose(g: Grid, layers: Layers, face: Face) -> None:
    """Nostrils, the creases round the wings, the shade below."""
    half, _ = face.nose_size
    base = float(face.points[33, 1])
    at, xs, ys = window(g, -half - 0.9, half + 0.9, base - 2.0, base + 0.7)
    ax = np.abs(xs)
    hole = np.exp(
        -((((ax - half * 0.42) / (half * 0.24)) ** 2 + ((ys - base + 0.20 + 0.12 * (ax - 0.7)) / 0.19) ** 2) ** 1.5)
    )
    layers.occlusion[at] *= 1 - 0.6 * hole
    layers.albedo[:, at[0], at[1]] *= 1 - 0.85 * hole
    wing = np.exp(-(((np.hypot((ax - half * 0.62) / 0.95, (ys - base + 0.72) / 1.05) - 0.62) / 0.11) ** 2))
    wing = wing * clamp((ax - half * 0.62) * 3, 0, 1) * clamp((ys - base + 1.35) * 2, 0, 1)
    layers.occlusion[at] *= 1 - 0.45 * wing
    under = np.exp(-(((ys - base - 0.10) / 0.16) ** 2)) * np.exp(-((ax / (half * 0.8)) ** 4))
    layers.occlusion[at] *= 1 - 0.22 * under


@lru_cache(maxsize=4096)
def _brow_hairs(texture: int, side: int) -> np.ndarray:
    """(4, 250): place along and across the brow, lean in radians, relative length of every hair."""
    rng = np.random.default_rng([texture, 7 + side])
    u = rng.random((4, 250))
    return np.stack([u[0], 2 * u[1] - 1, rng.normal(0, 0.16, 250), 0.8 + 0.4 * u[2]])


def paint_brow(g: Grid, layers: Layers, person: Person, line: np.ndarray, side: int) -> None:
    """Hairs as strokes on a finer patch, averaged down."""
    inner = line[0] if side > 0 else line[-1]
    outer = line[-1] if side > 0 else line[0]
    x0, x1 = min(inner[0], outer[0]) - 0.5, max(inner[0], outer[0]) + 0.6
    at, xs, ys = window(g, x0, x1, line[:, 1].min() - 0.8, line[:, 1].max() + 0.9)
    fine = max(1, int(np.ceil(34 / g.ppc)))
    count = int(170 + 40 * min(max(person.shape["brow_thick"], -2), 2))
    s, across, lean, grow = _brow_hairs(person.texture, side)[:, :count]
    thick = (0.36 + 0.085 * person.shape["brow_thick"]) * np.minimum(1, 0.55 + 1.5 * s) * np.sqrt(
        clamp(1.08 - s, 0, 1)
    ) + 0.03
    x = inner[0] + (outer[0] - inner[0]) * s
    y = curve(x, line[:, 0], line[:, 1]) + across * thick + 0.12
    angle = 1.3 * clamp(1 - 2.0 * s, 0, 1) - 0.25 * s + 0.25 * across * (s > 0.3) + lean
    length = 0.42 * grow
    dx, dy = side * np.cos(angle) * length, -np.sin(angle) * length
    pts = np.empty((count, 3, 2))
    pts[:, :, 0] = x[:, None] + dx[:, None] * _ROOT_TO_TIP
    pts[:, :, 1] = y[:, None] + dy[:, None] * _ROOT_TO_TIP
    pts[:, 2, 1] += 0.06
    origin = np.array([xs[0, 0], ys[0, 0]]) - 0.5 / g.ppc
    px = (pts - origin) * g.ppc * fine - 0.5
    patch = np.zeros((ys.size * fine, xs.size * fine), np.uint8)
    cv2.polylines(patch, list(np.round(px * 16).astype(np.int32)), False, 255, 1, cv2.LINE_AA, 4)
    alpha = cv2.resize(patch, (xs.size, ys.size), interpolation=cv2.INTER_AREA).astype(_F) / 255
    mix(layers.albedo, at, planes(person.brow_color), np.minimum(alpha * 1.05, 0.93))
    layers.gloss[at] *= 1 - alpha


@lru_cache(maxsize=4096)
def _spokes(texture: int) -> np.ndarray:
    """(512,) brightness of the iris around the pupil."""
    rng = np.random.default_rng([texture, 3])
    return cv2.resize(rng.normal(0, 1, (1, 48)).astype(_F), (512, 1), interpolation=cv2.INTER_CUBIC)[0]


def _iris(person: Person, xs: np.ndarray, ys: np.ndarray, x: float, y: float, r: np.ndarray) -> np.ndarray:
    """(3, h, w) colour of an iris and pupil around (x, y), at distance r (cm)."""
    turn = ((np.arctan2(ys - y, xs - x) / (2 * np.pi) + 0.5) * 511).astype(np.int32)
    light = 1 + 0.28 * _spokes(person.texture)[turn] + 0.5 * clamp(1 - r / 0.42, 0, 1)
    light = light + 0.3 * clamp((ys - y) / _IRIS, -1, 1)
    return planes(person.iris) * (clamp(light, 0.25, 2.2) * (1 - 0.75 * clamp((r - 0.46) / 0.14, 0, 1)))


def paint_eye(g: Grid, layers: Layers, person: Person, shot: Shot, eye: Eye) -> None:
    """Eyeball, its place in the height, its glint, and the lids around it."""
    side = eye.side
    x, y = ((eye.inner + eye.outer) / 2).tolist()
    inner = float(eye.inner[0])
    x0, x1 = sorted((inner - side * 0.5, float(eye.outer[0]) + side * 0.9))
    at, xs, ys = window(g, x0, x1, y - 1.9, y + 1.5)
    row = xs[0].astype(float)
    up, low = eye.upper_lid(row).astype(_F), eye.lower_lid(row).astype(_F)
    xa, xb = sorted((inner, float(eye.outer[0])))
    ends = np.minimum(xs - xa, xb - xs)
    inside = step(ys - up, g, 0.05) * step(low - ys, g, 0.05) * step(ends + 0.02, g)
    ball = float(shot.gaze[0]) * 1.15 + x - 0.1 * side, y - 0.02 + float(shot.gaze[1]) * 0.9
    r = np.sqrt((xs - ball[0]) ** 2 + (ys - ball[1]) ** 2)
    iris = _iris(person, xs, ys, *ball, r)
    iris *= step(r - 0.23, g, 0.05) * _F(0.98) + _F(0.02)
    white = planes([0.60, 0.55, 0.51]) * _F(1 - 0.14 * person.wrinkles)
    colour = white * (0.55 + 0.45 * clamp(ends / 0.6, 0, 1))
    corner = np.exp(-(((xs - inner - side * 0.12) / 0.14) ** 2))
    colour = colour + (planes([0.42, 0.19, 0.16]) - colour) * (0.8 * corner)
    colour = colour + (iris - colour) * step(_IRIS - r, g, 0.07)
    mix(layers.albedo, at, colour * (0.42 + 0.58 * clamp((ys - up) / 0.42, 0, 1)), inside)
    layers.gloss[at] = layers.gloss[at] * (1 - inside) + 0.6 * inside
    bulge = 0.5 * clamp(1 - ((xs - x) / 1.7) ** 2 - ((ys - y) / 1.5) ** 2, 0, 1)
    layers.height[at] += inside * (bulge - 0.22)
    spot = ball[0] + 0.2 * (1 if shot.key[0] >= 0 else -1), ball[1] - 0.2
    glint = np.exp(-(((xs - spot[0]) / 0.10) ** 2 + ((ys - spot[1]) / 0.11) ** 2)) * inside
    layers.glint[at] += 0.85 * glint * (0.4 + 0.6 * (1 - shot.softness))
    _lids(layers, person, eye, at, xs, ys, up, low)


def _lids(layers: Layers, person: Person, eye: Eye, at, xs, ys, up, low) -> None:
    """Lash lines, the fold above, the bag below."""
    p = person.shape
    s = (xs - float(eye.inner[0])) / float(eye.outer[0] - eye.inner[0])
    along = clamp(np.minimum(s + 0.05, 1.12 - s) * 6, 0, 1)
    make = float(person.makeup[4])
    thick = 0.055 + 0.05 * make + 0.03 * (1 - person.masculine)
    flick = np.where(s > 0.9, (s - 0.9) * -(0.4 + 1.3 * make), 0)
    lash = np.exp(-(((ys - up - flick + 0.03) / (thick * (0.6 + 0.7 * s))) ** 2)) * along * (0.72 + 0.25 * make)
    lash = np.maximum(lash, np.exp(-(((ys - low - 0.02) / 0.05) ** 2)) * along * (0.25 + 0.3 * make))
    mix(layers.albedo, at, planes(np.minimum(person.brow_color, 0.02)), lash)
    fold_y = up - (0.34 + 0.06 * p["eye_open"] + 0.1 * (1 - eye.open)) * np.sqrt(clamp(4 * s * (1.06 - s), 0.05, 1))
    depth = min(max(0.55 - 0.22 * p["fold"], 0.05), 0.9)
    fold = np.exp(-(((ys - fold_y) / 0.075) ** 2)) * along * depth
    layers.occlusion[at] *= 1 - 0.55 * fold
    layers.height[at] -= 0.07 * fold
    if make > 0.3:
        shadow = clamp((up - ys) / 0.5, 0, 1) * clamp((ys - fold_y + 0.45) / 0.4, 0, 1) * along
        mix(layers.albedo, at, planes((0.10, 0.05, 0.05)), 0.4 * make * shadow)
    above = clamp((up - ys) * 4, 0, 1) * along
    layers.height[at] += 0.08 * np.exp(-(((ys - up + 0.16) / 0.16) ** 2)) * above
    bag_y = low + 0.55
    bag = np.exp(-(((ys - bag_y - 0.25) / 0.10) ** 2)) * along * (0.10 + 0.45 * person.wrinkles)
    layers.occlusion[at] *= 1 - 0.35 * bag
    rim = np.exp(-(((ys - low - 0.09) / 0.06) ** 2)) * along
    layers.albedo[:, at[0], at[1]] *= 1 + rim * planes([0.06, -0.08, -0.08])


def paint_mouth(g: Grid, layers: Layers, person: Person, face: Face) -> None:
    """Lips, the seam between them, and the open mouth."""
    upper, inner_up, inner_low, lower = face.lips
    x0, x1 = float(upper[0, 0]), float(upper[-1, 0])
    at, xs, ys = window(g, x0 - 0.5, x1 + 0.5, upper[:, 1].min() - 0.5, lower[:, 1].max() + 0.7)
    x = xs[0].astype(float)
    top, bottom = (curve(x, c[:, 0], c[:, 1]).astype(_F) for c in (upper, lower))
    corner = [upper[0], upper[-1]]
    a, b = (np.vstack([corner[0], c, corner[1]]) for c in (inner_up, inner_low))
    mid_up, mid_low = (curve(x, c[:, 0], c[:, 1]).astype(_F) for c in (a, b))
    within = step(np.minimum(xs - x0, x1 - xs), g)
    lips = step(ys - top, g, 0.10) * step(bottom - ys, g, 0.14) * within
    gap = (
        step(ys - mid_up, g, 0.05)
        * step(mid_low - ys, g, 0.05)
        * within
        * clamp((mid_low - mid_up - 0.03) / 0.08, 0, 1)
    )
    albedo = layers.albedo
    dark = np.exp(-BLOOD * 1.0 - MELANIN * 0.05).astype(_F)
    grooves = tile("strand", g.n, (person.texture >> 3) & 3)[at]
    tint = 1 + (planes(dark) - 1) * (lips * _F(0.9 - 0.25 * person.masculine))
    albedo[:, at[0], at[1]] *= tint * (1 + _F(0.05) * grooves * lips)
    mix(albedo, at, planes(person.makeup[1:4]), lips * _F(person.makeup[0]))
    layers.gloss[at] += lips * (0.35 + 0.3 * float(person.makeup[0]))
    profile_up = clamp((ys - top) / np.maximum(mid_up - top, 0.1), 0, 1)
    profile_low = clamp((bottom - ys) / np.maximum(bottom - mid_low, 0.1), 0, 1)
    bulge = np.where(ys < mid_up, 0.26 * profile_up * (1.15 - profile_up) * 2, 0.34 * np.sqrt(profile_low))
    layers.height[at] += bulge * lips * clamp(np.minimum(xs - x0, x1 - xs) / 1.2, 0, 1)
    seam = np.exp(-(((ys - (mid_up + mid_low) / 2) / 0.07) ** 2)) * step(np.minimum(xs - x0, x1 - xs) + 0.12, g, 0.2)
    layers.occlusion[at] *= 1 - 0.72 * seam * (1 - gap)
    below = np.exp(-(((ys - bottom - 0.28) / 0.26) ** 2)) * np.exp(-((xs / 1.5) ** 2))
    layers.occlusion[at] *= 1 - 0.16 * below
    _inside(g, layers, person, face, at, xs, ys, mid_up, mid_low, gap)


def _inside(g: Grid, layers: Layers, person: Person, face: Face, at, xs, ys, mid_up, mid_low, gap) -> None:
    """Teeth and the dark behind them."""
    rest = float(face.points[60, 1] + face.points[64, 1]) / 2 * 0.25 + float(face.points[62, 1]) * 0.75
    tongue = np.exp(-((xs / 1.3) ** 2) - ((ys - mid_low - 0.02) / 0.5) ** 2)
    cavity = planes([0.055, 0.014, 0.012]) + tongue * planes([0.20, 0.06, 0.055])
    edge = rest + 0.72 - 0.045 * xs**2
    bounds = np.array([0, 0.86, 1.5, 2.2, 2.8], _F)
    lines = np.abs(np.abs(xs) - bounds[:, None]).min(0)[None]
    tooth = planes([0.74, 0.69, 0.58]) * (1 - _F(0.25 * person.wrinkles) * planes([0.4, 0.7, 1.2]))
    light = (1 - 0.30 * np.exp(-((lines / 0.06) ** 2))) * np.exp(-((np.abs(xs) / 2.5) ** 3))
    light = light * (0.55 + 0.45 * clamp((ys - mid_up) / 0.3, 0, 1))
    teeth = step(edge - ys, g, 0.06)
    low_teeth = 0.5 * step(ys - mid_low + 0.32, g, 0.08) * np.exp(-((xs / 1.3) ** 4)) * (1 - teeth)
    colour = cavity + (tooth * light - cavity) * np.maximum(teeth, low_teeth)
    shade = 0.75 + 0.25 * clamp((mid_low - ys) / 0.2, 0, 1)
    mix(layers.albedo, at, colour * shade, gap)
    layers.gloss[at] = layers.gloss[at] * (1 - gap) + 0.35 * gap * teeth
    layers.height[at] -= 0.3 * gap


def _folds(person: Person, shot: Shot, face: Face) -> tuple[np.ndarray, np.ndarray]:
    """Lines (k, 12, 2) in cm and their depths (k,).

    By kind: nasolabial, crow's feet, marionette, glabella, bags, forehead; by number of knots in the result.
    """
    e, w = shot.expression, person.wrinkles
    half, tip = face.nose_size
    smile = max(e["smile"], abs(e["smirk"]) * 0.5)
    wobble = _wobble(person.texture)
    out: dict[int, list] = {2: [], 3: [], 4: []}
    depth: dict[int, list] = {2: [], 3: [], 4: []}

    def fold(strength: float, *knots: tuple[float, float]) -> None:
        if strength >= 0.04:
            out[len(knots)].append(knots)
            depth[len(knots)].append(strength)

    for side in (-1, 1):
        mx, my = face.points[54 if side > 0 else 48].tolist()
        eye = face.eyes[(side + 1) // 2]
        (ex, ey), ix = eye.outer.tolist(), float(eye.inner[0])
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
        fold(
            0.45 * max(w - 0.25, 0) + 0.2 * e["sad"],
            (mx + side * 0.25, my + 0.15),
            (mx + side * 0.55, my + 1.5),
        )
        gx = side * (0.42 + 0.05 * wobble[8])
        fold(0.8 * e["frown"] + 0.35 * max(w - 0.2, 0), (gx, -2.7), (gx * 1.15, -1.5))
        fold(
            0.12 + 0.5 * w,
            (ix + side * 0.2, ey + 0.75),
            (ix + side * 1.1, ey + 1.3),
            (ix + side * 2.3, ey + 1.15),
        )
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


@lru_cache(maxsize=4096)
def _wobble(texture: int) -> list[float]:
    return np.random.default_rng([texture, 11]).normal(0, 1, 40).tolist()


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
