"""Reads one photograph. In: a path. Out: (H, W, 3) uint8 RGB, or UnreadableMedia with the reason."""

import contextlib
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from fdetect_jax.media.limits import Limits, UnreadableMedia

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})


def read_photo(path: str | Path, limits: Limits | None = None) -> np.ndarray:
    """Decodes a photograph and turns it upright according to its EXIF orientation.

    The size of the file and the pixel count in its header are checked before anything is decoded. Of several frames
    the first is read; transparent parts become white; 16 bits become 8.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        UnreadableMedia: missing, not a file, over the limits, not JPEG, PNG, WebP, BMP or TIFF (by content, not by
            name), truncated or corrupt.
    """
    with open_photo(path, limits or Limits()) as image:
        return to_rgb(ImageOps.exif_transpose(image))


@contextlib.contextmanager
def open_photo(path: str | Path, limits: Limits) -> Iterator[Image.Image]:
    """Yields a picture of an allowed size, of which nothing is decoded yet.

    What Pillow raises in the block on hostile bytes becomes UnreadableMedia, as ``read_photo`` raises it.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise UnreadableMedia("not a file" if path.exists() else "no such file", passing=True)
        size = path.stat().st_size
        if size > limits.photo_bytes:
            raise UnreadableMedia(f"{size} bytes, at most {limits.photo_bytes} are read")
        with warnings.catch_warnings():
            # Pillow applies its own limits later than ours; they would only add warnings.
            warnings.simplefilter("ignore")
            with Image.open(path, formats=FORMATS) as image:
                width, height = image.size
                if width * height > limits.photo_pixels:
                    raise UnreadableMedia(f"{width}x{height} pixels, at most {limits.photo_pixels} are read")
                if max(width, height) > limits.photo_side:
                    raise UnreadableMedia(f"{width}x{height} pixels, at most {limits.photo_side} a side are read")
                if width * height == 0:
                    raise UnreadableMedia(f"{width}x{height} pixels")
                yield image
    except UnreadableMedia:
        raise
    except Image.DecompressionBombError as error:
        raise UnreadableMedia(f"too many pixels, at most {limits.photo_pixels} are read") from error
    except Image.UnidentifiedImageError as error:
        raise UnreadableMedia(f"not one of {', '.join(FORMATS)}") from error
    # Pillow's plugins raise all of these on hostile bytes.
    except (
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
        IndexError,
        KeyError,
        TypeError,
        OverflowError,
        struct.error,
    ) as error:
        # Pillow's own OSErrors have no number; one of the system may pass.
        passing = isinstance(error, OSError) and error.errno is not None
        raise UnreadableMedia(f"cannot be decoded: {error}", passing) from error


def to_rgb(image: Image.Image) -> np.ndarray:
    """A picture as (H, W, 3) uint8 RGB on white. Raises UnreadableMedia for 32 bits a channel."""
    if image.mode.startswith("I;16"):
        grey = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode in ("I", "F"):
        raise UnreadableMedia(f"pixels of mode {image.mode}, wanted 8 or 16 bits a channel")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))
