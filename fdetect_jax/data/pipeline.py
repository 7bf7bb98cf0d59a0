"""From a random access source to batches: grain, shuffled, augmented, sharded by process, checkpointable.

A source yields ``types.Example`` by index. A batch is a dict of arrays: ``image`` (B, S, S, 3) uint8 and ``identity``
(B,); where a forgery is made on the host also ``forged`` (B, S, S, 3) uint8, the fake of each row, and on demand
``mask`` (B, S, S) uint8, where it was forged, 255 for altogether.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import grain
import jax
import numpy as np
from absl import flags

from fdetect_jax.media.crop import CropRecipe
from fdetect_jax.types import Example


@dataclass(frozen=True)
class Triple:
    """What a host forgery makes of a face.

    real, fake: (S, S, 3) uint8 RGB; ``real`` is the face as the detector is to see it. mask: (S, S) float32 in
    [0, 1], the share of what was put in, in every pixel of ``fake``.
    """

    real: np.ndarray
    fake: np.ndarray
    mask: np.ndarray


HostForgery = Callable[[np.random.Generator, Example, Callable[[], Example]], Triple]
"""(rng, face, stranger) -> Triple; ``stranger()`` draws a face of another person, for those that need one."""


class Transform(Protocol):
    """Moves and changes ``images``, all alike, and moves ``masks`` with them; both come back as lists."""

    def __call__(
        self, rng: np.random.Generator, images: Sequence[np.ndarray], masks: Sequence[np.ndarray] = ()
    ) -> tuple[list[np.ndarray], list[np.ndarray]]: ...


class Source(Protocol):
    """Random access to face crops of one size; ``recipe`` says how they were cut, None where nothing was."""

    @property
    def size(self) -> int: ...
    @property
    def recipe(self) -> CropRecipe | None: ...
    @property
    def fingerprint(self) -> str: ...
    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Example: ...


class _Make:
    """(example, rng) -> one row: the face and, with a host forgery, its fake; both augmented alike."""

    def __init__(self, source: Source, forgery: HostForgery | None, augment: Transform | None, masks: bool):
        self.source, self.forgery, self.augment, self.masks = source, forgery, augment, masks

    def __call__(self, example: Example, rng: np.random.Generator) -> dict[str, np.ndarray]:
        images, masks = [example["image"]], []
        if self.forgery is not None:
            triple = self.forgery(rng, example, lambda: self._stranger(example, rng))
            images, masks = [triple.real, triple.fake], [triple.mask] * self.masks
        if self.augment is not None:
            images, masks = self.augment(rng, images, masks)
        row = {"image": images[0], "identity": np.int32(example["identity"])}
        if self.forgery is not None:
            row["forged"] = images[1]
        if masks:
            row["mask"] = np.round(255 * masks[0]).astype(np.uint8)
        return row

    def _stranger(self, example: Example, rng: np.random.Generator) -> Example:
        for _ in range(100):
            other = self.source[int(rng.integers(len(self.source)))]
            if other["identity"] != example["identity"]:
                return other
        start = int(rng.integers(len(self.source)))  # one person holds nearly all photographs
        for index in range(start, start + len(self.source)):
            other = self.source[index % len(self.source)]
            if other["identity"] != example["identity"]:
                return other
        raise ValueError("data: found one person, wanted at least two to swap faces between")


def train_batches(
    source: Source,
    batch_size: int,
    seed: int,
    forgery: HostForgery | None = None,
    augment: Transform | None = None,
    masks: bool = False,
    workers: int = 0,
    threads: int = 2,
) -> grain.DatasetIterator:
    """Endless shuffled batches of this process's share; ``get_state``/``set_state`` move it exactly.

    Args:
      source: the faces. batch_size: rows per process. seed: of the order and of every draw.
      forgery: makes a fake of each face. augment: applied to a face and its fake alike. masks: where each was forged.
      workers: processes that read ahead; 0 reads ahead in ``threads`` threads of this one.
    """
    share, shares = jax.process_index(), jax.process_count()
    data = grain.MapDataset.source(source).seed(seed).shuffle().repeat(None)
    # Drawn before it is shared out: processes count their rows alike, and would draw alike.
    data = data.random_map(_Make(source, forgery, augment, masks))[share::shares]
    options = grain.ReadOptions(num_threads=0 if workers else threads, prefetch_buffer_size=2 * batch_size)
    stream = data.to_iter_dataset(options).batch(batch_size, drop_remainder=True)
    if workers:
        if not flags.FLAGS.is_parsed():  # grain reads flags of its own here, whoever calls
            flags.FLAGS.mark_as_parsed()
        stream = stream.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=2))
    return iter(stream)


def eval_batches(
    source: Source, batch_size: int, seed: int = 0, forgery: HostForgery | None = None, limit: int | None = None
) -> Iterator[dict[str, np.ndarray]]:
    """Every face once, in order, without augmentation; the last batch is padded, ``weight`` (B,) is 0 on padding."""
    count = len(source) if limit is None else min(limit, len(source))
    make = _Make(source, forgery, None, False)
    for start in range(0, count, batch_size):
        indices = range(start, min(start + batch_size, count))
        rows = [make(source[i], np.random.default_rng((seed, i))) for i in indices]
        weight = np.zeros(batch_size, np.float32)
        weight[: len(rows)] = 1.0
        rows += rows[-1:] * (batch_size - len(rows))
        yield {name: np.stack([row[name] for row in rows]) for name in rows[0]} | {"weight": weight}
