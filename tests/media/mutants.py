"""Media files that somebody damaged, mislabelled or forged."""

import io
import struct
import zlib
from collections.abc import Iterator, Mapping

import numpy as np
from PIL import Image

from tests.media.films import film, picture


def seeds(folder) -> dict[str, bytes]:
    """Whole files by name: every kind of image, animated ones, and videos of several containers and codecs."""
    found = {}
    exif = Image.Exif()
    exif[0x0112] = 6
    noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    for kind in ("jpeg", "png", "webp", "bmp", "tiff"):
        content = io.BytesIO()
        pixels = (picture(9).astype(int) + noise) // 2
        Image.fromarray(pixels.astype(np.uint8)).save(content, kind, exif=exif)
        found[f"photo.{kind}"] = content.getvalue()
    content = io.BytesIO()
    Image.fromarray(noise).save(content, "tiff", compression="tiff_lzw")
    found["packed.tiff"] = content.getvalue()
    drawn = [Image.fromarray(picture(number)) for number in range(6)]
    for name, kind in (("m.webp", "webp"), ("n.png", "png")):
        content = io.BytesIO()
        drawn[0].save(content, kind, save_all=True, append_images=drawn[1:], duration=200)
        found[name] = content.getvalue()
    for name, codec, options in (
        ("a.mp4", "libx264", {"sound": "aac"}),
        ("b.mp4", "libx265", {}),
        ("c.mp4", "libsvtav1", {}),
        ("d.webm", "libvpx-vp9", {"sound": "libopus"}),
        ("e.webm", "libvpx", {}),
        ("f.avi", "mpeg4", {"sound": "mp3"}),
        ("g.avi", "mjpeg", {"format": "yuvj420p"}),
        ("h.ts", "mpeg2video", {"sound": "mp2"}),
        ("i.mpg", "mpeg1video", {}),
        ("j.mov", "prores_ks", {"format": "yuv422p10le", "frames": 4}),
        ("k.mkv", "ffv1", {"frames": 4}),
        ("l.mp4", "libx264", {"options": {"movflags": "frag_keyframe+empty_moov"}}),
    ):
        found[name] = film(folder / name, codec=codec, **options).read_bytes()
    return found


def mutants(rng: np.random.Generator, whole: Mapping[str, bytes], count: int) -> Iterator[tuple[str, bytes]]:
    """``count`` damaged files: names, some of them wrong, and contents."""
    names, ways = sorted(whole), (_flipped, _cut, _zeroed, _spliced, _shuffled, _large_numbers, _repeated)
    bombs = [*_bombs(whole)]
    for number in range(count):
        name = names[rng.integers(len(names))]
        if number % 25 == 0:
            name, content = bombs[number // 25 % len(bombs)]
        else:
            content = ways[rng.integers(len(ways))](rng, whole[name], whole[names[rng.integers(len(names))]])
        if rng.random() < 0.2:
            name += rng.choice([".mp4", ".jpg", ".png", ".m3u8", ".txt", ""])
        yield f"{number:04d}-{name}", content


def _span(rng, content):
    start = int(rng.integers(len(content)))
    return start, min(len(content), start + int(2 ** rng.uniform(0, 12)))


def _flipped(rng, content, other):
    """Single bits, half of the time in the first kilobyte, where the headers are."""
    bits = np.unpackbits(np.frombuffer(content, np.uint8))
    reach = min(len(bits), 8192) if rng.random() < 0.5 else len(bits)
    bits[rng.integers(reach, size=int(2 ** rng.uniform(0, 8)))] ^= 1
    return np.packbits(bits).tobytes()


def _cut(rng, content, other):
    return content[: int(rng.integers(len(content)))]


def _zeroed(rng, content, other):
    start, stop = _span(rng, content)
    return content[:start] + bytes(stop - start) + content[stop:]


def _spliced(rng, content, other):
    (start, stop), (first, last) = _span(rng, content), _span(rng, other)
    return content[:start] + other[first:last] + content[stop:]


def _shuffled(rng, content, other):
    start, stop = _span(rng, content)
    return content[:start] + rng.permutation(np.frombuffer(content[start:stop], np.uint8)).tobytes() + content[stop:]


def _large_numbers(rng, content, other):
    """Sizes and counts of 32 bits become extreme."""
    content = bytearray(content)
    for at in rng.integers(max(1, min(len(content), 2000) - 4), size=int(rng.integers(1, 6))):
        value = int(rng.choice([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x00FFFFFF]))
        content[at : at + 4] = struct.pack(rng.choice([">I", "<I"]), value)
    return bytes(content)


def _repeated(rng, content, other):
    start, stop = _span(rng, content)
    return content[:stop] + content[start:stop] * int(rng.integers(1, 40)) + content[stop:]


def _bombs(whole):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    def png(width, height, data, *others):
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        return b"\x89PNG\r\n\x1a\n" + header + b"".join(others) + chunk(b"IDAT", data) + chunk(b"IEND", b"")

    yield "wide.png", png(0x7FFFFFFF, 0x7FFFFFFF, zlib.compress(bytes(1000)))
    yield "tall.png", png(1, 60_000_000, zlib.compress(bytes(60_000_000 * 4)))
    yield "text.png", png(8, 8, zlib.compress(bytes(200)), chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(1 << 28))))
    yield "colour.png", png(8, 8, zlib.compress(bytes(200)), chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(1 << 28))))
    yield "empty.mp4", b""
    yield "text.mp4", b"dear diary\n" * 1000
    yield "list.mp4", b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n#EXT-X-ENDLIST\n"
    yield "list.avi", b"ffconcat version 1.0\nfile /etc/passwd\n"
    yield "page.jpg", b"<svg xmlns='http://www.w3.org/2000/svg'/>"
    movie = next(content for content in whole.values() if content[4:8] == b"ftyp" and b"avc1" in content)
    yield "sizes.mp4", movie.replace(b"moov", b"\xff\xff\xff\xff")
    at = movie.index(b"stsz")  # one size for two thousand million samples
    yield "samples.mp4", movie[: at + 8] + struct.pack(">II", 1, 0x7FFFFFF0) + movie[at + 16 :]
    at = movie.index(b"stts")  # and as many times
    yield "times.mp4", movie[: at + 8] + struct.pack(">III", 1, 0x7FFFFFF0, 1) + movie[at + 20 :]
    at = movie.index(b"avc1")
    yield "frame.mp4", movie[: at + 28] + struct.pack(">HH", 65535, 65535) + movie[at + 32 :]
