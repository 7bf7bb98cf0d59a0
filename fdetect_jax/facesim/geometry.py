"""The head as a height field over the frontal plane: outline, features, 68 points, and its projection.

In: a `Person` and a `Shot`. Out: a `Face` (curves and points in centimetres), a height map over the canvas,
and the map from picture pixels back to canvas pixels. x to the right of the picture, y down, z towards the
viewer; the origin is midway between the eyes. The canvas is a 27 cm square seen from the front.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from fdetect_jax.facesim.person import Person, Shot

SPAN, LEFT, TOP = 27.0, -13.5, -11.8
PIVOT = np.array([0.0, 1.9, 1.0])
FLOOR = -2.5  # height of the canvas outside head and hair
_MARCH = 12  # steps of every ray before refinement
_STEPS = np.linspace(11.0, FLOOR - 3.0, _MARCH, dtype=np.float32)


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
    gap, rise = knots_x[1:] - knots_x[:-1], knots_y[1:] - knots_y[:-1]
    steep = rise / gap
    slope = np.empty(len(knots_x))
    slope[0], slope[-1] = steep[0], steep[-1]
    slope[1:-1] = (steep[:-1] * gap[1:] + steep[1:] * gap[:-1]) / (gap[1:] + gap[:-1])
    at = np.interp(x, knots_x, _COUNT[: len(knots_x)])
    i = np.minimum(at.astype(np.intp), len(gap) - 1)
    t = at - i
    r = 1 - t
    p, q = slope[:-1] * gap - rise, rise - slope[1:] * gap
    return knots_y[i] + t * (rise[i] + r * (p[i] * r + q[i] * t))


_COUNT = np.arange(32.0)


@lru_cache(maxsize=64)
def _stretch(k: int, n: int) -> np.ndarray:
    """(n, k): cubic interpolation of k values to n."""
    return cv2.resize(np.eye(k, dtype=np.float32), (k, n), interpolation=cv2.INTER_CUBIC)


def enlarge(coarse: np.ndarray, n: int) -> np.ndarray:
    """(k, k) float32 to (n, n), cubic: `cv2.resize`, which is slow for so few values."""
    by = _stretch(len(coarse), n)
    return by @ coarse @ by.T


SIDES = np.array([-1.0, 1.0])  # left and right of the picture: the order of everything that comes in pairs


@dataclass(frozen=True)
class Eyes:
    """Both eye openings, in cm. They mirror each other but for `middle` and `open`.

    inner, outer: |x| of the corners. middle: (2,) y of the line between the corners. tilt: how far the inner
    corner lies below the middle, and the outer one above. upper, lower: height above and below that line when
    open. open: (2,) 0 shut .. 1, above 1 wide.
    """

    inner: float
    outer: float
    middle: np.ndarray
    tilt: float
    upper: float
    lower: float
    open: np.ndarray

    def lids(self, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """y of the upper and the lower lid, (2, k) each, at these fractions (k,) of the way inner to outer."""
        line = self.middle[:, None] + self.tilt * (1 - 2 * s)
        arch = 4 * s * (1 - s)
        low = self.lower * np.power(arch, 0.75) * (0.85 + 0.3 * s)
        reach = self.upper * np.power(arch, 0.62) * (1.08 - 0.16 * s) + 0.9 * low
        return line + (0.9 * low - reach * self.open[:, None]), line + low


@dataclass(frozen=True)
class Face:
    """Everything about the features, in cm.

    outline: (k, 2) right half from crown to chin. lips: upper outer (7,), upper inner (5,), lower inner (5,),
    lower outer (7,): y at LIP_X and SEAM_X times half of the width of the mouth. brow: (5, 2) the right one, inner
    end first; brow_shift: (2,) what is added to its y on each side. points: (68, 2), iBUG order.
    """

    outline: np.ndarray
    eyes: Eyes
    lips: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
    mouth_half: float
    brow: np.ndarray
    brow_shift: np.ndarray
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
# Where the jaw points 8 (chin) .. 16 (by the ear) lie on the outline.
_JAW = np.round(np.array([12.0, 11.2, 10.35, 9.45, 8.55, 7.65, 6.65, 5.75, 5.0]) * 16).astype(int)
_WIDTHS = {
    "forehead": [0, 0.10, 0.2, 0.25, 0.2, 0.12, 0.06, 0, 0, 0, 0, 0, 0],
    "cheek": [0, 0, 0, 0, 0.05, 0.14, 0.22, 0.2, 0.12, 0.05, 0, 0, 0],
    "jaw": [0, 0, 0, 0, 0, 0, 0.06, 0.17, 0.3, 0.33, 0.25, 0.1, 0],
    "gonial": [0, 0, 0, 0, 0, 0, 0, 0.08, 0.22, 0.15, -0.05, -0.05, 0],
    "chin": [0, 0, 0, 0, 0, 0, 0, 0, 0, 0.1, 0.25, 0.22, 0],
    "fat": [0, 0, 0, 0, 0, 0.03, 0.1, 0.18, 0.22, 0.22, 0.15, 0.05, 0],
}
_DENSE_OUTLINE, _DENSE_CHIN = _DENSE @ _OUTLINE, _DENSE @ _CHIN_WEIGHT
_DENSE_WIDTHS = np.array(list(_WIDTHS.values())) @ _DENSE.T


def _outline(p: dict[str, float], drop: float) -> np.ndarray:
    out = _DENSE_OUTLINE.copy()
    out[:, 0] += np.array([p[name] for name in _WIDTHS]) @ _DENSE_WIDTHS
    out[:, 1] += (0.35 * p["length"] + drop) * _DENSE_CHIN
    return out


_BROW = np.array([(1.3, -1.95), (2.2, -2.3), (3.25, -2.45), (4.35, -2.3), (5.2, -1.65)])
_BROW_MOVES = np.array(  # x of the five points, then y
    [
        (0.12, 0.12, 0.12, 0.12, 0.12, 0, 0, 0, 0, 0),  # eye_gap
        (0, 0, 0, 0, 0, -0.22, -0.22, -0.22, -0.22, -0.22),  # brow_height
        (0, 0, 0, 0, 0, 0.064, -0.032, -0.144, -0.16, 0),  # brow_arch
        (0, 0, 0, 0, 0, -0.55, -0.7, -0.8, -0.75, -0.45),  # raise
        (-0.3, -0.18, -0.05, 0, 0, 0.55, 0.42, 0.2, 0.05, 0),  # frown
        (0, 0, 0, 0, 0, -0.55, -0.25, 0, 0.1, 0.12),  # sad
        (0, 0, 0, 0, 0, 0.12, 0.12, 0.12, 0.12, 0.12),  # squint
    ]
)


def _brow(p: dict[str, float], e: dict[str, float]) -> np.ndarray:
    moves = [p["eye_gap"], p["brow_height"], p["brow_arch"], e["raise"], e["frown"], e["sad"], e["squint"]]
    return _BROW + (np.array(moves) @ _BROW_MOVES).reshape(2, 5).T


def _eyes(person: Person, shot: Shot) -> Eyes:
    p, e = person.shape, shot.expression
    wide = 1.44 + 0.075 * p["eye_size"]
    x = 3.13 + 0.13 * p["eye_gap"]
    look = 0.35 * max(0.0, float(shot.gaze[1])) / 0.3
    smile = e["smile"]
    opened = 1 - 0.42 * e["squint"] - 0.12 * smile + 0.25 * e["raise"] - 0.1 * e["frown"] - 0.55 * look
    return Eyes(
        inner=x - wide,
        outer=x + wide,
        middle=0.04 * person.asymmetry[0] * SIDES + 0.1,
        tilt=0.06 + 0.08 * p["eye_tilt"],
        upper=0.60 + 0.05 * p["eye_size"] + 0.08 * p["eye_open"],
        lower=0.40 + 0.03 * p["eye_size"] - 0.13 * smile - 0.12 * e["squint"],
        open=max(opened, 0.25) * (1 - shot.blink),
    )


# Along the mouth, corner to corner: places of the outer and inner points, and the reach of each part there.
LIP_X, SEAM_X = np.array([-1, -0.62, -0.2, 0, 0.2, 0.62, 1]), np.array([-0.88, -0.32, 0, 0.32, 0.88])
_BOW, _LIFT = np.array([0, 0.62, 1.12, 0.98, 1.12, 0.62, 0]), np.array([0, 0.7, 1, 1, 1, 0.7, 0])
_FULL, _FULL_DROP = np.array([0, 0.54, 0.97, 1, 0.97, 0.54, 0]), np.array([0, 0.66, 0.97, 1, 0.97, 0.66, 0])
_PARTED = np.array([0.05, 0.9, 1, 0.9, 0.05])
_CORNERS = np.square(np.concatenate([LIP_X, SEAM_X]))  # how far each of them follows the corners
_RIGHT = np.concatenate([LIP_X, SEAM_X]) > 0


def _lips(person: Person, e: dict[str, float], drop: float) -> tuple[tuple[np.ndarray, ...], float]:
    """y of the four lines, and half of the width of the mouth."""
    p = person.shape
    smile, pucker, grin, smirk = e["smile"], e["pucker"], e["grin"], e["smirk"]
    half = (2.5 + 0.16 * p["mouth_width"]) * (1 + 0.20 * smile + 0.04 * grin - 0.26 * pucker - 0.05 * e["open"])
    y = 6.95 + 0.13 * p["philtrum"] + 0.12 * p["length"]
    up = max(0.34, 0.58 + 0.12 * p["upper_lip"]) * (1 - 0.28 * smile + 0.3 * pucker)
    down = max(0.45, 0.95 + 0.15 * p["lower_lip"]) * (1 - 0.18 * smile + 0.25 * pucker)
    gap_up = 0.06 * grin + 0.42 * grin * smile + 0.12 * e["open"]
    gap_down = 0.34 * grin * smile + drop
    corner, skew = 0.5 * (e["sad"] - smile), 0.06 * float(person.asymmetry[1])
    left, right = corner - skew + 0.65 * min(smirk, 0), corner + skew - 0.65 * max(smirk, 0)
    line = y + np.where(_RIGHT, right, left) * _CORNERS
    outer, inner = line[:7], line[7:] + 0.03
    return (
        outer - up * _BOW - gap_up * _LIFT,
        inner - gap_up * _PARTED,
        inner + 0.02 + gap_down * _PARTED,
        outer + down * _FULL + gap_down * _FULL_DROP,
    ), half


_BRIDGE = np.linspace(0, 1, 4)
_WINGS, _WINGS_Y = np.array([-0.82, -0.42, 0, 0.42, 0.82]), np.array([-0.28, -0.06, 0.08, -0.06, -0.28])


def _nose(p: dict[str, float], e: dict[str, float]) -> tuple[np.ndarray, float, float]:
    half = 1.72 + 0.14 * p["nose_width"] + 0.12 * e["smile"]
    tip = 3.75 + 0.16 * p["nose_length"] + 0.1 * p["length"] - 0.06 * e["smile"]
    out = np.zeros((9, 2))
    out[:4, 1] = (tip + 0.25) * _BRIDGE - 0.25
    out[4:, 0] = half * _WINGS
    out[4:, 1] = _WINGS_Y + (tip + 1.12 - 0.12 * p["nose_tip"])
    return out, half, tip


# Where the points of a lid lie, as fractions of the way from the inner to the outer corner.
_LID_AT = np.array([0.68, 0.32])


def build(person: Person, shot: Shot) -> Face:
    """The features of this person with this expression."""
    p, e = person.shape, shot.expression
    drop = 1.25 * e["open"] + 0.12 * e["grin"] * e["smile"]
    dense = _outline(p, 0.75 * drop)
    jaw = dense[_JAW]
    eyes = _eyes(person, shot)
    lips, mouth_half = _lips(person, e, drop)
    brow, brow_shift = _brow(p, e), -0.09 * person.asymmetry[2] * SIDES
    nose, half, tip = _nose(p, e)
    points = np.empty((68, 2))
    points[8:17] = jaw
    points[0:8] = jaw[:0:-1] * (-1, 1)
    # Just inside the rim, where the height is still well defined.
    points[:17] = (points[:17] - (0, 3)) * (0.975, 0.985) + (0, 3)
    points[22:27] = brow
    points[17:22] = brow[::-1] * (-1, 1)
    points[17:22, 1] += brow_shift[0]
    points[22:27, 1] += brow_shift[1]
    points[27:36] = nose
    upper, lower = eyes.lids(_LID_AT)
    near, far = (eyes.inner + _LID_AT[::-1] * (eyes.outer - eyes.inner)).tolist()
    # Outer corner, upper lid, inner corner, lower lid; the right eye runs the other way round.
    for k, order in enumerate(([36, 37, 38, 39, 40, 41], [45, 44, 43, 42, 47, 46])):
        ys = eyes.middle[k] + eyes.tilt * np.array([-1, 0, 0, 1, 0, 0])
        ys[[1, 2]], ys[[5, 4]] = upper[k], lower[k]
        points[order, 0] = SIDES[k] * np.array([eyes.outer, far, near, eyes.inner, near, far])
        points[order, 1] = ys
    points[48:55, 0], points[48:55, 1] = mouth_half * LIP_X, lips[0]
    points[55:60, 0], points[55:60, 1] = mouth_half * LIP_X[5:0:-1], lips[3][5:0:-1]
    points[60:65, 0], points[60:65, 1] = mouth_half * SEAM_X, lips[1]
    points[65:68, 0], points[65:68, 1] = mouth_half * SEAM_X[3:0:-1], lips[2][3:0:-1]
    return Face(dense, eyes, lips, mouth_half, brow, brow_shift, points, drop, (half, tip))


def bells(g: Grid, rows: list[tuple]) -> np.ndarray:
    """(n, n): sum of Gaussian bells (x, y, sigma x, sigma y, height), in cm.

    A product of two thin matrices, on at most 160 cells a side: above that BLAS starts threads, which doubled
    the processor time of a whole 256 px picture on busy cores.
    """
    coarse = g if g.n <= 160 else grid(160)
    x, y, wide, high, height = np.array(rows, np.float32).T[:, :, None]
    gx = np.exp(-0.5 * np.square((coarse.xs - x) / wide))
    gy = np.exp(-0.5 * np.square((coarse.ys - y) / high)) * height
    out = gy.T @ gx
    return out if coarse is g else cv2.resize(out, (g.n, g.n), interpolation=cv2.INTER_CUBIC)


def bell(g: Grid, x: float, y: float, wide: float, high: float, height: float) -> np.ndarray:
    """`bells` for one."""
    across = np.exp(-0.5 * np.square((g.xs - x) / wide))
    return across * (height * np.exp(-0.5 * np.square((g.ys - y) / high)))[:, None]


def _bumps(person: Person, shot: Shot, face: Face) -> list[tuple]:
    """x, y, sigma x, sigma y, height of the soft forms of the face."""
    p, e = person.shape, shot.expression
    old = person.wrinkles
    half, tip = face.nose_size
    mouth = float(face.points[62, 1])
    eye_x = (face.eyes.inner + face.eyes.outer) / 2
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
_LOW, _JAW_PROFILE = (_PROFILE_Y > 5).astype(float), np.clip((_PROFILE_Y - 5) / 4, 0, 1)
_RIDGE_WIDTH = np.array([0.9, 0.56, 0.54, 0.60, 0.52, 0.42, 0.4])


@dataclass(frozen=True)
class Head:
    """The bare head over the canvas. height: (n, n) cm. rim: (n, n) |x| over the half width, 1 on the rim.

    width: (n,) half width of every row, cm, 0 below the chin.
    """

    height: np.ndarray
    rim: np.ndarray
    width: np.ndarray


def half_width(face: Face, ys: np.ndarray) -> np.ndarray:
    """Half width of the head at these heights, 0 below the chin."""
    o = face.outline
    return np.interp(ys, o[:, 1], o[:, 0], left=0.0, right=0.0)


def head(g: Grid, person: Person, shot: Shot, face: Face) -> Head:
    """The head without ears, hair and neck."""
    p = person.shape
    bare = half_width(face, g.ys)
    width = np.maximum(bare, 0.02)
    row = width.astype(np.float32)[:, None]
    t = np.abs(g.xs) / row
    t[width <= 0.02] += 2
    profile = curve(g.ys, _PROFILE_Y + (0.35 * p["length"] + 0.75 * face.jaw_drop * _JAW_PROFILE) * _LOW, _PROFILE_Z)
    deep = np.minimum(1.32 * width, 9.0)
    square = np.minimum(t * t, 1)
    inside = np.sqrt(1 - square * (np.float32(0.86) + np.float32(0.14) * square))
    h = (profile - deep).astype(np.float32)[:, None] + deep.astype(np.float32)[:, None] * inside
    ridge, wide = _ridge(g, p, face)
    forms = bells(g, _bumps(person, shot, face))
    forms += np.float32(0.10) * enlarge(person.bumps, g.n)
    rows = slice(*np.searchsorted(g.ys, (-1.7, face.nose_size[1] + 1.5)))
    columns = slice(*np.searchsorted(g.xs, (-3, 3)))
    forms[rows, columns] += ridge[rows, None] * np.exp(-0.5 * np.square(g.xs[columns] / wide[rows, None]))
    h += forms * np.minimum(1, 3 * inside)
    return Head(h, t, bare)


def _ridge(g: Grid, p: dict[str, float], face: Face) -> tuple[np.ndarray, np.ndarray]:
    """Height and sigma of the bridge of the nose for every row."""
    tip = face.nose_size[1]
    at = np.array([-1.6, -0.3, tip * 0.5, tip - 0.15, tip + 0.45, tip + 0.95, tip + 1.5])
    bridge = 0.14 * p["nose_bridge"]
    z = np.array([0, 0.30 + bridge, 1.05 + bridge + 0.12 * p["nose_hump"], 1.45, 1.05, 0.42, 0.0])
    ridge = curve(g.ys, at, z)
    wide = np.interp(g.ys, at, _RIDGE_WIDTH * (1 + 0.06 * p["nose_width"]))
    return ridge.astype(np.float32), wide.astype(np.float32)


def rotation(shot: Shot) -> np.ndarray:
    """(3, 3) head to camera: turn by yaw, nod by pitch, then tilt by roll."""
    cy, sy = math.cos(shot.yaw), math.sin(shot.yaw)
    cp, sp = math.cos(shot.pitch), math.sin(shot.pitch)
    cr, sr = math.cos(shot.roll), math.sin(shot.roll)
    nod = np.array([(cy, 0, sy), (sp * sy, cp, -sp * cy), (-cp * sy, sp, cp * cy)])
    return np.array([(cr, -sr, 0), (sr, cr, 0), (0, 0, 1)]) @ nod


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
    anchors = np.array([(0, -7.2, 8.0), (0, chin, 7.4), (-7, 1.5, 1.5), (7, 1.5, 1.5)])
    top, low, left, right = (anchors - PIVOT) @ matrix[:2].T
    centre = 0.5 * (top + low)
    centre[0] = 0.3 * (left[0] + right[0]) + 0.2 * (top[0] + low[0])
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
    at = ((np.arange(cells) + 0.5) * (v.size / cells) - 0.5)[:, None] - v.offset
    at = (at / v.scale).T
    turn = v.matrix * (g.ppc, g.ppc, 1)  # camera to canvas pixels and cm
    start = (PIVOT - (LEFT, TOP, 0)) * (g.ppc, g.ppc, 1) - (0.5, 0.5, 0)
    along = (turn[0, :, None] * at[0] + start[:, None]).astype(np.float32)
    down = (turn[1, :, None] * at[1]).astype(np.float32)
    x0, y0, z0 = along[:, None] + down[:, :, None]
    dx, dy, dz = turn[2].astype(np.float32)

    def above(x, y, z):
        return z - cv2.remap(h, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    rays = (_STEPS[:, None] * d + a.reshape(-1) for a, d in ((x0, dx), (y0, dy), (z0, dz)))
    gap = above(*(r.reshape(-1, cells) for r in rays)).reshape(_MARCH, -1)
    np.minimum(gap[-1], -1e-3, out=gap[-1])
    np.maximum(gap[0], 1e-3, out=gap[0])
    first = np.argmax(gap <= 0, axis=0).reshape(cells, cells)
    crossing = np.arange(cells * cells).reshape(cells, cells) + cells * cells * first
    near, far = _STEPS.take(first - 1), _STEPS.take(first)
    f_near, f_far = gap.take(crossing - cells * cells), gap.take(crossing)
    for _ in range(3):
        z = near + (far - near) * (f_near / np.maximum(f_near - f_far, 1e-4))
        f = above(x0 + dx * z, y0 + dy * z, z0 + dz * z)
        over = f > 0
        near, f_near = np.where(over, z, near), np.where(over, f, f_near)
        far, f_far = np.where(over, far, z), np.where(over, f_far, f)
    return x0 + dx * z, y0 + dy * z
