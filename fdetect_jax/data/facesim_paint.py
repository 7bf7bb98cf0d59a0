"""The whole head as layers: skin, features, ears, neck and clothes, hair.

In: a `Grid`, a `Person`, a `Shot`, a `Face` and the bare head's height map. Out: `Layers`.
"""

import cv2
import numpy as np

from fdetect_jax.data import facesim_features as features
from fdetect_jax.data import facesim_hair as hair
from fdetect_jax.data.facesim_geometry import FLOOR, LEFT, SPAN, TOP, Face, Grid, bells, clamp, half_width
from fdetect_jax.data.facesim_layers import BLOOD, MELANIN, Layers, mix, planes, step, tile, window
from fdetect_jax.data.facesim_person import Person, Shot

_F = np.float32
_SKIN = np.log(np.array([0.86, 0.71, 0.60], _F))


def skin(g: Grid, person: Person, shot: Shot, face: Face) -> np.ndarray:
    """(3, n, n) albedo of the skin, ears and neck included."""
    turn = person.texture & 7
    cloudy = tile("cloudy", g.n, turn)
    uneven = cv2.resize(
        np.ascontiguousarray(person.uneven.transpose(1, 2, 0)), (g.n, g.n), interpolation=cv2.INTER_CUBIC
    )
    mouth = float(face.points[62, 1])
    smile = shot.expression["smile"]
    melanin = _F(person.melanin) + _F(0.028) * uneven[..., 0] + _F(0.018) * cloudy
    melanin += bells(g, [(3.1, 0.6, 1.5, 1.0, 0.035), (-3.1, 0.6, 1.5, 1.0, 0.035), (0, mouth, 3.2, 2.2, 0.02)])
    if person.freckles > 0.02:
        spots = clamp(tile("spots", g.n, turn ^ 3) - 1.1, 0, 1.2)
        where = bells(g, [(0, 2.2, 3.6, 2.2, 0.30), (0, -4, 5, 2, 0.08)])
        melanin += _F(person.freckles) * spots * where
    for x, y, r in person.moles:
        at, xs, ys = window(g, x - 3 * r, x + 3 * r, y - 3 * r, y + 3 * r)
        melanin[at] += 0.5 * np.exp(-((xs - x) ** 2 + (ys - y) ** 2) / r**2)
    flush = 0.28 + 0.12 * smile
    tip = face.nose_size[1]
    blood = _F(person.blood) + _F(0.10) * uneven[..., 1] + _F(0.05) * tile("cloudy", g.n, turn ^ 5)
    blood += bells(
        g,
        [
            (4.2, 3.3, 1.7, 1.3, flush),
            (-4.2, 3.3, 1.7, 1.3, flush),
            (0, tip + 0.2, 1.3, 0.9, 0.28),
            (7.6, 1.7, 0.7, 3, 0.4),
            (-7.6, 1.7, 0.7, 3, 0.4),
            (3.1, 1.0, 1.2, 0.5, 0.16),
            (-3.1, 1.0, 1.2, 0.5, 0.16),
            (1.75, 0, 0.4, 0.5, 0.3),
            (-1.75, 0, 0.4, 0.5, 0.3),
        ],
    )
    grain = tile("grain", g.n, turn ^ 1)
    tone = planes(_SKIN) - planes(MELANIN) * clamp(melanin, 0.0, 1.05) - planes(BLOOD) * blood
    tone += _F(0.022 + 0.02 * person.wrinkles) * grain
    return np.exp(tone, out=tone)


def _ear(g: Grid, layers: Layers, person: Person, face: Face, side: int, behind: np.ndarray, back: np.ndarray) -> tuple:
    """One ear into the height behind the head; returns its window and coverage."""
    wide = float(half_width(face, np.array([1.7]))[0])
    size = 1 + 0.07 * person.shape["ear"]
    at, xs, ys = window(g, *sorted((side * (wide - 1.6), side * (wide + 2.0))), -2.4, 6.2)
    u = (side * xs - wide - 0.18 - 0.10 * (1.7 - ys)) / (0.92 * size)
    v = (ys - 1.9) / (3.1 * size)
    radius = np.sqrt(u * u + v * v)
    ear = step((1 - radius) * 0.9, g, 0.1) * behind[at]
    relief = 0.35 * np.exp(-(((radius - 0.82) / 0.16) ** 2)) - 0.3 * np.exp(-((radius / 0.45) ** 2))
    back[at] += ear * np.maximum(relief - 0.6 - back[at], 0)
    hollow = np.exp(-(((side * xs - wide - 0.25) / 0.35) ** 2) - ((ys - 2.3) / 1.1) ** 2) * ear
    layers.occlusion[at] *= 1 - 0.5 * hollow
    return at, ear


