"""Copies a video and redraws every frame. In: a video and a function of frame and time. Out: an MP4 (H.264, with the
audio) that browsers play.
"""

import contextlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from fdetect_jax.files import replacing
from fdetect_jax.media.container import open_video, packets_of, video_stream
from fdetect_jax.media.limits import Limits, UnreadableMedia
from fdetect_jax.media.video import probe, to_rgb

_COPIED = ("aac", "mp3")  # browsers play these in an MP4; other audio is encoded again
_OPTIONS = {"crf": "20", "preset": "veryfast"}
_BT709 = 1  # FFmpeg's number of this colour matrix, of its primaries and of its curve

Draw = Callable[[np.ndarray, float], np.ndarray]


def transcode(path: str | Path, output: str | Path, draw: Draw, limits: Limits | None = None) -> None:
    """Writes ``output`` completely or not at all.

    Args:
        path: a video. output: a path that ends in .mp4. limits: as for reading.
        draw: ((H, W, 3) uint8 RGB upright, seconds from the start) -> (H', W', 3) uint8, the same size for every frame;
            odd sides are made even by repeating the last row or column. Frames keep their times.

    Raises:
        UnreadableMedia: no frame decodes, see ``video.read_frames``.
    """
    duration = probe(path, limits).duration
    with (
        replacing(output) as temporary,
        open_video(path, limits) as source,
        av.open(temporary, "w", "mp4", options={"movflags": "+faststart"}) as sink,
    ):
        _copy(source, sink, draw, duration)


def _copy(source, sink, draw: Draw, duration: float) -> None:
    video = video_stream(source)
    audio = next((one for one in source.streams.audio if one.codec_context is not None), None)
    starts = [
        one.start_time * one.time_base for one in (video, audio) if one is not None and one.start_time is not None
    ]
    start = min(starts, default=Fraction(0))
    picture = _Picture(sink, video, start, duration, draw)
    # The muxer needs every stream before the first packet; the video stream's size comes from the first drawn frame.
    sound = _sound(sink, audio, start)
    waiting: list = []
    for packet in packets_of(source, [one for one in (video, audio) if one is not None]):
        waiting.extend(picture.packets(packet) if packet.stream is video else sound(packet))
        if picture.stream is not None:
            for one in waiting:
                sink.mux(one)
            waiting.clear()
    waiting.extend(picture.rest())
    if picture.stream is None:
        raise UnreadableMedia("no frame decodes")
    for one in (*waiting, *sound(None)):
        sink.mux(one)


class _Picture:
    """Decodes, draws and encodes the frames. Frames that do not decode, go back in time or lie beyond the end are left
    out; the last frame is shown until the end."""

    def __init__(self, sink, video, start: Fraction, duration: float, draw: Draw):
        self._sink, self._video, self._start, self._duration, self._draw = sink, video, start, duration, draw
        self._first: Fraction | None = None
        self._latest: tuple[int, int, np.ndarray] | None = None  # pts, duration, pixels
        self.stream = None

    def packets(self, packet) -> Iterator:
        """packet, or None to drain the decoder -> encoded packets."""
        for frame in self._decoded(packet):
            if frame.pts is None:
                continue
            moment = frame.pts * self._video.time_base  # frames held back by the decoder have no time base
            self._first = moment if self._first is None else self._first
            if moment - self._first >= self._duration:
                continue
            pts = round((moment - self._start) / self._video.time_base)
            if self._latest is None or pts > self._latest[0]:
                self._latest = pts, frame.duration or 0, to_rgb(frame)
                yield from self._encoded()

    def rest(self) -> Iterator:
        """The packets that remain after the last input packet."""
        yield from self.packets(None)
        if self.stream is None:
            return
        pts, duration, pixels = self._latest
        end = round((self._first - self._start + Fraction(self._duration)) / self._video.time_base)
        if end > pts + 2 * duration:
            self._latest = end - max(duration, 1), max(duration, 1), pixels
            yield from self._encoded()
        yield from self.stream.encode(None)

    def _decoded(self, packet) -> list:
        try:
            return self._video.decode(packet)
        except av.error.FFmpegError:
            return []

    def _encoded(self) -> Iterator:
        pts, duration, pixels = self._latest
        time = pts * self._video.time_base + self._start - self._first
        drawn = _even(self._draw(pixels, float(time)))
        frame = av.VideoFrame.from_ndarray(drawn, format="rgb24")
        # One thread: with several, the bits differ from run to run.
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", threads=1)
        frame.pts, frame.time_base, frame.duration = pts, self._video.time_base, duration
        if self.stream is None:
            self.stream = self._opened(drawn.shape[1], drawn.shape[0])
        yield from self.stream.encode(frame)

    def _opened(self, width: int, height: int):
        stream = self._sink.add_stream("libx264", rate=self._video.average_rate or 25, options=_OPTIONS)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = self._video.time_base
        stream.time_base = self._video.time_base
        for name in ("colorspace", "color_primaries", "color_trc"):
            setattr(stream.codec_context, name, _BT709)
        return stream


def _sound(sink, audio, start: Fraction) -> Callable:
    """packet, or None at the end -> packets for ``sink``: copied where browsers play the codec, else as AAC."""
    if audio is None:
        return lambda packet: []
    if audio.codec_context.codec.canonical_name in _COPIED:
        kept = sink.add_stream_from_template(audio)

        def copied(packet) -> list:
            if packet is None or packet.dts is None:
                return []
            shift = round(start / packet.time_base)
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            packet.stream = kept
            return [packet]

        return copied
    made = sink.add_stream("aac", rate=audio.codec_context.sample_rate)

    def encoded(packet) -> list:
        frames, found = [], []
        with contextlib.suppress(av.error.FFmpegError):
            frames = audio.decode(packet)
        for frame in frames:
            frame.pts = None  # the encoder counts from its samples
            found.extend(made.encode(frame))
        return found if packet is not None else [*found, *made.encode(None)]

    return encoded


def _even(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    if height % 2 or width % 2:
        return cv2.copyMakeBorder(picture, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(picture)
