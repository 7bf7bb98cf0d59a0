"""The blended swap, a host forgery. In: two Examples. Out: a ForgedPair.

The donor's face is warped onto the target landmark by landmark, matched to the target's colours and blended in with a
soft edge: the steps of FaceSwap as described in FaceForensics++ (Rössler et al., 2019, section 3.1).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from scipy.spatial import Delaunay, QhullError

from fdetect_jax.faces.landmarks import facing, forehead, mirror, usable
from fdetect_jax.faces.warp import similarity
from fdetect_jax.fields import between
from fdetect_jax.forgery.blending import by_gradients, changed
from fdetect_jax.types import Example, ForgedPair

_SOFTNESS = (0.02, 0.06)  # standard deviation of the edge, as a share of the image's side
_COLOUR = (0.7, 1.0)  # strength of the colour match
_INNER = slice(17, 68)  # landmarks: brows, nose, eyes, lips


@dataclass(frozen=True)
class Swap:
    """A swap before it is blended.

    source: (S', S', 3) uint8, the donor, mirrored if needed. warped: (S, S, 3) uint8, its face on the target's
    landmarks. matched: (S, S, 3) float32 in [0, 255], the same in the target's colours.
    """

    source: np.ndarray
    warped: np.ndarray
    matched: np.ndarray


@dataclass(frozen=True)
class BlendedSwap:
    """Puts the donor's face on the target; mirrors the donor first if it looks the other way.

    Each field is a probability. changed: that the donor was sharpened or softened, and that it was compressed, before
    (see ``blending.changed``). inner: that only the inner face is put in, from the brows to the lower lip, without the
    jaw. gradients: that the face is blended by gradients in place of a soft edge. With all at 0 it is FaceSwap's.
    """

    changed: float = 0.0
    inner: float = 0.0
    gradients: float = 0.0

    def __call__(self, rng: np.random.Generator, target: Example, donor: Callable[[], Example]) -> ForgedPair:
        """Broken landmarks (not finite, all on one line, tiny) are replaced by an upright face in the middle.

        Args:
            rng: the only source of randomness: edge softness, part of the face, strength of the colour match, fields.
            target, donor: with image (S, S, 3) uint8 and landmarks (68, 2); the images' sizes may differ.

        Returns:
            ``real`` is the target's image; ``mask`` is the share of the donor in every pixel of ``fake``; blended by
            gradients, the colours inside change everywhere.
        """
        return self.stages(rng, target, donor)[1]

    def stages(
        self, rng: np.random.Generator, target: Example, donor: Callable[[], Example]
    ) -> tuple[Swap, ForgedPair]:
        """The images that are blended, and the resulting pair."""
        source = donor()
        image, other = target["image"], source["image"]
        size = image.shape[0]
        softness, colour = size * rng.uniform(*_SOFTNESS), rng.uniform(*_COLOUR)
        with_forehead = rng.random() < 0.5
        inner = bool(self.inner) and rng.random() < self.inner
        if self.changed:
            other = changed(rng, other, self.changed)
        onto, off = target["landmarks"], source["landmarks"]
        if usable(onto, size) and usable(off, other.shape[0]):
            if facing(onto) * facing(off) < 0:
                other, off = np.ascontiguousarray(other[:, ::-1]), mirror(off, other.shape[1])
            onto, off = (np.concatenate([points, forehead(points)]).astype(np.float64) for points in (onto, off))
        else:
            onto, off = stand_in(size), stand_in(other.shape[0])
        columns, rows = warp_field(onto, off, size)
        warped = cv2.remap(other, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        outline = onto[_INNER] if inner else onto if with_forehead else onto[:68]
        mask = _soft_mask(outline, size, softness)
        matched = match_colour(warped, image, mask, colour)
        mixed = image + mask[..., None] * (matched - image)
        fake = np.clip(np.round(mixed), 0, 255).astype(np.uint8)
        if self.gradients and rng.random() < self.gradients:
            fake = by_gradients(image, np.round(matched).astype(np.uint8), mask, fake)
        return Swap(other, warped, matched), ForgedPair(image, fake, mask, target.get("mask"))


def check_swap(options: Mapping[str, Any], path: str) -> None:
    """Raises UserError; names the field that is no probability."""
    for name in options:
        between(options, name, 0.0, 1.0, path)


def stand_in(size: int) -> np.ndarray:
    """(78, 2) points of an upright face in the middle of the image."""
    turn = np.linspace(0, 2 * np.pi, 78, endpoint=False)
    return size * np.stack([0.5 + 0.32 * np.cos(turn), 0.5 + 0.4 * np.sin(turn)], 1)


def warp_field(onto: np.ndarray, off: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The position in the source of each target pixel: two (size, size) float32 fields.

    Affine in every triangle of the target's Delaunay triangulation; one similarity outside of it.
    """
    outside = similarity(onto, off)
    maps, label = [outside], np.zeros((size, size), np.int32)
    try:
        corners = Delaunay(onto).simplices
        # Each row of (x, y, 1) of a triangle's corners goes to the source's corners.
        before = np.concatenate([onto[corners], np.ones((len(corners), 3, 1))], -1)
        maps.extend(np.linalg.solve(before, off[corners]).transpose(0, 2, 1))
        for number, corner in enumerate(np.round(onto[corners] * 16).astype(np.int32), 1):
            cv2.fillConvexPoly(label, corner, number, shift=4)
    except (QhullError, np.linalg.LinAlgError):
        maps, label = [outside], np.zeros((size, size), np.int32)
    table = np.stack(maps).astype(np.float32)[label]
    y, x = np.mgrid[:size, :size].astype(np.float32)
    columns = table[..., 0, 0] * x + table[..., 0, 1] * y + table[..., 0, 2]
    rows = table[..., 1, 0] * x + table[..., 1, 1] * y + table[..., 1, 2]
    return columns, rows


def _soft_mask(points: np.ndarray, size: int, softness: float) -> np.ndarray:
    hull = cv2.convexHull(points.astype(np.float32)).reshape(-1, 2)
    # Drawn smaller by the blur's reach, so that the soft edge never leaves the face.
    centre = hull.mean(0)
    radius = np.linalg.norm(hull - centre, axis=1, keepdims=True)
    hull = centre + (hull - centre) * np.clip(1 - 1.5 * softness / np.maximum(radius, 1e-6), 0.3, 1)
    mask = np.zeros((size, size), np.float32)
    cv2.fillConvexPoly(mask, np.round(hull * 16).astype(np.int32), 1.0, shift=4)
    return cv2.GaussianBlur(mask, (0, 0), softness)


def match_colour(image: np.ndarray, reference: np.ndarray, mask: np.ndarray, amount: float) -> np.ndarray:
    """Matches mean and spread of ``image`` in CIELAB under ``mask`` to the reference's (Reinhard et al., 2001).

    Both (S, S, 3) uint8; returns float32 in [0, 255].
    """
    inside = mask > 0.5
    if not inside.any():
        inside = np.ones_like(mask, bool)
    lab, wanted = (cv2.cvtColor(one.astype(np.float32) / 255, cv2.COLOR_RGB2LAB) for one in (image, reference))
    here, there = lab[inside], wanted[inside]
    # The bounds keep the noise of a flat source from being amplified.
    gain = np.clip((there.std(0) + 1e-3) / (here.std(0) + 1e-3), 0.5, 2.0)
    matched = (lab - here.mean(0)) * gain + there.mean(0)
    moved = (lab + np.float32(amount) * (matched - lab)).astype(np.float32)
    return np.clip(cv2.cvtColor(moved, cv2.COLOR_LAB2RGB), 0, 1) * 255
