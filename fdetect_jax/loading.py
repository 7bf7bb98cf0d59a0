"""Weights files in, networks that detect, invert or generate out: `fdetect_jax.load`."""

import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from fdetect_jax import weights
from fdetect_jax.detectors import find_detector, make_detector
from fdetect_jax.detectors.efficientnet import EfficientNet, EfficientNetConfig
from fdetect_jax.errors import UserError
from fdetect_jax.fields import from_fields
from fdetect_jax.gan import inversion
from fdetect_jax.gan.perceptual_nets import ArcFace
from fdetect_jax.gan.stylegan2 import Generator, GeneratorConfig, from_signed, to_signed
from fdetect_jax.remote import here
from fdetect_jax.types import Outputs

Shape = tuple[int | None, ...]  # None: any length


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A network with its weights.

    kind: what the file says it is. module: the network, `module.apply(variables, …)`; for a HyperInverter, an
    `Inverter`. variables: float32. config: the fields of its architecture. metadata: the file's notes (source, hash,
    licence, …). unit: what one row of a detector's input is, "face" or "clip"; None for every other network.
    input_shape: of what it takes. run: `(variables, input) -> Outputs`, pure and not compiled; calling the whole
    compiles it.
    """

    kind: str
    module: Any
    variables: Any
    config: dict
    metadata: dict[str, str]
    unit: str | None
    input_shape: Shape
    run: Callable[[Any, jax.Array], Outputs] = dataclasses.field(repr=False)
    _compiled: Callable = dataclasses.field(repr=False)

    def __call__(self, images: jax.Array) -> Outputs:
        """Runs the network on images, RGB in [0, 1] or uint8 -> `Outputs`; it is compiled once for each shape.

        detector, efficientnet, efficientnet_lite: images (B, H, W, 3), or of a detector of clips (B, T, H, W, 3) ->
        logits and its heads. ir_se50: aligned faces (B, 112, 112, 3) -> embedding (B, 512) of length 1. hyperinverter:
        images (B, R, R, 3) of its generator's resolution -> reconstruction in [0, 1] and embedding, w (B, w_dim).
        stylegan2: latents z (B, z_dim) in place of images -> reconstruction in [0, 1] and embedding, w. The last three
        have no logits.

        Raises:
          UserError: the input has another shape.
        """
        shape, wanted = jnp.shape(images), self.input_shape
        if len(shape) != len(wanted) or any(w not in (None, s) for s, w in zip(shape, wanted, strict=True)):
            text = "(" + ", ".join("any" if w is None else str(w) for w in wanted) + ")"
            raise UserError(f"{self.kind}: found an input of shape {shape}, wanted {text}")
        return self._compiled(self.variables, images)


def load(path: str | os.PathLike, dtype: Any = jnp.float32) -> Loaded:
    """A network from a file that `fdetect convert` or a training wrote.

    Args:
      path: a safetensors file, also at an address. dtype: what a detector computes in; its parameters and logits are
        float32 in any case, and every other network computes in float32.

    Raises:
      WeightsError: no such file, not a description of itself, of a kind that is no network alone, or a description
        that does not hold.
    """
    config, variables, metadata = weights.read(here(path))
    kind = metadata["kind"]
    if kind not in _KINDS:
        raise weights.WeightsError(f"{path}: found weights of kind {kind!r:.200}, wanted one of {sorted(_KINDS)}")
    try:
        network = _KINDS[kind](config, variables, jnp.dtype(dtype))
    except UserError as error:
        raise weights.WeightsError(f"{path}: its description of a {kind} does not hold ({error})") from None
    module, variables, run, unit, shape = network
    return Loaded(kind, module, variables, config, metadata, unit, shape, run, jax.jit(run))


_Network = tuple[Any, Any, Callable[[Any, jax.Array], Outputs], str | None, Shape]
_IMAGES: dict[str, Shape] = {"face": (None, None, None, 3), "clip": (None, None, None, None, 3)}


def _detector(config: dict, variables: Any, dtype: jnp.dtype) -> _Network:
    _check_fields(config, {"name": str, "overrides": dict})
    unit = find_detector(config["name"]).unit
    module = make_detector(config["name"], config["overrides"], dtype=dtype)
    return module, variables, module.apply, unit, _IMAGES[unit]


def _efficientnet(config: dict, variables: Any, dtype: jnp.dtype) -> _Network:
    module = EfficientNet(from_fields(EfficientNetConfig, config, "detector"), dtype=dtype)
    return module, variables, module.apply, "face", _IMAGES["face"]


def _stylegan2(config: dict, variables: Any, dtype: jnp.dtype) -> _Network:
    _check_fields(config, {"generator": dict})
    _check_fields(variables, {"generator": dict})
    module = Generator(from_fields(GeneratorConfig, config["generator"], "generator"))

    def run(variables: Any, z: jax.Array) -> Outputs:
        w = module.apply(variables, z, method=Generator.map)
        image = module.apply(variables, w, method=Generator.synthesize)
        return Outputs(None, {"embedding": w, "reconstruction": from_signed(image)})

    return module, variables["generator"], run, None, (None, module.config.z_dim)


def _hyperinverter(config: dict, variables: Any, dtype: jnp.dtype) -> _Network:
    parts = dict.fromkeys(inversion.PARTS, dict)
    _check_fields(config, parts)
    _check_fields(variables, parts)
    module = inversion.build(config)

    def run(variables: Any, images: jax.Array) -> Outputs:
        found = module.invert(variables, images)
        return Outputs(None, {"embedding": found.w, "reconstruction": found.image})

    return module, variables, run, None, (None, module.resolution, module.resolution, 3)


def _ir_se50(config: dict, variables: Any, dtype: jnp.dtype) -> _Network:
    module = ArcFace()

    def run(variables: Any, images: jax.Array) -> Outputs:
        v = module.apply(variables, to_signed(images))
        return Outputs(None, {"embedding": v / jnp.linalg.norm(v, axis=-1, keepdims=True)})

    return module, variables, run, None, (None, 112, 112, 3)


def _check_fields(found: Any, wanted: Mapping[str, type]) -> None:
    """Raises UserError where ``found`` is no dict with these fields of these types."""
    if not isinstance(found, dict):
        raise UserError(f"found {found!r}, wanted the fields {sorted(wanted)}")
    for name, kind in wanted.items():
        if not isinstance(found.get(name), kind):
            raise UserError(f"{name}: found {found.get(name)!r}, wanted a {kind.__name__}")


# kind -> (config, variables, dtype) -> the network, its variables, run, unit and input shape; UserError where the
# description does not hold.
_KINDS: dict[str, Callable[[dict, Any, jnp.dtype], _Network]] = {
    "detector": _detector,
    "efficientnet": _efficientnet,
    "efficientnet_lite": _efficientnet,
    "stylegan2": _stylegan2,
    "hyperinverter": _hyperinverter,
    "ir_se50": _ir_se50,
}
