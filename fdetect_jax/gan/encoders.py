"""Encoders for inversion: an IR-SE trunk, E (image -> w) and the layer-wise feature pyramid of HyperInverter.

Sources: ArcFace (arXiv 1801.07698) for the trunk, pSp (2008.00951) for E, HyperInverter (2112.00719) for the pyramid.
"""

import dataclasses
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from fdetect_jax.errors import UserError
from fdetect_jax.gan.layers import EqualDense
from fdetect_jax.nn.axes import per_channel
from fdetect_jax.nn.conv import conv2d

_MOST_UNITS = 300  # IR-SE50 has 24; a file that asks for more would keep the program busy for ever


@dataclasses.dataclass(frozen=True)
class TrunkConfig:
    """A trunk: the stem's width and (width, units) of each stage. IR-SE50 is the default.

    unit: "ir_se", every stage halves; or "basic", units of a ResNet, whose stem halves instead of the first stage.
    """

    stem: int = 64
    stages: tuple[tuple[int, int], ...] = ((64, 3), (128, 4), (256, 14), (512, 3))
    se_reduction: int = 16
    unit: str = "ir_se"

    def __post_init__(self):
        if self.unit not in ("ir_se", "basic"):
            raise UserError(f"trunk.unit: found {self.unit!r}, wanted 'ir_se' or 'basic'")
        if not 1 <= sum(units for _, units in self.stages) <= _MOST_UNITS:
            raise UserError(f"trunk.stages: found {self.stages}, wanted 1 to {_MOST_UNITS} units in all")


RESNET34 = TrunkConfig(stages=((64, 3), (128, 4), (256, 6), (512, 3)), unit="basic")


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """E: x -> w. ``pool``: "mean" as in the original; "flatten" keeps spatial positions, for small trunks."""

    trunk: TrunkConfig = dataclasses.field(default_factory=TrunkConfig)
    input_size: int = 256
    w_dim: int = 512
    pool: str = "mean"

    def __post_init__(self):
        if self.pool not in ("mean", "flatten"):
            raise UserError(f"encoder.pool: found {self.pool!r}, wanted 'mean' or 'flatten'")


class Conv(nn.Module):
    """Convolution with symmetric padding, as in PyTorch."""

    features: int
    kernel: int = 3
    stride: int = 1
    use_bias: bool = False
    kernel_init: nn.initializers.Initializer = nn.initializers.he_normal()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.kernel, self.kernel, x.shape[-1], self.features)
        weight = self.param("kernel", self.kernel_init, shape).astype(x.dtype)
        p = (self.kernel - 1) // 2
        x = conv2d(x, weight, self.stride, ((p, p), (p, p)))
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,))
            x = x + per_channel(bias, x).astype(x.dtype)
        return x


