"""The canvas that a head is painted on, and smooth curves and forms over it, in centimetres.

x to the right of the picture, y down, z towards the viewer; the origin is midway between the eyes. The canvas is a
27 cm square seen from the front.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

SPAN, LEFT, TOP = 27.0, -13.5, -11.8
FLOOR = -2.5  # height of the canvas outside head and hair


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
