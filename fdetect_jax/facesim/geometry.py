"""The bare head as a height field over the frontal plane, and its projection into the picture.

In: a `Person`, a `Shot` and their `Face`. Out: a height map over the canvas in centimetres, and the map from picture
pixels back to canvas pixels.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from fdetect_jax.facesim.canvas import FLOOR, LEFT, TOP, Grid, bells, curve, enlarge
from fdetect_jax.facesim.person import Person, Shot
from fdetect_jax.facesim.shape import Face

PIVOT = np.array([0.0, 1.9, 1.0])
_MARCH = 12  # steps of every ray before refinement
_STEPS = np.linspace(11.0, FLOOR - 3.0, _MARCH, dtype=np.float32)


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
        (abs(float(face.points[54, 0])) + 0.45, float(face.points[54, 1]) + 0.1, 0.35, 0.4, -0.22 - 0.25 * smile),
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


def view(face: Face, shot: Shot, size: int) -> View:
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
