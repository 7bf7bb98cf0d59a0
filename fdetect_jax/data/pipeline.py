"""Makes batches from a random access source with grain: shuffled, augmented, split by process, checkpointable.

A batch is a dict of arrays: ``image`` (B, S, S, 3) uint8; ``forged``, of the same form, for the rows whose fakes are
made on the host; and ``target/NAME`` for the requested targets, for every row or for those with a fake (``data.rows``).
"""

import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grain
import numpy as np
from absl import flags

from fdetect_jax import parallel
from fdetect_jax.data.mixture import Mixture
from fdetect_jax.data.rows import MakeRow, Slot, Transform, UnusableFace, stack
from fdetect_jax.data.source import Source, spread
from fdetect_jax.data.targets import TARGETS
from fdetect_jax.data.workers import enter_worker, require_shared_memory
from fdetect_jax.errors import UserError
from fdetect_jax.fields import whole
from fdetect_jax.host import hidden_main

_UNUSABLE = "unusable"  # key of a batch inside the pipeline: one line of UTF-8 per replaced face
_LINE = 300  # bytes
_TRIES = 50  # replacements tried for an unusable face
_STRIDE = 7919  # batches between one replacement and the next
_ROUNDS = 8  # passes over a source whose faces are drawn unequally often, until all were drawn
_LEAST = 200  # rows drawn before the share of unusable faces is checked


@dataclass(frozen=True)
class _Share:
    """This process's batches by number: of every global batch, the rows that its devices hold.

    A face that cannot be used is replaced by another one; the choice does not depend on the worker.
    """

    rows: grain.MapDataset
    batch_size: int
    process: int
    processes: int

    def __len__(self) -> int:
        return len(self.rows) // (self.batch_size * self.processes)

    def __getitem__(self, number: int) -> dict[str, np.ndarray]:
        first, unusable = (number * self.processes + self.process) * self.batch_size, []
        batch = stack([self._usable(row, unusable) for row in range(first, first + self.batch_size)])
        if unusable:
            lines = [line.encode()[:_LINE].ljust(_LINE) for line in unusable]
            batch[_UNUSABLE] = np.frombuffer(b"".join(lines), np.uint8).reshape(-1, _LINE)
        return batch

    def _usable(self, row: int, unusable: list[str]) -> dict[str, np.ndarray]:
        for attempt in range(_TRIES):
            try:
                return self.rows[row + attempt * _STRIDE * self.batch_size * self.processes]
            except UnusableFace as error:
                unusable.append(str(error))
                last = error
        raise UserError(f"found {_TRIES} unusable faces one after another, the last: {last}")


@dataclass
class Quarantine:
    """The faces that could not be used in training, and the number of rows drawn.

    reasons: one line per face -> how often it was drawn.
    """

    rows: int = 0
    reasons: dict[str, int] = field(default_factory=dict)

    def add(self, rows: int, lines: Sequence[str], most: float) -> None:
        """Counts a batch.

        Raises:
          UserError: over ``most``, a share, of the rows drawn so far could not be used.
        """
        self.rows += rows + len(lines)
        for line in lines:
            self.reasons[line] = self.reasons.get(line, 0) + 1
        found = sum(self.reasons.values())
        if self.rows >= _LEAST and found > most * self.rows:
            raise UserError(
                f"data.max_unusable: found {found} unusable of {self.rows} faces drawn, wanted {most:.1%} at most; "
                f"for example {next(iter(self.reasons))}"
            )


class Batches:
    """Endless batches, read ahead; a batch depends only on its number, not on the worker that makes it.

    The position is the number of the next batch, so a run may resume with another number of workers or threads.
    quarantine: the faces that could not be used since this object was made.
    """

    def __init__(self, share: _Share, workers: int, threads: int, max_unusable: float):
        self._share, self._workers, self._threads, self._most = share, workers, threads, max_unusable
        self._next, self._open = 0, []
        self.quarantine = Quarantine()
        weakref.finalize(self, _close, self._open)  # at the latest when Python exits

    def __iter__(self) -> "Batches":
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        try:
            if self._open:
                batch = next(self._open[0])
            else:
                with hidden_main():  # the first batch starts the processes
                    self._open.append(self._start())
                    batch = next(self._open[0])
            lines = [bytes(line).rstrip().decode(errors="ignore") for line in batch.pop(_UNUSABLE, ())]
            self.quarantine.add(self._share.batch_size, lines, self._most)
        except BaseException:
            self.close()
            raise
        self._next += 1
        return batch

    def get_state(self) -> dict[str, Any]:
        """The position after the latest batch and what was quarantined up to it, as JSON values."""
        found = self.quarantine
        return {"next_batch": self._next, "quarantine": {"rows": found.rows, "reasons": dict(found.reasons)}}

    def set_state(self, state: dict[str, Any]) -> None:
        """Moves to the position that ``get_state`` returned. Raises UserError for anything else."""
        self.close()
        try:
            whole(state, "next_batch", 0)
            whole(state, "quarantine.rows", 0)
            reasons = {str(line): int(count) for line, count in state["quarantine"]["reasons"].items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"checkpoint: found no position in the data ({error}), wanted that of a training") from None
        self._next, self.quarantine = state["next_batch"], Quarantine(state["quarantine"]["rows"], reasons)

    def close(self) -> None:
        """Ends the workers and drops the batches read ahead; the next batch starts the workers again."""
        _close(self._open)

    def _start(self) -> grain.DatasetIterator:
        data = grain.MapDataset.source(self._share)[self._next :]
        threads = 0 if self._workers else self._threads
        stream = data.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(2, threads)))
        if self._workers:
            if not flags.FLAGS.is_parsed():  # grain reads its own flags here, also outside of absl programs
                flags.FLAGS.mark_as_parsed()
            options = grain.MultiprocessingOptions(num_workers=self._workers, per_worker_buffer_size=2)
            stream = stream.mp_prefetch(options, worker_init_fn=enter_worker)
        return iter(stream)


