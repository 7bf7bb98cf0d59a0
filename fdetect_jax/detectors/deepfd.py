"""DeepFD, a residual network that learns from pairs of faces first, and its coupled form. In: images. Out: Outputs.

Source: Hsu, Lee and Zhuang 2018 (arXiv 1809.08754), Zhuang and Hsu 2019 (ICIP), and the authors' two notebooks
(jesse1029/Fake-Face-Images-Detection-Tensorflow, GPL-3.0; nothing of theirs is copied, and they publish no weights).

A softmax of a dense layer on the last map is the feature D1, which a pairwise loss trains in the first stage; the
classifier D2 reads the same map and trains in the second stage (``objective.mode=staged``). The first notebook takes
its pairs from a list, but by mistake the P of a pair, 1 for two faces of one class, from the labels of an unrelated
batch. Here P comes from the pair: the loss term ``contrastive`` with ``pairs="all"`` takes every pair of a batch in
place of a list. With margin 0.5 and without normalisation it is ½ E[D² of equal pairs] + ½ E[max(0, 0.5 - D)² of
different pairs], and that is the authors' mean over a list of which half the pairs are equal. The loss term ``triplet``
is the second notebook's.

Their label 1 is real, the project's label 0.
"""

import dataclasses
from collections.abc import Mapping
from numbers import Real
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from fdetect_jax.detectors.layers import Conv, check_number, check_size, named, normalized
from fdetect_jax.errors import UserError
from fdetect_jax.fields import from_fields
from fdetect_jax.nn.conv import depthwise_conv2d
from fdetect_jax.nn.initial import drawn
from fdetect_jax.nn.norm import BatchNorm
from fdetect_jax.types import Outputs, score

