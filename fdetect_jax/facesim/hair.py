"""Hair and beard, painted into the layers.

In: `Layers` over a `Grid`, and the `Person`, `Shot` and `Face` they show. Out: the same layers, changed, and
the direction the hair is combed in, for its highlight.
"""

from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

from fdetect_jax.facesim.canvas import FLOOR, Grid, clamp
from fdetect_jax.facesim.geometry import Head, half_width
from fdetect_jax.facesim.layers import TILE, Layers, mix, planes, step, tile, tiles, window
from fdetect_jax.facesim.person import Person, Shot
from fdetect_jax.facesim.shape import Face

_F = np.float32
_CENTRE = 2.0  # y of the middle of the opening for the face


class Style(NamedTuple):
    """Lengths in cm.

    top, sides: thickness. end: y where the sides stop. opening: half width of the face left free. flare: how
    much the sides widen downwards. fringe: how far the hairline comes down. sweep: slope of the fringe away
    from the parting. curl: 0 straight .. 1.6 tight.
    """

    top: float
    sides: float
    end: float
    opening: float
    flare: float
    fringe: float
    sweep: float
    curl: float


_STYLES = {
    "bald": None,
    "buzz": Style(0.12, 0.10, 0.8, 6.35, 0.0, 0.0, 0.0, 0.0),
    "short": Style(0.7, 0.35, 1.0, 6.3, 0.0, 0.2, 0.1, 0.1),
    "swept": Style(1.2, 0.4, 1.2, 6.3, 0.0, 1.2, 0.35, 0.1),
    "curly": Style(1.8, 1.5, 3.0, 6.1, 0.0, 0.9, 0.0, 1.0),
    "bob": Style(0.9, 1.4, 9.5, 5.95, 0.08, 0.5, 0.25, 0.1),
    "long": Style(0.9, 1.5, 30.0, 6.0, 0.16, 0.3, 0.15, 0.3),
    "fringe": Style(1.0, 1.3, 30.0, 5.9, 0.10, 3.6, 0.05, 0.1),
    "tied": Style(0.45, 0.12, -1.0, 6.4, 0.0, 0.0, 0.1, 0.1),
    "afro": Style(3.0, 3.2, 4.5, 6.1, 0.0, 0.4, 0.0, 1.6),
    "receding": Style(0.35, 0.3, 1.0, 6.3, 0.0, -2.2, 0.0, 0.1),
}


