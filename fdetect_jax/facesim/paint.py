"""The whole head as layers: skin, features, ears, neck and clothes, hair.

In: a `Grid`, a `Person`, a `Shot`, a `Face` and the bare head's height map. Out: `Layers`.
"""

from functools import lru_cache

import numpy as np

from fdetect_jax.facesim import features, hair
from fdetect_jax.facesim.canvas import FLOOR, LEFT, SPAN, TOP, Grid, bell, bells, clamp, enlarge, grid
from fdetect_jax.facesim.geometry import Head, half_width
from fdetect_jax.facesim.layers import BLOOD, MELANIN, Layers, mix, pair, planes, step, tile, window
from fdetect_jax.facesim.person import Person, Shot
from fdetect_jax.facesim.shape import Face

_F = np.float32
_SKIN = np.log(np.array([0.86, 0.71, 0.60], _F))


_FIXED = {
    "sockets": [(3.1, 0.6, 1.5, 1.0, 0.035), (-3.1, 0.6, 1.5, 1.0, 0.035)],
    "freckled": [(0, 2.2, 3.6, 2.2, 0.30), (0, -4, 5, 2, 0.08)],
    "cheeks": [(4.2, 3.3, 1.7, 1.3, 1), (-4.2, 3.3, 1.7, 1.3, 1)],
    "flushed": [
        (7.6, 1.7, 0.7, 3, 0.4),
        (-7.6, 1.7, 0.7, 3, 0.4),
        (3.1, 1.0, 1.2, 0.5, 0.16),
        (-3.1, 1.0, 1.2, 0.5, 0.16),
        (1.75, 0, 0.4, 0.5, 0.3),
        (-1.75, 0, 0.4, 0.5, 0.3),
    ],
    "oily": [
        (0, -5, 3, 2, 0.25),
        (0, 2, 1.1, 3, 0.30),
        (4, 3, 1.4, 1.2, 0.12),
        (-4, 3, 1.4, 1.2, 0.12),
        (0, 10, 1.3, 1, 0.15),
    ],
}


@lru_cache(maxsize=64)
def _fixed(name: str, n: int) -> np.ndarray:
    """(n, n): what every head has in the same place; not to be written to."""
    return bells(grid(n), _FIXED[name])


def skin(g: Grid, person: Person, shot: Shot, face: Face) -> np.ndarray:
    """(3, n, n) albedo of the skin, ears and neck included."""
    turn, n = person.texture & 7, g.n
    pale, red = (enlarge(u, n) for u in person.uneven)
    mouth = float(face.points[62, 1])
    melanin = _F(0.028) * pale + _F(0.018) * tile("cloudy", n, turn)
    melanin += _fixed("sockets", n) + bell(g, 0, mouth, 3.2, 2.2, 0.02)
    melanin += _F(person.melanin)
    if person.freckles > 0.02:
        spots = clamp(tile("spots", n, turn ^ 3) - 1.1, 0, 1.2)
        melanin += _F(person.freckles) * spots * _fixed("freckled", n)
    for x, y, r in person.moles.tolist():
        at, xs, ys = window(g, x - 3 * r, x + 3 * r, y - 3 * r, y + 3 * r)
        melanin[at] += 0.5 * np.exp((np.square(xs - x) + np.square(ys - y)) * (-1 / r**2))
    blood = _F(0.10) * red + _F(0.05) * tile("cloudy", n, turn ^ 5) + _fixed("flushed", n)
    blood += _F(0.28 + 0.12 * shot.expression["smile"]) * _fixed("cheeks", n)
    blood += bell(g, 0, face.nose_size[1] + 0.2, 1.3, 0.9, 0.28) + _F(person.blood)
    tone = clamp(melanin, 0.0, 1.05) * -planes(MELANIN)
    tone -= planes(BLOOD) * blood
    tone += planes(_SKIN) + _F(0.022 + 0.02 * person.wrinkles) * tile("grain", n, turn ^ 1)
    return np.exp(tone, out=tone)


