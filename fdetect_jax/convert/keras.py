"""Keras' HDF5 weights: a file in, its arrays by kind of layer, number and name out. TensorFlow is not needed.

Layers of a kind count from 0 in the order of their numbers, in which they were made: the second network of a process
has higher ones, and the file's own order is another. Links to other files are refused.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np

from fdetect_jax.convert.tensors import CheckpointError, brief
from fdetect_jax.errors import UserError

SIGNATURE = b"\x89HDF\r\n\x1a\n"
_MOST = 1 << 31  # bytes of one array


def read(path: Path) -> dict[str, np.ndarray]:
    """``{"conv2d.0/kernel": array, …}`` of a file that Keras 1 or 2 wrote.

    Raises:
      CheckpointError: damaged, or not Keras' weights. UserError: h5py is not installed.
    """
    try:
        import h5py
    except ImportError:
        raise UserError(
            "h5py: found no such package, wanted it for Keras' files: pip install 'fdetect-jax[keras]'"
        ) from None
    try:
        with h5py.File(path, "r") as file:
            root = _group(file, "model_weights") if "model_weights" in file else file
            found, counts = {}, {}
            for kind, _, layer in sorted((*_kind(layer), layer) for layer in _names(root, "layer_names")):
                own = _group(root, layer)
                if entries := _names(own, "weight_names"):
                    number = counts[kind] = counts.get(kind, -1) + 1
                    for entry in entries:
                        name = re.sub(r":\d+$", "", entry.rpartition("/")[2])
                        found[f"{kind}.{number}/{name}"] = _array(own, entry)
            return found
    except CheckpointError:
        raise
    except (OSError, RuntimeError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"damaged HDF5 file ({' '.join(str(error).split()):.200})") from None


def _kind(layer: str) -> tuple[str, int]:
    """("conv2d", 3) of "conv2d_3"; without a number 0."""
    kind, _, number = layer.rpartition("_")
    return (kind, int(number)) if kind and number.isdecimal() else (layer, 0)


def _names(group: Any, attribute: str) -> list[str]:
    if attribute not in group.attrs:
        raise CheckpointError(f"found no {attribute}, wanted the weights of a Keras model")
    return [
        name.decode() if isinstance(name, bytes) else str(name) for name in np.asarray(group.attrs[attribute]).ravel()
    ]


def _group(parent: Any, name: str) -> Any:
    return _member(parent, name, "Group")


def _array(group: Any, name: str) -> np.ndarray:
    """An array at a path of groups."""
    *above, last = name.split("/")
    for step in above:
        group = _group(group, step)
    found = _member(group, last, "Dataset")
    if found.external or found.is_virtual:
        raise CheckpointError(f"{name}: lies in another file, wanted it in this one")
    if found.dtype.kind != "f" or found.size * found.dtype.itemsize > _MOST:
        raise CheckpointError(
            f"{name}: found {found.shape} of {found.dtype}, wanted floating-point numbers, {_MOST} bytes at most"
        )
    return found[()]


def _member(group: Any, name: str, kind: str) -> Any:
    import h5py

    link = group.get(name, getlink=True)
    if not isinstance(link, h5py.HardLink):
        raise CheckpointError(f"{brief(name)}: found {type(link).__name__}, wanted what lies in this file")
    if not isinstance(found := group[name], getattr(h5py, kind)):
        raise CheckpointError(f"{brief(name)}: found a {type(found).__name__}, wanted a {kind}")
    return found