@lru_cache(maxsize=1)
def _soft_strands() -> np.ndarray:
    """Half of the size: it stays in the processor's cache."""
    soft = cv2.GaussianBlur(tiles()["strand"], (0, 0), sigmaX=1.6, sigmaY=2)
    return cv2.resize(soft, (TILE // 2, TILE // 2), interpolation=cv2.INTER_AREA)


def _strands(g: Grid, person: Person, curl: float) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Strand texture combed away from the parting, and the combing direction x and y."""
    dx = (g.xs - _F(person.part * 0.8))[None]
    dy = (g.ys + _F(15.5))[:, None]
    r = np.sqrt(np.square(dx) + np.square(dy))
    angle = np.arctan2(dx, dy)
    wave = person.wave * 0.5 + curl
    source = _soft_strands() if g.ppc < 12 else tiles()["strand"]
    size = len(source)
    along = r * _F(size / 40)
    across = (angle * _F(9.0) + _F(0.10 + 0.30 * wave) * np.sin(r * _F(1.3 + 0.9 * curl) + 5 * angle)) * _F(size / 27)
    across += _F((person.texture % 300 + 100) * (size / TILE))
    look = cv2.remap(source, across, along, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    if curl > 0.4:
        look = 0.5 * look + 0.8 * tile("cloudy", g.n, 1) + 0.7 * min(curl, 1.0) * tile("spots", g.n, 2)
    return look, (dx / r, dy / r)


def _ring(g: Grid, person: Person, shot: Shot, head: Head, style: Style) -> np.ndarray:
    """(n, n): below 0 in the opening the hair leaves for the face, above 0 under hair."""
    xs, ys = g.xs[None], g.ys[:, None]
    side = float(np.sign(person.part)) if abs(person.part) > 1.2 else 0.0
    if style.fringe < 3:
        lean = -side * style.sweep * (xs - person.part) * clamp((6 - np.abs(xs)) / 3, 0, 1)
    else:
        lean = 0.12 * np.cos(xs * 0.9)
    if side == 0 and style.sides > 1 and style.fringe < 3 and style.curl < 1:
        lean = lean - 0.9 * np.exp(-((xs - person.part) ** 2) / 3)
    crown = person.hairline + style.fringe + 0.15 * float(shot.hair_shift[2]) + lean
    reach = style.opening + 0.06 * person.shape["forehead"]
    if style.end > 8:
        rim = head.width.astype(_F)[:, None] - _F(0.3)
        reach = reach + (np.maximum(rim, 3.5) - reach) * clamp((ys + 1.5) / 6, 0, 1)
    across = np.abs(xs) / reach
    above = np.maximum((_CENTRE - ys) / np.maximum(_CENTRE - crown, 0.5), 0)
    return across * across * across + above * above * above - 1


def paint_hair(
    g: Grid, layers: Layers, person: Person, shot: Shot, face: Face, head: Head, cover: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """Puts hair over the head, `cover`; returns the combing direction, x and y (n, n) each, if there is hair."""
    style = _STYLES[person.style]
    if style is None:
        return None
    top, sides, _, _, flare, _, _, curl = style
    shift = shot.hair_shift.tolist()
    strand, flow = _strands(g, person, curl)
    xs, ys = np.abs(g.xs)[None], g.ys[:, None]
    width = half_width(face, np.minimum(g.ys, 2.0)).astype(_F)
    width = np.maximum(width, width[-1] * (g.ys > 0))[:, None]
    extent = width + sides * clamp((ys + 12) / 7, 0.3, 1) + 0.10 * shift[0] * (sides > 0.5)
    extent = extent + flare * clamp(ys - 2, 0, 10) * 1.3
    rough = 0.10 + 0.35 * min(curl, 1) + 0.12 * (sides > 1)
    outer = extent + rough * strand - xs
    ends = style.end + 0.5 * strand + 0.3 * shift[1] - ys
    ring = _ring(g, person, shot, head, style)
    inward = ring * 1.9 + 0.16 * strand * (1 if person.style != "buzz" else 0.4)
    edge = 0.5 if person.style in ("buzz", "receding") else 0.16
    alpha = step(inward, g, edge) * step(outer, g, 0.14) * step(ends, g, 0.5)
    low = slice(int(np.searchsorted(g.ys, 1.5)), g.n)  # below it hair is thinned out over the face, and shaded
    alpha[low] *= 1 - cover[low] * clamp((ys[low] - 5.0) / 1.5, 0, 1)
    if person.style == "buzz":
        alpha = alpha * 0.78
    if person.style == "receding":
        alpha = alpha * clamp(0.35 + xs / 6.5 - clamp((-7.5 - ys) / 8, 0, 0.4), 0, 1)
    thick = top * clamp((1.0 - ys) / 6, 0, 1) + sides * 0.6 * clamp(ring, 0, 1)
    shell = layers.height
    if sides > 0.5:
        t = np.minimum(xs / (extent + 0.05), 1)
        shell = np.maximum(shell, FLOOR + 1.0 + 5.2 * np.sqrt(1 - t * t))
    raised = np.maximum(layers.height + thick * clamp(inward / 0.5, 0, 1), shell)
    if top + sides > 0.4:
        raised += 0.09 * strand
    # Beyond the silhouette the surface goes on unseen, so that its edge is cut by coverage and not by a wall.
    beyond = (outer > -0.8) & (cover < 0.5) & (ends > -0.3) & (inward > -0.1)
    layers.height += (raised - layers.height) * np.maximum(clamp(alpha * 1.5, 0, 1), beyond.astype(_F))
    layers.albedo += (planes(person.hair) * clamp(1 + 0.34 * strand, 0.25, 2.2) - layers.albedo) * alpha
    shadow = clamp(1 - np.abs(inward + 0.15) / 0.55, 0, 1) * (0.35 if top + sides > 0.9 else 0.12)
    layers.occlusion *= 1 - shadow * (1 - alpha) * (ring < 0.1).astype(_F)
    deep = clamp((width[low] + 1.2 - xs) / 1.2, 0, 1) * (0.55 * clamp((ys[low] - 1.5) / 5, 0, 1))
    layers.occlusion[low] *= 1 - deep * alpha[low]
    layers.hair, layers.strand = alpha, strand
    layers.cover = np.maximum(layers.cover, alpha)
    layers.gloss *= 1 - alpha
    return flow


def paint_beard(g: Grid, layers: Layers, person: Person, face: Face, rim: np.ndarray) -> None:
    """Stubble as a tint; moustache, chin and cheeks as short hairs. rim: |x| over the head's half width."""
    stubble, moustache, chin, cheeks = (float(v) for v in person.beard)
    if max(person.beard) <= 0.02:
        return
    c, _, _ = window(g, -8, 8, 0, float(face.points[8, 1]) + 1.2)
    xs, ys = g.xs[None, c[1]], g.ys[c[0], None]
    ax = np.abs(xs)
    mouth, low = float(face.points[62, 1]), float(face.points[57, 1])
    corner = float(face.points[54, 0])
    base = float(face.points[33, 1])
    top = float(face.points[50, 1])
    lip = clamp((ys - base - 0.25) / 0.35, 0, 1) * clamp(
        (top + 0.1 + 0.42 * np.maximum(ax - 0.6, 0) - ys) / 0.3 + 0.5, 0, 1
    )
    lip = lip * clamp((corner + 0.55 - ax - 0.55 * np.maximum(top - ys, 0)) / 0.9, 0, 1)
    jaw = clamp((low + 0.55 - _F(0.2) * (ax < 0.6) - ys) / -0.4, 0, 1) * clamp((3.0 - ax) / 0.8 + 0.5, 0, 1)
    side_strip = (
        clamp((ax - corner + 0.1) / 0.4, 0, 1)
        * clamp((3.0 - ax) / 0.8 + 0.5, 0, 1)
        * clamp((ys - mouth + 0.5) / 0.6, 0, 1)
    )
    jaw = np.maximum(jaw, side_strip * (0.75 if moustache > 0.3 else 0.0))
    line = mouth - 0.6 - 1.25 * (ax - 3.0)
    cheek = clamp((ys - line) / 0.9, 0, 1) * clamp((ax - np.where(ys > low, _F(1.6), _F(corner - 0.1))) / 0.7, 0, 1)
    full = np.maximum(np.maximum(lip * moustache, jaw * chin), cheek * cheeks)
    full = full * clamp((1.04 - rim[c]) * 12, 0, 1)
    hairs = tile("short", g.n, (person.texture >> 5) & 3)[c]
    clump = tile("strand", g.n, (person.texture >> 8) & 3)[c]
    alpha = clamp(full * 2.1 - 0.55 + full * (0.34 * hairs + 0.24 * clump), 0, 0.95)
    shadow = np.maximum(np.maximum(lip, jaw), cheek) * clamp((1.02 - rim[c]) * 12, 0, 1) * stubble
    layers.albedo[:, c[0], c[1]] *= 1 - planes([0.36, 0.30, 0.25]) * (shadow * (1 + _F(0.25) * hairs))
    colour = planes(person.brow_color * 0.9) * clamp(1 + 0.5 * hairs + 0.3 * clump, 0.3, 2.4)
    mix(layers.albedo, c, colour, alpha)
    layers.height[c] += 0.30 * alpha + 0.05 * alpha * (hairs + clump)
    layers.gloss[c] *= 1 - 0.85 * alpha
