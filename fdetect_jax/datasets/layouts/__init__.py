"""Public data sets as lists of Items, one file each, and their registry; assign to ``LAYOUTS`` to add one."""

from fdetect_jax.datasets.layouts import celeb_df, deeperforensics, dfdc, dfdc_preview, faceforensics, ffiw, folder
from fdetect_jax.datasets.layouts.base import Item, Layout
from fdetect_jax.errors import UserError

__all__ = ["LAYOUTS", "Item", "Layout", "find_layout"]

LAYOUTS: dict[str, Layout] = {
    one.LAYOUT.name: one.LAYOUT for one in (faceforensics, celeb_df, dfdc, dfdc_preview, ffiw, deeperforensics, folder)
}


def find_layout(name: str) -> Layout:
    """The layout of that name. Raises UserError with all names where there is none."""
    if name not in LAYOUTS:
        raise UserError(f"data set: found {name!r}, wanted one of {', '.join(LAYOUTS)}")
    return LAYOUTS[name]
