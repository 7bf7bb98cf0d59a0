"""How arrays are laid out elsewhere and here: a table of pairs in, variables out, and back.

A table lists every array of a network once; conversion, export and their errors all follow from it.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from fdetect_jax import weights
from fdetect_jax.convert.tensors import CheckpointError, Tensor

Variables = dict[str, Any]
State = Mapping[str, Tensor | np.ndarray]


class Layout(NamedTuple):
    """How one array changes: to ours from theirs, and back."""

    ours: Callable[[np.ndarray], np.ndarray]
    theirs: Callable[[np.ndarray], np.ndarray]


SAME = Layout(lambda a: a, lambda a: a)
CONV = Layout(lambda a: a.transpose(2, 3, 1, 0), lambda a: a.transpose(3, 2, 0, 1))
DENSE = Layout(lambda a: a.transpose(1, 0), lambda a: a.transpose(1, 0))


def reshaped(here: tuple[int, ...], there: tuple[int, ...]) -> Layout:
    """The same values in another shape; -1 stands for the axis that varies."""
    return Layout(lambda a: a.reshape(here), lambda a: a.reshape(there))


class Pair(NamedTuple):
    """Their key, our path (collection first), and what happens to the array between."""

    key: str
    path: tuple[str, ...]
    layout: Layout = SAME


class Fixed(NamedTuple):
    """An entry of theirs that is the same in every network. checked: another value is an error."""

    key: str
    value: np.ndarray
    checked: bool = True


Row = Pair | Fixed


def batch_norm(key: str, *path: str) -> Iterable[Row]:
    """PyTorch's BatchNorm. The count of its updates is dropped: statistics here decay at a fixed rate."""
    yield Pair(f"{key}.weight", ("params", *path, "scale"))
    yield Pair(f"{key}.bias", ("params", *path, "bias"))
    yield Pair(f"{key}.running_mean", ("batch_stats", *path, "mean"))
    yield Pair(f"{key}.running_var", ("batch_stats", *path, "var"))
    yield Fixed(f"{key}.num_batches_tracked", np.zeros((), np.int64), checked=False)


def tf_batch_norm(key: str, *path: str) -> Iterable[Row]:
    """BatchNorm of Keras and TF-slim."""
    yield Pair(f"{key}/gamma", ("params", *path, "scale"))
    yield Pair(f"{key}/beta", ("params", *path, "bias"))
    yield Pair(f"{key}/moving_mean", ("batch_stats", *path, "mean"))
    yield Pair(f"{key}/moving_variance", ("batch_stats", *path, "var"))


def under(prefix: str, rows: Iterable[Row], *path: str) -> Iterable[Row]:
    """Rows whose keys follow `prefix`, and whose paths lie in the sub-module `path`."""
    for row in rows:
        if isinstance(row, Pair):
            yield Pair(prefix + row.key, (row.path[0], *path, *row.path[1:]), row.layout)
        else:
            yield row._replace(key=prefix + row.key)


def load(value: Tensor | np.ndarray, key: str) -> np.ndarray:
    """An entry as float32. CheckpointError names the key where it cannot be read or is not finite."""
    try:
        array = value.array() if isinstance(value, Tensor) else np.asarray(value)
    except CheckpointError as error:
        raise CheckpointError(f"{key}: {error}") from None
    array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise CheckpointError(f"{key}: found values that are not finite")
    return array


def from_state(what: str, state: State, rows: Iterable[Row]) -> Variables:
    """Variables, float32, from a flat state dict.

    Raises:
      CheckpointError: keys are missing or extra (lists both), or an array is unreadable or of another rank.
    """
    table = list(rows)
    wanted = {row.key for row in table}
    optional = {row.key for row in table if isinstance(row, Fixed) and not row.checked}
    _check_keys(what, set(state), wanted, optional)
    arrays = {}
    for row in table:
        if isinstance(row, Fixed):
            if row.checked and not np.array_equal(load(state[row.key], row.key), row.value):
                raise CheckpointError(f"{what}: {row.key}: found another filter than {row.value.tolist()}")
            continue
        array = load(state[row.key], row.key)
        try:
            arrays[row.path] = np.array(row.layout.ours(array), order="C")
        except (ValueError, IndexError):
            raise CheckpointError(
                f"{what}: {row.key}: found shape {array.shape}, of another rank than wanted"
            ) from None
    return unflatten_dict(arrays)


def to_state(what: str, variables: Variables, rows: Iterable[Row]) -> dict[str, np.ndarray]:
    """The inverse of `from_state`: float32 arrays by their keys, fixed entries included."""
    flat = flatten_dict(variables)
    table = list(rows)
    wanted = {"/".join(row.path) for row in table if isinstance(row, Pair)}
    _check_keys(what, set(map("/".join, flat)), wanted, set())
    out = {}
    for row in table:
        if isinstance(row, Fixed):
            out[row.key] = row.value
        else:
            array = np.asarray(flat[row.path], np.float32)
            out[row.key] = np.array(row.layout.theirs(array), order="C")
    return out


def _check_keys(what: str, found: set[str], wanted: set[str], optional: set[str]) -> None:
    missing, extra = sorted(wanted - found - optional), sorted(found - wanted)
    if missing or extra:
        raise CheckpointError(f"{what}: missing {missing}, extra {extra}")


def check_shapes(what: str, variables: Variables, rows: Iterable[Row], module: nn.Module, *inputs: Any) -> None:
    """That variables have the shapes the module wants for these inputs; CheckpointError lists what differs."""
    tree = jax.eval_shape(module.init, jax.random.key(0), *inputs)
    wanted = {path: leaf.shape for path, leaf in flatten_dict(tree).items()}
    found = {path: np.shape(leaf) for path, leaf in flatten_dict(variables).items()}
    keys = {row.path: row.key for row in rows if isinstance(row, Pair)}
    wrong = [
        f"{keys.get(path, '/'.join(path))} (here {found.get(path)}, wanted {wanted.get(path)})"
        for path in sorted(found.keys() | wanted.keys())
        if found.get(path) != wanted.get(path)
    ]
    if wrong:
        raise CheckpointError(f"{what}: wrong shapes: {', '.join(wrong[:20])}")


def check_variables(what: str, module: nn.Module, variables: Any, *inputs: Any) -> None:
    """CheckpointError where a file of ours holds other arrays than its description's module has for these inputs."""
    if differs := weights.difference(module, variables, *inputs):
        raise CheckpointError(f"found other arrays than its {what} has ({differs})")


def image_input(size: int, batch: int = 1) -> jax.ShapeDtypeStruct:
    """The shape of images, for `check_shapes`."""
    return jax.ShapeDtypeStruct((batch, size, size, 3), jnp.float32)
