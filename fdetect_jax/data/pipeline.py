"""From a random access source to batches: grain, shuffled, augmented, sharded by process, checkpointable.

A source yields ``types.Example`` by index. A batch is a dict of arrays: ``image`` (B, S, S, 3) uint8 and ``identity``
(B,); where a forgery is made on the host also ``forged`` (B, S, S, 3) uint8, the fake of each row, and on demand
``mask`` (B, S, S) uint8, where it was forged, 255 for altogether, and ``face`` (B, S, S) uint8, 255 on the face.
"""

import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import grain
import jax
import numpy as np
from absl import flags

from fdetect_jax.data.mixture import Mixture
from fdetect_jax.data.source import Source, describe
from fdetect_jax.data.workers import enter_worker, require_shared_memory
from fdetect_jax.errors import UserError
from fdetect_jax.types import Example

Row = dict[str, np.ndarray]


@dataclass(frozen=True)
class ForgedPair:
    """What a host forgery makes of a face.

    real, fake: (S, S, 3) uint8 RGB; ``real`` is the face as the detector is to see it. mask: (S, S) float32 in
    [0, 1], the share of what was put in, in every pixel of ``fake``. face: (S, S) uint8 in {0, 1}, where the face is,
    in both alike; None where the face came without.
    """

    real: np.ndarray
    fake: np.ndarray
    mask: np.ndarray
    face: np.ndarray | None = None


HostForgery = Callable[[np.random.Generator, Example, Callable[[], Example]], ForgedPair]
"""(rng, face, donor) -> ForgedPair; ``donor()`` draws a face of another person, for those that need one."""


class Transform(Protocol):
    """Moves and changes ``images``, all alike, and moves ``masks`` with them; both come back as lists."""

    def __call__(
        self, rng: np.random.Generator, images: Sequence[np.ndarray], masks: Sequence[np.ndarray] = ()
    ) -> tuple[list[np.ndarray], list[np.ndarray]]: ...


class UnusableFace(UserError):
    """A face that could not be read, forged or augmented; the message names it."""


@dataclass(frozen=True)
class MakeRow:
    """(index, rng) -> one row: the face and, with a host forgery, its fake; both augmented alike.

    source: the faces. forgery: makes a fake of each. augment: applied to a face and its fake. masks: which of "mask"
    and "face" the row has.

    Raises UnusableFace.
    """

    source: Source
    forgery: HostForgery | None = None
    augment: Transform | None = None
    masks: tuple[str, ...] = ()

    def __call__(self, index: int, rng: np.random.Generator) -> Row:
        try:
            return self.augmented(self.forged(self.source[index], index, rng), rng)
        except Exception as error:  # of whatever library; a worker process sends it on as it is
            raise UnusableFace(f"data: face {index} of {len(self.source)}: {describe(error)}") from error

    def forged(self, example: Example, index: int, rng: np.random.Generator) -> Row:
        """The row before augmentation."""
        row = {"image": example["image"], "identity": np.int32(example["identity"])}
        found = {"face": example.get("mask")}
        if self.forgery is not None:
            forged = self.forgery(rng, example, lambda: self._donor(example, index, rng))
            row |= {"image": forged.real, "forged": forged.fake}
            found = {"mask": forged.mask, "face": forged.face}
        for name in self.masks:
            if found.get(name) is None:
                raise UserError(f"found no {name} mask, wanted one: faces with landmarks, or a loss without the mask")
            row[name] = np.asarray(found[name], np.float32)
        return row

    def augmented(self, row: Row, rng: np.random.Generator) -> Row:
        """The row as it goes into a batch."""
        images = [row["image"]] + ([row["forged"]] if "forged" in row else [])
        masks = [row[name] for name in self.masks]
        if self.augment is not None:
            images, masks = self.augment(rng, images, masks)
        row = row | dict(zip(("image", "forged"), images, strict=False))
        return row | {n: np.round(255 * mask).astype(np.uint8) for n, mask in zip(self.masks, masks, strict=True)}

    def _donor(self, example: Example, index: int, rng: np.random.Generator) -> Example:
        # Of the same part of a mixture: else the edge of a swap would be one between two cameras.
        among = self.source.part_at(index) if isinstance(self.source, Mixture) else range(len(self.source))
        for _ in range(100):
            other = self.source[among[int(rng.integers(len(among)))]]
            if other["identity"] != example["identity"]:
                return other
        start = int(rng.integers(len(among)))  # one person holds nearly all photographs
        for number in range(start, start + len(among)):
            other = self.source[among[number % len(among)]]
            if other["identity"] != example["identity"]:
                return other
        raise UserError("found one person, wanted at least two to swap faces between")


def stack(rows: Sequence[Row]) -> dict[str, np.ndarray]:
    """Rows -> one batch."""
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


