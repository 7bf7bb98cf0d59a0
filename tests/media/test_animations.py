"""Animated pictures are clips: every frame has its time, and none is decoded before the limits are checked."""

import dataclasses
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from fdetect_jax.media.animations import durations
from fdetect_jax.media.container import kind_of
from fdetect_jax.media.limits import Limits, UnreadableMedia
from fdetect_jax.media.photos import read_photo
from fdetect_jax.media.transcode import transcode
from fdetect_jax.media.video import Sampling, probe, read_frames
from fdetect_jax.media.whole import check_whole
from tests.media.films import SIZE, number_of, picture

ALL = Sampling(count=10_000)
LASTING = [100, 200, 300, 400, 500, 40]  # milliseconds
KINDS = pytest.mark.parametrize("kind", ["WEBP", "PNG"])


def animated(path, kind, lasting=LASTING, **how):
    drawn = [Image.fromarray(picture(number)) for number in range(len(lasting))]
    how = {"lossless": True, "duration": lasting, "save_all": True, "append_images": drawn[1:], **how}
    drawn[0].save(path, format=kind, **how)
    return path


@KINDS
def test_a_clip_with_its_times(tmp_path, kind):
    path = animated(tmp_path / "a", kind)
    info = probe(path)
    assert kind_of(path) == "video"
    assert (info.width, info.height, info.codec, info.has_audio) == (*SIZE, "animation", False)
    assert info.duration == pytest.approx(1.54)
    assert info.frame_rate == pytest.approx(6 / 1.54)
    frames = list(read_frames(path, ALL))
    assert [number_of(frame.pixels) for frame in frames] == list(range(6))
    np.testing.assert_allclose([frame.time for frame in frames], [0, 0.1, 0.3, 0.6, 1.0, 1.5])
    np.testing.assert_array_equal(frames[3].pixels, picture(3))
    assert [number_of(frame.pixels) for frame in read_frames(path, Sampling(count=3))] == [0, 2, 5]
    assert [number_of(frame.pixels) for frame in read_frames(path, Sampling(per_second=2))] == [0, 3, 4, 5]
    check_whole(path)


@KINDS
def test_the_copy_is_a_video(tmp_path, kind):
    path = animated(tmp_path / "a", kind)
    assert transcode(path, tmp_path / "copy.mp4", lambda pixels, time: pixels) == ""
    assert probe(tmp_path / "copy.mp4").duration == pytest.approx(1.54, abs=0.02)
    before, after = list(read_frames(path, ALL)), list(read_frames(tmp_path / "copy.mp4", ALL))
    assert [number_of(frame.pixels) for frame in after] == list(range(6))
    np.testing.assert_allclose([frame.time for frame in after], [frame.time for frame in before], atol=2e-3)


def test_times_that_say_nothing(tmp_path):
    path = animated(tmp_path / "a", "WEBP", [0, 0, 0])
    assert probe(path).duration == pytest.approx(0.3)  # as browsers play it


def test_a_picture_for_readers_that_know_no_animation_is_no_frame(tmp_path):
    cover = Image.fromarray(picture(20))
    rest = [Image.fromarray(picture(number)) for number in range(3)]
    cover.save(tmp_path / "a.png", save_all=True, append_images=rest, duration=200, default_image=True)
    assert [number_of(frame.pixels) for frame in read_frames(tmp_path / "a.png", ALL)] == [0, 1, 2]
    assert probe(tmp_path / "a.png").duration == pytest.approx(0.6)


def test_transparent_parts_are_white(tmp_path):
    drawn = [Image.fromarray(np.full((32, 32, 4), (10 * number, 0, 0, 0), np.uint8)) for number in range(3)]
    drawn[0].save(tmp_path / "a.png", save_all=True, append_images=drawn[1:], duration=200)
    assert all((frame.pixels == 255).all() for frame in read_frames(tmp_path / "a.png", ALL))


@KINDS
def test_a_still_is_an_image(tmp_path, kind):
    Image.fromarray(picture(3)).save(tmp_path / "a", format=kind)
    assert kind_of(tmp_path / "a") == "image"
    assert durations(tmp_path / "a") == durations(tmp_path) == durations(tmp_path / "none") == []
    assert number_of(read_photo(animated(tmp_path / "b", kind))) == 0


@KINDS
def test_each_limit_has_its_reason(tmp_path, kind):
    path = animated(tmp_path / "a", kind)
    size = path.stat().st_size
    exact = Limits(photo_bytes=size, frame_pixels=SIZE[0] * SIZE[1], seconds=1.55, frames=6)
    assert len(list(read_frames(path, ALL, exact))) == 6
    for lower, reason in (
        ({"photo_bytes": size - 1}, f"{size} bytes, at most"),
        ({"frame_pixels": 6143}, "96x64 pixels, at most 6143"),
        ({"seconds": 1.0}, "lasts 2 seconds, at most 1"),
        ({"frames": 5}, "over 5 frames"),
    ):
        limits = dataclasses.replace(exact, **lower)
        with pytest.raises(UnreadableMedia, match=reason):
            probe(path, limits)
        with pytest.raises(UnreadableMedia, match=reason):
            list(read_frames(path, ALL, limits))


def test_a_cut_one_is_not_whole(tmp_path):
    content = animated(tmp_path / "a", "PNG").read_bytes()
    (tmp_path / "b").write_bytes(content[: content.rindex(b"fdAT") + 20])
    with pytest.raises(UnreadableMedia, match="truncated: 5 of the 6 frames in it decode"):
        check_whole(tmp_path / "b")


def test_a_canvas_too_large_is_refused_before_decoding(tmp_path):
    content = animated(tmp_path / "a", "PNG").read_bytes()
    header = b"IHDR" + struct.pack(">II", 60_000, 60_000) + content[24:29]
    (tmp_path / "b").write_bytes(content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:])
    with pytest.raises(UnreadableMedia, match="many pixels"):
        probe(tmp_path / "b")
