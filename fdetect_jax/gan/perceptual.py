"""Perceptual loss terms with third-party networks. In: two images. Out: a distance per example.

``load_term("lpips", path)`` returns a pure function and the frozen variables to call it with.
Weights are safetensors in the layout of ``perceptual_nets``; none come with the package.
"""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from fdetect_jax import weights
from fdetect_jax.errors import UserError
from fdetect_jax.gan.encoders import resize
from fdetect_jax.gan.perceptual_nets import ALEXNET_SMALLEST, LPIPS, ArcFace, ResNet50

WORKING_SIZE = 256
MOCO_SIZE = 224
FACE_ROWS, FACE_COLUMNS, FACE_SIZE = slice(35, 223), slice(32, 220), 112
NON_NEGATIVE = tuple(f"params/lin{i}" for i in range(5))

Distance = Callable[[Any, jax.Array, jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True)
class Term:
    """The definition of a term: kind of its weights file, network, inputs of that network, distance."""

    kind: str
    module: nn.Module
    inputs: tuple[tuple[int, ...], ...]
    distance: Distance


def adaptive_average_pool(x: jax.Array, size: int) -> jax.Array:
    """(B, R, R, C) -> (B, size, size, C): cell i is the mean of pixels ⌊i·R/size⌋ to ⌈(i+1)·R/size⌉."""
    b, n, _, c = x.shape
    if n == size:
        return x
    if n % size == 0:
        return jnp.mean(x.reshape(b, size, n // size, size, n // size, c), axis=(2, 4))
    matrix = np.zeros((size, n), np.float32)
    for i in range(size):
        low, high = i * n // size, -(-(i + 1) * n // size)
        matrix[i, low:high] = 1 / (high - low)
    m = jnp.asarray(matrix, x.dtype)
    return jnp.einsum("pi,qj,bijc->bpqc", m, m, x, precision="highest")


def nearest(x: jax.Array, size: int) -> jax.Array:
    """(B, R, R, C) -> (B, size, size, C): pixel i is pixel ⌊i·R/size⌋, PyTorch's "nearest"."""
    at = np.arange(size) * x.shape[1] // size
    return x[:, at][:, :, at]


def cosine_distance(a: jax.Array, b: jax.Array) -> jax.Array:
    """1 − cos of (B, D) and (B, D), in [0, 2], (B,).

    It is computed as half the squared distance of the unit vectors, which does not cancel where they are nearly equal.
    """

    def unit(v: jax.Array) -> jax.Array:
        return v * jax.lax.rsqrt(jnp.maximum(jnp.sum(jnp.square(v), axis=-1, keepdims=True), 1e-24))

    return 0.5 * jnp.sum(jnp.square(unit(a) - unit(b)), axis=-1)


def working_size(x: jax.Array) -> jax.Array:
    """Images (B, R, R, 3) as float32, averaged down to 256 pixels if they are larger.

    Raises:
      UserError: the images are not square RGB.
    """
    if x.ndim != 4 or x.shape[1] != x.shape[2] or x.shape[3] != 3:
        raise UserError(f"images: found shape {x.shape}, wanted (B, R, R, 3)")
    x = x.astype(jnp.float32)
    return adaptive_average_pool(x, WORKING_SIZE) if x.shape[1] > WORKING_SIZE else x


def face_crop(x: jax.Array) -> jax.Array:
    """FFHQ-aligned faces (B, R, R, 3) -> ArcFace's crop of them, (B, 112, 112, 3)."""
    x = resize(working_size(x), WORKING_SIZE)
    return adaptive_average_pool(x[:, FACE_ROWS, FACE_COLUMNS], FACE_SIZE)


def lpips(variables: Any, image: jax.Array, target: jax.Array) -> jax.Array:
    """LPIPS v0.1 (AlexNet) of images (B, R, R, 3) in [-1, 1], at least 31 pixels: (B,), zero for equal images."""
    image, target = working_size(image), working_size(target)
    if image.shape[1] < ALEXNET_SMALLEST:
        raise UserError(f"lpips: found images of {image.shape[1]} pixels, wanted at least {ALEXNET_SMALLEST}")
    return LPIPS().apply(variables, image, target)


def identity(variables: Any, image: jax.Array, target: jax.Array) -> jax.Array:
    """1 − cos of ArcFace embeddings of FFHQ-aligned faces (B, R, R, 3) in [-1, 1]: (B,).

    Source: pSp (arXiv 2008.00951), section 3.2; the crop is that of its authors.
    """
    network = ArcFace()
    return cosine_distance(network.apply(variables, face_crop(image)), network.apply(variables, face_crop(target)))


def moco(variables: Any, image: jax.Array, target: jax.Array) -> jax.Array:
    """1 − cos of MoCo v2 features of images (B, R, R, 3) in [-1, 1]: (B,).

    The images are not standardised with ImageNet's statistics, as in the authors' code.
    Source: e4e (arXiv 2102.02766), the similarity loss for domains other than faces.
    """
    network = ResNet50()
    image, target = nearest(working_size(image), MOCO_SIZE), nearest(working_size(target), MOCO_SIZE)
    return cosine_distance(network.apply(variables, image), network.apply(variables, target))


TERMS: dict[str, Term] = {
    "lpips": Term("lpips_alex", LPIPS(), ((1, 64, 64, 3),) * 2, lpips),
    "identity": Term("ir_se50", ArcFace(), ((1, FACE_SIZE, FACE_SIZE, 3),), identity),
    "moco": Term("moco_resnet50", ResNet50(), ((1, MOCO_SIZE, MOCO_SIZE, 3),), moco),
}


def _term(name: str) -> Term:
    if name not in TERMS:
        raise UserError(f"losses: found {name!r}, wanted one of {sorted(TERMS)}")
    return TERMS[name]


def variable_shapes(name: str) -> dict[str, tuple[int, ...]]:
    """The content of a term's weights file: "params/…" or "batch_stats/…" to shape.

    Raises:
      UserError: no such term.
    """
    term = _term(name)
    inputs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in term.inputs]
    tree = jax.eval_shape(term.module.init, jax.random.key(0), *inputs)
    return {key: leaf.shape for key, leaf in flax.traverse_util.flatten_dict(tree, sep="/").items()}


def initial_variables(name: str, seed: int) -> Any:
    """Random variables of a term's network, as NumPy arrays of the right shapes, untrained.

    They are drawn with NumPy: XLA takes half a minute to compile the modules' initialisers for 44 million numbers.

    Raises:
      UserError: no such term.
    """
    rng = np.random.default_rng(seed)
    flat = {}
    for key, shape in variable_shapes(name).items():
        part = key.rsplit("/", 1)[-1]
        if part == "kernel":
            bound = math.sqrt(6 / math.prod(shape[:-1]))
            flat[key] = bound * (2 * rng.random(shape, np.float32) - 1)
        elif part.startswith("lin"):
            flat[key] = rng.random(shape, np.float32)
        else:
            flat[key] = np.full(shape, {"scale": 1, "var": 1, "slope": 0.25}.get(part, 0), np.float32)
    return flax.traverse_util.unflatten_dict(flat, sep="/")


def load_term(name: str, path: str | Path | None) -> tuple[Distance, Any]:
    """A term's pure function and its frozen variables.

    Args:
      name: "lpips", "identity" or "moco".
      path: a safetensors file of the term's kind ("lpips_alex", "ir_se50", "moco_resnet50").

    Returns:
      ``distance(variables, image, target)`` -> (B,) for images (B, R, R, 3) in [-1, 1], differentiable in
      both and the same object at every call; and ``variables``, as NumPy arrays.

    Raises:
      UserError: no such term.
      WeightsError: no path, no file, another kind, or variables that the network does not have; it names
        ``losses.<name>.weights``.
    """
    term, field = _term(name), f"losses.{name}.weights"
    if not path:
        raise weights.WeightsError(f"{field}: found no path, wanted safetensors weights of kind {term.kind!r}")
    try:
        _, variables, _ = weights.read(path, term.kind)
    except weights.WeightsError as error:
        raise weights.WeightsError(f"{field}: {error}") from None
    found = flax.traverse_util.flatten_dict(variables, sep="/")
    wanted = variable_shapes(name)
    for key in sorted(wanted.keys() | found.keys()):
        shape = found[key].shape if key in found else "nothing"
        if shape != wanted.get(key, "nothing"):
            raise weights.WeightsError(f"{field}: {path}: {key}: found {shape}, wanted {wanted.get(key, 'nothing')}")
        if key in NON_NEGATIVE and np.min(found[key]) < 0:
            raise weights.WeightsError(f"{field}: {path}: {key}: found a negative value, wanted none")
    return term.distance, variables