@dataclass(frozen=True)
class _Share:
    """This process's batches by number: its rows of every global batch, which are those that its devices hold."""

    rows: grain.MapDataset
    batch_size: int
    process: int
    processes: int

    def __len__(self) -> int:
        return len(self.rows) // (self.batch_size * self.processes)

    def __getitem__(self, number: int) -> dict[str, np.ndarray]:
        first = (number * self.processes + self.process) * self.batch_size
        return stack([self.rows[row] for row in range(first, first + self.batch_size)])


class Batches:
    """Endless batches, read ahead; a batch depends on its number alone, not on who makes it.

    The position is the number of the next batch, so a run may go on with another number of workers or threads.
    """

    def __init__(self, share: _Share, workers: int, threads: int):
        self._share, self._workers, self._threads = share, workers, threads
        self._next, self._open = 0, []
        weakref.finalize(self, _close, self._open)  # at the latest when Python ends

    def __iter__(self) -> "Batches":
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        if not self._open:
            self._open.append(self._start())
        try:
            batch = next(self._open[0])
        except BaseException:
            self.close()
            raise
        self._next += 1
        return batch

    def get_state(self) -> dict[str, int]:
        """The position after the latest batch, fit for JSON."""
        return {"next_batch": self._next}

    def set_state(self, state: dict[str, int]) -> None:
        """Goes to where ``get_state`` was called."""
        self.close()
        self._next = state["next_batch"]

    def close(self) -> None:
        """Ends the workers and drops what was read ahead; the next batch starts anew."""
        _close(self._open)

    def _start(self) -> grain.DatasetIterator:
        data = grain.MapDataset.source(self._share)[self._next :]
        threads = 0 if self._workers else self._threads
        stream = data.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(2, threads)))
        if self._workers:
            if not flags.FLAGS.is_parsed():  # grain reads flags of its own here, whoever calls
                flags.FLAGS.mark_as_parsed()
            options = grain.MultiprocessingOptions(num_workers=self._workers, per_worker_buffer_size=2)
            stream = stream.mp_prefetch(options, worker_init_fn=enter_worker)
        return iter(stream)


def _close(streams: list[grain.DatasetIterator]) -> None:
    while streams:
        streams.pop().close()


def train_batches(
    source: Source,
    batch_size: int,
    seed: int,
    forgery: HostForgery | None = None,
    augment: Transform | None = None,
    masks: tuple[str, ...] = (),
    workers: int = 0,
    threads: int = 2,
) -> Batches:
    """Endless shuffled batches of this process's share; parts of a mixture come by their weights.

    All processes together see what one process with a batch ``jax.process_count()`` times as large would see, row by
    row.

    Args:
      source: the faces. batch_size: rows per process. seed: of the order and of every draw.
      forgery: makes a fake of each face. augment: applied to a face and its fake alike. masks: as for ``MakeRow``.
      workers: processes that read ahead, two batches each; 0 reads ahead in ``threads`` threads of this one.
    """
    order = source.order(seed) if isinstance(source, Mixture) else _order(source, seed)
    # Drawn by position among the rows of all processes: they would draw alike if each counted its own.
    rows = order.random_map(MakeRow(source, forgery, augment, masks))
    # Three batches of each worker at most: made, waiting, taken.
    require_shared_memory(workers * 3 * batch_size * source.size**2 * (3 + 3 * (forgery is not None) + len(masks)))
    return Batches(_Share(rows, batch_size, jax.process_index(), jax.process_count()), workers, threads)


def _order(source: Source, seed: int) -> grain.MapDataset:
    return grain.MapDataset.range(len(source)).seed(seed).shuffle().repeat(None)


def eval_batches(
    source: Source, batch_size: int, seed: int = 0, forgery: HostForgery | None = None, limit: int | None = None
) -> Iterator[dict[str, np.ndarray]]:
    """Every face once, in order, without augmentation; the last batch is padded, ``weight`` (B,) is 0 on padding.

    ``limit`` keeps the first faces; of a mixture equally many of each part, as far as they go. There ``part`` (B,)
    int32 says which part a row is of.
    """
    count = len(source) if limit is None else min(limit, len(source))
    chosen = source.evenly(count) if isinstance(source, Mixture) else range(count)
    make = MakeRow(source, forgery)
    for start in range(0, count, batch_size):
        indices = chosen[start : start + batch_size]
        rows = [make(i, np.random.default_rng((seed, i))) for i in indices]
        if isinstance(source, Mixture):
            rows = [row | {"part": np.int32(source.number(i))} for row, i in zip(rows, indices, strict=True)]
        weight = np.zeros(batch_size, np.float32)
        weight[: len(rows)] = 1.0
        rows += rows[-1:] * (batch_size - len(rows))
        yield stack(rows) | {"weight": weight}
