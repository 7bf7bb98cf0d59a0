"""A redrawn copy keeps the times, the length and the sound of its original."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from fdetect_jax.media.limits import UnreadableMedia
from fdetect_jax.media.transcode import transcode
from fdetect_jax.media.video import Sampling, probe, read_frames

SECOND = 12800  # of the time base


def film(path: Path, ticks, *, size=(64, 48), codec="mpeg4", audio=None, seconds=2.0, start=0) -> Path:
    """A video of grey frames at ``ticks`` of 1/12800 s, each a little brighter; with a tone where audio is a codec."""
    with av.open(str(path), "w") as sink:
        picture = sink.add_stream(codec, rate=25)
        picture.width, picture.height, picture.pix_fmt = *size, "yuv420p"
        picture.codec_context.time_base = Fraction(1, SECOND)
        sound = sink.add_stream(audio, rate=44100) if audio else None
        for number, tick in enumerate(ticks):
            grey = np.full((size[1], size[0], 3), 40 + 3 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(grey, format="rgb24")
            frame.pts, frame.time_base = tick + start, Fraction(1, SECOND)
            sink.mux(picture.encode(frame))
        sink.mux(picture.encode(None))
        if sound:
            wave = np.sin(np.arange(int(44100 * seconds)) * 0.06).astype(np.float32)[None]
            for begin in range(0, wave.shape[1], 1024):
                part = av.AudioFrame.from_ndarray(wave[:, begin : begin + 1024].copy(), format="fltp", layout="mono")
                part.sample_rate, part.pts = 44100, begin
                sink.mux(sound.encode(part))
            sink.mux(sound.encode(None))
    return path


def same(pixels: np.ndarray, time: float) -> np.ndarray:
    return pixels


EVEN = range(0, 2 * SECOND, SECOND // 25)
UNEVEN = [0, 512, 1536, 6000, 6512, 14000, 20000]


@pytest.mark.parametrize("ticks", [EVEN, UNEVEN], ids=["even", "variable rate"])
@pytest.mark.parametrize("start", [0, 7 * SECOND], ids=["from zero", "late"])
@pytest.mark.parametrize("codec", ["mpeg4", "libx264"])  # the second holds frames back to the end
def test_every_frame_keeps_its_time(tmp_path, ticks, start, codec):
    source = film(tmp_path / "a.mkv", ticks, start=start, codec=codec)
    transcode(source, tmp_path / "b.mp4", same)
    before, after = (
        [(frame.time, frame.pixels.mean()) for frame in read_frames(path, Sampling(count=1000))]
        for path in (source, tmp_path / "b.mp4")
    )
    np.testing.assert_allclose([time for time, _ in after], [time for time, _ in before], atol=2e-3)
    np.testing.assert_allclose([grey for _, grey in after], [grey for _, grey in before], atol=3)


def test_a_last_frame_of_unknown_length_is_short(tmp_path):
    """A transport stream does not say how long it is shown; the mean of frames far apart would be too much."""
    source = film(tmp_path / "a.ts", [*range(0, SECOND, 512), 3 * SECOND, 9 * SECOND], codec="libx264")
    transcode(source, tmp_path / "b.mp4", same)
    assert probe(tmp_path / "b.mp4").duration == pytest.approx(9.04, abs=0.01)


def test_the_copy_plays_in_browsers_and_lasts_as_long(tmp_path):
    source = film(tmp_path / "a.mkv", EVEN)
    transcode(source, tmp_path / "b.mp4", same)
    with av.open(str(tmp_path / "b.mp4")) as copy:
        video = copy.streams.video[0].codec_context
        assert (video.name, video.pix_fmt) == ("h264", "yuv420p")
        assert "mp4" in copy.format.name
    assert probe(tmp_path / "b.mp4").duration == pytest.approx(probe(source).duration, abs=0.04)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_still_that_ends_a_clip_is_shown_as_long_as_there(tmp_path, codec, name):
    ticks = [*EVEN, 3 * SECOND, 8 * SECOND, 13 * SECOND]
    source = film(tmp_path / name, ticks, codec=codec)
    transcode(source, tmp_path / "b.mp4", same)
    assert probe(tmp_path / "b.mp4").duration == pytest.approx(probe(source).duration, abs=0.04)
    times = [[frame.time for frame in read_frames(path, Sampling(count=100))] for path in (source, tmp_path / "b.mp4")]
    np.testing.assert_allclose(times[1], times[0], atol=2e-3)


def test_frames_are_redrawn_with_their_times(tmp_path):
    times = []

    def taller(pixels: np.ndarray, time: float) -> np.ndarray:
        times.append(time)
        return np.concatenate([pixels, np.zeros((17, 64, 3), np.uint8)])

    source = film(tmp_path / "a.mkv", UNEVEN)
    transcode(source, tmp_path / "b.mp4", taller)
    np.testing.assert_allclose(times, np.array(UNEVEN) / SECOND, atol=2e-3)
    info = probe(tmp_path / "b.mp4")
    assert (info.width, info.height) == (64, 66)  # 48 + 17, made even
    last = list(read_frames(tmp_path / "b.mp4", Sampling(count=3)))[-1].pixels
    assert last[50:64].max() < 30 < last[:44].min()


def test_a_copy_made_again_has_the_same_bits(tmp_path):
    source = film(tmp_path / "a.mkv", EVEN, size=(640, 360))
    noise = np.random.default_rng(0).integers(0, 256, (360, 640, 3), np.uint8)
    for name in ("b.mp4", "c.mp4"):
        transcode(source, tmp_path / name, lambda pixels, time: pixels // 2 + noise // 2)
    assert (tmp_path / "b.mp4").read_bytes() == (tmp_path / "c.mp4").read_bytes()


def test_colours_are_kept(tmp_path):
    source = film(tmp_path / "a.mkv", EVEN)

    def patches(pixels: np.ndarray, time: float) -> np.ndarray:
        drawn = np.zeros((720, 1280, 3), np.uint8)  # high definition, where players expect BT.709
        for number, colour in enumerate([(220, 40, 30), (30, 200, 60), (40, 60, 210)]):
            drawn[:, 400 * number : 400 * (number + 1)] = colour
        return drawn

    transcode(source, tmp_path / "b.mp4", patches)
    (frame,) = read_frames(tmp_path / "b.mp4", Sampling(count=1))
    for number, colour in enumerate([(220, 40, 30), (30, 200, 60), (40, 60, 210)]):
        np.testing.assert_allclose(frame.pixels[300, 400 * number + 200], colour, atol=6)


def test_where_the_end_is_damaged_the_last_picture_stands(tmp_path):
    source = film(tmp_path / "a.mkv", EVEN, audio="aac")
    with av.open(str(source)) as whole, av.open(str(tmp_path / "b.mkv"), "w") as damaged:
        kept = {stream.index: damaged.add_stream_from_template(stream) for stream in whole.streams}
        for packet in whole.demux():
            if packet.dts is None:
                continue
            if packet.stream.type == "video" and packet.pts * packet.time_base > 1:
                empty = av.Packet(bytes(64))  # as long in time, and nothing in it
                empty.pts, empty.dts, empty.duration, empty.time_base = (
                    packet.pts,
                    packet.dts,
                    packet.duration,
                    packet.time_base,
                )
                empty.stream = kept[packet.stream.index]
                damaged.mux(empty)
            else:
                packet.stream = kept[packet.stream.index]
                damaged.mux(packet)
    transcode(tmp_path / "b.mkv", tmp_path / "c.mp4", same)
    frames = list(read_frames(tmp_path / "c.mp4", Sampling(count=1000)))
    assert len(frames) < 35
    assert probe(tmp_path / "c.mp4").duration == pytest.approx(2.0, abs=0.05)


def test_a_failure_leaves_nothing_behind(tmp_path):
    source = film(tmp_path / "a.mkv", EVEN)

    def fail(pixels: np.ndarray, time: float) -> np.ndarray:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        transcode(source, tmp_path / "out" / "b.mp4", fail)
    (tmp_path / "text.mp4").write_text("not a video" * 50)
    with pytest.raises(UnreadableMedia):
        transcode(tmp_path / "text.mp4", tmp_path / "out" / "b.mp4", same)
    assert list((tmp_path / "out").iterdir()) == []
