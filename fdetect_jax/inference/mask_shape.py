"""The shape of what a detector marks as altered, and what it hints at. In: masks of faces. Out: Evidence.

Nguyen et al. 2019 (arXiv 1906.06876, section 4) describe the masks of three methods: those of Deepfakes are rectangles,
those of FaceSwap polygons, those of Face2Face follow parts of the face. The measures here are simple ones: how much of
a rectangle around the largest piece, and of its convex hull, that piece fills. A shape is a hint, never a proof.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from fdetect_jax.inference.evidence import MASK, Evidence

ALTERED = 0.5  # a pixel is marked from here on
_LEAST = 0.01  # share of the crop; below it nothing is said of a shape
_PIECE = 0.05  # share of the marked pixels that a piece has at least
_FULL = 0.9  # of a rectangle or of a convex hull

_HINTS = {
    "pieces": "It lies in {pieces} separate pieces, as reenactment of parts of a face leaves it (Face2Face)",
    "rectangle": "It fills {rectangularity:.0%} of a rectangle, as the pasted crops of Deepfakes do",
    "hull": "It has no bays (it fills {convexity:.0%} of its convex hull), as the polygons of FaceSwap",
    "parts": "Its outline has bays (it fills {convexity:.0%} of its convex hull), as where parts of a face were "
    "changed (Face2Face)",
}


@dataclass(frozen=True)
class Shape:
    """share: of all pixels, those that are marked, in [0, 1]. pieces: how many there are, tiny ones left out.

    rectangularity: the largest piece's share of the smallest rectangle around it, turned as fits best; 1 for a
    rectangle, 0.785 for an ellipse. convexity: its share of its convex hull. Both in [0, 1], pixels taken as squares; 0
    where nothing is marked.
    """

    share: float
    pieces: int
    rectangularity: float
    convexity: float

    @property
    def hint(self) -> str:
        """A sentence about the shape, without its end; "" where too little is marked."""
        if self.share < _LEAST:
            return ""
        if self.pieces > 1:
            name = "pieces"
        elif self.rectangularity >= _FULL:
            name = "rectangle"
        else:
            name = "hull" if self.convexity >= _FULL else "parts"
        return _HINTS[name].format(**vars(self))


def shape_of(mask: np.ndarray) -> Shape:
    """The shape of a mask (h, w) in [0, 1]."""
    marked = (mask >= ALTERED).astype(np.uint8)
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(marked, connectivity=4)
    areas = statistics[1:, cv2.CC_STAT_AREA]
    if count == 1:
        return Shape(0.0, 0, 0.0, 0.0)
    y, x = np.nonzero(labels == 1 + int(np.argmax(areas)))
    corners = [np.stack([x + right, y + down], axis=1) for right in (0, 1) for down in (0, 1)]
    hull = cv2.convexHull(np.concatenate(corners).astype(np.float32))
    box, area = cv2.minAreaRect(hull)[1], float(len(x))
    return Shape(
        float(marked.mean()),
        int(np.sum(areas >= _PIECE * areas.sum())),
        min(area / (box[0] * box[1]), 1.0),
        min(area / cv2.contourArea(hull), 1.0),
    )


def of_masks(masks: np.ndarray, scores: np.ndarray) -> Evidence:
    """What the masks of a file's faces say. It speaks for neither side: the score already comes from the same network.

    masks: (N, h, w) in [0, 1]. scores: (N,) P(fake). The evidence's value is the median share of a crop that is marked;
    the shape is that of the face with the highest score.
    """
    shapes = [shape_of(mask) for mask in masks]
    share = float(np.median([shape.share for shape in shapes]))
    faces = "the face" if len(shapes) == 1 else f"the {len(shapes)} faces that look most fake (median)"
    words = f"The detector marks {share:.0%} of the crop of {faces} as altered."
    if hint := shapes[int(np.argmax(scores))].hint:
        words += f" {hint}: a hint at the method, no proof."
    return Evidence(MASK, share, "neither", 0.0, words)
