"""The inverter: generator G, encoder E and HyperInverter H. Faces in; their latents, kernel offsets and renderings out.

The modules are static; their variables are an argument, ``{"generator": …, "encoder": …, "hyper": …}``.
"""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from fdetect_jax import weights
from fdetect_jax.fields import from_fields
from fdetect_jax.gan.encoders import Encoder, EncoderConfig
from fdetect_jax.gan.hyperinverter import HyperConfig, HyperInverter
from fdetect_jax.gan.stylegan2 import Generator, GeneratorConfig, Offsets, from_signed, to_signed

PARTS = ("generator", "encoder", "hyper")


@flax.struct.dataclass
class Inversion:
    """Inverted faces: ``w`` (B, w_dim), the kernels' offsets (None without H), ``image`` (B, R, R, 3) in [0, 1]."""

    w: jax.Array
    offsets: Offsets | None
    image: jax.Array


@dataclasses.dataclass(frozen=True)
class Inverter:
    """The modules of G, E and H. Without H the encoder alone inverts."""

    generator: Generator
    encoder: Encoder
    hyper: HyperInverter | None

    @property
    def resolution(self) -> int:
        return self.generator.config.resolution

    def encode(self, variables: Any, image: jax.Array) -> jax.Array:
        """Images (B, R, R, 3) in [0, 1] -> w (B, w_dim)."""
        w_avg = variables["generator"]["buffers"]["mapping"]["w_avg"]
        return self.encoder.apply(variables["encoder"], to_signed(image)) + w_avg[None]

    def render(
        self, variables: Any, w: jax.Array, offsets: Offsets | None = None, resolution: int | None = None
    ) -> jax.Array:
        """w (B, w_dim) or w+ (B, num_ws, w_dim) -> images (B, R, R, 3) in [0, 1]; resolution: R, if below G's."""
        return from_signed(self.synthesize(variables, w, offsets, resolution))

    def synthesize(
        self, variables: Any, w: jax.Array, offsets: Offsets | None = None, resolution: int | None = None
    ) -> jax.Array:
        """As ``render``, but the generator's own output: nominally in [-1, 1], not clipped."""
        synthesize = Generator.synthesize
        return self.generator.apply(variables["generator"], w, offsets, "const", resolution, method=synthesize)

    def invert(self, variables: Any, image: jax.Array) -> Inversion:
        """Both phases: w = E(x), Δθ = H(G(w), x), and G(w; θ + Δθ). Images in [0, 1]."""
        w = self.encode(variables, image)
        first = self.synthesize(variables, w, None)
        if self.hyper is None:
            return Inversion(w, None, from_signed(first))
        offsets = self.hyper.apply(variables["hyper"], to_signed(image), first)
        return Inversion(w, offsets, self.render(variables, w, offsets))

    def map(self, variables: Any, z: jax.Array) -> jax.Array:
        """z (B, z_dim) -> w (B, w_dim)."""
        return self.generator.apply(variables["generator"], z, method=Generator.map)


def build(configs: dict[str, dict], axis_name: str | None = None, dtype=jnp.float32, remat: bool = False) -> Inverter:
    """Builds the networks from plain dicts: ``generator`` and ``encoder``, and ``hyper`` if there is one.

    dtype: of convolutions and activations. remat: of the generator.
    """
    g = from_fields(GeneratorConfig, configs["generator"], "generator")
    e = from_fields(EncoderConfig, configs["encoder"], "encoder")
    hyper = None
    if "hyper" in configs:
        h = from_fields(HyperConfig, configs["hyper"], "hyper")
        hyper = HyperInverter(h, g, axis_name, dtype)
    return Inverter(Generator(g, dtype, remat), Encoder(e, axis_name, dtype), hyper)


def load(path: str | Path, dtype=jnp.float32, remat: bool = False) -> tuple[Inverter, dict]:
    """An inverter from a folder with generator.safetensors, encoder.safetensors and, optionally, hyper.safetensors.

    path: that folder, or one file of kind "hyperinverter", which holds all three.

    Raises:
      weights.WeightsError: a file is missing, is of another kind, or holds other arrays than its network has.
      UserError: a field of a file's description that does not hold.
    """
    path = Path(path)
    configs, variables = _read(_files(path, PARTS))
    inverter = build(configs, dtype=dtype, remat=remat)
    check(inverter, variables, path, [part for part in PARTS if part in configs])
    return inverter, variables


def load_generator(path: str | Path, dtype=jnp.float32) -> tuple[Generator, Any]:
    """The generator of an inverter and its variables, from the same places and with the same errors as ``load``.

    A folder needs no other file than generator.safetensors.
    """
    path = Path(path)
    configs, variables = _read(_files(path, ("generator",)))
    generator = Generator(from_fields(GeneratorConfig, configs["generator"], "generator"), dtype)
    latent = jax.ShapeDtypeStruct((1, generator.config.z_dim), jnp.float32)
    if differs := weights.difference(generator, variables["generator"], latent):
        raise weights.WeightsError(f"{path}: found other arrays than its generator has ({differs})")
    return generator, variables["generator"]


def check(inverter: Inverter, variables: dict, path: Path, parts: Sequence[str]) -> None:
    """Raises WeightsError, naming the path, where the arrays of one of these parts are not its network's."""
    image = jax.ShapeDtypeStruct((1, inverter.resolution, inverter.resolution, 3), jnp.float32)
    latent = jax.ShapeDtypeStruct((1, inverter.generator.config.z_dim), jnp.float32)
    for part, inputs in (("generator", (latent,)), ("encoder", (image,)), ("hyper", (image, image))):
        network = getattr(inverter, part)
        if part in parts and (differs := weights.difference(network, variables.get(part), *inputs)):
            raise weights.WeightsError(f"{path}: found other arrays than its {part} has ({differs})")


def _files(path: Path, parts: Sequence[str]) -> tuple[tuple[str, Path, int | None], ...]:
    """(kind, file, time of its last change or None if it is missing) of each file that holds these parts."""
    files = {"hyperinverter": path} if path.is_file() else {part: path / f"{part}.safetensors" for part in parts}
    return tuple((kind, file, file.stat().st_mtime_ns if file.exists() else None) for kind, file in files.items())


@functools.lru_cache(maxsize=4)
def _read(files: tuple[tuple[str, Path, int | None], ...]) -> tuple[dict, dict]:
    """Configs and variables, read once and cached. files: of ``_files``."""
    configs, variables = {}, {}
    for kind, file, changed in files:
        if kind == "hyperinverter":
            configs, variables, _ = weights.read(file, kind)
        elif kind != "hyper" or changed is not None:
            configs[kind], variables[kind], _ = weights.read(file, kind)
    return configs, variables


def save(folder: str | Path, configs: dict[str, dict], variables: dict, dtype, **notes: str) -> None:
    """Writes one file for each network in ``variables``."""
    for part in PARTS:
        if part in variables:
            weights.save(Path(folder) / f"{part}.safetensors", part, configs[part], variables[part], dtype, **notes)
