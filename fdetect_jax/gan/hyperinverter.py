"""HyperInverter's second phase. In: an image and its first reconstruction. Out: offsets of every synthesis kernel.

Source: arXiv 2112.00719 and its public code, whose raw reshape of the predicted kernels is kept (``kernel_from``).
"""

import dataclasses
import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from fdetect_jax.gan.encoders import Conv, LayerwiseEncoder, TrunkConfig
from fdetect_jax.gan.stylegan2 import GeneratorConfig, LayerSpec, Offsets, layer_specs
from fdetect_jax.nn.axes import per_channel
from fdetect_jax.nn.conv import conv2d


@dataclasses.dataclass(frozen=True)
class HyperConfig:
    """E2 and the regressors.

    hidden: D of the paper. width: channels of the pyramid. regressor: channels of the regressors.
    instance_norm: as in the original. Turn it off for small feature maps: of 2x2 pixels it leaves too little.
    residual_init: offsets start at zero, so that training starts at G(E(x)), and the regressors start from the image
      minus its first reconstruction. The original starts from small random offsets.
    """

    trunk: TrunkConfig = dataclasses.field(default_factory=TrunkConfig)
    input_size: int = 256
    width: int = 512
    regressor: int = 64
    hidden: int = 128
    instance_norm: bool = True
    residual_init: bool = False


def style_index(spec: LayerSpec) -> int:
    """The index of E2's style that a layer reads; not the generator's w index."""
    i = int(math.log2(spec.resolution))
    if i == 2:
        return 0 if spec.kernel == 3 else 1
    return 2 * i - 4 if spec.name.endswith("conv0") else 2 * i - 3


def kernel_from(buffer: jax.Array, spec: LayerSpec) -> jax.Array:
    """As in the original: (B, I, O·k²) reshaped to (B, O, I, k, k) without a transpose, then to (B, k, k, I, O)."""
    k = spec.kernel
    return buffer.reshape(-1, spec.outputs, spec.inputs, k, k).transpose(0, 3, 4, 2, 1)


def opposite_halves(key: jax.Array, shape: tuple[int, ...], dtype=jnp.float32) -> jax.Array:
    """An initial kernel (k, k, I, O) that sees only the difference of the two halves of the input's channels."""
    half = nn.initializers.he_normal()(key, (*shape[:2], shape[2] // 2, shape[3]), dtype)
    return jnp.concatenate([half, -half], axis=2) / math.sqrt(2)


class Regressor(nn.Module):
    """Features of the first reconstruction and of the image, (B, s, s, C) each -> offsets (B, k, k, I, O)."""

    spec: LayerSpec
    width: int
    regressor: int
    hidden: int
    instance_norm: bool = True
    residual_init: bool = False

    @nn.compact
    def __call__(self, first: jax.Array, image: jax.Array) -> jax.Array:
        x = jnp.concatenate([first, image], axis=-1)
        start = opposite_halves if self.residual_init else nn.initializers.he_normal()
        x = Conv(self.width, 1, use_bias=True, kernel_init=start, name="fusion")(x)
        if self.instance_norm:
            x = nn.GroupNorm(None, group_size=1, epsilon=1e-5, use_bias=False, use_scale=False, dtype=x.dtype)(x)
        x = nn.relu(x)
        x = nn.relu(Conv(self.regressor, 3, use_bias=True, name="feature0")(x))
        for i in range(int(math.log2(x.shape[1]))):
            last = x.shape[1] == 2
            features = self.hidden if last else self.regressor
            kernel = self.param(f"feature{i + 1}_kernel", nn.initializers.he_normal(), (4, 4, x.shape[-1], features))
            bias = self.param(f"feature{i + 1}_bias", nn.initializers.zeros, (features,))
            x = conv2d(x, kernel.astype(x.dtype), 2, ((1, 1), (1, 1)))
            x = nn.relu(x + per_channel(bias, x).astype(x.dtype))
        spec, d = self.spec, self.hidden
        outer = spec.outputs * spec.kernel**2
        scale1, scale2 = math.sqrt(2 / (spec.inputs * d)), math.sqrt(2 / outer)
        if self.residual_init:
            scale1, scale2 = math.sqrt(1 / d), 0.0
        w1 = self.param("w1", nn.initializers.normal(scale1), (d, spec.inputs * d))
        b1 = self.param("b1", nn.initializers.zeros, (spec.inputs * d,))
        w2 = self.param("w2", nn.initializers.normal(scale2), (d, outer))
        b2 = self.param("b2", nn.initializers.zeros, (outer,))
        w1, b1, w2, b2 = (value.astype(x.dtype) for value in (w1, b1, w2, b2))
        v = (x.reshape(x.shape[0], d) @ w1 + b1[None]).reshape(-1, spec.inputs, d)
        return kernel_from(v @ w2 + per_channel(b2, v), spec)


class HyperInverter(nn.Module):
    """H: the image and its first reconstruction, (B, R, R, 3) in [-1, 1] -> {layer name: (B, k, k, I, O)}.

    dtype: of convolutions, activations and offsets.
    """

    config: HyperConfig
    generator: GeneratorConfig
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, image: jax.Array, first: jax.Array, train: bool = False) -> Offsets:
        c = self.config
        styles = self.generator.num_ws
        encode = LayerwiseEncoder(c.trunk, c.input_size, styles, c.width, self.axis_name, self.dtype, name="encoder")
        of_image, of_first = encode(image, train), encode(first, train)
        offsets = {}
        for spec in layer_specs(self.generator):
            regress = Regressor(spec, c.width, c.regressor, c.hidden, c.instance_norm, c.residual_init, name=spec.name)
            j = style_index(spec)
            offsets[spec.name] = regress(of_first[:, j], of_image[:, j])
        return offsets
