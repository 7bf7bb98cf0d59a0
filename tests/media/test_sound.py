"""The sound of a copy is heard when that of its original is, and where there is none the caller learns why."""

import math
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from fdetect_jax.media.limits import Limits
from fdetect_jax.media.transcode import transcode
from fdetect_jax.media.video import probe
from fdetect_jax.media.whole import check_whole
from tests.media.films import SIZE, film, picture


def clip(
    path: Path,
    spans: list[tuple[float, float]],
    codec: str,
    *,
    rate: int = 48000,
    layout: str = "mono",
    video: str = "libx264",
    seconds: float = 4.0,
    video_start: float = 0.0,
    broken: bool = False,
) -> Path:
    """Pictures at 25 a second and sound in ``spans`` (start, stop) of seconds, silent but for a beep 0.3 s after each
    start, 0.1 s long."""
    with av.open(str(path), "w") as sink:
        stream = sink.add_stream(video, rate=25)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 25)
        sound = sink.add_stream(codec, rate=rate, layout=layout)
        sound.codec_context.time_base = Fraction(1, rate)
        kind, channels = sound.codec_context.format, sound.codec_context.layout.nb_channels
        packets = []
        for number in range(round(25 * seconds)):
            frame = av.VideoFrame.from_ndarray(picture(number % 20), format="rgb24")
            frame.pts, frame.time_base = number + round(25 * video_start), Fraction(1, 25)
            packets.extend(stream.encode(frame))
        packets.extend(stream.encode(None))
        for start, stop in spans:
            time = np.arange(round((stop - start) * rate)) / rate
            wave = np.where((time >= 0.3) & (time < 0.4), 0.5 * np.sin(2 * np.pi * 700 * time), 0)
            if broken:
                wave[::50], wave[1::50] = math.nan, math.inf
            for begin in range(0, len(wave), 960):
                part = np.repeat(wave[begin : begin + 960].astype(np.float32), channels)[None]
                samples = av.AudioFrame.from_ndarray(part, format="flt", layout=layout)
                samples.sample_rate, samples.time_base = rate, Fraction(1, rate)
                samples.pts = round(start * rate) + begin
                packets.extend(sound.encode(next(iter(_as(samples, kind)))))
        packets.extend(sound.encode(None))
        for packet in sorted(packets, key=lambda one: float(one.dts * one.time_base)):
            sink.mux(packet)
    return path


def _as(samples: av.AudioFrame, kind: av.AudioFormat) -> list[av.AudioFrame]:
    return av.AudioResampler(format=kind, layout=samples.layout, rate=samples.sample_rate).resample(samples)


def beeps(path: Path) -> list[float]:
    """When beeps begin, in seconds from the first picture, as a player that obeys the timestamps plays them."""
    with av.open(str(path)) as source:
        video = source.streams.video[0]
        zero = float(next(source.decode(video)).pts * video.time_base)
    found, quiet = [], -math.inf
    with av.open(str(path)) as source:
        for frame in source.decode(audio=0):
            samples = np.abs(frame.to_ndarray().astype(float).reshape(-1, frame.samples, order="F").max(0))
            samples /= 32768 if frame.format.name.startswith("s16") else 1
            time = float(frame.pts * source.streams.audio[0].time_base) - zero
            for at in np.flatnonzero(samples > 0.1) / frame.sample_rate + time:
                if at - quiet > 0.2:
                    found.append(at)
                quiet = at
    return found


def heard(path: Path) -> float:
    """Seconds from the first picture to the end of the sound."""
    with av.open(str(path)) as source:
        video = source.streams.video[0]
        zero = float(next(source.decode(video)).pts * video.time_base)
    with av.open(str(path)) as source:
        return max(frame.time + frame.samples / frame.sample_rate for frame in source.decode(audio=0)) - zero


WHOLE, LATE, GAP = [(0, 4)], [(1.2, 4)], [(0, 1), (3, 4)]