# The coupled network of 2019 differs from DeepFD in these fields.
VARIANTS = {
    "deepfd": {},
    "deepfd_coupled": {"channels": (64, 96, 128), "blocks": (2, 4, 3), "kernels": (3, 5)},
}
INITS = ("authors", "he")
RESIDUALS = ("none", "colour")
LOCALISATIONS = ("channels", "classes")
_STEM, _STRIDE = 7, 4  # kernel and stride of the first convolution
# Second differences along both axes, of sum 0: the square 3x3 filter of Fridrich and Kodovský 2012 (SRM).
_HIGH_PASS = np.outer([1, -2, 1], [1, -2, 1]).astype(np.float32) / -4
_TRUNCATION = 2.0  # of the residual, in levels of 8 bits
_CHROMINANCE = np.array(  # Cb and Cr of R, G and B (JPEG), without their offset
    [[-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32
)


@dataclasses.dataclass(frozen=True)
class DeepFDConfig:
    """Defines the detector; a wrong value raises UserError naming ``detector.<field>``.

    size: pixels of a side of its images, 19 or more: the feature has weights for every position of the last map.
    channels, blocks: of each stage of residual blocks; the last block of a stage leads to the next stage's channels, at
    half the resolution. kernels: of the blocks, a trunk for each on the same first convolution; their maps are joined.
    features: length of D1. num_classes: 2 or more.
    init: "authors" draws every weight and bias from N(0, 1) cut off at two deviations, so that D1 begins as a vector of
    one 1; "he" scales weights by their inputs and begins with biases of zero.
    residual: "none", the authors' RGB; "colour", the residual of chrominance, see ``colour_residual``.
    localisation: what the head ``attention``, P(fake) in every position, is made of. "channels" are the class channels
    of the last convolution, of which the coupled notebook draws the larger one; "classes" also applies the last dense
    layer in every position, so that the mean over positions is the image's logits.
    bn_momentum, bn_epsilon: of BatchNorm; the defaults are TensorFlow's.
    """

    size: int = 64
    channels: tuple[int, ...] = (96, 128, 256)
    blocks: tuple[int, ...] = (2, 2, 2)
    kernels: tuple[int, ...] = (3,)
    features: int = 128
    num_classes: int = 2
    init: str = "authors"
    residual: str = "none"
    localisation: str = "channels"
    bn_momentum: float = 0.99
    bn_epsilon: float = 1e-3

    def __post_init__(self) -> None:
        for name, allowed in (("init", INITS), ("residual", RESIDUALS), ("localisation", LOCALISATIONS)):
            if getattr(self, name) not in allowed:
                raise UserError(f"detector.{name}: found {getattr(self, name)!r}, wanted one of {sorted(allowed)}")
        for name in ("channels", "blocks", "kernels"):
            if not (found := getattr(self, name)) or any(one < 1 for one in found):
                raise UserError(f"detector.{name}: found {found!r}, wanted whole numbers of at least 1")
        if len(self.blocks) != len(self.channels):
            raise UserError(f"detector.blocks: found {self.blocks!r}, wanted one number for each of {self.channels!r}")
        if list(self.channels) != sorted(self.channels):
            raise UserError(f"detector.channels: found {self.channels!r}, wanted none below the one before it")
        if any(kernel % 2 == 0 for kernel in self.kernels) or len(set(self.kernels)) < len(self.kernels):
            raise UserError(f"detector.kernels: found {self.kernels!r}, wanted odd numbers, each once")
        least = _STEM + _STRIDE * (2 ** (len(self.channels) - 1) - 1)
        check_number("size", self.size, int, least, f"a whole number of at least {least}")
        check_number("features", self.features, int, 1, "a whole number of at least 1")
        check_number("num_classes", self.num_classes, int, 2, "a whole number of at least 2")
        check_number("bn_momentum", self.bn_momentum, Real, 0, "a number in [0, 1)", below=1)
        check_number("bn_epsilon", self.bn_epsilon, Real, 1e-12, "a number above 0")

    @property
    def initial(self) -> tuple[nn.initializers.Initializer, nn.initializers.Initializer]:
        """Of weights and of biases."""
        if self.init == "authors":
            return (nn.initializers.truncated_normal(1.0),) * 2
        return nn.initializers.variance_scaling(2.0, "fan_in", "truncated_normal"), nn.initializers.zeros


def build(variant: str, overrides: Mapping[str, Any], axis_name: str | None, dtype: jnp.dtype) -> "DeepFD":
    """A key of ``VARIANTS``. UserError for a field that is unknown or out of range."""
    config = from_fields(DeepFDConfig, VARIANTS[variant] | dict(overrides), "detector")
    return DeepFD(config, axis_name, dtype)


def colour_residual(images: jax.Array) -> jax.Array:
    """High-pass residual of Cb and Cr, the input that ``residual="colour"`` puts in place of RGB.

    Images of generators differ from photographs most in the residuals of their chrominance (Li et al. 2020, arXiv
    1808.07276, who take first differences). Pixels are rounded to 8 bits first, because those of faces are and those
    that a generator renders inside a step are not; the gradient passes as if they were not. Each of Cb and Cr is
    filtered by second differences along both axes, with the outermost pixels repeated, and cut off at ±2 levels, so
    that the outlines of a face do not outweigh its texture. JPEG that stores chrominance at half the resolution
    destroys most of it.

    Args:
      images: (B, H, W, 3) float32 RGB in [0, 1].

    Returns:
      (B, H, W, 2) float32 in [-2, 2], in levels of 8 bits.
    """
    levels = 255.0 * images
    levels = levels + jax.lax.stop_gradient(jnp.round(levels) - levels)
    chrominance = jnp.einsum("bhwc,dc->bhwd", levels, _CHROMINANCE, precision="highest")
    padded = jnp.pad(chrominance, ((0, 0), (1, 1), (1, 1), (0, 0)), "edge")
    kernel = jnp.broadcast_to(_HIGH_PASS[..., None], (3, 3, 2))
    return jnp.clip(depthwise_conv2d(padded, kernel, 1, ((0, 0), (0, 0))), -_TRUNCATION, _TRUNCATION)


class Block(nn.Module):
    """A residual block: twice BatchNorm, swish and a convolution with bias, added to its input.

    The first convolution keeps the number of channels. New channels of the input are zeros, as many before the old ones
    as after them. down: halves the resolution of the input first, by the mean of 2x2.
    """

    features: int
    kernel: int
    down: bool
    config: DeepFDConfig
    axis_name: str | None
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """(B, h, w, C) -> (B, h or h // 2, …, features)."""
        config, own = self.config, x.shape[-1]
        if self.down:
            x = nn.avg_pool(x, (2, 2), (2, 2), "VALID")
        y = x
        for number, features in enumerate((own, self.features)):
            norm = BatchNorm(train, config.bn_momentum, config.bn_epsilon, self.axis_name, True, name=f"bn{number}")
            y = _conv(config, features, self.kernel, self.dtype, f"conv{number}")(norm(y))
        new = self.features - own
        return y + jnp.pad(x, ((0, 0), (0, 0), (0, 0), (new // 2, new - new // 2)))


def _conv(config: DeepFDConfig, features: int, kernel: int, dtype: jnp.dtype, name: str) -> Conv:
    weights, biases = config.initial
    return Conv(features, kernel, pads="SAME", dtype=dtype, bias=True, init=weights, bias_init=biases, name=name)


class DeepFD(nn.Module):
    """The detector; logits, embedding, attention and the dense layers are float32."""

    config: DeepFDConfig
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> Outputs:
        """Classifies images.

        Args:
          images: (B, S, S, 3) RGB, uint8 or float in [0, 1], S the config's size.
          train: batch statistics ("batch_stats" mutable).

        Returns:
          Outputs with logits (B, classes), and the heads embedding (B, features), D1, which sums to 1;
          attention (B, h, w, 1) in [0, 1], which no loss asks to find what was altered; and features/….
        """
        config = self.config
        check_size(config.size, images)
        x = normalized(images, "none", jnp.float32)
        x = colour_residual(x) if config.residual == "colour" else x
        weights, biases = (drawn(self, init) for init in config.initial)
        stem = Conv(
            config.channels[0],
            _STEM,
            _STRIDE,
            "VALID",
            self.dtype,
            bias=True,
            init=config.initial[0],
            bias_init=config.initial[1],
            name="stem",
        )
        features = {"stem": stem(x)}
        trunks = [self._trunk(features, kernel, train) for kernel in config.kernels]
        if len(trunks) > 1:
            features["trunks"] = jnp.concatenate(trunks, axis=-1)
        x = list(features.values())[-1]

        def dense(size: int, name: str) -> nn.Dense:
            return nn.Dense(size, kernel_init=weights, bias_init=biases, name=name)

        flat = x.astype(jnp.float32).reshape(x.shape[0], -1)
        embedding = nn.softmax(dense(config.features, "feature")(flat))
        norm = BatchNorm(train, config.bn_momentum, config.bn_epsilon, self.axis_name, True, name="bn")
        channels = _conv(config, config.num_classes, 3, self.dtype, "conv")(norm(x)).astype(jnp.float32)
        fc = dense(config.num_classes, "fc")
        logits = fc(channels.mean(axis=(1, 2)))
        where = fc(channels) if config.localisation == "classes" else channels
        attention = score(where.reshape(-1, config.num_classes)).reshape(*where.shape[:3], 1)
        return Outputs(logits, {"embedding": embedding, "attention": attention} | named(features))

    def _trunk(self, features: dict[str, jax.Array], kernel: int, train: bool) -> jax.Array:
        """The last map of the trunk with this kernel; every block's map is added to ``features``."""
        config, x, number = self.config, features["stem"], 0
        for stage, count in enumerate(config.blocks):
            for place in range(count):
                down = place == count - 1 and stage < len(config.blocks) - 1
                channels = config.channels[stage + down]
                name = f"trunk{kernel}_block{number:02d}"
                block = Block(channels, kernel, down, config, self.axis_name, self.dtype, name=name)
                features[name] = x = block(x, train)
                number += 1
        return x
