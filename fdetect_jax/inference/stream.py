"""Rows in, one after another; results out, in order, while further batches are still on the devices."""

from collections import deque
from collections.abc import Callable, Sequence

import jax
import numpy as np

_IN_FLIGHT = 2  # batches that are submitted before the result of the first of them is read


class Stream:
    """Fills batches of one size and keeps ``_IN_FLIGHT`` of them on the devices.

    run: (B, …) uint8 -> a tuple of device arrays (B, …), returned before they are computed. batch_size: B. shape: of a
    row. A last batch that is not full is padded with zeros, and the padding is cut off the results.
    """

    def __init__(self, run: Callable[[np.ndarray], tuple[jax.Array, ...]], batch_size: int, shape: tuple[int, ...]):
        self._run, self._size, self._shape = run, batch_size, shape
        self._rows: list[np.ndarray] = []
        self._flight: deque[tuple[int, tuple[jax.Array, ...]]] = deque()
        self._done: list[tuple[np.ndarray, ...]] = []

    def put(self, rows: Sequence[np.ndarray]) -> list[tuple[np.ndarray, ...]]:
        """Takes further rows, and returns the results of the batches that are finished by now, in order."""
        self._rows.extend(rows)
        while len(self._rows) >= self._size:
            self._submit(self._rows[: self._size])
            del self._rows[: self._size]
        while self._flight and all(array.is_ready() for array in self._flight[0][1]):
            self._collect()
        return self._taken()

    def end(self) -> list[tuple[np.ndarray, ...]]:
        """Computes the rows that are left, and returns all results that were not returned yet."""
        if self._rows:
            self._submit(self._rows)
            self._rows = []
        while self._flight:
            self._collect()
        return self._taken()

    def _submit(self, rows: Sequence[np.ndarray]) -> None:
        if len(self._flight) >= _IN_FLIGHT:
            self._collect()
        # A new batch each time: the transfer of the last one may still be reading it.
        batch = np.zeros((self._size, *self._shape), np.uint8)
        for place, row in zip(batch, rows, strict=False):
            place[:] = row
        arrays = self._run(batch)
        for array in arrays:
            array.copy_to_host_async()
        self._flight.append((len(rows), arrays))

    def _collect(self) -> None:
        count, arrays = self._flight.popleft()
        self._done.append(tuple(array[:count] for array in jax.device_get(arrays)))

    def _taken(self) -> list[tuple[np.ndarray, ...]]:
        done, self._done = self._done, []
        return done


def joined(results: Sequence[tuple[np.ndarray, ...]], empty: Sequence[tuple[int, ...]]) -> tuple[np.ndarray, ...]:
    """The results of batches as one array each; without any, zeros (float32) of the shapes ``empty``."""
    if not results:
        return tuple(np.zeros(shape, np.float32) for shape in empty)
    return tuple(np.concatenate(parts) for parts in zip(*results, strict=True))
