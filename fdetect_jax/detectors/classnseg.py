"""ClassNSeg, the Y-shaped autoencoder that classifies, segments and reconstructs. In: images. Out: Outputs.

Source: Nguyen et al. 2019 (BTAS, arXiv 1906.06876) and the authors' code. The channels of the latent code are two
halves, one for real faces and one for fakes; the half with the larger mean activation is the verdict. One half is kept,
the other is set to zero, and a decoder with two branches makes the mask and the face of it.

The authors keep the half of the true label while they train, and that of the prediction when they test. So training
gives this module the label (``Detector.labelled``); only the decoder reads it. One face is decoded once, as in the
authors' code, and BatchNorm sees what theirs sees. Without the label both halves of every face would have to be decoded
and the loss would choose: 1.6 times the multiplications, and half of what the decoder's batch statistics count would be
halves that nobody asked for.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from fdetect_jax.detectors.layers import NORMALIZATIONS, Conv, check_number, named, normalized
from fdetect_jax.errors import UserError
from fdetect_jax.fields import from_fields
from fdetect_jax.nn.axes import per_channel
from fdetect_jax.nn.conv import transposed_conv2d
from fdetect_jax.nn.initial import drawn
from fdetect_jax.nn.norm import BatchNorm
from fdetect_jax.types import FAKE, REAL, Outputs

SIZE = 256  # pixels of a side, of the authors' network
_PADS = ((1, 1), (1, 1))
_MOMENTUM, _EPSILON = 0.9, 1e-5  # of BatchNorm; PyTorch's
_KERNEL, _SCALE = 0.02, 0.5  # deviation of kernels and of norms' scales, mean of norms' scales, at first
_NORMALIZATION = "imagenet"


@dataclasses.dataclass(frozen=True)
class ClassNSegConfig:
    """Defines the detector; a wrong value raises UserError naming ``detector.<field>``.

    widths: channels of the encoder from the image's size down, each at half the size of the one before; the last are
    those of the latent code, an even number. The defaults are the authors'. Sides of the images are multiples of 2 to
    the number of halvings, 16 by default.
    num_classes: 2, the authors'; with more, a linear layer divides P(fake) among the classes of fakes, and the halves
    and the decoder stay as they are.
    """

    widths: tuple[int, ...] = (8, 16, 32, 64, 128)
    num_classes: int = 2

    def __post_init__(self) -> None:
        if len(self.widths) < 3 or not all(width > 0 for width in self.widths) or self.widths[-1] % 2:
            wanted = "three or more numbers above 0, the last of them even"
            raise UserError(f"detector.widths: found {self.widths!r}, wanted {wanted}")
        check_number("num_classes", self.num_classes, int, 2, "a whole number of at least 2")

    @property
    def reduction(self) -> int:
        """Pixels of a side for one position of the latent code."""
        return 2 ** (len(self.widths) - 1)

    @property
    def shared(self) -> int:
        """How many doublings of the decoder the two branches share; the authors' share two of four."""
        return (len(self.widths) - 1) // 2


def build(overrides: Mapping[str, Any], axis_name: str | None, dtype: jnp.dtype) -> "ClassNSeg":
    """The detector. UserError for a field that is unknown or out of range."""
    return ClassNSeg(from_fields(ClassNSegConfig, dict(overrides), "detector"), axis_name, dtype)


class Doubled(nn.Module):
    """A transposed 3x3 convolution of stride 2 with bias: twice the size of its input, kernel (3, 3, in, features)."""

    features: int
    dtype: jnp.dtype
    init: nn.initializers.Initializer

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", drawn(self, self.init), (3, 3, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        y = transposed_conv2d(x.astype(self.dtype), kernel.astype(self.dtype))
        return y + per_channel(bias, y).astype(self.dtype)


class Layer(nn.Module):
    """A 3x3 convolution with bias, BatchNorm and ReLU. stride: 2 halves the size. doubled: whether it is doubled.

    own_init: kernels and scales drawn as the authors draw them; otherwise as PyTorch does, which they leave as it is
    in the shared part of the decoder. Biases begin at zero: BatchNorm removes them.
    """

    features: int
    train: bool
    axis_name: str | None
    dtype: jnp.dtype
    stride: int = 1
    doubled: bool = False
    own_init: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        init, scale = nn.initializers.variance_scaling(1 / 3, "fan_out", "uniform"), nn.initializers.ones
        if self.own_init:
            init, scale = nn.initializers.normal(_KERNEL), _scales
        if self.doubled:
            x = Doubled(self.features, self.dtype, init, name="conv")(x)
        else:
            x = Conv(self.features, 3, self.stride, _PADS, self.dtype, True, init, name="conv")(x)
        norm = BatchNorm(self.train, _MOMENTUM, _EPSILON, self.axis_name, scale_init=scale, name="norm")
        return nn.relu(norm(x))


