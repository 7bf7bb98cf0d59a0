"""Templates into pages. In: the name of a template and what it shows. Out: one HTML file that opens offline, runs no
script and escapes every string.
"""

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jinja2
import numpy as np

from fdetect_jax.report.gallery import png
from fdetect_jax.report.palette import PALETTE

_TEMPLATES = jinja2.Environment(
    autoescape=True,
    loader=jinja2.PackageLoader("fdetect_jax.report"),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True)
class Image:
    """A picture in a page. source: a data URI of its pixels. label: what it shows, as plain text."""

    source: str
    label: str


def render(template: str, *, title: str, description: str = "", facts: tuple[str, ...] = (), **content: Any) -> str:
    """A page. template: a file of ``report/templates``. title, description, facts: of its head, any text."""
    page = _TEMPLATES.get_template(template)
    return page.render(title=title, description=description, facts=facts, palette=PALETTE, **content)


def image_of(pixels: np.ndarray, label: str, side: int) -> Image:
    """pixels: (H, W, 3) uint8 RGB, stored at ``side`` pixels at most."""
    return Image(f"data:image/png;base64,{base64.b64encode(png(pixels, side)).decode()}", label)


def leaves(nested: Mapping, prefix: str = "") -> Iterator[tuple[str, str]]:
    """The leaves of a nested mapping: (names joined by dots, text)."""
    for key, value in nested.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)
