"""Reads one photograph. In: a path. Out: (H, W, 3) uint8 RGB, or UnreadableMedia with the reason."""

import struct
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

MAX_BYTES = 64 << 20
MAX_PIXELS = 64_000_000
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})


class UnreadableMedia(ValueError):
    """A file that cannot be used; ``reason`` says why, without the path."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


def read_photo(path: str | Path) -> np.ndarray:
    """Decodes a photograph, upright as its EXIF orientation says.

    The size of the file and the pixels its header announces are checked before anything is decoded. Of
    several frames the first is read; transparent parts come out white; 16 bits become 8.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        UnreadableMedia: missing, not a file, over 64 MiB or 64 megapixels, none of JPEG, PNG, WebP, BMP, TIFF
        (by content,
            not by name), truncated or corrupt.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise UnreadableMedia("not a file" if path.exists() else "no such file")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise UnreadableMedia(f"{size} bytes, at most {MAX_BYTES} are read")
        with warnings.catch_warnings():
            # Pillow's own limits come later than ours and would only add noise.
            warnings.simplefilter("ignore")
            with Image.open(path, formats=FORMATS) as image:
                width, height = image.size
                if width * height > MAX_PIXELS:
                    raise UnreadableMedia(f"{width}x{height} pixels, at most {MAX_PIXELS} are read")
                if width * height == 0:
                    raise UnreadableMedia(f"{width}x{height} pixels")
                return _rgb(ImageOps.exif_transpose(image))
    except UnreadableMedia:
        raise
    except Image.DecompressionBombError as error:
        raise UnreadableMedia(f"too many pixels, at most {MAX_PIXELS} are read") from error
    except Image.UnidentifiedImageError as error:
        raise UnreadableMedia(f"not one of {', '.join(FORMATS)}") from error
    # Decoders meet hostile bytes here, and Pillow's plugins raise all of these on them.
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
        raise UnreadableMedia(f"cannot be decoded: {error}") from error


def _rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I;16"):
        grey = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode in ("I", "F"):
        raise UnreadableMedia(f"pixels of mode {image.mode}, wanted 8 or 16 bits a channel")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))
