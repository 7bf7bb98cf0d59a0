"""What the head is made of: skin, eyes, brows, mouth, beard, hair, neck, as layers over the canvas.

In: a `Grid`, a `Person`, a `Shot`, a `Face` and the bare head's height map. Out: `Layers` (albedo, gloss, occlusion,
height, coverage). All colours are linear RGB; every pattern is drawn in centimetres, so it does not depend on n.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from fdetect_jax.data.facesim_geometry import FLOOR, LEFT, SPAN, TOP, Eye, Face, Grid, clamp, curve, half_width, spline_matrix
from fdetect_jax.data.facesim_person import Person, Shot

_TILE = 512
_F = np.float32


@dataclass
class Layers:
    """albedo: (3, n, n). height, gloss, occlusion, cover, hair, face: (n, n) float32. glint: (n, n) added light."""

    albedo: np.ndarray
    height: np.ndarray
    gloss: np.ndarray
    occlusion: np.ndarray
    cover: np.ndarray
    hair: np.ndarray
    strand: np.ndarray
    face: np.ndarray
    glint: np.ndarray


def _unit(a: np.ndarray) -> np.ndarray:
    return ((a - a.mean()) / a.std()).astype(_F)


@lru_cache(maxsize=1)
def _tiles() -> dict[str, np.ndarray]:
    """Fixed noise, _TILE square, zero mean and unit deviation: cloudy, grain (pores), strand (along y)."""
    rng = np.random.default_rng(20240611)
    cloudy = np.zeros((_TILE, _TILE), _F)
    for octave in range(2, 8):
        k = 2**octave
        small = rng.normal(0, 1, (4, k, k)).astype(_F)[0]
        cloudy += cv2.resize(small, (_TILE, _TILE), interpolation=cv2.INTER_CUBIC) * 0.62**octave
    grain = cv2.GaussianBlur(rng.normal(0, 1, (_TILE, _TILE)).astype(_F), (0, 0), 1.3, borderType=cv2.BORDER_REFLECT)
    fine = cv2.GaussianBlur(rng.normal(0, 1, (_TILE, _TILE)).astype(_F), (0, 0), sigmaX=0.8, sigmaY=28)
    broad = cv2.GaussianBlur(rng.normal(0, 1, (_TILE, _TILE)).astype(_F), (0, 0), sigmaX=4, sigmaY=60)
    clump = cv2.GaussianBlur(rng.normal(0, 1, (_TILE, _TILE)).astype(_F), (0, 0), sigmaX=12, sigmaY=90)
    strand = 0.45 * _unit(fine) + 0.5 * _unit(broad) + 0.5 * _unit(clump)
    short = cv2.GaussianBlur(rng.normal(0, 1, (_TILE, _TILE)).astype(_F), (0, 0), sigmaX=0.9, sigmaY=3.2)
    spots = cv2.GaussianBlur(rng.normal(0, 1, (_TILE, _TILE)).astype(_F), (0, 0), 2.6)
    return {"cloudy": _unit(cloudy), "grain": _unit(grain), "strand": _unit(strand), "short": _unit(short), "spots": _unit(spots)}


@lru_cache(maxsize=96)
def _tile(name: str, n: int, turn: int) -> np.ndarray:
    tile = _tiles()[name]
    if turn & 1:
        tile = tile[:, ::-1]
    if turn & 2:
        tile = tile[::-1]
    if turn & 4 and name not in ("strand", "short"):
        tile = tile.T
    how = cv2.INTER_AREA if n < _TILE else cv2.INTER_CUBIC
    return cv2.resize(np.ascontiguousarray(tile), (n, n), interpolation=how)


def _step(distance: np.ndarray, g: Grid, soft: float = 0.0) -> np.ndarray:
    """Coverage of the side where distance (cm) > 0, antialiased over one pixel or `soft` cm."""
    return clamp(distance * _F(1 / max(soft, 1 / g.ppc)) + _F(0.5), 0, 1)


def _forms(g: Grid, bells: list[tuple[float, float, float, float, float]]) -> np.ndarray:
    b = np.array(bells, _F)
    gx = np.exp(-0.5 * ((g.xs[None] - b[:, :1]) / b[:, 2:3]) ** 2)
    gy = np.exp(-0.5 * ((g.ys[None] - b[:, 1:2]) / b[:, 3:4]) ** 2) * b[:, 4:5]
    return gy.T @ gx


def _window(g: Grid, x0: float, x1: float, y0: float, y1: float):
    """Row and column slices of a box in cm, and its xs (1, w) and ys (h, 1)."""
    a, b = (int(min(max((v - LEFT) * g.ppc, 0), g.n)) for v in (x0, x1 + 1 / g.ppc))
    c, d = (int(min(max((v - TOP) * g.ppc, 0), g.n)) for v in (y0, y1 + 1 / g.ppc))
    b, d = max(b, a + 2), max(d, c + 2)
    return np.s_[c:d, a:b], g.xs[None, a:b], g.ys[c:d, None]


def _planes(colour) -> np.ndarray:
    """A colour (3,) as (3, 1, 1) float32."""
    return np.asarray(colour, _F)[:, None, None]


def _mix(albedo: np.ndarray, at, colour: np.ndarray, alpha: np.ndarray) -> None:
    """Lay colour, (3, 1, 1) or (3, h, w), over a window of the planes with this opacity (h, w)."""
    part = albedo[:, at[0], at[1]]
    part += (colour - part) * alpha


_SKIN = np.log(np.array([0.86, 0.71, 0.60], _F))
_MELANIN = np.array([2.15, 2.75, 3.15], _F)
_BLOOD = np.array([0.10, 0.55, 0.52], _F)


def skin(g: Grid, person: Person, shot: Shot, face: Face) -> np.ndarray:
    """(3, n, n) albedo of the skin, ears and neck included."""
    turn = person.texture & 7
    cloudy = _tile("cloudy", g.n, turn)
    uneven = cv2.resize(np.ascontiguousarray(person.uneven.transpose(1, 2, 0)), (g.n, g.n), interpolation=cv2.INTER_CUBIC)
    mouth = float(face.points[62, 1])
    smile = shot.expression["smile"]
    melanin = _F(person.melanin) + _F(0.028) * uneven[..., 0] + _F(0.018) * cloudy
    melanin += _forms(g, [(3.1, 0.6, 1.5, 1.0, 0.035), (-3.1, 0.6, 1.5, 1.0, 0.035), (0, mouth, 3.2, 2.2, 0.02)])
    if person.freckles > 0.02:
        spots = clamp(_tile("spots", g.n, turn ^ 3) - 1.1, 0, 1.2)
        where = _forms(g, [(0, 2.2, 3.6, 2.2, 0.30), (0, -4, 5, 2, 0.08)])
        melanin += _F(person.freckles) * spots * where
    for x, y, r in person.moles:
        at, xs, ys = _window(g, x - 3 * r, x + 3 * r, y - 3 * r, y + 3 * r)
        melanin[at] += 0.5 * np.exp(-((xs - x) ** 2 + (ys - y) ** 2) / r**2)
    flush = 0.28 + 0.12 * smile
    tip = face.nose_size[1]
    blood = _F(person.blood) + _F(0.10) * uneven[..., 1] + _F(0.05) * _tile("cloudy", g.n, turn ^ 5)
    blood += _forms(g, [(4.2, 3.3, 1.7, 1.3, flush), (-4.2, 3.3, 1.7, 1.3, flush), (0, tip + 0.2, 1.3, 0.9, 0.28),
                        (7.6, 1.7, 0.7, 3, 0.4), (-7.6, 1.7, 0.7, 3, 0.4), (3.1, 1.0, 1.2, 0.5, 0.16),
                        (-3.1, 1.0, 1.2, 0.5, 0.16), (1.75, 0, 0.4, 0.5, 0.3), (-1.75, 0, 0.4, 0.5, 0.3)])  # fmt: skip
    grain = _tile("grain", g.n, turn ^ 1)
    tone = _planes(_SKIN) - _planes(_MELANIN) * clamp(melanin, 0.0, 1.05) - _planes(_BLOOD) * blood
    tone += _F(0.022 + 0.02 * person.wrinkles) * grain
    return np.exp(tone, out=tone)


@lru_cache(maxsize=4096)
def _brow_hairs(texture: int, side: int) -> np.ndarray:
    """(4, 250): place along and across the brow, lean in radians, relative length of every hair."""
    rng = np.random.default_rng([texture, 7 + side])
    u = rng.random((4, 250))
    return np.stack([u[0], 2 * u[1] - 1, rng.normal(0, 0.16, 250), 0.8 + 0.4 * u[2]])


def _brow(g: Grid, layers: Layers, person: Person, line: np.ndarray, side: int) -> None:
    """Hairs as strokes on a finer patch, averaged down."""
    inner = line[0] if side > 0 else line[-1]
    outer = line[-1] if side > 0 else line[0]
    x0, x1 = min(inner[0], outer[0]) - 0.5, max(inner[0], outer[0]) + 0.6
    at, xs, ys = _window(g, x0, x1, line[:, 1].min() - 0.8, line[:, 1].max() + 0.9)
    fine = max(1, int(np.ceil(34 / g.ppc)))
    count = int(170 + 40 * min(max(person.shape["brow_thick"], -2), 2))
    s, across, lean, grow = _brow_hairs(person.texture, side)[:, :count]
    thick = (0.36 + 0.085 * person.shape["brow_thick"]) * np.minimum(1, 0.55 + 1.5 * s) * np.sqrt(clamp(1.08 - s, 0, 1)) + 0.03
    x = inner[0] + (outer[0] - inner[0]) * s
    y = curve(x, line[:, 0], line[:, 1]) + across * thick + 0.12
    angle = 1.3 * clamp(1 - 2.0 * s, 0, 1) - 0.25 * s + 0.25 * across * (s > 0.3) + lean
    length = 0.42 * grow
    dx, dy = side * np.cos(angle) * length, -np.sin(angle) * length
    pts = np.stack([np.column_stack([x, y]), np.column_stack([x + 0.6 * dx, y + 0.6 * dy]),
                    np.column_stack([x + dx, y + dy + 0.06])], 1)  # fmt: skip
    origin = np.array([xs[0, 0], ys[0, 0]]) - 0.5 / g.ppc
    px = (pts - origin) * g.ppc * fine - 0.5
    patch = np.zeros((ys.size * fine, xs.size * fine), np.uint8)
    cv2.polylines(patch, list(np.round(px * 16).astype(np.int32)), False, 255, 1, cv2.LINE_AA, 4)
    alpha = cv2.resize(patch, (xs.size, ys.size), interpolation=cv2.INTER_AREA).astype(_F) / 255
    _mix(layers.albedo, at, _planes(person.brow_color), np.minimum(alpha * 1.05, 0.93))
    layers.gloss[at] *= 1 - alpha


def _eye(g: Grid, layers: Layers, person: Person, shot: Shot, eye: Eye) -> None:
    side = eye.side
    centre = (eye.inner + eye.outer) / 2
    x0, x1 = sorted((float(eye.inner[0]) - side * 0.5, float(eye.outer[0]) + side * 0.9))
    at, xs, ys = _window(g, x0, x1, float(centre[1]) - 1.9, float(centre[1]) + 1.5)
    x = xs[0].astype(float)
    up, low = eye.upper_lid(x).astype(_F), eye.lower_lid(x).astype(_F)
    xa, xb = sorted((float(eye.inner[0]), float(eye.outer[0])))
    within = _step(np.minimum(xs - xa, xb - xs) + 0.02, g)
    inside = _step(ys - up, g, 0.05) * _step(low - ys, g, 0.05) * within
    ball = float(shot.gaze[0]) * 1.15 + float(centre[0]) - 0.1 * side, float(centre[1]) - 0.02 + float(shot.gaze[1]) * 0.9
    r = np.sqrt((xs - ball[0]) ** 2 + (ys - ball[1]) ** 2)
    rng = np.random.default_rng([person.texture, 3])
    spokes = cv2.resize(rng.normal(0, 1, (1, 48)).astype(_F), (512, 1), interpolation=cv2.INTER_CUBIC)[0]
    turn = ((np.arctan2(ys - ball[1], xs - ball[0]) / (2 * np.pi) + 0.5) * 511).astype(np.int32)
    size = 0.60
    light = 1 + 0.28 * spokes[turn] + 0.5 * clamp(1 - r / 0.42, 0, 1) + 0.3 * clamp((ys - ball[1]) / size, -1, 1)
    rim = clamp((r - 0.46) / 0.14, 0, 1)
    iris = _planes(person.iris) * (clamp(light, 0.25, 2.2) * (1 - 0.75 * rim))
    iris *= _step(r - 0.23, g, 0.05) * _F(0.98) + _F(0.02)
    white = _planes([0.60, 0.55, 0.51]) * _F(1 - 0.14 * person.wrinkles)
    depth = clamp(np.minimum(xs - xa, xb - xs) / 0.6, 0, 1)
    sclera = white * (0.55 + 0.45 * depth)
    caruncle = np.exp(-(((xs - float(eye.inner[0]) - side * 0.12) / 0.14) ** 2))
    sclera = sclera + (_planes([0.42, 0.19, 0.16]) - sclera) * (0.8 * caruncle)
    disc = _step(size - r, g, 0.07)
    colour = sclera + (iris - sclera) * disc
    shade = 0.42 + 0.58 * clamp((ys - up) / 0.42, 0, 1)
    _mix(layers.albedo, at, colour * shade, inside)
    layers.gloss[at] = layers.gloss[at] * (1 - inside) + 0.6 * inside
    h = layers.height[at]
    bulge = 0.5 * clamp(1 - ((xs - float(centre[0])) / 1.7) ** 2 - ((ys - float(centre[1])) / 1.5) ** 2, 0, 1)
    layers.height[at] = h + inside * (bulge - 0.22)
    spot = float(ball[0]) + 0.2 * (1 if shot.key[0] >= 0 else -1), float(ball[1]) - 0.2
    glint = np.exp(-(((xs - spot[0]) / 0.10) ** 2 + ((ys - spot[1]) / 0.11) ** 2)) * inside
    layers.glint[at] += 0.85 * glint * (0.4 + 0.6 * (1 - shot.softness))
    _lids(g, layers, person, eye, at, xs, ys, up, low)


def _lids(g, layers, person, eye, at, xs, ys, up, low) -> None:
    """Lash lines, the fold above, the bag below."""
    p = person.shape
    s = (xs - float(eye.inner[0])) / float(eye.outer[0] - eye.inner[0])
    along = clamp(np.minimum(s + 0.05, 1.12 - s) * 6, 0, 1)
    make = float(person.makeup[4])
    thick = 0.055 + 0.05 * make + 0.03 * (1 - person.masculine)
    flick = np.where(s > 0.9, (s - 0.9) * -(0.4 + 1.3 * make), 0)
    lash = np.exp(-(((ys - up - flick + 0.03) / (thick * (0.6 + 0.7 * s))) ** 2)) * along * (0.72 + 0.25 * make)
    lash = np.maximum(lash, np.exp(-(((ys - low - 0.02) / 0.05) ** 2)) * along * (0.25 + 0.3 * make))
    _mix(layers.albedo, at, _planes(np.minimum(person.brow_color, 0.02)), lash)
    fold_y = up - (0.34 + 0.06 * p["eye_open"] + 0.1 * (1 - eye.open)) * np.sqrt(clamp(4 * s * (1.06 - s), 0.05, 1))
    depth = min(max(0.55 - 0.22 * p["fold"], 0.05), 0.9)
    fold = np.exp(-(((ys - fold_y) / 0.075) ** 2)) * along * depth
    layers.occlusion[at] *= 1 - 0.55 * fold
    layers.height[at] -= 0.07 * fold
    if make > 0.3:
        shadow = clamp((up - ys) / 0.5, 0, 1) * clamp((ys - fold_y + 0.45) / 0.4, 0, 1) * along
        _mix(layers.albedo, at, _planes((0.10, 0.05, 0.05)), 0.4 * make * shadow)
    above = clamp((up - ys) * 4, 0, 1) * along
    layers.height[at] += 0.08 * np.exp(-(((ys - up + 0.16) / 0.16) ** 2)) * above
    bag_y = low + 0.55
    bag = np.exp(-(((ys - bag_y - 0.25) / 0.10) ** 2)) * along * (0.10 + 0.45 * person.wrinkles)
    layers.occlusion[at] *= 1 - 0.35 * bag
    rim = np.exp(-(((ys - low - 0.09) / 0.06) ** 2)) * along
    layers.albedo[:, at[0], at[1]] *= 1 + rim * _planes([0.06, -0.08, -0.08])


def _mouth(g: Grid, layers: Layers, person: Person, shot: Shot, face: Face) -> None:
    upper, inner_up, inner_low, lower = face.lips
    x0, x1 = float(upper[0, 0]), float(upper[-1, 0])
    at, xs, ys = _window(g, x0 - 0.5, x1 + 0.5, upper[:, 1].min() - 0.5, lower[:, 1].max() + 0.7)
    x = xs[0].astype(float)
    top, bottom = (curve(x, c[:, 0], c[:, 1]).astype(_F) for c in (upper, lower))
    corner = [upper[0], upper[-1]]
    a, b = (np.vstack([corner[0], c, corner[1]]) for c in (inner_up, inner_low))
    mid_up, mid_low = (curve(x, c[:, 0], c[:, 1]).astype(_F) for c in (a, b))
    within = _step(np.minimum(xs - x0, x1 - xs), g)
    lips = _step(ys - top, g, 0.10) * _step(bottom - ys, g, 0.14) * within
    gap = _step(ys - mid_up, g, 0.05) * _step(mid_low - ys, g, 0.05) * within * clamp((mid_low - mid_up - 0.03) / 0.08, 0, 1)
    albedo = layers.albedo
    dark = np.exp(-_BLOOD * 1.0 - _MELANIN * 0.05).astype(_F)
    grooves = _tile("strand", g.n, (person.texture >> 3) & 3)[at]
    tint = 1 + (_planes(dark) - 1) * (lips * _F(0.9 - 0.25 * person.masculine))
    albedo[:, at[0], at[1]] *= tint * (1 + _F(0.05) * grooves * lips)
    _mix(albedo, at, _planes(person.makeup[1:4]), lips * _F(person.makeup[0]))
    layers.gloss[at] += lips * (0.35 + 0.3 * float(person.makeup[0]))
    profile_up = clamp((ys - top) / np.maximum(mid_up - top, 0.1), 0, 1)
    profile_low = clamp((bottom - ys) / np.maximum(bottom - mid_low, 0.1), 0, 1)
    bulge = np.where(ys < mid_up, 0.26 * profile_up * (1.15 - profile_up) * 2, 0.34 * np.sqrt(profile_low))
    layers.height[at] += bulge * lips * clamp(np.minimum(xs - x0, x1 - xs) / 1.2, 0, 1)
    seam = np.exp(-(((ys - (mid_up + mid_low) / 2) / 0.07) ** 2)) * _step(np.minimum(xs - x0, x1 - xs) + 0.12, g, 0.2)
    layers.occlusion[at] *= 1 - 0.72 * seam * (1 - gap)
    below = np.exp(-(((ys - bottom - 0.28) / 0.26) ** 2)) * np.exp(-((xs / 1.5) ** 2))
    layers.occlusion[at] *= 1 - 0.16 * below
    _inside(g, layers, person, face, at, xs, ys, mid_up, mid_low, gap)


def _inside(g, layers, person, face, at, xs, ys, mid_up, mid_low, gap) -> None:
    """Teeth and the dark behind them."""
    rest = float(face.points[60, 1] + face.points[64, 1]) / 2 * 0.25 + float(face.points[62, 1]) * 0.75
    tongue = np.exp(-((xs / 1.3) ** 2) - ((ys - mid_low - 0.02) / 0.5) ** 2)
    cavity = _planes([0.055, 0.014, 0.012]) + tongue * _planes([0.20, 0.06, 0.055])
    edge = rest + 0.72 - 0.045 * xs**2
    bounds = np.array([0, 0.86, 1.5, 2.2, 2.8], _F)
    lines = np.abs(np.abs(xs) - bounds[:, None]).min(0)[None]
    tooth = _planes([0.74, 0.69, 0.58]) * (1 - _F(0.25 * person.wrinkles) * _planes([0.4, 0.7, 1.2]))
    light = (1 - 0.30 * np.exp(-((lines / 0.06) ** 2))) * np.exp(-((np.abs(xs) / 2.5) ** 3))
    light = light * (0.55 + 0.45 * clamp((ys - mid_up) / 0.3, 0, 1))
    teeth = _step(edge - ys, g, 0.06)
    low_teeth = 0.5 * _step(ys - mid_low + 0.32, g, 0.08) * np.exp(-((xs / 1.3) ** 4)) * (1 - teeth)
    colour = cavity + (tooth * light - cavity) * np.maximum(teeth, low_teeth)
    shade = 0.75 + 0.25 * clamp((mid_low - ys) / 0.2, 0, 1)
    _mix(layers.albedo, at, colour * shade, gap)
    layers.gloss[at] = layers.gloss[at] * (1 - gap) + 0.35 * gap * teeth
    layers.height[at] -= 0.3 * gap


def _nose(g: Grid, layers: Layers, face: Face) -> None:
    half, _ = face.nose_size
    base = float(face.points[33, 1])
    at, xs, ys = _window(g, -half - 0.9, half + 0.9, base - 2.0, base + 0.7)
    ax = np.abs(xs)
    hole = np.exp(-((((ax - half * 0.42) / (half * 0.24)) ** 2 + ((ys - base + 0.20 + 0.12 * (ax - 0.7)) / 0.19) ** 2) ** 1.5))
    layers.occlusion[at] *= 1 - 0.6 * hole
    layers.albedo[:, at[0], at[1]] *= 1 - 0.85 * hole
    wing = np.exp(-(((np.hypot((ax - half * 0.62) / 0.95, (ys - base + 0.72) / 1.05) - 0.62) / 0.11) ** 2))
    wing = wing * clamp((ax - half * 0.62) * 3, 0, 1) * clamp((ys - base + 1.35) * 2, 0, 1)
    layers.occlusion[at] *= 1 - 0.45 * wing
    under = np.exp(-(((ys - base - 0.10) / 0.16) ** 2)) * np.exp(-((ax / (half * 0.8)) ** 4))
    layers.occlusion[at] *= 1 - 0.22 * under


def _folds(person: Person, shot: Shot, face: Face) -> list[tuple[np.ndarray, float]]:
    """Polylines (cm) with depth: nasolabial, forehead, glabella, crow's feet, marionette."""
    e, w = shot.expression, person.wrinkles
    half, tip = face.nose_size
    out: list[tuple[np.ndarray, float]] = []
    smile = max(e["smile"], abs(e["smirk"]) * 0.5)
    rng = np.random.default_rng([person.texture, 11])
    wobble = rng.normal(0, 1, 40)
    for side in (-1, 1):
        mx, my = face.points[54 if side > 0 else 48]
        out.append((np.array([(side * (half + 0.15), tip - 0.1), (side * (half + 0.75), tip + 0.9), (mx + side * 0.62, my - 0.9),
                              (mx + side * 0.8, my + 0.3)]), 0.10 + 0.5 * smile + 0.5 * w))  # fmt: skip
        eye = face.eyes[(side + 1) // 2]
        ex, ey = eye.outer
        for k in range(3):
            a = (k - 1) * 0.5 + 0.1 + 0.08 * wobble[k]
            far = 0.9 + 0.4 * abs(wobble[3 + k])
            out.append((np.array([(ex + side * 0.35, ey + 0.25 * (k - 1)), (ex + side * far, ey + far * np.sin(a))]),
                        (0.1 + 0.9 * max(e["smile"], e["squint"])) * w * 0.8 + 0.12 * w))  # fmt: skip
        out.append((np.array([(mx + side * 0.25, my + 0.15), (mx + side * 0.55, my + 1.5)]), 0.45 * max(w - 0.25, 0) + 0.2 * e["sad"]))
        gx = side * (0.42 + 0.05 * wobble[8])
        out.append((np.array([(gx, -2.7), (gx * 1.15, -1.5)]), 0.8 * e["frown"] + 0.35 * max(w - 0.2, 0)))
        out.append((np.array([(eye.inner[0] + side * 0.2, ey + 0.75), (eye.inner[0] + side * 1.1, ey + 1.3),
                              (eye.inner[0] + side * 2.3, ey + 1.15)]), 0.12 + 0.5 * w))  # fmt: skip
    for k in range(4):
        y = -3.6 - 0.85 * k + 0.1 * wobble[10 + k]
        xs = np.linspace(-3.9 + 0.4 * k, 3.9 - 0.4 * k, 9)
        bend = 0.16 * np.cos(xs * 1.1 + wobble[15 + k]) - e["raise"] * 0.35 * np.exp(-((np.abs(xs) - 2.6) ** 2))
        out.append((np.column_stack([xs, y + bend]), 0.5 * e["raise"] * (0.35 + w) + 0.42 * max(w - 0.15, 0)))
    return out


_SMOOTH = {knots: spline_matrix(knots, 12) for knots in (3, 4)}


def wrinkle(g: Grid, layers: Layers, person: Person, shot: Shot, face: Face) -> None:
    """Folds as grooves in the height and as occlusion."""
    drawn = np.zeros((g.n, g.n), np.uint8)
    width = max(1, round(0.14 * g.ppc))
    for line, depth in _folds(person, shot, face):
        if depth < 0.04:
            continue
        if len(line) in (3, 4):
            line = _SMOOTH[len(line)] @ line
        part = np.round(g.pixel(line) * 16).astype(np.int32)
        value = int(min(255, 255 * depth * min(1.0, 0.14 * g.ppc / width)))
        cv2.polylines(drawn, [part], False, value, width, cv2.LINE_AA, 4)
    groove = cv2.GaussianBlur(drawn, (0, 0), 0.11 * g.ppc).astype(_F) * _F(1 / 255)
    layers.height -= _F(0.22) * groove
    layers.occlusion *= 1 - _F(0.42) * groove


def _beard(g: Grid, layers: Layers, person: Person, face: Face, t: np.ndarray) -> None:
    stubble, moustache, chin, cheeks = (float(v) for v in person.beard)
    if max(person.beard) <= 0.02:
        return
    c, _, _ = _window(g, -8, 8, 0, float(face.points[8, 1]) + 1.2)
    xs, ys = g.xs[None, c[1]], g.ys[c[0], None]
    ax = np.abs(xs)
    mouth, low = float(face.points[62, 1]), float(face.points[57, 1])
    corner = float(face.points[54, 0])
    base = float(face.points[33, 1])
    top = float(face.points[50, 1])
    lip = clamp((ys - base - 0.25) / 0.35, 0, 1) * clamp((top + 0.1 + 0.42 * np.maximum(ax - 0.6, 0) - ys) / 0.3 + 0.5, 0, 1)
    lip = lip * clamp((corner + 0.55 - ax - 0.55 * np.maximum(top - ys, 0)) / 0.9, 0, 1)
    jaw = clamp((low + 0.55 - 0.2 * (ax < 0.6) - ys) / -0.4, 0, 1) * clamp((2.5 - ax) / 0.8 + 0.5, 0, 1)
    side_strip = clamp((ax - corner + 0.1) / 0.4, 0, 1) * clamp((3.0 - ax) / 0.8 + 0.5, 0, 1) * clamp((ys - mouth + 0.5) / 0.6, 0, 1)
    jaw = np.maximum(jaw, side_strip * (moustache > 0.3))
    line = mouth - 0.6 - 1.25 * (ax - 3.0)
    cheek = clamp((ys - line) / 0.9, 0, 1) * clamp((ax - 2.3) / 0.7, 0, 1)
    full = np.maximum(np.maximum(lip * moustache, jaw * chin), cheek * cheeks)
    full = full * clamp((1.04 - t[c]) * 12, 0, 1)
    hairs = _tile("short", g.n, (person.texture >> 5) & 3)[c]
    clump = _tile("strand", g.n, (person.texture >> 8) & 3)[c]
    alpha = clamp(full * 2.1 - 0.55 + full * (0.34 * hairs + 0.24 * clump), 0, 0.95)
    shadow = np.maximum(np.maximum(lip, jaw), cheek) * clamp((1.02 - t[c]) * 12, 0, 1) * stubble
    layers.albedo[:, c[0], c[1]] *= 1 - _planes([0.36, 0.30, 0.25]) * (shadow * (1 + _F(0.25) * hairs))
    colour = _planes(person.brow_color * 0.9) * clamp(1 + 0.5 * hairs + 0.3 * clump, 0.3, 2.4)
    _mix(layers.albedo, c, colour, alpha)
    layers.height[c] += 0.30 * alpha + 0.05 * alpha * (hairs + clump)
    layers.gloss[c] *= 1 - 0.85 * alpha


# style: top thickness, side thickness, side ends at y, opening half width, opening flare, fringe drop, sweep, curl
_STYLES = {
    "bald": None,
    "buzz": (0.12, 0.10, 0.8, 6.35, 0.0, 0.0, 0.0, 0.0),
    "short": (0.7, 0.35, 1.0, 6.3, 0.0, 0.2, 0.1, 0.1),
    "swept": (1.2, 0.4, 1.2, 6.3, 0.0, 1.2, 0.35, 0.1),
    "curly": (1.8, 1.5, 3.0, 6.1, 0.0, 0.9, 0.0, 1.0),
    "bob": (0.9, 1.4, 9.5, 5.95, 0.08, 0.5, 0.25, 0.1),
    "long": (0.9, 1.5, 30.0, 6.0, 0.16, 0.3, 0.15, 0.3),
    "fringe": (1.0, 1.3, 30.0, 5.9, 0.10, 3.6, 0.05, 0.1),
    "tied": (0.45, 0.12, -1.0, 6.4, 0.0, 0.0, 0.1, 0.1),
    "afro": (3.0, 3.2, 4.5, 6.1, 0.0, 0.4, 0.0, 1.6),
    "receding": (0.35, 0.3, 1.0, 6.3, 0.0, -2.2, 0.0, 0.1),
}


def _strands(g: Grid, person: Person, curl: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Strand texture combed away from the parting, and the combing direction (x, y)."""
    dx = (g.xs - _F(person.part * 0.8))[None]
    dy = (g.ys + _F(15.5))[:, None]
    r = cv2.magnitude(np.repeat(dx, g.n, 0), np.repeat(dy, g.n, 1))
    angle = np.arctan2(dx, dy)
    wave = person.wave * 0.5 + curl
    along = r * _F(_TILE / 40)
    across = (angle * _F(9.0) + _F(0.10 + 0.30 * wave) * np.sin(r * _F(1.3 + 0.9 * curl) + 5 * angle)) * _F(_TILE / 27)
    across += _F(person.texture % 300 + 100)
    tile = _tiles()["strand"]
    if g.ppc < 12:
        tile = _soft_strands()
    look = cv2.remap(tile, across, along, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    if curl > 0.4:
        look = 0.5 * look + 0.8 * _tile("cloudy", g.n, 1) + 0.7 * min(curl, 1.0) * _tile("spots", g.n, 2)
    return look, dx / r, dy / r


@lru_cache(maxsize=1)
def _soft_strands() -> np.ndarray:
    return cv2.GaussianBlur(_tiles()["strand"], (0, 0), sigmaX=1.6, sigmaY=2)


def _hair(g: Grid, layers: Layers, person: Person, shot: Shot, face: Face, head: np.ndarray) -> np.ndarray:
    """Puts hair over the head; returns the combing direction (2, n, n)."""
    look = _STYLES[person.style]
    if look is None:
        return np.zeros((2, g.n, g.n), _F)
    top, sides, end, opening, flare, fringe, sweep, curl = look
    jitter = shot.hair_shift.tolist()
    strand, fx, fy = _strands(g, person, curl)
    xs, ys = g.xs[None], g.ys[:, None]
    width = half_width(face, np.minimum(g.ys, 2.0)).astype(_F)
    width = np.maximum(width, _F(half_width(face, np.array([2.0]))[0]) * (g.ys > 0))[:, None]
    grown = sides * clamp((ys + 12) / 7, 0.3, 1) + 0.10 * jitter[0] * (sides > 0.5)
    hang = flare * clamp(ys - 2, 0, 10) * 1.3
    rough = (0.10 + 0.35 * min(curl, 1) + 0.12 * (sides > 1)) * strand
    outer = width + grown + hang + rough - np.abs(xs)
    ends = end + 0.5 * strand + 0.3 * jitter[1] - ys
    drop = person.hairline + fringe + 0.15 * jitter[2]
    side = float(np.sign(person.part)) if abs(person.part) > 1.2 else 0.0
    lean = -side * sweep * (xs - person.part) * clamp((6 - np.abs(xs)) / 3, 0, 1) if fringe < 3 else 0.12 * np.cos(xs * 0.9)
    if side == 0 and sides > 1 and fringe < 3 and curl < 1:
        lean = lean - 0.9 * np.exp(-((xs - person.part) ** 2) / 3)
    crown = drop + lean
    cy = 2.0
    high = np.maximum(cy - crown, 0.5)
    reach = opening + 0.06 * person.shape["forehead"]
    if end > 8:
        rim = half_width(face, g.ys).astype(_F)[:, None] - _F(0.3)
        reach = reach + (np.maximum(rim, 3.5) - reach) * clamp((ys + 1.5) / 6, 0, 1)
    open_x = np.abs(xs) / reach
    power = 3.6 if fringe >= 3 else 2.8
    above = np.maximum((cy - ys) / high, 0)
    ring = (open_x**power + above**power) - 1
    inward = ring * 1.9 + 0.16 * strand * (1 if person.style != "buzz" else 0.4)
    edge = 0.5 if person.style in ("buzz", "receding") else 0.16
    alpha = _step(inward, g, edge) * _step(outer, g, 0.14) * _step(ends, g, 0.5)
    alpha = alpha * (1 - head * clamp((ys - 5.0) / 1.5, 0, 1))
    if person.style == "buzz":
        alpha = alpha * 0.78
    if person.style == "receding":
        alpha = alpha * clamp(0.35 + np.abs(xs) / 6.5 - clamp((-7.5 - ys) / 8, 0, 0.4), 0, 1)
    thick = top * clamp((1.0 - ys) / 6, 0, 1) + sides * 0.6 * clamp(ring, 0, 1)
    t = np.minimum(np.abs(xs) / (width + grown + hang + 0.05), 1)
    shell = np.maximum(layers.height, FLOOR + 1.0 + 5.2 * np.sqrt(1 - t**2.2) * (ys > -20)) if sides > 0.5 else layers.height
    raised = np.maximum(layers.height + thick * clamp(inward / 0.5, 0, 1), shell)
    raised = raised + 0.09 * (top + sides > 0.4) * strand
    beyond = (outer > -0.8) & (head < 0.5) & (ends > -0.3) & (inward > -0.1)
    layers.height += (raised - layers.height) * np.maximum(clamp(alpha * 1.5, 0, 1), beyond)
    colour = _planes(person.hair) * clamp(1 + 0.34 * strand, 0.25, 2.2)
    layers.albedo += (colour - layers.albedo) * alpha
    inner_shadow = clamp(1 - np.abs(inward + 0.15) / 0.55, 0, 1) * (0.35 if top + sides > 0.9 else 0.12)
    layers.occlusion *= (1 - inner_shadow * (1 - alpha) * (ring < 0.1)).astype(_F)
    deep = clamp((ys - 1.5) / 5, 0, 1) * clamp(1 - (np.abs(xs) - width) / 1.2, 0, 1) * 0.55 * alpha
    layers.occlusion *= (1 - deep).astype(_F)
    layers.hair, layers.strand = alpha.astype(_F), strand
    layers.cover = np.maximum(layers.cover, layers.hair)
    layers.gloss *= 1 - layers.hair
    return np.stack([fx, fy])


def _body(g: Grid, layers: Layers, person: Person, shot: Shot, face: Face, head: np.ndarray, base: np.ndarray, t: np.ndarray) -> None:
    """Ears, neck and clothes, all behind the head."""
    xs, ys = g.xs[None], g.ys[:, None]
    behind = 1 - head
    wide = float(half_width(face, np.array([1.7]))[0])
    size = 1 + 0.07 * person.shape["ear"]
    u = (np.abs(xs) - wide - 0.18 - 0.10 * (1.7 - ys)) / (0.92 * size)
    v = (ys - 1.9) / (3.1 * size)
    radius = np.sqrt(u * u + v * v)
    ear = _step((1 - radius) * 0.9, g, 0.1) * behind
    relief = 0.35 * np.exp(-(((radius - 0.82) / 0.16) ** 2)) - 0.3 * np.exp(-((radius / 0.45) ** 2))
    thick = 4.7 + 0.6 * person.masculine + 0.2 * person.shape["fat"]
    column = clamp(1 - (np.abs(xs) / (thick + 0.05 * clamp(ys - 11, 0, 5) ** 2)) ** 2, 0, 1)
    neck = _step(thick + 0.05 * clamp(ys - 11, 0, 5) ** 2 - np.abs(xs), g) * _step(ys - 5, g) * behind
    collar = 13.4 + 0.9 * np.exp(-((xs / 3.0) ** 2)) + 0.6 * float(shot.hair_shift[2])
    cloth = _step(ys - collar, g) * behind
    h = layers.height
    back = FLOOR + neck * (4.0 * np.sqrt(column) - 1.0 - FLOOR)
    back += ear * np.maximum(relief - 0.6 - back, 0)
    back += cloth * (2.5 - 0.03 * xs**2 - back)
    h[:] = back + (base - back) * head
    chin = float(face.points[8, 1])
    shade = clamp(1 - (ys - chin + 1) / 4.5, 0, 1) * neck
    layers.occlusion *= 1 - 0.60 * shade
    hollow = np.exp(-(((np.abs(xs) - wide - 0.25) / 0.35) ** 2) - ((ys - 2.3) / 1.1) ** 2) * ear
    layers.occlusion *= (1 - 0.5 * hollow).astype(_F)
    layers.albedo += (_planes(shot.cloth) - layers.albedo) * cloth
    layers.gloss *= (1 - cloth * 0.9).astype(_F)
    rim = _step((1 - t) * _F(6.0) + _F(0.12), g)
    layers.cover = np.maximum(np.maximum(rim, ear), np.maximum(neck, cloth)).astype(_F)


def paint(g: Grid, person: Person, shot: Shot, face: Face, base: np.ndarray, t: np.ndarray) -> tuple[Layers, np.ndarray]:
    """All layers, and the combing direction of the hair (2, n, n)."""
    one = np.ones((g.n, g.n), _F)
    width = np.maximum(half_width(face, g.ys), 0.02).astype(_F)[:, None]
    head = _step((1 - t) * np.maximum(width, 1.2), g).astype(_F)
    layers = Layers(skin(g, person, shot, face), base.copy(), one * _F(0.30), one.copy(), head, np.zeros_like(one),
                    np.zeros_like(one), head.copy(), np.zeros_like(one))  # fmt: skip
    oily = _forms(g, [(0, -5, 3, 2, 0.25), (0, 2, 1.1, 3, 0.30), (4, 3, 1.4, 1.2, 0.12), (-4, 3, 1.4, 1.2, 0.12), (0, 10, 1.3, 1, 0.15)])
    layers.gloss += (oily * person.shine).astype(_F)
    wrinkle(g, layers, person, shot, face)
    _nose(g, layers, face)
    _mouth(g, layers, person, shot, face)
    for eye in face.eyes:
        _eye(g, layers, person, shot, eye)
    for side, line in zip((-1, 1), face.brows, strict=True):
        _brow(g, layers, person, line, side)
    _beard(g, layers, person, face, t)
    _body(g, layers, person, shot, face, head, layers.height.copy(), t)
    flow = _hair(g, layers, person, shot, face, head)
    layers.face = head * (1 - layers.hair)
    return layers, flow
