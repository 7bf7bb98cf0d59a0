"""What players show is what is read: the stream, the shape of its pixels, and every size that it takes on the way."""

from fractions import Fraction

import av
import numpy as np
import pytest

from fdetect_jax.media.container import kind_of
from fdetect_jax.media.limits import Limits, UnreadableMedia
from fdetect_jax.media.transcode import transcode
from fdetect_jax.media.video import Sampling, probe, read_frames
from tests.media.films import SIZE, film, number_of, picture

ALL = Sampling(count=10_000)
DEFAULT = av.stream.Disposition.default


def frame_of(number, size):
    return av.VideoFrame.from_ndarray(picture(number, size), format="rgb24")


def stretched(path, aspect, size=SIZE, rotation=0, codec="libx264"):
    with av.open(str(path), "w") as sink:
        stream = sink.add_stream(codec, rate=24)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        if rotation:
            stream.set_display_rotation(rotation)
        for number in range(3):
            sink.mux(stream.encode(frame_of(number, size)))
        sink.mux(stream.encode(None))
    return path


def sizes(path):
    return {frame.pixels.shape[1::-1] for frame in read_frames(path, ALL)}


@pytest.mark.parametrize(
    ("name", "aspect", "rotation", "wanted"),
    [
        ("a.mp4", Fraction(4, 3), 0, (128, 64)),
        ("a.mkv", Fraction(4, 3), 0, (128, 64)),
        ("a.ts", Fraction(4, 3), 0, (128, 64)),
        ("a.mp4", Fraction(2, 3), 0, (96, 96)),
        ("a.mp4", Fraction(4, 3), 90, (64, 128)),
        ("a.mp4", Fraction(20), 0, SIZE),
    ],
)
def test_pixels_that_are_not_square(tmp_path, name, aspect, rotation, wanted):
    path = stretched(tmp_path / name, aspect, rotation=rotation)
    info = probe(path)
    assert (info.width, info.height) == wanted
    assert sizes(path) == {wanted}
    transcode(path, tmp_path / "copy.mp4", lambda pixels, time: pixels)
    with av.open(str(tmp_path / "copy.mp4")) as copy:
        video = copy.streams.video[0]
        assert (video.width, video.height, video.sample_aspect_ratio or 1) == (*wanted, 1)
    found = next(read_frames(tmp_path / "copy.mp4", ALL)).pixels
    drawn = np.rot90(picture(0, wanted[::-1] if rotation else wanted), rotation // 90)
    assert np.abs(found.astype(int) - drawn).mean() < 6


def test_square_pixels_stay_within_the_limit(tmp_path):
    path = stretched(tmp_path / "a.mp4", Fraction(4, 3))
    info = probe(path, Limits(frame_pixels=SIZE[0] * SIZE[1]))
    assert (info.width, info.height) == (96, 48)


def streams(path, *kinds):
    """Several video streams: (codec, size, disposition, frames a second), each second one of them."""
    with av.open(str(path), "w") as sink:
        added = []
        for codec, size, disposition, rate in kinds:
            stream = sink.add_stream(codec, rate=rate)
            stream.width, stream.height = size
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            stream.disposition = disposition
            added.append(stream)
        packets = []
        for stream, (_, size, _, rate) in zip(added, kinds, strict=True):
            for number in range(rate):
                packets.extend(stream.encode(frame_of(number, size)))
            packets.extend(stream.encode(None))
        for packet in sorted(packets, key=lambda one: float(one.dts * one.time_base)):
            sink.mux(packet)
    return path


@pytest.mark.parametrize(
    ("name", "kinds", "wanted"),
    [
        ("a.mp4", [("libx264", (48, 32), 0, 24), ("libx264", SIZE, DEFAULT, 24)], 1),
        ("a.mp4", [("libx264", (192, 128), 0, 24), ("libx264", SIZE, DEFAULT, 24)], 1),
        ("a.mkv", [("mjpeg", (64, 48), 0, 1), ("libx264", SIZE, 0, 24)], 1),
        ("a.mkv", [("mjpeg", SIZE, 0, 1), ("libx264", SIZE, 0, 24)], 1),
        ("a.ts", [("libx264", (48, 32), 0, 24), ("libx264", SIZE, 0, 24)], 1),
        ("a.ts", [("libx264", SIZE, 0, 24), ("libx264", (48, 32), 0, 24)], 0),
        ("a.avi", [("flv1", (192, 128), 0, 24), ("mpeg4", SIZE, 0, 24)], 1),
    ],
)
def test_the_main_stream_is_read(tmp_path, name, kinds, wanted):
    path = streams(tmp_path / name, *kinds)
    codec, size, _, rate = kinds[wanted]
    info = probe(path)
    assert (info.width, info.height, info.codec) == (*size, {"libx264": "h264"}.get(codec, codec))
    assert [number_of(frame.pixels) for frame in read_frames(path, ALL)] == list(range(rate))
    transcode(path, tmp_path / "copy.mp4", lambda pixels, time: pixels)
    numbers = [number_of(frame.pixels) for frame in read_frames(tmp_path / "copy.mp4", ALL)]
    np.testing.assert_allclose(numbers, np.arange(rate), atol=1)


def test_no_stream_with_an_allowed_codec(tmp_path):
    path = streams(tmp_path / "a.avi", ("flv1", SIZE, 0, 2), ("flv1", (48, 32), 0, 2))
    with pytest.raises(UnreadableMedia, match="codec flv1, wanted one of h264"):
        probe(path)


def test_packets_of_cameras(tmp_path):
    plain = film(tmp_path / "a.ts", codec="libx264", sound="ac3")
    content = plain.read_bytes()
    packets = [content[at : at + 188] for at in range(0, len(content), 188)]
    (tmp_path / "a.mts").write_bytes(b"".join(number.to_bytes(4, "big") + one for number, one in enumerate(packets)))
    assert kind_of(tmp_path / "a.mts") == "video"
    assert probe(tmp_path / "a.mts") == probe(plain)
    assert [number_of(frame.pixels) for frame in read_frames(tmp_path / "a.mts", ALL)] == list(range(24))
    # With error correction behind each packet; and recordings that begin within a packet.
    (tmp_path / "fec.ts").write_bytes(b"".join(one + bytes(16) for one in packets))
    (tmp_path / "cut.ts").write_bytes(content[100:])
    (tmp_path / "cut.mts").write_bytes((tmp_path / "a.mts").read_bytes()[77:])
    for name in ("fec.ts", "cut.ts", "cut.mts"):
        assert kind_of(tmp_path / name) == "video"
        assert len(list(read_frames(tmp_path / name, ALL))) == 24
    (tmp_path / "text").write_bytes(b"GATTACA" * 200)
    with pytest.raises(UnreadableMedia, match="no image or video"):
        kind_of(tmp_path / "text")
    (tmp_path / "no.mts").write_bytes(b"G".rjust(5) + bytes(187) + b"G" + bytes(400))
    with pytest.raises(UnreadableMedia, match="no image or video"):
        kind_of(tmp_path / "no.mts")


@pytest.mark.parametrize("second", [(192, 128), (48, 32), (64, 64)])
def test_a_size_that_changes_keeps_the_copy(tmp_path, second):
    parts = [
        film(tmp_path / f"{number}.ts", codec="mpeg2video", size=size) for number, size in enumerate((SIZE, second))
    ]
    (tmp_path / "both.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    shapes = set()

    def draw(pixels, time):
        shapes.add(pixels.shape[1::-1])
        return pixels

    assert sizes(tmp_path / "both.ts") == {SIZE, second}
    transcode(tmp_path / "both.ts", tmp_path / "copy.mp4", draw)
    assert shapes == sizes(tmp_path / "copy.mp4") == {SIZE}
    last = list(read_frames(tmp_path / "copy.mp4", ALL))[-1]
    across = second[0] * SIZE[1] // second[1]
    inside = last.pixels[:, (SIZE[0] - across) // 2 :][:, :across]
    assert number_of(inside) == 23
    if across < SIZE[0]:
        assert last.pixels[:, : (SIZE[0] - across) // 2 - 2].max() < 30


def test_a_container_without_times_of_display(tmp_path):
    path = film(tmp_path / "a.avi", codec="libx264", sound="mp3")  # its frames are stored in another order
    transcode(path, tmp_path / "copy.mp4", lambda pixels, time: pixels)
    for one in (path, tmp_path / "copy.mp4"):
        np.testing.assert_allclose([frame.time for frame in read_frames(one, ALL)], np.arange(24) / 24, atol=2e-3)
