"""The networks of GAN fingerprints by the names of the authors' TensorFlow variables, and back.

Read are the authors' pickles, whose source code is dropped, and state dicts of the variables' names without that of
their network, such as ``export`` writes. Names of the discriminator begin with "D/", for some of them are those of a
classifier.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from fdetect_jax.convert.layout import (
    SAME,
    Layout,
    Pair,
    Row,
    Variables,
    check_shapes,
    check_variables,
    from_state,
    image_input,
    to_state,
)
from fdetect_jax.convert.tensors import CheckpointError, Tensor
from fdetect_jax.detectors import make_detector
from fdetect_jax.detectors.attribution import LEAST, AttributionConfig, TrunkConfig
from fdetect_jax.detectors.fingerprints import FINGERPRINTS, FingerprintsConfig

LAYOUTS = ("gan_fingerprints",)
_CRITIC = "D/"
_MODELS = "Conv_fingerprints/weight"


def _flat(channels: int) -> Layout:
    """A dense layer on a map: inputs counted (C, 4, 4) there, (4, 4, C) here."""
    return Layout(
        lambda a: a.reshape(channels, LEAST, LEAST, -1).transpose(1, 2, 0, 3).reshape(channels * LEAST**2, -1),
        lambda a: a.reshape(LEAST, LEAST, channels, -1).transpose(2, 0, 1, 3).reshape(channels * LEAST**2, -1),
    )


def _layer(key: str, *path: str, weight: Layout = SAME) -> Iterator[Row]:
    yield Pair(f"{key}/weight", ("params", *path, "weight"), weight)
    yield Pair(f"{key}/bias", ("params", *path, "bias"))


def _trunk(prefix: str, sides: list[int], *path: str) -> Iterator[Row]:
    for side in sides:
        for number in range(2):
            yield from _layer(f"{prefix}{side}x{side}/Conv{number}", *path, f"conv{side}_{number}")


def _sides(config: TrunkConfig) -> list[int]:
    """Above 4 px, the largest first."""
    return [2**power for power in range(config.size.bit_length() - 1, LEAST.bit_length() - 1, -1)]


def attribution_rows(config: AttributionConfig) -> Iterator[Row]:
    """Every array of the classifier."""
    late = config.mode == "postpool"
    sides = [side for side in _sides(config) if (side > config.switch) == late]
    yield from _trunk("", sides, "trunk")
    yield from _layer("4x4/Conv0", "conv4_0")
    yield from _layer("4x4/Dense1", "hidden", weight=_flat(config.channels(LEAST)))
    yield from _layer("4x4/Dense2", "fc")


def fingerprints_rows(config: FingerprintsConfig) -> Iterator[Row]:
    """Every array of the autoencoder, the model fingerprints and, if there is one, the discriminator."""
    sides = _sides(config)
    yield from _trunk("E_", sides, "autoencoder", "encoder")
    for number in range(2):
        yield from _layer(f"E_4x4/Conv{number}", "autoencoder", f"latent{number}")
        for side in (LEAST, *sides):
            yield from _layer(f"G_{side}x{side}/Conv{number}", "autoencoder", f"up{side}_{number}")
    yield from _layer(f"G_{config.size}x{config.size}/Conv_toRGB", "autoencoder", "rgb")
    yield Pair(_MODELS, ("params", FINGERPRINTS))
    if config.critic:
        yield from _trunk(_CRITIC, sides, "critic", "trunk")
        yield from _layer(f"{_CRITIC}4x4/Conv0", "critic", "conv4_0")
        yield from _layer(f"{_CRITIC}4x4/Dense1", "critic", "hidden", weight=_flat(config.channels(LEAST)))
        yield from _layer(f"{_CRITIC}4x4/Dense2", "critic", "fc")


def _rows(name: str, overrides: dict) -> list[Row]:
    if name == "attribution":
        return list(attribution_rows(AttributionConfig(**overrides)))
    return list(fingerprints_rows(FingerprintsConfig(**overrides)))


def convert(found: Any) -> tuple[dict, Variables, str]:
    """(name and overrides of the detector, variables, layout) of a state dict by the names of the variables.

    found: a state dict, or what ``read_checkpoint`` gives of a pickle: the classifier, or the autoencoder, the
    discriminator and the moving average of the autoencoder, which is taken. The authors' networks are read: 128 px,
    "postpool" down to 4 px, of any number of classes.

    Raises:
      CheckpointError: neither network, or not a whole one.
    """
    if isinstance(found, dict) and "variables" in found:
        found = _variables(found)
    elif isinstance(found, tuple) and len(found) == 3:
        _, critic, average = map(_variables, found)
        found = average | {_CRITIC + key: value for key, value in critic.items()}
    if not isinstance(found, dict) or not all(isinstance(value, Tensor | np.ndarray) for value in found.values()):
        raise CheckpointError("found no state dict, wanted arrays by the names of the authors' variables")
    explicit = _MODELS in found
    last = _MODELS if explicit else "4x4/Dense2/bias"
    if last not in found:
        raise CheckpointError(f"found neither {_MODELS} nor {last}, wanted one of the authors' two networks")
    name, overrides = "attribution", {"num_classes": int(found[last].shape[-1])}
    if explicit:
        name = "fingerprints"
        overrides["critic"] = any(key.startswith(_CRITIC) for key in found)
    table, module = _rows(name, overrides), make_detector(name, overrides)
    variables = from_state(name, found, table)
    check_shapes(name, variables, table, module, image_input(module.config.size))
    return {"name": name, "overrides": overrides}, variables, LAYOUTS[0]


def _variables(network: Any) -> dict[str, Tensor]:
    """The variables of one pickled network: the list of (name, array) among its attributes."""
    listed = network.get("variables") if isinstance(network, dict) else None
    if not isinstance(listed, list) or not all(
        isinstance(one, tuple) and len(one) == 2 and isinstance(one[0], str) for one in listed
    ):
        raise CheckpointError("found a pickle without the variables of a network, wanted one of the authors'")
    return dict(listed)


def export(config: dict, variables: Variables, layout: str) -> dict[str, np.ndarray]:
    """The arrays by the names of the authors' variables."""
    module = make_detector(config["name"], config["overrides"])
    check_variables(config["name"], module, variables, image_input(module.config.size))
    return to_state(config["name"], variables, _rows(config["name"], dict(config["overrides"])))