class PReLU(nn.Module):
    """max(x, 0) + slope · min(x, 0), with one slope per channel, initially 0.25."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        slope = self.param("slope", nn.initializers.constant(0.25), (x.shape[-1],)).astype(x.dtype)
        return jnp.where(x >= 0, x, per_channel(slope, x) * x)


def _norm(train: bool, axis_name: str | None, dtype: jnp.dtype, name: str) -> nn.BatchNorm:
    """Statistics are float32 for every dtype."""
    return nn.BatchNorm(not train, momentum=0.9, epsilon=1e-5, dtype=dtype, axis_name=axis_name, name=name)


class Unit(nn.Module):
    """One IR-SE unit: (B, H, W, I) -> (B, H/s, W/s, O); the second convolution has the stride."""

    features: int
    stride: int
    se_reduction: int
    axis_name: str | None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        norm = partial(_norm, train, self.axis_name, x.dtype)

        if x.shape[-1] == self.features:
            shortcut = x[:, :: self.stride, :: self.stride]
        else:
            shortcut = norm("shortcut_bn")(Conv(self.features, 1, self.stride, name="shortcut_conv")(x))
        y = Conv(self.features, name="conv0")(norm("bn0")(x))
        y = PReLU(name="prelu")(y)
        y = norm("bn1")(Conv(self.features, stride=self.stride, name="conv1")(y))
        squeezed = jnp.mean(y, axis=(1, 2), keepdims=True)
        squeezed = nn.relu(Conv(max(1, self.features // self.se_reduction), 1, name="se_reduce")(squeezed))
        return shortcut + y * nn.sigmoid(Conv(self.features, 1, name="se_expand")(squeezed))


class BasicUnit(nn.Module):
    """One unit of ResNet-34: (B, H, W, I) -> (B, H/s, W/s, O). Source: arXiv 1512.03385."""

    features: int
    stride: int
    axis_name: str | None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        norm = partial(_norm, train, self.axis_name, x.dtype)

        y = nn.relu(norm("bn0")(Conv(self.features, 3, self.stride, name="conv0")(x)))
        y = norm("bn1")(Conv(self.features, name="conv1")(y))
        if x.shape[-1] != self.features:
            x = norm("shortcut_bn")(Conv(self.features, 1, self.stride, name="shortcut_conv")(x))
        return nn.relu(x + y)


class Trunk(nn.Module):
    """(B, S, S, 3) in [-1, 1] -> the output of every stage, finest first, in the dtype of the images."""

    config: TrunkConfig
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> list[jax.Array]:
        config = self.config
        basic = config.unit == "basic"
        x = Conv(config.stem, 7 if basic else 3, 2 if basic else 1, name="stem_conv")(x)
        x = _norm(train, self.axis_name, x.dtype, "stem_bn")(x)
        x = PReLU(name="stem_prelu")(x)
        outputs, index = [], 0
        for stage, (features, units) in enumerate(config.stages):
            for i in range(units):
                stride, name = (1 if i or (basic and stage == 0) else 2), f"unit{index}"
                if basic:
                    x = BasicUnit(features, stride, self.axis_name, name=name)(x, train)
                else:
                    x = Unit(features, stride, config.se_reduction, self.axis_name, name=name)(x, train)
                index += 1
            outputs.append(x)
        return outputs


def resize(x: jax.Array, size: int) -> jax.Array:
    """Bilinear, half-pixel centres, no antialiasing; unchanged if the size fits."""
    if x.shape[1] == size:
        return x
    return jax.image.resize(x, (x.shape[0], size, size, x.shape[3]), "linear", antialias=False)


def upsample_corners(x: jax.Array, size: int) -> jax.Array:
    """Bilinear with aligned corners, (B, n, n, C) -> (B, size, size, C), as in the pyramid of the original."""
    n = x.shape[1]
    at = np.linspace(0, n - 1, size)
    low = np.minimum(at.astype(int), n - 2)
    matrix = np.zeros((size, n), np.float32)
    matrix[np.arange(size), low] = 1 - (at - low)
    matrix[np.arange(size), low + 1] = at - low
    m = jnp.asarray(matrix, x.dtype)
    return jnp.einsum("pi,qj,bijc->bpqc", m, m, x)


class Encoder(nn.Module):
    """E: images (B, R, R, 3) in [-1, 1] -> w relative to the generator's mean, (B, w_dim) float32.

    dtype: of the trunk's convolutions and activations.
    """

    config: EncoderConfig
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = resize(x, self.config.input_size).astype(self.dtype)
        x = Trunk(self.config.trunk, self.axis_name, name="trunk")(x, train)[-1]
        x = jnp.mean(x, axis=(1, 2)) if self.config.pool == "mean" else x.reshape(x.shape[0], -1)
        return EqualDense(self.config.w_dim, name="linear")(x.astype(jnp.float32))


class LayerwiseEncoder(nn.Module):
    """E2: images (B, R, R, 3) in [-1, 1] -> one feature map per style, (B, n_styles, s, s, width).

    The last three stages of the trunk feed styles 0–2, 3–6 and 7–(n−1), through 1, 2 and 3 halving convolutions.
    """

    trunk: TrunkConfig
    input_size: int
    n_styles: int
    width: int
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = resize(x, self.input_size).astype(self.dtype)
        c1, c2, c3 = Trunk(self.trunk, self.axis_name, name="trunk")(x, train)[-3:]
        c3 = c3 if c3.shape[-1] == self.width else Conv(self.width, 1, use_bias=True, name="lat0")(c3)
        p2 = upsample_corners(c3, c2.shape[1]) + Conv(self.width, 1, use_bias=True, name="lat1")(c2)
        p1 = upsample_corners(p2, c1.shape[1]) + Conv(self.width, 1, use_bias=True, name="lat2")(c1)
        styles = []
        for j in range(self.n_styles):
            y, halvings = (c3, 1) if j < 3 else (p2, 2) if j < 7 else (p1, 3)
            for i in range(halvings):
                y = nn.leaky_relu(Conv(self.width, 3, 2, use_bias=True, name=f"style{j}_conv{i}")(y), 0.01)
            styles.append(y)
        return jnp.stack(styles, axis=1)
