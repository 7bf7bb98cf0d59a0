"""A trained network under another classifier. In: a weights file. Out: what its heads say of crops, and its arrays.

The file may be of any detector of faces, or of an EfficientNet with any number of classes.
"""

import dataclasses
import os
import tempfile
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fdetect_jax import parallel, weights
from fdetect_jax.detectors import find_detector
from fdetect_jax.errors import UserError
from fdetect_jax.inference.description import class_names, crop_recipe, weights_file
from fdetect_jax.inference.precision import native_dtype
from fdetect_jax.inference.stream import Stream
from fdetect_jax.loading import load
from fdetect_jax.types import Outputs

_EFFICIENTNETS = ("efficientnet", "efficientnet_lite")  # kinds of files; their fields make any variant of any other
_BATCH_SIZE, _ON_CPU = 32, 16

Read = Callable[[Outputs], tuple[jax.Array, ...]]


class Trunk:
    """A network of faces, placed on every local device.

    path: the file. name, overrides: of its detector, as a config has them. recipe: how its crops are cut. metadata: the
    file's notes. variables: its arrays, float32. scores: whether its classes are those of a detector.
    """

    def __init__(self, path: str | os.PathLike | None = None, recipe: str | None = None, dtype: Any = None):
        """As ``Scorer``, whose arguments these are.

        Raises:
          UserError: no such file, no network of faces, one that is made of another, no recipe, or other arrays than it
            has.
        """
        self.path = weights_file(path)
        devices = jax.local_devices()
        loaded = load(self.path, native_dtype(devices) if dtype is None else jnp.dtype(dtype))
        if loaded.unit != "face":
            wanted = "a detector of faces"
            raise UserError(
                f"{self.path}: found weights of kind {loaded.kind!r} and unit {loaded.unit}, wanted {wanted}"
            )
        self.name, self.overrides = "efficientnet_b0", loaded.config
        if loaded.kind not in _EFFICIENTNETS:
            self.name, self.overrides = loaded.config["name"], loaded.config["overrides"]
        if find_detector(self.name).wraps:
            raise UserError(
                f"{self.path}: found a detector {self.name!r}, wanted {self.overrides.get('trunk')!r} itself"
            )
        self.variables, self.metadata, self._run = loaded.variables, loaded.metadata, loaded.run
        self._mesh = parallel.make_mesh(devices)
        size = _ON_CPU if devices[0].platform == "cpu" else _BATCH_SIZE
        self.batch_size = -(-size // len(devices)) * len(devices)
        try:
            self.recipe = crop_recipe(loaded, recipe)
            outputs = self._outputs(loaded.module)
            try:
                self.scores = bool(class_names(self.metadata, outputs.logits.shape[-1]))
            except UserError:
                self.scores = False  # as of ImageNet's thousand classes
        except UserError as error:
            raise UserError(f"{self.path}: {error}") from None

    def _outputs(self, module: Any) -> Outputs:
        try:
            return jax.eval_shape(self._run, self.variables, self._rows(1))
        except Exception as error:  # of Flax, JAX and NumPy, whatever the first array that does not fit leads to
            if not (differs := weights.difference(module, self.variables, self._rows(1))):
                raise
            raise UserError(f"found other arrays than {self.name} has ({differs})") from error

    @property
    def description(self) -> str:
        """One line: what it is and what it was trained on."""
        source = f"source {self.metadata.get('source') or 'not stated'}"
        return f"{self.name}; {self.metadata.get('description') or source}"

    @cached_property
    def _placed(self) -> Any:
        return parallel.put(self.variables, self._mesh)

    def stream(self, read: Read) -> Stream:
        """Rows (S, S, 3) uint8 in, what ``read`` takes from the network's outputs out; it is compiled once.

        Raises UserError where ``read`` does, before any row.
        """
        function = parallel.compile_rows(partial(_read, self._run, read), self._mesh)
        try:
            function.eval_shape(self._placed, self._rows(self.batch_size))
        except UserError as error:
            raise UserError(f"{self.path}: {error}") from None

        def run(batch: np.ndarray) -> tuple[jax.Array, ...]:
            return function(self._placed, parallel.put_batch(batch, self._mesh))

        return Stream(run, self.batch_size, (self.recipe.size, self.recipe.size, 3))

    def _rows(self, count: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((count, self.recipe.size, self.recipe.size, 3), jnp.uint8)


def _read(run: Callable, read: Read, variables: Any, images: jax.Array) -> tuple[jax.Array, ...]:
    return read(run(variables, images))


@dataclasses.dataclass
class Spool:
    """Crops that are read again, in a temporary file: those of many videos do not fit into memory.

    size: S, of crops (S, S, 3) uint8.
    """

    size: int

    def __post_init__(self) -> None:
        self._file, self._count = tempfile.TemporaryFile(prefix="fdetect-"), 0  # noqa: SIM115

    def add(self, crop: np.ndarray) -> None:
        """Keeps a crop."""
        self._file.write(np.ascontiguousarray(crop).tobytes())
        self._count += 1

    def __iter__(self) -> Iterator[np.ndarray]:
        self._file.flush()
        yield from np.memmap(self._file, np.uint8, "r", shape=(self._count, self.size, self.size, 3))

    def close(self) -> None:
        """Removes the file."""
        self._file.close()