class ClassNSeg(nn.Module):
    """The detector; activations, logits, mask, reconstruction and embedding are float32."""

    config: ClassNSegConfig
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False, label: jax.Array | None = None) -> Outputs:
        """Classifies images, and finds what was altered.

        Args:
          images: (B, H, W, 3) RGB, uint8 or float in [0, 1]; H and W multiples of the config's ``reduction``.
          train: batch statistics ("batch_stats" mutable).
          label: (B,) int32, 0 real and 1 fake: the half of the latent code that is decoded; None: the predicted one.
            Logits, activations and embedding do not depend on it.

        Returns:
          Outputs with logits (B, classes), of two classes the activations; and the heads activations (B, 2), the mean
          of the real and of the fake half; mask (B, H, W, 1), logits of "altered here"; reconstruction (B, H, W, 3),
          within a deviation of ImageNet's mean colour, for the authors' tanh reaches no farther; embedding (B, D), the
          mean of the latent code over positions; and features/….
        """
        config = self.config
        if images.shape[1] % config.reduction or images.shape[2] % config.reduction:
            found = f"{images.shape[1]} x {images.shape[2]}"
            raise UserError(f"detector images: found {found}, wanted sides that are multiples of {config.reduction}")
        x, features = normalized(images, _NORMALIZATION, self.dtype), {}
        for level, width in enumerate(config.widths):
            x = self._layer(width, train, name=f"encoder{2 * level}")(x)
            if level < len(config.widths) - 1:
                x = self._layer(width, train, stride=2, name=f"encoder{2 * level + 1}")(x)
                features[f"stage{level}"] = x
        features["latent"] = x
        embedding = x.astype(jnp.float32).mean(axis=(1, 2))
        activations = embedding.reshape(-1, 2, config.widths[-1] // 2).mean(axis=-1)
        kept = (activations[:, FAKE] > activations[:, REAL]).astype(jnp.int32) if label is None else label
        halves = jnp.repeat(jax.nn.one_hot(kept, 2, dtype=x.dtype), config.widths[-1] // 2, axis=-1)
        mask, face = self._decoded(x * halves[:, None, None, :], train)
        heads = {"activations": activations, "mask": mask, "reconstruction": face, "embedding": embedding}
        return Outputs(self._logits(activations, embedding), heads | named(features))

    def _layer(self, features: int, train: bool, **fields: Any) -> Layer:
        return Layer(features, train, self.axis_name, self.dtype, **fields)

    def _decoded(self, x: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """The mask's logits and the face, of a latent code of which one half is kept."""
        widths, shared = self.config.widths[-2::-1], self.config.shared

        def grown(x: jax.Array, name: str, chosen: tuple[int, ...], own_init: bool) -> jax.Array:
            for level, width in enumerate(chosen):
                fields = {"own_init": own_init}
                x = self._layer(width, train, name=f"{name}{2 * level}", **fields)(x)
                x = self._layer(width, train, doubled=True, name=f"{name}{2 * level + 1}", **fields)(x)
            return x

        def ended(x: jax.Array, name: str, features: int) -> jax.Array:
            x = grown(x, name, widths[shared:], True)
            init = nn.initializers.normal(_KERNEL)
            return Conv(features, 3, 1, _PADS, self.dtype, True, init, name=f"{name}_end")(x).astype(jnp.float32)

        x = grown(x, "shared", widths[:shared], False)
        scores, colours = ended(x, "segmenter", 2), jnp.tanh(ended(x, "reconstructor", 3))
        mean, deviation = (per_channel(jnp.array(one), colours) for one in NORMALIZATIONS[_NORMALIZATION])
        return scores[..., 1:] - scores[..., :1], colours * deviation + mean

    def _logits(self, activations: jax.Array, embedding: jax.Array) -> jax.Array:
        """The activations; those of more than one class of fakes have the fake half's as their logsumexp."""
        if self.config.num_classes == 2:
            return activations
        init = drawn(self, nn.initializers.lecun_normal())
        shares = nn.Dense(self.config.num_classes - 1, kernel_init=init, name="fc")(embedding)
        return jnp.concatenate([activations[:, :1], activations[:, 1:] + jax.nn.log_softmax(shares)], axis=-1)


def _scales(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    return _SCALE + _KERNEL * jax.random.normal(key, shape, dtype)