def _ears(g: Grid, layers: Layers, person: Person, face: Face, behind: np.ndarray, back: np.ndarray) -> tuple:
    """Both ears into the height behind the head; returns their windows and the coverage of the right one."""
    wide = float(half_width(face, np.array([1.7]))[0])
    size = 1 + 0.07 * person.shape["ear"]
    at, xs, ys = pair(g, wide - 1.6, wide + 2.0, -2.4, 6.2)
    u = (xs + 0.10 * ys - (wide + 0.18 + 0.17)) / (0.92 * size)
    v = (ys - 1.9) / (3.1 * size)
    radius = np.sqrt(np.square(u) + np.square(v))
    ear = step((1 - radius) * 0.9, g, 0.1) * behind[at.right]
    relief = 0.35 * np.exp(-np.square((radius - 0.82) / 0.16)) - 0.3 * np.exp(-np.square(radius / 0.45))
    low = back[at.right]
    low = low + ear * np.maximum(relief - 0.6 - low, 0)
    at.put(back, np.stack([low, low]))
    hollow = np.exp(-np.square((xs - wide - 0.25) / 0.35) - np.square((ys - 2.3) / 1.1)) * ear
    at.put(layers.occlusion, at.of(layers.occlusion) * (1 - 0.5 * hollow))
    return at, ear


def _body(g: Grid, layers: Layers, person: Person, shot: Shot, face: Face, cover: np.ndarray, rim: np.ndarray) -> None:
    """Ears, neck and clothes, all behind the head. cover: coverage by the head."""
    behind = 1 - cover
    back = np.full_like(cover, FLOOR)
    whole = step((1 - rim) * _F(6.0) + _F(0.12), g)
    at, xs, ys = window(g, LEFT, LEFT + SPAN, 5, TOP + SPAN)
    low, ax, lower = behind[at], np.abs(xs), back[at]
    thick = _F(4.7 + 0.6 * person.masculine + 0.2 * person.shape["fat"]) + _F(0.05) * np.square(clamp(ys - 11, 0, 5))
    neck = step(thick - ax, g) * low
    collar = 13.4 + 0.9 * np.exp(-np.square(xs / 3.0)) + 0.6 * float(shot.hair_shift[2])
    cloth = step(ys - collar, g) * low
    lower += neck * (4.0 * np.sqrt(np.maximum(1 - np.square(ax / thick), 0)) - (1.0 + FLOOR))
    ears, ear = _ears(g, layers, person, face, behind, back)
    ears.put(whole, np.maximum(ears.of(whole), ear))
    lower += cloth * ((2.5 - 0.03 * np.square(xs)) - lower)
    layers.height = back + (layers.height - back) * cover
    shade = clamp((float(face.points[8, 1]) + 3.5 - ys) / 4.5, 0, 1)
    layers.occlusion[at] *= 1 - (0.60 * shade) * neck
    mix(layers.albedo, at, planes(shot.cloth), cloth)
    layers.gloss[at] *= 1 - cloth * 0.9
    whole[at] = np.maximum(whole[at], np.maximum(neck, cloth))
    layers.cover = whole


def paint(
    g: Grid, person: Person, shot: Shot, face: Face, head: Head
) -> tuple[Layers, tuple[np.ndarray, np.ndarray] | None]:
    """Layers of the whole head, and the combing direction of its hair, x and y (n, n) each, if it has any."""
    width = np.maximum(head.width, 1.2).astype(_F)[:, None]
    cover = step((1 - head.rim) * width, g)
    one, zero = np.ones((g.n, g.n), _F), np.zeros((g.n, g.n), _F)
    layers = Layers(
        albedo=skin(g, person, shot, face),
        height=head.height.copy(),
        gloss=_F(0.30) + _fixed("oily", g.n) * _F(person.shine),
        occlusion=one,
        cover=cover,
        hair=zero,
        strand=zero,
        face=cover,
        glint=zero.copy(),
    )
    features.paint_folds(g, layers, person, shot, face)
    features.paint_nose(g, layers, face)
    features.paint_mouth(g, layers, person, face)
    features.paint_eyes(g, layers, person, shot, face.eyes)
    features.paint_brows(g, layers, person, face)
    hair.paint_beard(g, layers, person, face, head.rim)
    _body(g, layers, person, shot, face, cover, head.rim)
    flow = hair.paint_hair(g, layers, person, shot, face, head, cover)
    layers.face = cover * (1 - layers.hair)
    return layers, flow
