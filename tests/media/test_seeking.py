"""Frames that are found by key frames are those of the whole video, and few others are decoded."""

from pathlib import Path

import av
import numpy as np
import pytest

from fdetect_jax.media import video
from fdetect_jax.media.video import Sampling, read_frames

LENGTH = 400


@pytest.fixture
def counted(monkeypatch) -> list[int]:
    """The frames that were decoded."""
    decoded, decode = [], video._decode

    def count(stream, packet):
        frames = decode(stream, packet)
        decoded.extend(frame.pts for frame in frames)
        return frames

    monkeypatch.setattr(video, "_decode", count)
    return decoded


def shown(path, count: int) -> list[tuple]:
    return [(frame.index, round(frame.time, 6), frame.pixels.tobytes()) for frame in read_frames(path, Sampling(count))]


def film(path: Path, codec: str, options: dict[str, str], frames: int = LENGTH, **container: str) -> Path:
    """A pattern that moves, another one in every frame."""
    rng = np.random.default_rng(0)
    field = rng.integers(0, 255, (64, 96 + LENGTH, 3), np.uint8)
    with av.open(str(path), "w", container_options=container) as sink:
        stream = sink.add_stream(codec, rate=24, options=options)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for number in range(frames):
            moved = np.ascontiguousarray(field[:, number : number + 96])
            sink.mux(stream.encode(av.VideoFrame.from_ndarray(moved, format="rgb24")))
        sink.mux(stream.encode(None))
    return path


# file, encoder, its options, those of the container
FILMS = {
    "h264": ("a.mp4", "libx264", {"g": "12", "bf": "3"}, {}),
    "open groups": ("a.mp4", "libx264", {"g": "12", "bf": "3", "x264-params": "open-gop=1"}, {}),
    "no key frames": ("a.mp4", "libx264", {"g": "1000", "bf": "0", "sc_threshold": "0"}, {}),
    "hevc": ("a.mkv", "libx265", {"x265-params": "keyint=12:bframes=3:log-level=none"}, {}),
    "vp9": ("a.webm", "libvpx-vp9", {"g": "12", "deadline": "realtime", "cpu-used": "8"}, {}),
    "fragments": ("a.mp4", "libx264", {"g": "12"}, {"movflags": "frag_keyframe+empty_moov"}),
}


@pytest.mark.parametrize("name", FILMS)
@pytest.mark.parametrize("count", [1, 6])
def test_the_same_frames_with_less_decoding(tmp_path, counted, monkeypatch, name, count):
    file, codec, options, container = FILMS[name]
    path = film(tmp_path / file, codec, options, **container)
    sought = shown(path, count)
    decoded = len(counted)
    monkeypatch.setattr(video, "_sought", lambda *_: None)
    assert sought == shown(path, count)
    assert [index for index, *_ in sought] == np.linspace(0, LENGTH - 1, count, dtype=int).tolist()
    if name != "no key frames" or count == 1:
        assert decoded <= count * 20
    else:
        assert decoded == LENGTH


def test_many_frames_are_read_in_one_pass(tmp_path, counted):
    path = film(tmp_path / "a.mp4", "libx264", {"g": "12", "bf": "0"}, 100)
    shown(path, 60)
    assert len(counted) == 100


def test_where_a_wanted_frame_does_not_decode_all_are_decoded(tmp_path, monkeypatch):
    """And those that do are counted, as ever."""
    path = film(tmp_path / "a.mp4", "libx264", {"g": "12", "bf": "0"})
    with video.open_video(path) as container:
        stream = video.video_stream(container)
        stamps = sorted(packet.pts for packet in video.packets_of(container, [stream]))
    decode, broken = video._decode, set(stamps[230:250])
    wanted = np.linspace(0, LENGTH - 1, 6, dtype=int)
    assert broken & {stamps[index] for index in wanted}
    monkeypatch.setattr(
        video, "_decode", lambda stream, packet: [one for one in decode(stream, packet) if one.pts not in broken]
    )
    found = list(read_frames(path, Sampling(count=6)))
    assert [frame.index for frame in found] == np.linspace(0, LENGTH - 21, 6, dtype=int).tolist()
