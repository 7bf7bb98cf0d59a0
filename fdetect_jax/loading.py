"""Weights files in, networks that judge, invert or generate out: `fdetect_jax.load`."""

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from fdetect_jax import weights
from fdetect_jax.detectors import make_detector
from fdetect_jax.detectors.efficientnet import EfficientNet, EfficientNetConfig
from fdetect_jax.errors import UserError
from fdetect_jax.gan import inversion
from fdetect_jax.gan.perceptual_nets import ArcFace
from fdetect_jax.gan.stylegan2 import Generator, GeneratorConfig, from_signed, to_signed
from fdetect_jax.types import Outputs


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A network with its weights.

    kind: what the file says it is. module: the network, `module.apply(variables, …)`; for a HyperInverter, an
    `Inverter`. variables: float32. config: the fields of its architecture. metadata: the file's notes (source, hash,
    licence, …). run: `(variables, input) -> Outputs`, pure and not compiled; calling the whole compiles it.
    """

    kind: str
    module: Any
    variables: Any
    config: dict
    metadata: dict[str, str]
    run: Callable[[Any, jax.Array], Outputs] = dataclasses.field(repr=False)
    _compiled: Callable = dataclasses.field(repr=False)
    _input: tuple[int | None, ...] = dataclasses.field(repr=False)

    def __call__(self, images: jax.Array) -> Outputs:
        """Judges images: (B, H, W, 3) RGB in [0, 1], or uint8 -> `Outputs`, compiled once for each shape.

        detector, efficientnet: logits, embedding, features. ir_se50: aligned faces of 112 px -> embedding (B, 512) of
        length 1. hyperinverter: -> reconstruction in [0, 1] and embedding, w (B, 512). stylegan2: takes latents z
        (B, z_dim) in place of images -> reconstruction in [0, 1] and embedding, w. The last three have no logits.

        Raises:
          ValueError: the input has another shape.
        """
        shape = jnp.shape(images)
        if len(shape) != len(self._input) or any(w not in (None, s) for s, w in zip(shape, self._input, strict=True)):
            wanted = "(" + ", ".join("any" if w is None else str(w) for w in self._input) + ")"
            raise UserError(f"{self.kind}: found an input of shape {shape}, wanted {wanted}")
        return self._compiled(self.variables, images)


def load(path: str | os.PathLike) -> Loaded:
    """A network from a file that `fdetect convert` or a training wrote.

    Raises:
      WeightsError: no such file, not a description of itself, or of a kind that is no network alone.
    """
    config, variables, metadata = weights.read(path)
    kind = metadata["kind"]
    if kind not in _KINDS:
        raise weights.WeightsError(f"{path}: found weights of kind {kind!r}, wanted one of {sorted(_KINDS)}")
    try:
        module, variables, run, wanted = _KINDS[kind](config, variables)
    except (KeyError, TypeError, ValueError) as error:
        raise weights.WeightsError(f"{path}: its description of a {kind} does not hold ({error})") from None
    return Loaded(kind, module, variables, config, metadata, run, jax.jit(run), wanted)


_IMAGES = (None, None, None, 3)


def _detector(config: dict, variables: Any):
    module = make_detector(config["name"], config["overrides"])
    return module, variables, module.apply, _IMAGES


def _efficientnet(config: dict, variables: Any):
    module = EfficientNet(EfficientNetConfig(**config))
    return module, variables, module.apply, _IMAGES


def _stylegan2(config: dict, variables: Any):
    module = Generator(GeneratorConfig(**config["generator"]))

    def run(variables: Any, z: jax.Array) -> Outputs:
        w = module.apply(variables, z, method=Generator.map)
        image = module.apply(variables, w, method=Generator.synthesize)
        return Outputs(None, {"embedding": w, "reconstruction": from_signed(image)})

    return module, variables["generator"], run, (None, module.config.z_dim)


def _hyperinverter(config: dict, variables: Any):
    module = inversion.build(config)

    def run(variables: Any, images: jax.Array) -> Outputs:
        found = module.invert(variables, images)
        return Outputs(None, {"embedding": found.w, "reconstruction": found.image})

    return module, variables, run, (None, module.resolution, module.resolution, 3)


def _ir_se50(config: dict, variables: Any):
    module = ArcFace()

    def run(variables: Any, images: jax.Array) -> Outputs:
        v = module.apply(variables, to_signed(images))
        return Outputs(None, {"embedding": v / jnp.linalg.norm(v, axis=-1, keepdims=True)})

    return module, variables, run, (None, 112, 112, 3)


_KINDS = {
    "detector": _detector,
    "efficientnet": _efficientnet,
    "stylegan2": _stylegan2,
    "hyperinverter": _hyperinverter,
    "ir_se50": _ir_se50,
}
