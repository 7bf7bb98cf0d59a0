"""Photographs come in upright as RGB bytes, or not at all and with a reason."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from fdetect_jax.media.limits import Limits, UnreadableMedia
from fdetect_jax.media.photos import read_photo


def _picture():
    y, x = np.mgrid[:24, :40]
    return np.stack([x * 6, y * 10, 255 - x * 6], -1).astype(np.uint8)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_every_format_by_content_not_by_name(tmp_path, kind):
    path = tmp_path / "photo.dat"
    options = {"quality": 95} if kind in ("JPEG", "WEBP") else {}
    Image.fromarray(_picture()).save(path, format=kind, **options)
    found = read_photo(path)
    assert found.dtype == np.uint8
    assert found.flags.writeable
    atol = 40 if options else 0  # subsampled colour
    np.testing.assert_allclose(found.astype(int), _picture(), atol=atol)


def test_exif_orientation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    Image.fromarray(_picture()).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_photo(tmp_path / "a.png"), np.rot90(_picture(), -1))


def test_other_pixel_kinds(tmp_path):
    grey = _picture()[..., 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_photo(tmp_path / "grey.png"), np.repeat(grey[..., None], 3, 2))
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(read_photo(tmp_path / "deep.png"), np.repeat(grey[..., None], 3, 2))
    Image.fromarray(_picture()).convert("CMYK").save(tmp_path / "print.jpg", quality=95)
    np.testing.assert_allclose(read_photo(tmp_path / "print.jpg").astype(int), _picture(), atol=40)
    clear = np.dstack([_picture(), np.zeros((24, 40), np.uint8)])
    clear[:, 20:, 3] = 255
    Image.fromarray(clear).save(tmp_path / "clear.png")
    found = read_photo(tmp_path / "clear.png")
    assert (found[:, :20] == 255).all()
    np.testing.assert_array_equal(found[:, 20:], _picture()[:, 20:])


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(UnreadableMedia, match="no such file"):
        read_photo(tmp_path / "none.jpg")
    with pytest.raises(UnreadableMedia, match="not a file"):
        read_photo(tmp_path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff\xd8\xff\xe0" + bytes(50), b"GIF89a" + bytes(40)])
def test_what_is_no_photo(tmp_path, content):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(UnreadableMedia) as caught:
        read_photo(tmp_path / "a.jpg")
    assert caught.value.reason


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_truncated(tmp_path, kind):
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, format=kind)
    (tmp_path / "a").write_bytes(buffer.getvalue()[: buffer.tell() // 2])
    with pytest.raises(UnreadableMedia, match="cannot be decoded"):
        read_photo(tmp_path / "a")


def test_the_header_decides_before_anything_is_decoded(tmp_path):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    for width, height in ((9_000, 9_000), (60_000, 60_000), (1, 65_536)):
        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        # A few bytes of data: decoding would fail in another way.
        content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"0"))
        (tmp_path / "bomb.png").write_bytes(content)
        with pytest.raises(UnreadableMedia, match="pixels, at most"):
            read_photo(tmp_path / "bomb.png")


def test_large_files_are_not_opened(tmp_path, monkeypatch):
    Image.fromarray(_picture()).save(tmp_path / "a.png")
    size = (tmp_path / "a.png").stat().st_size
    read_photo(tmp_path / "a.png", Limits(photo_bytes=size))
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("opened"))
    with pytest.raises(UnreadableMedia, match=f"{size} bytes"):
        read_photo(tmp_path / "a.png", Limits(photo_bytes=size - 1))


def test_a_damaged_exif_block(tmp_path):
    content = io.BytesIO()
    Image.new("RGB", (8, 8)).save(content, "PNG")
    png, exif = content.getvalue(), b"MM\0*"
    block = struct.pack(">I", len(exif)) + b"eXIf" + exif + struct.pack(">I", zlib.crc32(b"eXIf" + exif))
    (tmp_path / "exif.png").write_bytes(png[:33] + block + png[33:])  # after the header
    with pytest.raises(UnreadableMedia, match="cannot be decoded"):
        read_photo(tmp_path / "exif.png")
