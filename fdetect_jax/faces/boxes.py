"""Boxes of faces: their area, their overlap, and which two show one face. A box is (x0, y0, x1, y1) in pixels."""

from collections.abc import Sequence

SAME = 0.3  # intersection over union of two boxes of one face, at least
_WITHIN = 0.5  # or the share of the smaller one that lies in the larger, at least


def area(box: Sequence[float]) -> float:
    """The area of a box (x0, y0, x1, y1)."""
    return (box[2] - box[0]) * (box[3] - box[1])


def overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union of two boxes, in [0, 1]."""
    shared = _shared(one, other)
    return shared / (area(one) + area(other) - shared) if shared else 0.0


def same_face(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether two boxes show one face: they overlap well, or most of the smaller one lies in the larger."""
    return overlap(one, other) >= SAME or _shared(one, other) >= _WITHIN * min(area(one), area(other))


def _shared(one: Sequence[float], other: Sequence[float]) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return width * height if width > 0 and height > 0 else 0.0