def joined(positions: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The positions of all processes, see ``Batches.get_state``, as one: what was quarantined is added up."""
    found = Quarantine()
    for position in positions:
        own = position["quarantine"]
        found.rows += own["rows"]
        for line, count in own["reasons"].items():
            found.reasons[line] = found.reasons.get(line, 0) + count
    return positions[0] | {"quarantine": {"rows": found.rows, "reasons": found.reasons}}


def unquarantined(position: dict[str, Any]) -> dict[str, Any]:
    """The position with nothing quarantined: of several processes the first alone goes on counting."""
    return position | {"quarantine": {"rows": 0, "reasons": {}}}


def _close(streams: list[grain.DatasetIterator]) -> None:
    while streams:
        streams.pop().close()


def train_batches(
    source: Source,
    batch_size: int,
    seed: int,
    slots: Sequence[Slot] = (Slot(),),
    augment: Transform | None = None,
    targets: tuple[str, ...] = (),
    workers: int = 0,
    threads: int = 2,
    max_unusable: float = 0.0,
) -> Batches:
    """Endless shuffled batches of this process's share; parts of a mixture are drawn by their weights.

    All processes together see, row by row, what one would see with a batch ``parallel.processes()`` times as large.

    Args:
      source: the faces. batch_size: rows per process. seed: of the order and of every draw.
      slots: how the fakes of one device's rows are made, row by row. augment: applied to a face and its fake
        alike. targets: names of ``data.targets.TARGETS``.
      workers: processes that read ahead, two batches each; 0 reads ahead in ``threads`` threads of this process.
      max_unusable: the largest share of faces that may be unusable and replaced; above it, iteration raises UserError.
    """
    order = source.order(seed) if isinstance(source, Mixture) else _order(source, seed)
    # The position counts the rows of all processes; if each process counted its own, all would draw the same numbers.
    placed = order.map_with_index(_placed)
    rows = placed.random_map(MakeRow(source, tuple(slots), augment, targets))
    layers = 3 + 3 * any(slot.forge is not None for slot in slots) + sum(TARGETS[name].map for name in targets)
    frames = max(1, getattr(source, "frames", 1))
    # at most three batches per worker: being made, waiting, taken
    require_shared_memory(workers * 3 * batch_size * frames * source.size**2 * layers)
    share = _Share(rows, batch_size, parallel.process(), parallel.processes())
    return Batches(share, workers, threads, max_unusable)


def _placed(position: int, index: int) -> tuple[int, int]:
    return position, index


def _order(source: Source, seed: int) -> grain.MapDataset:
    shares = getattr(source, "shares", None)
    if shares is None or np.all(shares == 1):
        return grain.MapDataset.range(len(source)).seed(seed).shuffle().repeat(None)
    return grain.MapDataset.source(_dealt(shares)).seed(seed).shuffle().repeat(None)


def _dealt(shares: np.ndarray) -> np.ndarray:
    """The indices of ``_ROUNDS`` passes: each in proportion to its share, and at least once."""
    counts = np.maximum(1, np.diff(np.floor(np.cumsum(np.r_[0.5, _ROUNDS * shares])))).astype(int)
    return np.repeat(np.arange(len(shares)), counts)


def chosen_faces(source: Source, limit: int | None = None, seed: int = 0) -> list[int]:
    """The faces of an evaluation: all in order, or ``limit`` of them drawn over people or videos.

    From a mixture, the same number of each part, as far as it has faces. seed: of the draw.
    """
    if limit is None or limit >= len(source):
        return list(range(len(source)))
    if isinstance(source, Mixture):
        return source.evenly(limit, seed)
    return spread(source.groups, limit, seed)


def eval_batches(
    source: Source,
    indices: Sequence[int],
    batch_size: int,
    seed: int = 0,
    slot: Slot | None = None,
    targets: tuple[str, ...] = (),
    places: range | None = None,
    threads: int = 2,
) -> Iterator[dict[str, np.ndarray]]:
    """The faces ``indices`` in that order, without augmentation, read ahead by ``threads`` threads.

    The last batch is padded; ``weight`` (B,) is 0 on padding. ``row`` (B,) uint32 is the position of a face in
    ``indices``. seed: of the draws of ``slot``, combined with the face's index; a fake depends on nothing else.
    targets: as in training. places: the part of ``indices`` to make, by position; None: all.
    """
    make = MakeRow(source, targets=targets, training=False)
    slot = Slot() if slot is None else slot
    places = range(len(indices)) if places is None else places

    def row(place: int) -> dict[str, np.ndarray]:
        index = indices[place]
        try:
            return make.make(source[index], index, np.random.default_rng((seed, index)), slot)
        except UserError as error:
            raise UnusableFace(f"data: face {index} of {len(source)}: {error}") from error

    with ThreadPoolExecutor(threads) as pool:
        waiting = [pool.submit(row, place) for place in places[: 2 * batch_size]]
        for start in range(0, len(places), batch_size):
            made = [one.result() for one in waiting[:batch_size]]
            waiting = waiting[batch_size:]
            waiting += [pool.submit(row, place) for place in places[start + 2 * batch_size : start + 3 * batch_size]]
            weight = np.zeros(batch_size, np.float32)
            weight[: len(made)] = 1.0
            numbers = np.arange(places.start + start, places.start + start + batch_size, dtype=np.uint32)
            made += made[-1:] * (batch_size - len(made))
            yield stack(made) | {"weight": weight, "row": numbers}
