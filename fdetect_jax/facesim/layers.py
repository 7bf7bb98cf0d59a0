"""The canvas as layers, and the few tools that every part of the head is painted with.

Colours are linear RGB. Patterns are placed in centimetres, whatever the size of the canvas.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from fdetect_jax.facesim.canvas import LEFT, TOP, Grid, clamp

TILE = 512
_F = np.float32
MELANIN = np.array([2.15, 2.75, 3.15], _F)  # absorption of red, green and blue at full melanin
BLOOD = np.array([0.10, 0.55, 0.52], _F)


@dataclass
class Layers:
    """float32 maps of one head over an n x n canvas.

    albedo: (3, n, n) linear RGB. The rest (n, n). height: cm. gloss: strength of the highlight. occlusion: 1
    open .. 0 hidden from light. cover, hair, face: coverage by the head, by hair, by bare skin of the face.
    strand: hair texture, zero mean. glint: added light.
    """

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
def tiles() -> dict[str, np.ndarray]:
    """Fixed noise, TILE square, zero mean and unit deviation: cloudy, grain (pores), strand (along y)."""
    rng = np.random.default_rng(20240611)
    cloudy = np.zeros((TILE, TILE), _F)
    for octave in range(2, 8):
        k = 2**octave
        small = rng.normal(0, 1, (4, k, k)).astype(_F)[0]
        cloudy += cv2.resize(small, (TILE, TILE), interpolation=cv2.INTER_CUBIC) * 0.62**octave
    grain = cv2.GaussianBlur(rng.normal(0, 1, (TILE, TILE)).astype(_F), (0, 0), 1.3, borderType=cv2.BORDER_REFLECT)
    fine = cv2.GaussianBlur(rng.normal(0, 1, (TILE, TILE)).astype(_F), (0, 0), sigmaX=0.8, sigmaY=28)
    broad = cv2.GaussianBlur(rng.normal(0, 1, (TILE, TILE)).astype(_F), (0, 0), sigmaX=4, sigmaY=60)
    clump = cv2.GaussianBlur(rng.normal(0, 1, (TILE, TILE)).astype(_F), (0, 0), sigmaX=12, sigmaY=90)
    strand = 0.45 * _unit(fine) + 0.5 * _unit(broad) + 0.5 * _unit(clump)
    short = cv2.GaussianBlur(rng.normal(0, 1, (TILE, TILE)).astype(_F), (0, 0), sigmaX=0.9, sigmaY=3.2)
    spots = cv2.GaussianBlur(rng.normal(0, 1, (TILE, TILE)).astype(_F), (0, 0), 2.6)
    return {
        "cloudy": _unit(cloudy),
        "grain": _unit(grain),
        "strand": _unit(strand),
        "short": _unit(short),
        "spots": _unit(spots),
    }


@lru_cache(maxsize=96)
def tile(name: str, n: int, turn: int) -> np.ndarray:
    look = tiles()[name]
    if turn & 1:
        look = look[:, ::-1]
    if turn & 2:
        look = look[::-1]
    if turn & 4 and name not in ("strand", "short"):
        look = look.T
    how = cv2.INTER_AREA if n < TILE else cv2.INTER_CUBIC
    return cv2.resize(np.ascontiguousarray(look), (n, n), interpolation=how)


def step(distance: np.ndarray, g: Grid, soft: float = 0.0) -> np.ndarray:
    """Coverage of the side where distance (cm) > 0, antialiased over one pixel or `soft` cm."""
    return clamp(distance * _F(1 / max(soft, 1 / g.ppc)) + _F(0.5), 0, 1)


def window(g: Grid, x0: float, x1: float, y0: float, y1: float):
    """Row and column slices of a box in cm, and its xs (1, w) and ys (h, 1)."""
    n, ppc = g.n, g.ppc
    a, b = max(int((x0 - LEFT) * ppc), 0), min(int((x1 - LEFT) * ppc) + 1, n)
    c, d = max(int((y0 - TOP) * ppc), 0), min(int((y1 - TOP) * ppc) + 1, n)
    return (slice(c, d), slice(a, b)), g.xs[None, a:b], g.ys[c:d, None]


@dataclass(frozen=True)
class Pair:
    """Two windows that mirror each other, left of the picture first; arrays over them are (2, …, h, w).

    The left one is read from right to left, so that column 0 is the one nearest to the middle on both sides.
    """

    left: tuple[slice, slice]
    right: tuple[slice, slice]

    def of(self, layer: np.ndarray) -> np.ndarray:
        """A copy of both windows of a layer (..., n, n)."""
        return np.stack([layer[(..., *self.left)][..., ::-1], layer[(..., *self.right)]])

    def put(self, layer: np.ndarray, both: np.ndarray) -> None:
        layer[(..., *self.left)] = both[0, ..., ::-1]
        layer[(..., *self.right)] = both[1]


def pair(g: Grid, x0: float, x1: float, y0: float, y1: float):
    """The `Pair` of a box in cm right of the middle, its |xs| (1, w) and ys (h, 1)."""
    right, xs, ys = window(g, x0, x1, y0, y1)
    rows, columns = right
    return Pair((rows, slice(g.n - columns.stop, g.n - columns.start)), right), xs, ys


def planes(colour) -> np.ndarray:
    """A colour (3,) as (3, 1, 1) float32."""
    return np.asarray(colour, _F)[:, None, None]


def mix(albedo: np.ndarray, at, colour: np.ndarray, alpha: np.ndarray) -> None:
    """Lay colour, (3, 1, 1) or (3, h, w), over a window of the planes with this opacity (h, w)."""
    part = albedo[:, at[0], at[1]]
    part += (colour - part) * alpha