@pytest.mark.parametrize(
    ("name", "codec", "how"),
    [
        ("a.mp4", "aac", {}),
        ("a.mkv", "aac", {}),
        ("a.ts", "aac", {"video": "mpeg2video"}),
        ("a.ts", "mp2", {"video": "mpeg2video"}),
        ("a.ts", "ac3", {}),
        ("a.mkv", "libmp3lame", {}),
        ("a.webm", "libopus", {"video": "libvpx"}),
        ("a.mov", "pcm_s16le", {}),
        ("a.mkv", "flac", {"layout": "5.1"}),
    ],
)
@pytest.mark.parametrize("spans", [WHOLE, LATE, GAP], ids=["whole", "late", "gap"])
def test_sound_and_pictures_stay_in_step(tmp_path, name, codec, how, spans):
    source = clip(tmp_path / name, spans, codec, **how)
    assert transcode(source, tmp_path / "copy.mp4", lambda pixels, time: pixels) == ""
    before, after = beeps(source), beeps(tmp_path / "copy.mp4")
    assert len(before) == len(spans)
    np.testing.assert_allclose(after, before, atol=0.04)
    assert probe(tmp_path / "copy.mp4").duration == pytest.approx(probe(source).duration, abs=0.04)
    assert heard(tmp_path / "copy.mp4") == pytest.approx(heard(source), abs=0.05)
    with av.open(str(tmp_path / "copy.mp4")) as copy:
        assert copy.streams.audio[0].codec_context.codec.canonical_name == "aac"


def test_sound_of_digital_broadcasts(tmp_path):
    """AAC within LATM."""
    source = film(tmp_path / "a.ts", sound="aac", options={"mpegts_flags": "latm"})
    assert transcode(source, tmp_path / "copy.mp4", lambda pixels, time: pixels) == ""
    with av.open(str(tmp_path / "copy.mp4")) as copy:
        assert max(np.abs(frame.to_ndarray()).max() for frame in copy.decode(audio=0)) > 0.5


def emptied(path: Path, count: int) -> Path:
    """An AVI whose first pictures are empty chunks; what they held is filling."""
    data = bytearray(path.read_bytes())
    at = data.find(b"movi") + 4
    while count:
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        size += size % 2
        if data[at : at + 4] == b"00dc":
            filling = b"JUNK" + (size - 8).to_bytes(4, "little")
            data[at + 4 : at + 16] = bytes(4) + filling
            count -= 1
        at += 8 + size
    path.write_bytes(data)
    return path


def test_an_avi_whose_first_pictures_are_empty(tmp_path):
    """The sound is heard from the start, the pictures begin 24/25 s later, and nothing is missing."""
    source = emptied(clip(tmp_path / "a.avi", WHOLE, "pcm_s16le", video="mpeg4"), 24)  # the next one is a key frame
    check_whole(source)
    assert transcode(source, tmp_path / "copy.mp4", lambda pixels, time: pixels) == ""
    np.testing.assert_allclose(beeps(tmp_path / "copy.mp4"), [0.3 - 0.96], atol=0.04)


def test_sound_that_begins_before_the_pictures(tmp_path):
    source = clip(tmp_path / "a.mkv", WHOLE, "flac", video_start=1.0, seconds=3.0)
    transcode(source, tmp_path / "copy.mp4", lambda pixels, time: pixels)
    (before,), (after,) = beeps(source), beeps(tmp_path / "copy.mp4")
    assert before == pytest.approx(-0.7, abs=0.01)
    assert after == pytest.approx(before, abs=0.04)


@pytest.mark.parametrize("rate", [6000, 11024, 192_000])
def test_rates_that_aac_lacks(tmp_path, rate):
    source = clip(tmp_path / "a.mkv", WHOLE, "pcm_s16le", rate=rate)
    assert transcode(source, tmp_path / "copy.mp4", lambda pixels, time: pixels) == ""
    np.testing.assert_allclose(beeps(tmp_path / "copy.mp4"), beeps(source), atol=0.04)


@pytest.mark.parametrize("layout", ["3.0", "6.1", "octagonal", "hexadecagonal"])
def test_layouts_that_few_players_know(tmp_path, layout):
    source = clip(tmp_path / "a.mov", WHOLE, "pcm_s16le", layout=layout)
    assert transcode(source, tmp_path / "copy.mp4", lambda pixels, time: pixels) == ""
    np.testing.assert_allclose(beeps(tmp_path / "copy.mp4"), beeps(source), atol=0.04)


