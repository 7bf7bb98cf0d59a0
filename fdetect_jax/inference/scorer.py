"""A trained detector at work: a weights file in, then crops in and margins, P(fake) and heat maps out.

The weights are placed once on every local device, a batch is split over them, and further batches are submitted before
the first is read.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from fdetect_jax import parallel, weights
from fdetect_jax.errors import UserError
from fdetect_jax.inference.attention import heat, map_head
from fdetect_jax.inference.calibration import Calibration
from fdetect_jax.inference.clips import Rows, clips
from fdetect_jax.inference.description import class_names, clip_frames, crop_recipe, least_lead, weights_file
from fdetect_jax.inference.familiar import COLLECTION, Limits
from fdetect_jax.inference.precision import native_dtype
from fdetect_jax.inference.strangeness import strangeness
from fdetect_jax.inference.stream import Stream, joined
from fdetect_jax.loading import Loaded, load
from fdetect_jax.types import margin

_BATCH_SIZE, _ON_CPU = 32, 16  # 16 are as fast there as 32, and one photograph is padded to half as many
Key = TypeVar("Key")
Group = tuple[Key, Sequence[np.ndarray], Sequence[int]]


class Predictions(NamedTuple):
    """What a detector says of K faces. margins: (K,) float64, not calibrated. classes: (K, C) float64, the softmax of
    its logits in the order of ``Scorer.classes``, not calibrated. strangeness: (K,) float64, above 1 farther from the
    known faces than 99 of 100 of these, NaN where the weights know none. In clips every face has what its clip was
    given."""

    margins: np.ndarray
    classes: np.ndarray
    strangeness: np.ndarray


class Scorer:
    """Scores face crops with one detector.

    path: the file. recipe: how its crops are cut, ``CropRecipe``. size: S, pixels of a crop's side. unit: "face" or
    "clip". frames: T, faces in a clip; 1 for faces. row_shape: of one row, (S, S, 3) or (T, S, S, 3). classes: the
    names of its classes, the first is real. calibration: of its margins. threshold: a file counts as fake from this
    calibrated score on. limits: of the faces that it knows. lead: below which a face is like none of its classes, see
    ``lead``; None: not known. metadata: the file's notes. dtype: what it computes in.
    batch_size: rows of its one compilation.
    """

    def __init__(
        self,
        path: str | os.PathLike | None = None,
        batch_size: int | None = None,
        recipe: str | None = None,
        dtype: Any = None,
        devices: Sequence[jax.Device] | None = None,
    ):
        """Loads a detector.

        Args:
          path: weights that a training or ``fdetect convert efficientnet`` wrote, or the workdir of a finished
            training; None: the bundled detector.
          batch_size: rows of the one compilation, rounded up to a multiple of the number of devices; fewer are padded.
            None: 16 on a CPU, else 32.
          recipe: a name of ``faces.crop.RECIPES`` in place of the file's own, at the detector's size. A converted
            EfficientNet carries none: without a name it is "sbi" for SBI's weights, else "paper".
          dtype: what it computes in; None: bfloat16 on devices that have it natively, else float32. Parameters, logits
            and margins are float32 in any case. On 136 real faces bfloat16 moved the bundled detector's P(fake) by
            0.028 at most.
          devices: which devices compute; None: all of this process.

        Raises:
          UserError: no such file, no detector of real and fake, no recipe, or notes that do not hold.
        """
        devices = jax.local_devices() if devices is None else list(devices)
        if batch_size is None:
            batch_size = _ON_CPU if devices[0].platform == "cpu" else _BATCH_SIZE
        if batch_size < 1:
            raise UserError(f"batch_size: found {batch_size}, wanted at least 1")
        self._mesh = parallel.make_mesh(devices)
        self.batch_size = -(-batch_size // len(devices)) * len(devices)
        self.dtype = native_dtype(devices) if dtype is None else jnp.dtype(dtype)
        self.path = weights_file(path)
        loaded = load(self.path, self.dtype)
        if loaded.unit is None:
            raise UserError(f"{self.path}: found weights of kind {loaded.kind!r}, wanted a detector")
        self.unit, self.metadata = loaded.unit, loaded.metadata
        self._name, self._run = loaded.config.get("name", loaded.kind), loaded.run
        try:
            self.recipe = crop_recipe(loaded, recipe)
            self.calibration = Calibration.from_metadata(loaded.metadata)
            self.limits = Limits.from_metadata(loaded.metadata)
            self.lead = least_lead(loaded.metadata)
            self.size, self.threshold = self.recipe.size, self.calibration.threshold
            self.frames = clip_frames(loaded)
            crop = (self.size, self.size, 3)
            self.row_shape = crop if self.unit == "face" else (self.frames, *crop)
            self._predict = parallel.compile_rows(partial(_predict, loaded.run), self._mesh)
            self._attend = parallel.compile_rows(partial(_attend, loaded.run), self._mesh)
            self._variables = parallel.put(loaded.variables, self._mesh)
            self.classes = class_names(loaded.metadata, self._count_classes(loaded))
        except UserError as error:
            raise UserError(f"{self.path}: {error}") from None

    def compile(self) -> None:
        """Compiles the predictions now, not at the first batch."""
        self._predict.lower(self._variables, self._batch()).compile()

    @property
    def description(self) -> str:
        """One line: what the detector is, what it was trained on, and what its scores were calibrated on."""
        notes = self.metadata
        trained = notes.get("description") or f"source {notes.get('source') or 'not stated'}"
        calibrated = f"calibrated on {self.calibration.data}" if self.calibration.data else "not calibrated"
        return f"{self._name}, {self.size} px; {trained}; {calibrated}"

    def scores(self, images: np.ndarray) -> np.ndarray:
        """Calibrated P(fake).

        Args:
          images: (N, S, S, 3) uint8 RGB, cut by ``recipe``, or clips (N, T, S, S, 3); N may be 0.

        Returns:
          (N,) float64 in [0, 1].

        Raises:
          UserError: another shape or type, or weights that give what is not finite.
        """
        return self.calibration.scores(self.margins(images))

    def margins(self, images: np.ndarray) -> np.ndarray:
        """(N,) float64 log P(fake) / P(real), not calibrated. Takes and raises what ``scores`` does."""
        return self.predictions(images).margins

    def predictions(self, images: np.ndarray) -> Predictions:
        """Margins and the probabilities of the classes. Takes and raises what ``scores`` does."""
        return self._finite(self._over(self._predict, _checked(images, self.row_shape), self._nothing))

    def embeddings(self, images: np.ndarray) -> np.ndarray | None:
        """(N, D) float32 of crops, None where the detector has none. Takes what ``scores`` does."""
        embed = parallel.compile_rows(partial(_embed, self._run), self._mesh)
        try:
            shape = jax.eval_shape(embed, self._variables, self._batch())[0].shape[1:]
        except KeyError:
            return None
        return self._over(embed, _checked(images, self.row_shape), ((0, *shape),))[0]

    def attention(self, images: np.ndarray) -> np.ndarray:
        """Where the detector finds what it decides by, see ``attention.heat``.

        Returns:
          (N, h, w) float32 in [0, 1], coarser than the images; of clips (N, T, h, w). Takes what ``scores`` does.

        Raises:
          UserError: as ``scores`` does, and where this detector has no map.
        """
        shape = self.require_attention()
        return self._over(self._attend, _checked(images, self.row_shape), ((0, *shape),))[0]

    def require_attention(self) -> tuple[int, ...]:
        """The shape of one heat map, (h, w) or (T, h, w). Raises UserError where the detector has none."""
        try:
            return jax.eval_shape(partial(heat, self._run), self._variables, self._one_row()).shape[1:]
        except UserError as error:
            raise UserError(f"{self.path}: {error}") from None

    @cached_property
    def finds_masks(self) -> bool:
        """Whether ``attention`` is the mask of what the detector takes for altered."""
        return map_head(self._run, self._variables, self._one_row()) == "mask"

    def margins_of_each(self, groups: Iterable[Group]) -> Iterator[tuple[Key, np.ndarray]]:
        """As ``predictions_of_each``, the margins alone."""
        return ((key, found.margins) for key, found in self.predictions_of_each(groups))

    def predictions_of_each(self, groups: Iterable[Group]) -> Iterator[tuple[Key, Predictions]]:
        """Predictions for one group of faces after another, in full batches across their borders.

        Args:
          groups: (key, crops, tracks): K crops (S, S, 3) uint8 in order of time and the track of each, K may be 0. A
            detector of clips is shown clips of one track, see ``clips.clips``; one of faces ignores the tracks.

        Yields:
          (key, predictions of its K faces), in order, as soon as they are known.

        Raises:
          UserError: as ``scores`` does.
        """
        stream = self._stream(self._predict)
        waiting: deque[tuple[Key, np.ndarray, int]] = deque()  # key, the row of each face, number of rows
        left = self._finite(joined([], self._nothing))  # of the rows of those that wait

        def finished(results: list[tuple[np.ndarray, ...]]) -> Iterator[tuple[Key, Predictions]]:
            nonlocal left
            if results:
                fresh = self._finite(joined(results, ()))
                left = Predictions(*map(np.concatenate, zip(left, fresh, strict=True)))
            while waiting and waiting[0][2] <= len(left.margins):
                key, row, count = waiting.popleft()
                yield key, Predictions(*(values[row] for values in left))
                left = Predictions(*(values[count:] for values in left))

        for key, crops, tracks in groups:
            rows, row = self._rows(crops, tracks)
            waiting.append((key, row, len(rows)))
            yield from finished(stream.put(rows))
        yield from finished(stream.end())

    def attention_of(self, crops: Sequence[np.ndarray], tracks: Sequence[int], chosen: Sequence[int]) -> np.ndarray:
        """Heat maps (C, h, w) of some faces of a group: ``crops`` and ``tracks`` as above, C indices ``chosen``."""
        if self.unit == "face":
            return self.attention(np.stack([crops[number] for number in chosen]))
        grouped = clips(tracks, self.frames)
        rows = np.unique(grouped.row[np.asarray(chosen)])
        maps = self.attention(np.stack([_clip(crops, grouped, row) for row in rows]))
        return maps[np.searchsorted(rows, grouped.row[np.asarray(chosen)]), grouped.place[np.asarray(chosen)]]

    def _rows(self, crops: Sequence[np.ndarray], tracks: Sequence[int]) -> tuple[list[np.ndarray], np.ndarray]:
        """The rows that show these faces, and the row of each face."""
        if len(crops) != len(tracks):
            raise ValueError(f"found {len(crops)} crops and {len(tracks)} tracks, wanted a track for each crop")
        for crop in crops:
            _checked(crop[None], (self.size, self.size, 3))
        if self.unit == "face":
            return list(crops), np.arange(len(crops))
        grouped = clips(tracks, self.frames)
        return [_clip(crops, grouped, row) for row in range(len(grouped.faces))], grouped.row

    def _stream(self, function: Callable) -> Stream:
        def run(batch: np.ndarray) -> tuple[jax.Array, ...]:
            return function(self._variables, parallel.put_batch(batch, self._mesh))

        return Stream(run, self.batch_size, self.row_shape)

    def _over(self, function: Callable, rows: np.ndarray, empty: Sequence[tuple[int, ...]]) -> tuple[np.ndarray, ...]:
        stream = self._stream(function)
        return joined(stream.put(rows) + stream.end(), empty)

    @property
    def _nothing(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of the predictions of no row."""
        return (0,), (0, len(self.classes)), (0,)

    def _finite(self, arrays: Sequence[np.ndarray]) -> Predictions:
        found = Predictions(*(np.asarray(values, np.float64) for values in arrays))
        if not np.isfinite(found.margins).all():
            raise UserError(f"{self.path}: found logits that are not finite, wanted weights that give numbers")
        return found

    def _one_row(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((1, *self.row_shape), jnp.uint8)

    def _batch(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((self.batch_size, *self.row_shape), jnp.uint8, sharding=parallel.split(self._mesh))

    def _count_classes(self, loaded: Loaded) -> int:
        """The number of logits; refuses weights that are not this network's. Traces what ``compile`` compiles."""
        try:
            _, classes, _ = self._predict.eval_shape(self._variables, self._batch())
        except Exception as error:  # of Flax, JAX and NumPy, whatever the first array that does not fit leads to
            if not (differs := weights.difference(loaded.module, loaded.variables, self._one_row())):
                raise
            raise UserError(f"found other arrays than {self._name} has ({differs})") from error
        return classes.shape[-1]


def _predict(run: Callable, variables: Any, images: jax.Array) -> tuple[jax.Array, ...]:
    found = run(variables, images)
    logits = found.logits.astype(jnp.float32)
    far = strangeness(variables.get(COLLECTION), found.heads, len(logits))
    return margin(logits), jax.nn.softmax(logits), far


def _embed(run: Callable, variables: Any, images: jax.Array) -> tuple[jax.Array]:
    return (run(variables, images).heads["embedding"].astype(jnp.float32),)


def _attend(run: Callable, variables: Any, images: jax.Array) -> tuple[jax.Array]:
    return (heat(run, variables, images),)


def _checked(images: np.ndarray, row: tuple[int, ...]) -> np.ndarray:
    images = np.asarray(images)
    if images.shape[1:] != row or images.dtype != np.uint8:
        wanted = ", ".join(map(str, ("N", *row)))
        raise UserError(f"images: found {images.shape} {images.dtype}, wanted ({wanted}) uint8")
    return images


def _clip(crops: Sequence[np.ndarray], grouped: Rows, row: int) -> np.ndarray:
    return np.stack([crops[face] for face in grouped.faces[row]])
