"""How well a detector finds what was altered. In: its masks and the true ones. Out: figures of every face, NumPy alone.

Pixel accuracy and IoU are taken where a reader looks, at the size of the true mask; the found one is enlarged to it by
linear interpolation. The measures of attention maps (Dang et al. 2020, arXiv 1910.01717) are taken on the detector's
own grid, as the authors do; the true mask is reduced to it, each cell the mean of its pixels. Where both have one size
nothing is changed. A pixel or a cell counts as altered from 0.5 on, in both masks.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from fdetect_jax.report.tables import Column

_ALTERED = 0.5

FIGURES = (
    Column(
        "iou", "IoU", "what is altered in both masks, of what is altered in either; 1 where neither has any.", "number"
    ),
    Column("pixel_accuracy", "Pixels right", "pixels that both masks call altered, or both not.", "share"),
    Column("pbca", "PBCA", "the same on the grid of the map itself.", "share"),
    Column(
        "iinc", "IINC", "how little the maps have in common, from 0, one map, to 1, nothing; lower is better.", "number"
    ),
    Column(
        "cosine", "Cosine", "of the angle between both maps, not cut at 0.5; 1 is the same up to a factor.", "number"
    ),
    Column("real_share", "Marked in real faces", "pixels of real faces that are called altered; 0 is right.", "share"),
)


@dataclass(frozen=True)
class Localisation:
    """What was found in the fakes of one forgery. title: what a reader sees. faces: whose true mask is known.
    figures: name in ``FIGURES`` -> its mean over these faces."""

    title: str
    faces: int
    figures: Mapping[str, float]


def figures_of(found: np.ndarray, wanted: np.ndarray, real: np.ndarray) -> dict[str, np.ndarray]:
    """Every figure of every face.

    Args:
      found: (N, h, w) in [0, 1], the detector's masks of fakes. wanted: (N, H, W) in [0, 1], the true ones.
      real: (N, h, w) in [0, 1], the detector's masks of the real faces that the fakes were made of.

    Returns:
      (N,) float64 by the names of ``FIGURES``.
    """
    large = _resized(found, wanted.shape[1:], cv2.INTER_LINEAR) >= _ALTERED
    true = wanted >= _ALTERED
    cells = _resized(wanted, found.shape[1:], cv2.INTER_AREA)
    marked = _resized(real, wanted.shape[1:], cv2.INTER_LINEAR) >= _ALTERED
    return {
        "iou": iou(large, true),
        "pixel_accuracy": _share(large == true),
        "pbca": _share((found >= _ALTERED) == (cells >= _ALTERED)),
        "iinc": iinc(found >= _ALTERED, cells >= _ALTERED),
        "cosine": cosine(found, cells),
        "real_share": _share(marked),
    }


def iou(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """(N, H, W) bool, both -> (N,) intersection over union of what is True; 1 where nothing is in either."""
    union = _share(found | wanted)
    return np.where(union > 0, _share(found & wanted) / np.where(union > 0, union, 1), 1.0)


def iinc(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Inverse intersection non-containment of (N, h, w) bool masks -> (N,) in [0, 1], 0 for the same.

    (2 − |I|/|M| − |I|/|G|) / (3 − |U|) with shares of the area: I and U the intersection and the union of the found M
    and the wanted G. Where one of them is empty the first factor is 1, where both are it is 0.
    """
    m, g = _share(found), _share(wanted)
    common, union = _share(found & wanted), _share(found | wanted)
    either, both = (m > 0) | (g > 0), (m > 0) & (g > 0)
    outside = 2 - common / np.where(m > 0, m, 1) - common / np.where(g > 0, g, 1)
    return np.where(both, outside, np.where(either, 1.0, 0.0)) / (3 - union)


def cosine(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """(N, h, w) of 0 or more, both -> (N,) cosine of the angle between them; 0 where one is zero, 1 where both are."""
    a, b = (np.reshape(one, (len(one), -1)).astype(np.float64) for one in (found, wanted))
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    alike = ~a.any(axis=1) & ~b.any(axis=1)
    return np.where(lengths > 0, (a * b).sum(axis=1) / np.where(lengths > 0, lengths, 1), alike.astype(np.float64))


def _share(masks: np.ndarray) -> np.ndarray:
    return masks.mean(axis=(1, 2))


def _resized(masks: np.ndarray, size: tuple[int, ...], how: int) -> np.ndarray:
    """Masks of (height, width) ``size``; unchanged where they have it."""
    if masks.shape[1:] == size:
        return masks
    return np.stack([cv2.resize(one.astype(np.float32), size[::-1], interpolation=how) for one in masks])
