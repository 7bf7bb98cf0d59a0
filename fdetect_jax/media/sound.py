"""Encodes the sound of a video again, in time with its pictures. In: an open video. Out: packets of AAC for an MP4.

Sound is never copied as it is: one way serves every codec, and it mends what an MP4 cannot say, such as gaps.
"""

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, NamedTuple

import av
import numpy as np

from fdetect_jax.media.container import packets_of, sound_stream
from fdetect_jax.media.limits import Limits, UnreadableMedia

_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)  # Hz; those of AAC that every browser plays
_DECODED_RATES = range(1000, 1_000_000)  # Hz; others are damage
_SLACK = 0.02  # seconds; containers round their times by less, and mending each rounding would click
_LEAD = 60.0  # seconds of sound before the first picture; more is damage
_STRAY = 1.0  # seconds; sound that begins so long after everything else has ended is damage


class _Piece(NamedTuple):
    """moment: seconds on the file's own clock, None where it has none. samples: (channels, N) float32 in [-1, 1]."""

    moment: float | None
    samples: np.ndarray


class Sound:
    """The sound of a video as AAC, mono or stereo, from the first picture on or from its own beginning before that.

    note: why there is none, or "".
    """

    def __init__(self, container: Any, sink: Any, limits: Limits):
        """container: an open video, read by nobody else; None: no sound. sink: an ``av.container.OutputContainer``
        without packets. limits: ``seconds`` is the longest that is written."""
        self.note, self._pieces, self._next, self._most = "", iter(()), None, limits.seconds
        if container is None:
            return
        try:
            stream = sound_stream(container)
        except UnreadableMedia as error:
            self.note = f"sound left out: {error.reason}"
            return
        decoder = _Decoder(stream)
        self._pieces = decoder.pieces(container)
        self._next = next(self._pieces, None)
        if self._next is None:
            self.note = "sound left out: nothing of it decodes"
            return
        self._rate, self._layout = decoder.rate, decoder.layout
        self._track = sink.add_stream("aac", rate=self._rate, layout=self._layout, time_base=Fraction(1, self._rate))
        self._written = 0  # samples

    def set_start(self, moment: float, duration: float) -> float:
        """Sets when the pictures begin, on the file's own clock, and how long they last, in seconds.

        Returns:
            the seconds of sound before the first picture.
        """
        first = None if self._next is None else self._next.moment
        lead = 0.0 if first is None or moment - first > _LEAD else max(0.0, moment - first)
        self._zero, self._end = moment - lead, lead + duration
        return lead

    def until(self, time: float) -> Iterator[Any]:
        """The packets of what begins before ``time``, in seconds of the copy; math.inf: all that remain."""
        while self._next is not None:
            at = self._written / self._rate if self._next.moment is None else self._next.moment - self._zero
            if at >= time:
                return
            if at <= min(max(self._written / self._rate, self._end) + _STRAY, self._most):
                yield from self._placed(self._next.samples, round(at * self._rate) - self._written)
            self._next = next(self._pieces, None)
            if self._next is None:
                yield from self._track.encode(None)

    def _placed(self, samples: np.ndarray, gap: int) -> Iterator[Any]:
        """Encodes ``samples`` where they belong, ``gap`` samples behind what was written, or over it where negative."""
        if abs(gap) > _SLACK * self._rate:
            for begin in range(0, gap, self._rate):
                yield from self._encoded(np.zeros((len(samples), min(self._rate, gap - begin)), np.float32))
            samples = samples[:, max(0, -gap) :]
        if samples.shape[1]:
            yield from self._encoded(samples)

    def _encoded(self, samples: np.ndarray) -> Iterator[Any]:
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=self._layout)
        frame.sample_rate, frame.pts, frame.time_base = self._rate, self._written, Fraction(1, self._rate)
        self._written += samples.shape[1]
        yield from self._track.encode(frame)


class _Decoder:
    """Decodes a stream to one rate and layout, whatever its frames have. rate: Hz. layout: "mono" or "stereo"."""

    def __init__(self, stream: Any):
        self._stream, self._kind, self.rate, self.layout = stream, None, 0, ""

    def pieces(self, container: Any) -> Iterator[_Piece]:
        """What decodes, in the order of the file."""
        for packet in packets_of(container, [self._stream]):
            yield from self._decoded(packet)
        yield from self._decoded(None)

    def _decoded(self, packet: Any) -> Iterator[_Piece]:
        frames = []
        with contextlib.suppress(av.error.FFmpegError):
            frames = self._stream.decode(packet)
        for frame in frames:
            if frame.is_corrupt or not frame.samples or frame.sample_rate not in _DECODED_RATES:
                continue
            # While a decoder is drained its frames have no time base.
            moment = None if frame.pts is None else frame.pts * self._stream.time_base
            # A layout that nothing can mix, a time that no clock can hold.
            with contextlib.suppress(av.error.FFmpegError, ValueError, OverflowError):
                yield from self._resampled(frame, moment)

    def _resampled(self, frame: Any, moment: Fraction | None) -> Iterator[_Piece]:
        kind = frame.format.name, frame.layout.name, frame.sample_rate
        if not self.rate:
            self.rate = min((rate for rate in _RATES if rate >= frame.sample_rate), default=_RATES[-1])
            self.layout = "mono" if frame.layout.nb_channels == 1 else "stereo"
        if kind != self._kind:
            self._kind = kind
            self._resampler = av.AudioResampler(format="fltp", layout=self.layout, rate=self.rate)
        # The resampler holds samples back: the pieces have the times of what comes out of it.
        frame.time_base = Fraction(1, frame.sample_rate)
        frame.pts = None if moment is None else round(moment * frame.sample_rate)
        for one in self._resampler.resample(frame):
            samples = np.nan_to_num(one.to_ndarray()).clip(-1.0, 1.0)  # the encoder refuses what is not finite
            yield _Piece(None if one.pts is None else float(one.pts * one.time_base), samples)