def test_samples_that_are_no_numbers(tmp_path):
    source = clip(tmp_path / "a.mov", WHOLE, "pcm_f32le", broken=True)
    assert transcode(source, tmp_path / "copy.mp4", lambda pixels, time: pixels) == ""
    with av.open(str(tmp_path / "copy.mp4")) as copy:
        assert sum(frame.samples for frame in copy.decode(audio=0)) / 48000 == pytest.approx(4.0, abs=0.05)


def test_a_copy_without_sound_says_so(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as sink:
        stream = sink.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        sound = sink.add_stream("tta", rate=16000, layout="mono")
        sink.mux(stream.encode(av.VideoFrame.from_ndarray(picture(3), format="rgb24")))
        sink.mux(stream.encode(None))
        hum = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.int16), format="s16", layout="mono")
        hum.sample_rate = 16000
        sink.mux(sound.encode(hum))
        sink.mux(sound.encode(None))
    note = transcode(tmp_path / "a.mkv", tmp_path / "copy.mp4", lambda pixels, time: pixels)
    assert note == "sound left out: codec tta is not read"
    with av.open(str(tmp_path / "copy.mp4")) as copy:
        assert len(copy.streams.video) == 1
        assert not copy.streams.audio


def test_sound_that_never_decodes(tmp_path):
    source = clip(tmp_path / "whole.mkv", WHOLE, "flac", seconds=1.0)
    with av.open(str(source)) as whole, av.open(str(tmp_path / "a.mkv"), "w") as damaged:
        kept = {stream.index: damaged.add_stream_from_template(stream) for stream in whole.streams}
        for packet in whole.demux():
            if packet.size and packet.stream.type == "audio":
                packet.update(bytes(packet.size))
            if packet.size:
                packet.stream = kept[packet.stream.index]
                damaged.mux(packet)
    note = transcode(tmp_path / "a.mkv", tmp_path / "copy.mp4", lambda pixels, time: pixels)
    assert note == "sound left out: nothing of it decodes"
    assert probe(tmp_path / "copy.mp4").duration == pytest.approx(1.0, abs=0.05)


def test_the_default_sound_is_kept(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as sink:
        stream = sink.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        silent, loud = (sink.add_stream("flac", rate=48000, layout="mono") for _ in range(2))
        silent.disposition, loud.disposition = 0, av.stream.Disposition.default
        sink.mux(stream.encode(av.VideoFrame.from_ndarray(picture(3), format="rgb24")))
        sink.mux(stream.encode(None))
        for one, level in ((silent, 0), (loud, 20_000)):
            wave = (level * np.sin(np.arange(48000) / 9)).astype(np.int16)[None]
            hum = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
            hum.sample_rate, hum.pts, hum.time_base = 48000, 0, Fraction(1, 48000)
            sink.mux(one.encode(hum))
            sink.mux(one.encode(None))
    transcode(tmp_path / "a.mkv", tmp_path / "copy.mp4", lambda pixels, time: pixels)
    with av.open(str(tmp_path / "copy.mp4")) as copy:
        assert max(float(frame.to_ndarray().max()) for frame in copy.decode(audio=0)) > 0.4


def test_a_stray_time_makes_no_hours_of_silence(tmp_path):
    source = clip(tmp_path / "a.mkv", [(0, 1), (5000, 5001)], "flac", seconds=1.0)
    assert transcode(source, tmp_path / "copy.mp4", lambda pixels, time: pixels) == ""
    assert heard(tmp_path / "copy.mp4") == pytest.approx(1.0, abs=0.1)
    source = clip(tmp_path / "b.mkv", [(0, 9)], "flac", seconds=1.0)
    transcode(source, tmp_path / "copy.mp4", lambda pixels, time: pixels, Limits(seconds=3.0))
    assert heard(tmp_path / "copy.mp4") == pytest.approx(3.0, abs=0.1)
