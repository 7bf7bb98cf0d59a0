"""The head as a height field over the frontal plane: outline, features, 68 points, and its projection.

In: a `Person` and a `Shot`. Out: a `Face` (curves and points in centimetres), a height map over the canvas,
and the map from picture pixels back to canvas pixels. x to the right of the picture, y down, z towards the
viewer; the origin is midway between the eyes. The canvas is a 27 cm square seen from the front.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from fdetect_jax.data.facesim_person import Person, Shot

SPAN, LEFT, TOP = 27.0, -13.5, -11.8
PIVOT = np.array([0.0, 1.9, 1.0])
FLOOR = -2.5  # height of the canvas outside head and hair
_MARCH = 12  # steps of every ray before refinement


@dataclass(frozen=True)
class Grid:
    """Sample positions of an n x n canvas, in cm. `ppc` is pixels per cm."""

    n: int
    ppc: float
    xs: np.ndarray
    ys: np.ndarray

    def pixel(self, points: np.ndarray) -> np.ndarray:
        """Centimetres (…, 2) to canvas pixels, integer at pixel centres."""
        return (points - np.array([LEFT, TOP])) * self.ppc - 0.5


@lru_cache(maxsize=16)
def grid(n: int) -> Grid:
    ppc = n / SPAN
    steps = (np.arange(n, dtype=np.float32) + 0.5) / ppc
    return Grid(n, ppc, (steps + LEFT).astype(np.float32), (steps + TOP).astype(np.float32))


def clamp(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """np.clip without its overhead, which is most of its cost on small arrays."""
    out = np.maximum(x, low)
    return np.minimum(out, high, out=out)


def curve(x: np.ndarray, knots_x: np.ndarray, knots_y: np.ndarray) -> np.ndarray:
    """Smooth (C1 cubic Hermite) curve through knots with growing x; constant outside."""
    gap = knots_x[1:] - knots_x[:-1]
    rise = (knots_y[1:] - knots_y[:-1]) / gap
    slope = np.empty(len(knots_x))
    slope[0], slope[-1] = rise[0], rise[-1]
    slope[1:-1] = (rise[:-1] * gap[1:] + rise[1:] * gap[:-1]) / (gap[1:] + gap[:-1])
    x = np.minimum(np.maximum(x, knots_x[0]), knots_x[-1])
    i = np.minimum(np.maximum(knots_x.searchsorted(x, side="right") - 1, 0), len(knots_x) - 2)
    h = gap[i]
    t = (x - knots_x[i]) / h
    a, b = knots_y[i], knots_y[i + 1]
    p, q = slope[i] * h - (b - a), (b - a) - slope[i + 1] * h
    return a + (b - a) * t + t * (1 - t) * (p * (1 - t) + q * t)


@dataclass(frozen=True)
class Eye:
    """One eye opening. Corners are (x, y) in cm.

    side: -1 left of the picture, +1 right. upper, lower: height above and below the line between the corners
    when open. open: 0 shut .. 1, above 1 wide.
    """

    side: int
    inner: np.ndarray
    outer: np.ndarray
    upper: float
    lower: float
    open: float

    def _place(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        s = np.clip((x - self.inner[0]) / (self.outer[0] - self.inner[0]), 0, 1)
        return s, self.inner[1] + s * (self.outer[1] - self.inner[1])

    def lower_lid(self, x: np.ndarray) -> np.ndarray:
        s, line = self._place(x)
        return line + self.lower * np.power(4 * s * (1 - s), 0.75) * (0.85 + 0.3 * s)

    def upper_lid(self, x: np.ndarray) -> np.ndarray:
        s, line = self._place(x)
        arch = np.power(4 * s * (1 - s), 0.62) * (1.08 - 0.16 * s)
        shut = line + 0.9 * self.lower * np.power(4 * s * (1 - s), 0.75) * (0.85 + 0.3 * s)
        return shut + (line - self.upper * arch - shut) * self.open


@dataclass(frozen=True)
class Face:
    """Everything about the features, in cm.

    outline: (k, 2) right half from crown to chin. lips: upper outer (7, 2), upper inner (5, 2), lower inner
    (5, 2), lower outer (7, 2), left to right. brows: two (5, 2), left to right. points: (68, 2), iBUG order.
    """

    outline: np.ndarray
    eyes: tuple[Eye, Eye]
    lips: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
    brows: tuple[np.ndarray, np.ndarray]
    nose: np.ndarray  # (9, 2) landmarks 27..35
    points: np.ndarray
    jaw_drop: float
    nose_size: tuple[float, float]  # half width, tip y


_OUTLINE = np.array(
    [
        (0, -13.4),
        (4.5, -12.6),
        (6.8, -10.2),
        (7.35, -7.0),
        (7.35, -3.8),
        (7.2, -0.6),
        (6.95, 2.2),
        (6.5, 4.6),
        (5.8, 6.8),
        (4.7, 8.7),
        (3.25, 10.2),
        (1.65, 11.1),
        (0, 11.35),
    ]
)
_CHIN_WEIGHT = np.array([0, 0, 0, 0, 0, 0, 0, 0.1, 0.25, 0.5, 0.8, 0.96, 1])


def spline_matrix(knots: int, samples: int) -> np.ndarray:
    """(samples, knots): Catmull-Rom spline with evenly spaced knots, end knots twice."""
    s = np.linspace(0, knots - 1, samples)
    out = np.zeros((samples, knots))
    for j in range(knots):
        d = np.abs(s - j)
        far = np.where(d < 2, -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2, 0)
        out[:, j] = np.where(d < 1, 1.5 * d**3 - 2.5 * d**2 + 1, far)
    out[:, [0, -1]] *= 2
    return out / out.sum(1, keepdims=True)


_DENSE = spline_matrix(len(_OUTLINE), 193)
# Where the jaw points 8 (chin) .. 16 (by the ear) lie on the outline, in knots.
_JAW = np.array([12.0, 11.2, 10.35, 9.45, 8.55, 7.65, 6.65, 5.75, 5.0])


def _outline(p: dict[str, float], drop: float) -> np.ndarray:
    k = _OUTLINE.copy()
    x, y = k[:, 0], k[:, 1]
    width = np.array([0, 0.10, 0.2, 0.25, 0.2, 0.12, 0.06, 0, 0, 0, 0, 0, 0]) * p["forehead"]
    width += np.array([0, 0, 0, 0, 0.05, 0.14, 0.22, 0.2, 0.12, 0.05, 0, 0, 0]) * p["cheek"]
    width += np.array([0, 0, 0, 0, 0, 0, 0.06, 0.17, 0.3, 0.33, 0.25, 0.1, 0]) * p["jaw"]
    width += np.array([0, 0, 0, 0, 0, 0, 0, 0.08, 0.22, 0.15, -0.05, -0.05, 0]) * p["gonial"]
    width += np.array([0, 0, 0, 0, 0, 0, 0, 0, 0, 0.1, 0.25, 0.22, 0]) * p["chin"]
    width += np.array([0, 0, 0, 0, 0, 0.03, 0.1, 0.18, 0.22, 0.22, 0.15, 0.05, 0]) * p["fat"]
    x += width
    y += (0.35 * p["length"] + drop) * _CHIN_WEIGHT
    return _DENSE @ k


def _mirror(points: np.ndarray) -> np.ndarray:
    return (points * np.array([-1.0, 1.0]))[::-1]


def _brow(p: dict[str, float], e: dict[str, float], side: int, tilt: float) -> np.ndarray:
    b = np.array([(1.3, -1.95), (2.2, -2.3), (3.25, -2.45), (4.35, -2.3), (5.2, -1.65)])
    b[:, 1] -= 0.22 * p["brow_height"] + 0.09 * tilt * side
    b[:, 1] -= 0.16 * p["brow_arch"] * np.array([-0.4, 0.2, 0.9, 1, 0])
    b[:, 0] += 0.12 * p["eye_gap"]
    b[:, 1] -= e["raise"] * np.array([0.55, 0.7, 0.8, 0.75, 0.45])
    b[:, 1] += e["frown"] * np.array([0.55, 0.42, 0.2, 0.05, 0])
    b[:, 0] -= e["frown"] * np.array([0.3, 0.18, 0.05, 0, 0])
    b[:, 1] -= e["sad"] * np.array([0.55, 0.25, 0, -0.1, -0.12])
    b[:, 1] += 0.12 * e["squint"]
    return b if side > 0 else _mirror(b)


def _eye(person: Person, shot: Shot, side: int) -> Eye:
    p, e = person.shape, shot.expression
    wide = 1.44 + 0.075 * p["eye_size"]
    x = 3.13 + 0.13 * p["eye_gap"]
    tilt = 0.06 + 0.08 * p["eye_tilt"]
    y = 0.04 * person.asymmetry[0] * side
    inner = np.array([side * (x - wide), y + 0.1 + tilt])
    outer = np.array([side * (x + wide), y + 0.1 - tilt])
    look = 0.35 * max(0.0, float(shot.gaze[1])) / 0.3
    smile = e["smile"]
    opened = 1 - 0.42 * e["squint"] - 0.12 * smile + 0.25 * e["raise"] - 0.1 * e["frown"] - 0.55 * look
    opened = max(opened, 0.25) * (1 - float(shot.blink[(side + 1) // 2]))
    upper = 0.60 + 0.05 * p["eye_size"] + 0.08 * p["eye_open"]
    lower = 0.40 + 0.03 * p["eye_size"] - 0.13 * smile - 0.12 * e["squint"]
    return Eye(side, inner, outer, upper, lower, opened)


# Along the mouth, corner to corner: places of the outer and inner points, and the reach of each part there.
_LIP_X, _SEAM_X = np.array([-1, -0.62, -0.2, 0, 0.2, 0.62, 1]), np.array([-0.88, -0.32, 0, 0.32, 0.88])
_BOW, _LIFT = np.array([0, 0.62, 1.12, 0.98, 1.12, 0.62, 0]), np.array([0, 0.7, 1, 1, 1, 0.7, 0])
_FULL, _FULL_ENDS = np.array([0, 0.54, 0.97, 1, 0.97, 0.54, 0]), np.array([0, 0.12, 0, 0, 0, 0.12, 0])
_PARTED = np.array([0.05, 0.9, 1, 0.9, 0.05])


def _lips(person: Person, e: dict[str, float], drop: float) -> tuple[np.ndarray, ...]:
    p = person.shape
    smile, pucker, grin = e["smile"], e["pucker"], e["grin"]
    half = (2.5 + 0.16 * p["mouth_width"]) * (1 + 0.20 * smile + 0.04 * grin - 0.26 * pucker - 0.05 * e["open"])
    y = 6.95 + 0.13 * p["philtrum"] + 0.12 * p["length"]
    up = max(0.34, 0.58 + 0.12 * p["upper_lip"]) * (1 - 0.28 * smile + 0.3 * pucker)
    down = max(0.45, 0.95 + 0.15 * p["lower_lip"]) * (1 - 0.18 * smile + 0.25 * pucker)
    gap_up = 0.06 * grin + 0.42 * grin * smile + 0.12 * e["open"]
    gap_down = 0.34 * grin * smile + drop
    skew = e["smirk"] or 1.0

    def rise(u: np.ndarray) -> np.ndarray:
        corner = 0.5 * (e["sad"] - smile) + 0.06 * person.asymmetry[1] * np.sign(u)
        return y + corner * u * u - 0.65 * abs(e["smirk"]) * np.square(np.maximum(u * np.sign(skew), 0))

    outer, inner = np.empty((2, 7, 2)), np.empty((2, 5, 2))
    outer[:, :, 0], inner[:, :, 0] = half * _LIP_X, half * _SEAM_X
    outer[:, :, 1], inner[:, :, 1] = rise(_LIP_X), rise(_SEAM_X) + 0.03
    outer[0, :, 1] -= up * _BOW + gap_up * _LIFT
    outer[1, :, 1] += down * _FULL + gap_down * (_FULL + _FULL_ENDS)
    inner[0, :, 1] -= gap_up * _PARTED
    inner[1, :, 1] += 0.02 + gap_down * _PARTED
    return outer[0], inner[0], inner[1], outer[1]


def _nose(p: dict[str, float], e: dict[str, float]) -> tuple[np.ndarray, float, float]:
    half = 1.72 + 0.14 * p["nose_width"] + 0.12 * e["smile"]
    tip = 3.75 + 0.16 * p["nose_length"] + 0.1 * p["length"] - 0.06 * e["smile"]
    base = tip + 1.12 - 0.12 * p["nose_tip"]
    ys = np.linspace(-0.25, tip, 4)
    bridge = np.column_stack([np.zeros(4), ys])
    u = np.array([-0.82, -0.42, 0, 0.42, 0.82])
    nostrils = np.column_stack([half * u, base + np.array([-0.28, -0.06, 0.08, -0.06, -0.28])])
    return np.vstack([bridge, nostrils]), half, tip


def build(person: Person, shot: Shot) -> Face:
    """The features of this person with this expression."""
    p, e = person.shape, shot.expression
    drop = 1.25 * e["open"] + 0.12 * e["grin"] * e["smile"]
    dense = _outline(p, 0.75 * drop)
    jaw = dense[np.round(_JAW * 16).astype(int)]
    eyes = (_eye(person, shot, -1), _eye(person, shot, 1))
    lips = _lips(person, e, drop)
    brows = (_brow(p, e, -1, person.asymmetry[2]), _brow(p, e, 1, person.asymmetry[2]))
    nose, half, tip = _nose(p, e)
    points = np.empty((68, 2))
    points[8:17] = jaw
    points[0:8] = _mirror(jaw[1:])
    # Just inside the rim, where the height is still well defined.
    points[:17] = (points[:17] - (0, 3)) * (0.975, 0.985) + (0, 3)
    points[17:22], points[22:27] = brows
    points[27:36] = nose
    for eye, order in zip(eyes, ((36, 37, 38, 39, 40, 41), (45, 44, 43, 42, 47, 46)), strict=True):
        a, b = eye.outer + (eye.inner - eye.outer) * 0.32, eye.outer + (eye.inner - eye.outer) * 0.68
        xs = np.array([a[0], b[0]])
        up, low = eye.upper_lid(xs), eye.lower_lid(xs)
        points[list(order)] = [
            eye.outer,
            (a[0], up[0]),
            (b[0], up[1]),
            eye.inner,
            (b[0], low[1]),
            (a[0], low[0]),
        ]
    points[48:55] = lips[0]
    points[55:60] = lips[3][5:0:-1]
    points[60:65] = lips[1]
    points[65:68] = lips[2][3:0:-1]
    return Face(dense, eyes, lips, brows, nose, points, drop, (half, tip))


def bells(g: Grid, rows: list[tuple]) -> np.ndarray:
    """(n, n): sum of Gaussian bells (x, y, sigma x, sigma y, height), in cm.

    A product of two thin matrices, on at most 160 cells a side: above that BLAS starts threads, which doubled
    the processor time of a whole 256 px picture on busy cores.
    """
    coarse = g if g.n <= 160 else grid(160)
    b = np.array(rows, np.float32)
    gx = np.exp(-0.5 * ((coarse.xs[None] - b[:, :1]) / b[:, 2:3]) ** 2)
    gy = np.exp(-0.5 * ((coarse.ys[None] - b[:, 1:2]) / b[:, 3:4]) ** 2) * b[:, 4:5]
    out = gy.T @ gx
    return out if coarse is g else cv2.resize(out, (g.n, g.n), interpolation=cv2.INTER_CUBIC)


def _bumps(person: Person, shot: Shot, face: Face) -> list[tuple]:
    """x, y, sigma x, sigma y, height of the soft forms of the face."""
    p, e = person.shape, shot.expression
    old = person.wrinkles
    half, tip = face.nose_size
    mouth = float(face.points[62, 1])
    eye_x = abs(float(face.eyes[0].inner[0] + face.eyes[0].outer[0])) / 2
    chin = float(face.points[8, 1])
    smile = e["smile"]
    centre = [
        (0, tip + 0.02, 0.78, 0.62, 1.05 + 0.15 * p["nose_tip"]),
        (0, tip + 0.15, 1.30, 0.8, 0.25),
        (0, mouth + 0.2, 2.3, 1.5, 0.45),
        (0, chin - 2.35, 1.4, 0.42, -0.35),
        (0, chin - 1.2, 1.2, 0.8, 0.55 + 0.15 * p["chin"]),
        (0, -1.6, 1.0, 0.8, 0.12 + 0.12 * p["brow_ridge"]),
    ]
    side = [
        (half * 0.76, tip + 0.45, 0.40, 0.40, 1.0),
        (eye_x + 0.05, 0.0, 1.55, 0.85, -0.75 - 0.14 * p["socket"]),
        (1.55, -0.25, 0.5, 0.75, -0.55),
        (eye_x, 0.05, 0.95, 0.62, 0.62),
        (eye_x + 0.2, -1.75, 1.9, 0.55, 0.30 + 0.13 * p["brow_ridge"] - 0.1 * p["fold"]),
        (4.5, 2.9, 1.4, 1.1, 0.5 + 0.16 * p["cheekbone"] + 0.35 * smile),
        (3.7, 3.9, 1.3, 1.0, 0.15 + 0.5 * smile + 0.08 * p["fat"]),
        (4.7, 6.3, 1.2, 1.4, -0.35 - 0.12 * p["cheekbone"] + 0.2 * p["fat"] - 0.15 * old),
        (
            abs(float(face.points[54, 0])) + 0.45,
            float(face.points[54, 1]) + 0.1,
            0.35,
            0.4,
            -0.22 - 0.25 * smile,
        ),
        (eye_x - 0.2, 1.15, 0.9, 0.28, 0.10 + 0.16 * old),
        (3.4, 8.6, 0.9, 1.0, 0.25 * old),
        (5.7, -3.6, 0.9, 1.6, -0.25),
    ]
    rows = [r for x, y, a, b, h in side for r in ((x, y, a, b, h), (-x, y, a, b, h))]
    return centre + rows


_PROFILE_Y = np.array([-14, -11, -8.5, -6, -3.5, -1.8, -0.2, 2, 5, 7, 8.6, 10, 11, 12.2, 16], float)
_PROFILE_Z = np.array([0.0, 4.5, 7.3, 8.4, 8.75, 8.75, 8.25, 8.15, 8.35, 8.5, 8.35, 8.3, 7.6, 6.4, 6.0])


def half_width(face: Face, ys: np.ndarray) -> np.ndarray:
    """Half width of the head at these heights, 0 below the chin."""
    o = face.outline
    return np.interp(ys, o[:, 1], o[:, 0], left=0.0, right=0.0)


def head_height(g: Grid, person: Person, shot: Shot, face: Face) -> tuple[np.ndarray, np.ndarray]:
    """Height map of the bare head (n, n) in cm and |x| over the half width (n, n), 1 on the rim."""
    p = person.shape
    width = np.maximum(half_width(face, g.ys), 0.02)
    t = np.abs(g.xs)[None] / width[:, None].astype(np.float32) + 2 * (width[:, None] <= 0.02).astype(np.float32)
    shift = np.where(_PROFILE_Y > 5, 0.35 * p["length"] + 0.75 * face.jaw_drop * np.clip((_PROFILE_Y - 5) / 4, 0, 1), 0)
    profile = curve(g.ys, _PROFILE_Y + shift, _PROFILE_Z)
    deep = np.minimum(1.32 * width, 9.0)
    square = np.minimum(t * t, 1)
    inside = np.sqrt(1 - square * (np.float32(0.86) + np.float32(0.14) * square))
    h = (profile - deep)[:, None].astype(np.float32) + deep[:, None].astype(np.float32) * inside
    ridge, wide = _ridge(g, p, face)
    forms = bells(g, _bumps(person, shot, face))
    forms += np.float32(0.10) * cv2.resize(person.bumps, (g.n, g.n), interpolation=cv2.INTER_CUBIC)
    rows, columns = (np.flatnonzero(m) for m in ((g.ys > -1.7) & (ridge > 0), np.abs(g.xs) < 3))
    near = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    forms[near] += ridge[near[0], None] * np.exp(-0.5 * (g.xs[None, near[1]] / wide[near[0], None]) ** 2)
    h += forms * np.minimum(1, 3 * inside)
    return h, t


def _ridge(g: Grid, p: dict[str, float], face: Face) -> tuple[np.ndarray, np.ndarray]:
    """Height and sigma of the bridge of the nose for every row."""
    tip = face.nose_size[1]
    at = np.array([-1.6, -0.3, tip * 0.5, tip - 0.15, tip + 0.45, tip + 0.95, tip + 1.5])
    bridge = 0.14 * p["nose_bridge"]
    z = np.array([0, 0.30 + bridge, 1.05 + bridge + 0.12 * p["nose_hump"], 1.45, 1.05, 0.42, 0.0])
    ridge = curve(g.ys, at, z)
    wide = np.interp(g.ys, at, np.array([0.9, 0.56, 0.54, 0.60, 0.52, 0.42, 0.4]) * (1 + 0.06 * p["nose_width"]))
    return ridge.astype(np.float32), wide.astype(np.float32)


def rotation(shot: Shot) -> np.ndarray:
    """(3, 3) head to camera."""
    cy, sy = np.cos(shot.yaw), np.sin(shot.yaw)
    cp, sp = np.cos(shot.pitch), np.sin(shot.pitch)
    cr, sr = np.cos(shot.roll), np.sin(shot.roll)
    turn = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    nod = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    tilt = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return tilt @ nod @ turn


@dataclass(frozen=True)
class View:
    """Weak perspective: pixel = scale * (R (p - PIVOT))_xy + offset, in pixels of a size x size picture."""

    matrix: np.ndarray
    scale: float
    offset: np.ndarray
    size: int

    def project(self, points: np.ndarray) -> np.ndarray:
        """(k, 3) cm to (k, 2) pixels, integer at pixel centres."""
        return (points - PIVOT) @ self.matrix[:2].T * self.scale + self.offset


def view(face: Face, shot: Shot, person: Person, size: int) -> View:
    """Frame the face: hairline to chin fills `shot.zoom` of the height, centred, then shifted."""
    matrix = rotation(shot)
    chin = face.points[8, 1] - 0.6 * face.jaw_drop
    anchors = np.array([[0, -7.2, 8.0], [0, chin, 7.4], [-7, 1.5, 1.5], [7, 1.5, 1.5]])
    flat = (anchors - PIVOT) @ matrix[:2].T
    centre = np.array(
        [
            0.5 * (flat[2, 0] + flat[3, 0]) * 0.6 + 0.4 * (flat[0, 0] + flat[1, 0]) / 2,
            (flat[0, 1] + flat[1, 1]) / 2,
        ]
    )
    scale = shot.zoom * size / (chin + 7.2)
    offset = (0.5 + shot.shift) * size - 0.5 - scale * centre
    return View(matrix, scale, offset, size)


def surface(h: np.ndarray, g: Grid, points: np.ndarray) -> np.ndarray:
    """(k, 2) cm to (k, 3) on the height map."""
    at = g.pixel(points).astype(np.float32)
    z = cv2.remap(h, at[None, :, 0], at[None, :, 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[0]
    return np.column_stack([points, z])


def trace(h: np.ndarray, g: Grid, v: View, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """For a cells x cells picture: the canvas pixel (x, y) that each ray meets first, float32.

    Marches every ray from the front in even steps and refines the first crossing by false position.
    """
    step = v.size / cells
    at = (np.arange(cells, dtype=np.float32) + 0.5) * step - 0.5
    cx = ((at - v.offset[0]) / v.scale)[None].astype(np.float32)
    cy = ((at - v.offset[1]) / v.scale)[:, None].astype(np.float32)
    m = v.matrix.astype(np.float32)
    k = np.float32(g.ppc)
    x0 = (m[0, 0] * cx + m[1, 0] * cy + PIVOT[0] - LEFT) * k - 0.5
    y0 = (m[0, 1] * cx + m[1, 1] * cy + PIVOT[1] - TOP) * k - 0.5
    z0 = m[0, 2] * cx + m[1, 2] * cy + np.float32(PIVOT[2])
    dx, dy, dz = m[2, 0] * k, m[2, 1] * k, m[2, 2]
    x0, y0, z0 = x0.astype(np.float32), y0.astype(np.float32), z0.astype(np.float32)

    def above(x, y, z):
        return z - cv2.remap(h, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    steps = np.linspace(11.0, FLOOR - 3.0, _MARCH, dtype=np.float32)
    at = steps[:, None, None]
    gap = above(*((a + d * at).reshape(-1, cells) for a, d in ((x0, dx), (y0, dy), (z0, dz)))).reshape(_MARCH, -1)
    gap[-1] = np.minimum(gap[-1], -1e-3)
    gap[0] = np.maximum(gap[0], 1e-3)
    first = np.argmax(gap <= 0, axis=0)
    columns = np.arange(cells * cells)
    near, far = steps[first - 1].reshape(cells, cells), steps[first].reshape(cells, cells)
    f_near, f_far = (gap[i, columns].reshape(cells, cells) for i in (first - 1, first))
    for _ in range(3):
        z = near + (far - near) * (f_near / np.maximum(f_near - f_far, 1e-4))
        f = above(x0 + dx * z, y0 + dy * z, z0 + dz * z)
        over = f > 0
        near, f_near = np.where(over, z, near), np.where(over, f, f_near)
        far, f_far = np.where(over, far, z), np.where(over, f_far, f)
    return x0 + dx * z, y0 + dy * z
