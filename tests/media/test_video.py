"""Videos come in as sampled frames, upright, in right colour and with right times, or not at all and with a reason."""

import dataclasses
import itertools
import shutil
import struct

import av
import numpy as np
import pytest
from PIL import Image

from fdetect_jax.media import container, video
from fdetect_jax.media.container import kind_of
from fdetect_jax.media.limits import Limits, UnreadableMedia
from fdetect_jax.media.video import Sampling, VideoInfo, probe, read_frames, to_rgb
from tests.media.films import SIZE, film, number_of, picture

ALL = Sampling(count=10_000)


def _numbers(path, sampling=ALL):
    return [number_of(frame.pixels) for frame in read_frames(path, sampling)]


def _reason(path, limits=None):
    with pytest.raises(UnreadableMedia) as probed:
        probe(path, limits)
    with pytest.raises(UnreadableMedia) as read:
        list(read_frames(path, Sampling(count=3), limits))
    assert probed.value.reason == read.value.reason
    return read.value.reason


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return film(tmp_path_factory.mktemp("clip") / "clip.mp4", sound="aac", options={"movflags": "faststart"})


@pytest.mark.parametrize(
    ("name", "codec", "encoder", "options"),
    [
        ("a.mp4", "h264", "libx264", {"sound": "aac"}),
        ("a.mov", "prores", "prores_ks", {"format": "yuv422p10le"}),
        ("a.mp4", "hevc", "libx265", {}),
        ("a.mp4", "av1", "libsvtav1", {}),
        ("a.avi", "mpeg4", "mpeg4", {"sound": "mp3"}),
        ("a.avi", "h264", "libx264", {}),
        ("a.avi", "mjpeg", "mjpeg", {"format": "yuvj420p"}),
        ("a.webm", "vp9", "libvpx-vp9", {"sound": "libopus"}),
        ("a.webm", "vp8", "libvpx", {}),
        ("a.mkv", "ffv1", "ffv1", {"format": "yuv444p"}),
        ("a.ts", "mpeg2video", "mpeg2video", {"sound": "mp2"}),
        ("a.mpg", "mpeg1video", "mpeg1video", {}),
        ("a.3gp", "h263", "h263", {"size": (176, 144)}),
    ],
)
def test_containers_and_codecs(tmp_path, capfd, name, codec, encoder, options):
    sound = options.get("sound")
    path = film(tmp_path / name, codec=encoder, **options)
    capfd.readouterr()  # encoders may talk
    path = path.rename(tmp_path / "named.wrong.jpg")
    info = probe(path)
    assert kind_of(path) == "video"
    assert (info.width, info.height) == ((192, 144) if codec == "h263" else SIZE)  # whose pixels are 12:11
    assert (info.codec, info.rotation, info.has_audio) == (codec, 0, sound is not None)
    assert info.duration == pytest.approx(1.0, abs=0.02)
    assert info.frame_rate == pytest.approx(24, abs=0.5)
    frames = list(read_frames(path, ALL))
    assert [number_of(frame.pixels) for frame in frames] == list(range(24))
    assert [frame.index for frame in frames] == list(range(24))
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(24) / 24, atol=2e-3)
    wanted = picture(20, info_size := (info.width, info.height))[info_size[1] // 2 + 8 :]
    found = frames[20].pixels[info_size[1] // 2 + 8 :]
    assert found.dtype == np.uint8
    np.testing.assert_allclose(found.astype(int), wanted, atol=12)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["clip.jpg", "clip"])
def test_images_are_told_by_content(tmp_path, name):
    for kind in ("JPEG", "PNG", "WEBP", "BMP", "TIFF"):
        Image.fromarray(picture(3)).save(tmp_path / name, format=kind)
        assert kind_of(tmp_path / name) == "image"
        assert _reason(tmp_path / name).startswith("an image")


def test_evenly_spaced_from_the_first_to_the_last(clip):
    frames = list(read_frames(clip, Sampling(count=5)))
    assert [frame.index for frame in frames] == [number_of(frame.pixels) for frame in frames] == [0, 5, 11, 17, 23]
    np.testing.assert_allclose([frame.time for frame in frames], np.array([0, 5, 11, 17, 23]) / 24, atol=1e-6)
    assert _numbers(clip, Sampling(count=1)) == [0]
    assert _numbers(clip, Sampling(count=24)) == _numbers(clip, Sampling(count=99)) == list(range(24))


def test_so_many_a_second(clip):
    assert _numbers(clip, Sampling(per_second=4)) == [0, 6, 12, 18]
    assert _numbers(clip, Sampling(per_second=5)) == [0, 5, 10, 15, 20]
    assert _numbers(clip, Sampling(per_second=0.5)) == [0]
    assert _numbers(clip, Sampling(per_second=1000)) == list(range(24))


def test_times_rule_where_the_frame_rate_varies(tmp_path):
    times = [0, 40, 80, 120, 1000, 1040, 3000, 3500, 3520, 3540]
    path = film(tmp_path / "a.mkv", 10, times=times)
    frames = list(read_frames(path, ALL))
    np.testing.assert_allclose([frame.time for frame in frames], np.array(times) / 1000, atol=1e-6)
    assert _numbers(path, Sampling(per_second=1)) == [0, 4, 6]
    assert _numbers(path, Sampling(per_second=2)) == [0, 4, 6, 7]
    assert _numbers(path, Sampling(count=4)) == [0, 3, 6, 9]
    assert probe(path).duration == pytest.approx(3.54, abs=0.1)


def test_times_that_the_container_rounds_or_that_go_back(tmp_path):
    path = film(tmp_path / "rounded.mkv")  # to milliseconds: 0.083 is the second frame's, 2 / 24
    assert _numbers(path, Sampling(per_second=24)) == list(range(24))
    film(tmp_path / "forward.mkv", 5, codec="mjpeg", format="yuvj420p", times=[0, 500, 1000, 1500, 2000])
    path = tmp_path / "back.mkv"
    with av.open(str(tmp_path / "forward.mkv")) as source, av.open(str(path), "w") as sink:
        kept = sink.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(packet for packet in source.demux() if packet.size):
            packet.pts, packet.dts, packet.stream = [0, 1000, 500, 1500, 2000][number], number, kept
            sink.mux(packet)
    assert [frame.time for frame in read_frames(path, ALL)] == [0, 1, 1, 1.5, 2]
    assert _numbers(path, Sampling(per_second=1)) == [0, 1, 4]


@pytest.mark.parametrize("name", ["a.mkv", "a.ts", "a.mp4"])
def test_a_start_that_is_not_zero(tmp_path, name):
    path = film(tmp_path / name, 8, times=[70_000 + 250 * number for number in range(8)])
    frames = list(read_frames(path, Sampling(per_second=2)))
    np.testing.assert_allclose([frame.time for frame in frames], [0, 0.5, 1, 1.5], atol=2e-3)
    assert [number_of(frame.pixels) for frame in frames] == [0, 2, 4, 6]
    assert probe(path).duration == pytest.approx(2, abs=0.3)


@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
@pytest.mark.parametrize("mirrored", [False, True])
def test_upright_as_the_display_matrix_says(tmp_path, rotation, mirrored):
    path = film(tmp_path / "a.mp4", 3, size=(96, 64), rotation=rotation, mirrored=mirrored)
    frame = next(read_frames(path, ALL))
    wanted = picture(0)
    wanted = np.rot90(wanted, rotation // 90)
    if mirrored:  # FFmpeg mirrors what it has turned
        wanted = wanted[:, ::-1]
    assert frame.pixels.shape == wanted.shape
    assert np.abs(frame.pixels.astype(int) - wanted).mean() < 5
    info = probe(path)
    assert (info.height, info.width) == wanted.shape[:2]
    if not mirrored:
        assert info.rotation == -rotation % 360


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(("space", "red", "blue"), [(5, 0.299, 0.114), (1, 0.2126, 0.0722), (2, 0.299, 0.114)])
def test_colour_matrix_and_range_are_the_streams_own(tmp_path, space, red, blue, full):
    colour = np.array([210, 40, 90]) / 255
    luma = colour @ [red, 1 - red - blue, blue]
    chroma = (colour[2] - luma) / (2 - 2 * blue), (colour[0] - luma) / (2 - 2 * red)
    low, high, span = (0, 255, 255) if full else (16, 219, 224)
    levels = [round(low + high * luma), *(round(128 + span * one) for one in chroma)]
    frame = av.VideoFrame(64, 64, "yuv420p")
    for plane, level in zip(frame.planes, levels, strict=True):
        plane.update(bytes([level]) * plane.buffer_size)
    frame.colorspace, frame.color_range = space, 2 if full else 1
    with av.open(str(tmp_path / "a.mkv"), "w") as sink:
        stream = sink.add_stream("libx264", rate=24, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = frame.colorspace, frame.color_range
        sink.mux(stream.encode(frame))
        sink.mux(stream.encode(None))
    found = next(read_frames(tmp_path / "a.mkv", ALL)).pixels
    np.testing.assert_allclose(found.astype(int) - [210, 40, 90], 0, atol=3)


def test_no_colour_tag_stops_the_conversion():
    wanted = None
    for space, span in itertools.product(range(20), range(4)):
        frame = av.VideoFrame(64, 48, "yuv420p")
        for plane in frame.planes:
            plane.update(bytes([90]) * plane.buffer_size)
        frame.colorspace, frame.color_range = space, span
        found = to_rgb(frame)
        wanted = found if wanted is None else wanted  # without tags
        if space in (0, 3, 8, 17) and span in (0, 1, 3):
            np.testing.assert_array_equal(found, wanted)


def test_sampling_is_checked_and_travels():
    for sampling in (Sampling(count=8), Sampling(per_second=0.5)):
        assert Sampling.from_dict(sampling.to_dict()) == sampling
    for wrong in ({}, {"count": 3, "per_second": 1.0}):
        with pytest.raises(ValueError, match="either count or per_second"):
            Sampling(**wrong)
    for wrong in ({"count": 0}, {"count": 2.5}, {"count": True}):
        with pytest.raises(ValueError, match=r"sampling\.count: found"):
            Sampling(**wrong)
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"sampling\.per_second: found"):
            Sampling(per_second=wrong)
    with pytest.raises(ValueError, match=r"sampling\.every: found 3, wanted no such field"):
        Sampling.from_dict({"every": 3})


def _without(path, start, stop, name):
    content = path.read_bytes()
    found = path.with_name(name)
    found.write_bytes(content[: int(start * len(content))] + content[int(stop * len(content)) :])
    return found


def _large(path):
    """Noise: its pictures fill the file, so that what is cut off is pictures."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w", container_options={"movflags": "faststart"}) as sink:
        stream = sink.add_stream("libx264", rate=24, options={"qp": "30", "g": "6"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for number in range(24):
            noisy = picture(number).astype(int) + rng.integers(-20, 21, (SIZE[1], SIZE[0], 3))
            frame = av.VideoFrame.from_ndarray(noisy.clip(0, 255).astype(np.uint8), format="rgb24")
            sink.mux(stream.encode(frame))
        sink.mux(stream.encode(None))
    return path


def test_frames_before_a_cut_are_read_and_evenly(tmp_path):
    whole = _large(tmp_path / "whole.mp4")
    assert _numbers(whole) == list(range(24))
    cut = _without(whole, 0.6, 1, "cut.mp4")
    numbers = _numbers(cut)
    assert 5 <= len(numbers) < 20
    assert numbers == list(range(len(numbers)))
    assert probe(cut).duration == pytest.approx(len(numbers) / 24, abs=0.2)
    assert _numbers(cut, Sampling(count=3)) == [0, (len(numbers) - 1) // 2, len(numbers) - 1]


@pytest.mark.parametrize(("start", "filling"), [(0.4, bytes(600)), (0.6, bytes(2000)), (0.5, b"\xff" * 10)])
def test_a_damaged_part_is_passed_over(tmp_path, start, filling):
    path = _large(tmp_path / "a.mp4")
    content = bytearray(path.read_bytes())
    at = int(start * len(content))
    content[at : at + len(filling)] = filling
    path.write_bytes(content)
    frames = list(read_frames(path, ALL))
    numbers = [number_of(frame.pixels) for frame in frames]
    assert 8 <= len(numbers) < 24
    assert numbers == sorted(numbers)
    assert {0, 22, 23} <= set(numbers)
    for frame, number in zip(frames, numbers, strict=True):  # none that the decoder has patched up
        assert np.abs(frame.pixels.astype(int) - picture(number)).mean() < 8
    # Fewer decode than there are packets: found only by decoding, and spread over those that do.
    assert _numbers(path, Sampling(count=4)) == [numbers[i] for i in np.linspace(0, len(numbers) - 1, 4, dtype=int)]


def test_what_an_edit_list_cuts_off_is_not_read(tmp_path, clip):
    path = tmp_path / "trimmed.mp4"
    options = {"avoid_negative_ts": "disabled"}
    with av.open(str(clip)) as source, av.open(str(path), "w", container_options=options) as sink:
        kept = sink.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                shift = round(5 / 24 / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, kept
                sink.mux(packet)
    info = probe(path)
    assert (info.duration, info.frame_rate) == (pytest.approx(19 / 24, abs=0.01), pytest.approx(24, abs=0.1))
    assert _numbers(path) == list(range(5, 24))
    frames = list(read_frames(path, Sampling(count=3)))
    assert [number_of(frame.pixels) for frame in frames] == [5, 14, 23]
    assert [(frame.index, round(24 * frame.time)) for frame in frames] == [(0, 0), (9, 9), (18, 18)]


def test_a_cover_picture_is_no_video(tmp_path):
    with av.open(str(tmp_path / "song.m4a"), "w", format="mp4") as sink:
        hum = sink.add_stream("aac", rate=48000)
        cover = sink.add_stream("mjpeg")
        cover.width, cover.height, cover.pix_fmt = *SIZE, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 48000), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 48000
        sink.mux(hum.encode(silence))
        sink.mux(cover.encode(av.VideoFrame.from_ndarray(picture(2), format="rgb24")))
        sink.mux(hum.encode(None))
        sink.mux(cover.encode(None))
    with av.open(str(tmp_path / "song.m4a")) as opened:
        assert opened.streams.video
    assert _reason(tmp_path / "song.m4a") == "sound without pictures"


def test_words_in_no_known_alphabet(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as sink:
        sink.metadata["title"] = "title#"
        stream = sink.add_stream("mpeg4", rate=24)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.metadata["title"] = "title#"
        sink.mux(stream.encode(av.VideoFrame.from_ndarray(picture(3), format="rgb24")))
        sink.mux(stream.encode(None))
    path = tmp_path / "a.mkv"
    path.write_bytes(path.read_bytes().replace(b"title#", b"title\xff"))
    assert _numbers(path) == [3]


def test_many_large_frames_are_not_held(clip, monkeypatch):
    wanted = _numbers(clip, Sampling(count=20))
    decoded = []
    real = video.shots
    monkeypatch.setattr(video, "shots", lambda *args: decoded.append(1) or real(*args))
    assert _numbers(clip, Sampling(count=20)) == wanted
    assert len(decoded) == 1
    monkeypatch.setattr(video, "_HELD_BYTES", 2 * SIZE[0] * SIZE[1])
    assert _numbers(clip, Sampling(count=20)) == wanted
    assert len(decoded) == 3


def test_a_header_that_lies_about_its_length(tmp_path, clip):
    content = clip.read_bytes()
    for box, at in ((b"mvhd", 20), (b"mdhd", 20), (b"tkhd", 24)):  # duration, 32 bits
        place = content.index(box) + at
        content = content[:place] + struct.pack(">I", 0x7FFFFFF0) + content[place + 4 :]
    (tmp_path / "long.mp4").write_bytes(content)
    assert probe(tmp_path / "long.mp4").duration == pytest.approx(1, abs=0.1)
    assert _numbers(tmp_path / "long.mp4") == list(range(24))


def test_each_limit_has_its_reason(clip):
    size = clip.stat().st_size
    info = VideoInfo(*SIZE, pytest.approx(1.0, abs=0.01), pytest.approx(24, abs=0.3), "h264", "mov", 0, True)
    exact = Limits(video_bytes=size, frame_pixels=SIZE[0] * SIZE[1], seconds=1.01, frames=24)
    assert probe(clip, exact) == info
    assert len(list(read_frames(clip, ALL, exact))) == 24
    for limit, reason in {
        "video_bytes": f"{size} bytes, at most {size - 1}",
        "frame_pixels": "96x64 pixels, at most 6143",
        "seconds": "lasts 1 seconds, at most 0",
        "frames": "over 23 frames",
    }.items():
        value = getattr(exact, limit)
        lower = dataclasses.replace(exact, **{limit: value - 1 if limit != "seconds" else 0.5})
        assert reason in _reason(clip, lower)


def test_what_is_no_video(tmp_path, clip):
    def write(content):
        (tmp_path / "a.mp4").write_bytes(content)
        return tmp_path / "a.mp4"

    assert _reason(tmp_path / "none.mp4") == "no such file"
    assert _reason(tmp_path) == "not a file"
    assert _reason(write(b"")) == "empty"
    for content in (b"dear diary\n" * 90, bytes(5000), b"GIF89a" + bytes(99), b"%PDF-1.7" + bytes(99), b"\x00"):
        assert _reason(write(content)).startswith("no image or video, wanted JPEG")
        with pytest.raises(UnreadableMedia, match="no image or video"):
            kind_of(tmp_path / "a.mp4")
    assert _reason(write(b"\0\0\0\x1cftypheic" + bytes(99))).startswith("a HEIF or AVIF picture")
    assert _reason(write(clip.read_bytes()[:40]))
    assert _reason(write(b"\x1aE\xdf\xa3" + bytes(99)))
    assert _reason(write(b"RIFF\x10\0\0\0AVI " + bytes(99)))


def test_no_moov_no_pictures_no_known_codec(tmp_path):
    film(tmp_path / "whole.mp4", sound="aac")  # its index stands at the end
    cut = _without(tmp_path / "whole.mp4", 0.5, 1, "cut.mp4")
    assert _reason(cut).startswith("cannot be opened: ")
    with av.open(str(tmp_path / "sound.m4a"), "w", format="mp4") as sink:
        stream = sink.add_stream("aac", rate=44100)
        hum = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), format="fltp", layout="mono")
        hum.sample_rate = 44100
        sink.mux(stream.encode(hum))
        sink.mux(stream.encode(None))
    assert _reason(tmp_path / "sound.m4a") == "sound without pictures"
    film(tmp_path / "old.avi", codec="flv1")
    assert _reason(tmp_path / "old.avi").startswith("codec flv1, wanted one of h264")


def test_pictures_that_never_decode(tmp_path, clip):
    content = bytearray(clip.read_bytes())
    start = content.index(b"mdat") + 4
    content[start:] = np.random.default_rng(0).integers(0, 256, len(content) - start, dtype=np.uint8).tobytes()
    (tmp_path / "a.mp4").write_bytes(content)
    assert _reason(tmp_path / "a.mp4") == "no frame decodes"


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nclip.mp4\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile clip.mp4\n",
        "file 'clip.mp4'\n",
        '<?xml version="1.0"?><MPD><BaseURL>clip.mp4</BaseURL></MPD>',
        "v=0\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n",
    ],
)
def test_lists_of_other_files_are_not_followed(tmp_path, clip, text):
    shutil.copy(clip, tmp_path / "clip.mp4")
    for name in ("list.mp4", "list.m3u8", "list%03d.png"):
        (tmp_path / name).write_text(text)
        assert _reason(tmp_path / name).startswith("no image or video")


@pytest.mark.parametrize(
    ("demuxer", "text"),
    [
        ("hls", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n"),
        ("concat", "ffconcat version 1.0\nfile {}\n"),
    ],
)
def test_even_a_list_that_is_opened_opens_nothing_else(tmp_path, monkeypatch, demuxer, text):
    film(tmp_path / "clip.ts", codec="mpeg2video")
    (tmp_path / "list").write_text(text.format("clip.ts"))
    options = {"allowed_extensions": "ALL", "extension_picky": "0"} if demuxer == "hls" else {}
    with av.open(str(tmp_path / "list"), format=demuxer, options=options) as followed:
        assert len(list(followed.decode(video=0))) == 24
    monkeypatch.setattr(container, "_demuxer", lambda head: demuxer)
    monkeypatch.chdir(tmp_path)
    assert _reason(tmp_path / "list")


def test_names_that_ffmpeg_would_read_as_addresses(tmp_path, clip, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("concat:a|b.mp4", "http:%2f%2fexample.org", "-.mp4", "a%03d.mp4", "subfile,,start,0,end,9,,:x.mp4"):
        shutil.copy(clip, name)
        assert _numbers(name, Sampling(count=2)) == [0, 23]


def test_the_seven_real_clips(shared):
    paths = sorted((shared / "data/videos/real").glob("*.mp4"))
    assert len(paths) == 7
    for path in paths:
        info = probe(path)
        assert (info.codec, info.has_audio, kind_of(path)) == ("h264", True, "video")
        with av.open(str(path)) as opened:
            stream = opened.streams.video[0]
            wanted = stream.frames
            assert (info.width, info.height) == (stream.width, stream.height)
        frames = list(read_frames(path, Sampling(count=6)))
        assert len(frames) == 6
        assert frames[-1].index == wanted - 1
        assert info.duration == pytest.approx(wanted / info.frame_rate, rel=0.02)
        assert len(list(read_frames(path, Sampling(per_second=5)))) == pytest.approx(5 * info.duration, abs=1.5)


def test_a_size_that_grows_on_the_way_is_limited_too(tmp_path):
    def joined(second):
        parts = [film(tmp_path / f"{size[0]}.ts", codec="mpeg2video", size=size) for size in (SIZE, second)]
        (tmp_path / "both.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
        return tmp_path / "both.ts"

    limits = Limits(frame_pixels=SIZE[0] * SIZE[1])
    assert {frame.pixels.shape[1] for frame in read_frames(joined((112, 80)), ALL)} == {96, 112}
    with pytest.raises(UnreadableMedia, match="112x80 pixels, at most 6144 are read"):
        list(read_frames(tmp_path / "both.ts", ALL, limits))
    assert {frame.pixels.shape[1] for frame in read_frames(joined((640, 480)), ALL)} == {96, 640}
    # Too large for the decoder itself.
    assert {frame.pixels.shape[1] for frame in read_frames(tmp_path / "both.ts", ALL, limits)} == {96}
