"""Rows of pictures side by side: (column name -> images) -> what a report shows, or one labelled PNG."""

import io
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np

from fdetect_jax.errors import UserError
from fdetect_jax.files import write_atomic

_DPI = 100
_GAP = 6
_LABEL = 26


@dataclass(frozen=True)
class Gallery:
    """Pictures of the same N faces, one column per treatment.

    columns: ordered name -> (N, H, W, 3) uint8 RGB. scores: name -> (N,) P(fake), for any of the columns.
    Raises ValueError on other shapes or types, unequal N, or scores of a column that is not there.
    """

    columns: dict[str, np.ndarray]
    scores: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self):
        rows = _checked_rows(self.columns)
        for name, scores in self.scores.items():
            if name not in self.columns:
                raise UserError(f"scores of {name!r}, but the gallery's columns are {list(self.columns)}")
            if np.shape(scores) != (rows,):
                raise UserError(f"scores of {name!r} must be ({rows},), found {np.shape(scores)}")


def difference(a: np.ndarray, b: np.ndarray, gain: float = 8.0) -> np.ndarray:
    """|a - b| * gain, clipped. a, b: uint8 of one shape. Returns uint8."""
    distance = np.abs(a.astype(np.float32) - b.astype(np.float32))
    return np.clip(np.rint(distance * gain), 0, 255).astype(np.uint8)


def png(image: np.ndarray, longest: int | None = None) -> bytes:
    """(H, W, 3) uint8 RGB -> PNG, shrunk by area averaging so that no side exceeds ``longest`` pixels."""
    scale = (longest or math.inf) / max(image.shape[:2])
    if scale < 1:
        size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    done, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 9])
    if not done:
        raise UserError(f"OpenCV could not encode an image of {image.shape} {image.dtype}")
    return data.tobytes()


def framed(picture: np.ndarray, side: int) -> np.ndarray:
    """A picture of any size, or a mask (H, W) in [0, 1], in the middle of a square: (side, side, 3) uint8.

    Its proportions are kept; where it does not reach, the square is white.
    """
    if picture.ndim == 2:
        picture = np.repeat(np.round(255 * picture).astype(np.uint8)[..., None], 3, axis=2)
    height, width = picture.shape[:2]
    scale = side / max(height, width)
    size = max(1, round(scale * width)), max(1, round(scale * height))
    picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    square = np.full((side, side, 3), 255, np.uint8)
    x, y = (side - size[0]) // 2, (side - size[1]) // 2
    square[y : y + size[1], x : x + size[0]] = picture
    return square


def gallery_png(columns: Mapping[str, np.ndarray], path: str | os.PathLike) -> None:
    """Writes a contact sheet: one row per face, one column per name, names on top, pixels as they are.

    columns: ordered name -> (N, H, W, 3) uint8 RGB; sizes may differ by column. Raises like ``Gallery``.
    """
    rows = _checked_rows(columns)
    cell_height = max(images.shape[1] for images in columns.values())
    widths = [max(images.shape[2], 64) for images in columns.values()]
    height = _LABEL + rows * (cell_height + _GAP)
    width = _GAP + sum(widths) + _GAP * len(widths)
    sheet = np.full((height, width, 3), 255, np.uint8)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # slow to import, and pages without a sheet do without

    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI)
    left = _GAP
    for (name, images), cell_width in zip(columns.items(), widths, strict=True):
        x = left + (cell_width - images.shape[2]) // 2
        for row, image in enumerate(images):
            y = _LABEL + row * (cell_height + _GAP) + (cell_height - image.shape[0]) // 2
            sheet[y : y + image.shape[0], x : x + image.shape[1]] = image
        points = min(9.5, 1.25 * cell_width / max(len(name), 1))
        centre = (left + cell_width / 2) / width
        figure.text(centre, 1 - _LABEL / 2 / height, name, ha="center", va="center", size=points, parse_math=False)
        left += cell_width + _GAP
    figure.figimage(sheet, zorder=-1)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})
    write_atomic(path, buffer.getvalue())


def _checked_rows(columns: Mapping[str, np.ndarray]) -> int:
    if not columns:
        raise UserError("a gallery needs at least one column, found none")
    for name, images in columns.items():
        if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8:
            raise UserError(f"column {name!r} must be (N, H, W, 3) uint8, found {images.shape} {images.dtype}")
    rows = {name: len(images) for name, images in columns.items()}
    if len(set(rows.values())) > 1 or not all(rows.values()):
        raise UserError(f"columns must hold equally many pictures, at least one; found {rows}")
    return next(iter(rows.values()))