def _body(g: Grid, layers: Layers, person: Person, shot: Shot, face: Face, head: np.ndarray, t: np.ndarray) -> None:
    """Ears, neck and clothes, all behind the head."""
    behind = 1 - head
    back = np.full_like(head, FLOOR)
    cover = step((1 - t) * _F(6.0) + _F(0.12), g)
    at, xs, ys = window(g, LEFT, LEFT + SPAN, 5, TOP + SPAN)
    low = behind[at]
    thick = _F(4.7 + 0.6 * person.masculine + 0.2 * person.shape["fat"]) + _F(0.05) * np.square(clamp(ys - 11, 0, 5))
    column = np.maximum(1 - np.square(xs / thick), 0)
    neck = step(thick - np.abs(xs), g) * low
    collar = 13.4 + 0.9 * np.exp(-((xs / 3.0) ** 2)) + 0.6 * float(shot.hair_shift[2])
    cloth = step(ys - collar, g) * low
    back[at] += neck * (4.0 * np.sqrt(column) - 1.0 - FLOOR)
    for side in (-1, 1):
        where, ear = _ear(g, layers, person, face, side, behind, back)
        cover[where] = np.maximum(cover[where], ear)
    back[at] += cloth * (2.5 - 0.03 * xs**2 - back[at])
    layers.height = back + (layers.height - back) * head
    shade = clamp(1 - (ys - float(face.points[8, 1]) + 1) / 4.5, 0, 1) * neck
    layers.occlusion[at] *= 1 - 0.60 * shade
    mix(layers.albedo, at, planes(shot.cloth), cloth)
    layers.gloss[at] *= 1 - cloth * 0.9
    cover[at] = np.maximum(cover[at], np.maximum(neck, cloth))
    layers.cover = cover


def paint(
    g: Grid, person: Person, shot: Shot, face: Face, base: np.ndarray, t: np.ndarray
) -> tuple[Layers, np.ndarray]:
    """Layers of the whole head, and the combing direction of the hair (2, n, n).

    base: height map of the bare head. t: |x| over the head's half width. Both from `head_height`.
    """
    width = np.maximum(half_width(face, g.ys), 1.2).astype(_F)[:, None]
    head = step((1 - t) * width, g)
    one, zero = np.ones((g.n, g.n), _F), np.zeros((g.n, g.n), _F)
    oily = [
        (0, -5, 3, 2, 0.25),
        (0, 2, 1.1, 3, 0.30),
        (4, 3, 1.4, 1.2, 0.12),
        (-4, 3, 1.4, 1.2, 0.12),
        (0, 10, 1.3, 1, 0.15),
    ]
    layers = Layers(
        albedo=skin(g, person, shot, face),
        height=base.copy(),
        gloss=_F(0.30) + bells(g, oily) * _F(person.shine),
        occlusion=one,
        cover=head,
        hair=zero,
        strand=zero,
        face=head,
        glint=zero.copy(),
    )
    features.paint_folds(g, layers, person, shot, face)
    features.paint_nose(g, layers, face)
    features.paint_mouth(g, layers, person, face)
    for eye in face.eyes:
        features.paint_eye(g, layers, person, shot, eye)
    for side, line in zip((-1, 1), face.brows, strict=True):
        features.paint_brow(g, layers, person, line, side)
    hair.paint_beard(g, layers, person, face, t)
    _body(g, layers, person, shot, face, head, t)
    flow = hair.paint_hair(g, layers, person, shot, face, head)
    layers.face = head * (1 - layers.hair)
    return layers, flow
