"""StyleGAN2's generator. In: latents. Out: images in [-1, 1].

Source: arXiv 1912.04958 and the public PyTorch port by its authors (layer names, gains, buffers).
"""

import dataclasses
import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from fdetect_jax.errors import UserError
from fdetect_jax.gan.layers import EqualDense, lrelu
from fdetect_jax.nn.axes import per_channel
from fdetect_jax.nn.conv import conv2d
from fdetect_jax.nn.resample import conv2d_up, upsample2d

RESOLUTIONS = (32, 64, 128, 256, 512, 1024)
Offsets = dict[str, jax.Array]

_MOST_LAYERS = 100  # of the mapping; a file that asks for more would keep the program busy for ever


@dataclasses.dataclass(frozen=True)
class GeneratorConfig:
    """The size of a generator; ``channel_base`` 32768 is config-f, 16384 config-e."""

    resolution: int = 64
    z_dim: int = 512
    w_dim: int = 512
    mapping_layers: int = 8
    channel_base: int = 32768
    channel_max: int = 512
    conv_clamp: float | None = None

    def __post_init__(self):
        if self.resolution not in RESOLUTIONS:
            raise UserError(f"generator.resolution: found {self.resolution}, wanted one of {RESOLUTIONS}")
        if not 1 <= self.mapping_layers <= _MOST_LAYERS:
            raise UserError(f"generator.mapping_layers: found {self.mapping_layers}, wanted 1 to {_MOST_LAYERS}")

    def channels(self, resolution: int) -> int:
        return min(self.channel_base // resolution, self.channel_max)

    @property
    def num_ws(self) -> int:
        return 2 * int(math.log2(self.resolution)) - 2

    def resolution_for(self, size: int) -> int:
        """The lowest resolution of a block that is not below ``size`` pixels; the last one where all are."""
        return min((r for r in self.block_resolutions if r >= size), default=self.resolution)

    @property
    def block_resolutions(self) -> tuple[int, ...]:
        return tuple(2**i for i in range(2, int(math.log2(self.resolution)) + 1))


@dataclasses.dataclass(frozen=True)
class LayerSpec:
    """One convolution of the synthesis network: its name, its w index, and its kernel's shape."""

    name: str
    resolution: int
    w_index: int
    kernel: int
    inputs: int
    outputs: int


def layer_specs(config: GeneratorConfig) -> tuple[LayerSpec, ...]:
    """Every synthesis convolution, in order: b4_conv1, b4_torgb, b8_conv0, b8_conv1, b8_torgb, …"""
    specs, index, previous = [], 0, None
    for r in config.block_resolutions:
        c = config.channels(r)
        if previous:
            specs.append(LayerSpec(f"b{r}_conv0", r, index, 3, previous, c))
            index += 1
        specs.append(LayerSpec(f"b{r}_conv1", r, index, 3, c, c))
        index += 1
        specs.append(LayerSpec(f"b{r}_torgb", r, index, 1, c, 3))
        previous = c
    return tuple(specs)


def modulate(kernel: jax.Array, style: jax.Array, demodulate: bool) -> tuple[jax.Array, jax.Array | None]:
    """The two scales of a modulated convolution: of its input, (B, I), and of its output, (B, O) or None.

    kernel: (k, k, I, O), or (B, k, k, I, O) for one per sample. style: (B, I).
    """
    if not demodulate:
        return style, None
    k, l = kernel.shape[-4:-2]
    # Written as additions: XLA fuses a reduction into the product below, which then takes tens of ms on a CPU.
    energy = sum(jnp.square(kernel[..., i, j, :, :]) for i in range(k) for j in range(l))
    which = "bi,io->bo" if kernel.ndim == 4 else "bi,bio->bo"
    return style, jax.lax.rsqrt(jnp.einsum(which, jnp.square(style), energy) + 1e-8)


class ModulatedConv(nn.Module):
    """Style-modulated convolution with noise, bias, activation (or none of these: toRGB)."""

    spec: LayerSpec
    clamp: float | None

    @nn.compact
    def __call__(self, x: jax.Array, w: jax.Array, offset: jax.Array | None, noise: str) -> jax.Array:
        """x: (B, h, h, I), w: (B, w_dim), offset: (B, k, k, I, O) added to the stored kernel, or None."""
        spec = self.spec
        rgb, up = spec.kernel == 1, spec.name.endswith("conv0")
        style = EqualDense(spec.inputs, bias_init=1.0, name="affine")(w)
        kernel = self.param(
            "weight", nn.initializers.normal(1.0), (spec.kernel, spec.kernel, spec.inputs, spec.outputs)
        )
        bias = self.param("bias", nn.initializers.zeros, (spec.outputs,))
        if rgb:
            style = style / math.sqrt(spec.inputs)
        if offset is not None:
            kernel = kernel[None] + offset
        before, after = modulate(kernel, style, demodulate=not rgb)
        dtype = x.dtype
        x = x * before[:, None, None].astype(dtype)
        x = conv2d_up(x, kernel.astype(dtype)) if up else conv2d(x, kernel.astype(dtype))
        if after is not None:
            x = x * after[:, None, None].astype(dtype)
        if not rgb:
            x = x + self._noise(x, noise)
        x = x + per_channel(bias, x).astype(dtype)
        if not rgb:
            x = lrelu(x)
        return x if self.clamp is None else jnp.clip(x, -self.clamp, self.clamp)

    def _noise(self, x: jax.Array, mode: str) -> jax.Array:
        r = self.spec.resolution
        strength = self.param("noise_strength", nn.initializers.zeros, ())
        const = self.variable("buffers", "noise_const", lambda: jax.random.normal(self.make_rng("params"), (r, r)))
        if mode == "none":
            return jnp.zeros((), x.dtype)
        if mode == "const":
            noise = const.value[None, :, :, None]
        elif mode == "random":
            noise = jax.random.normal(self.make_rng("noise"), (x.shape[0], r, r, 1))
        else:
            raise ValueError(f"noise: found {mode!r}, wanted 'const', 'random' or 'none'")
        return (strength * noise).astype(x.dtype)


class Mapping(nn.Module):
    """z (B, z_dim) -> w (B, w_dim); keeps the running mean ``w_avg`` in the collection ``buffers``."""

    config: GeneratorConfig

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        self.variable("buffers", "w_avg", jnp.zeros, (self.config.w_dim,))
        w = z * jax.lax.rsqrt(jnp.mean(jnp.square(z), axis=-1, keepdims=True) + 1e-8)
        for i in range(self.config.mapping_layers):
            w = lrelu(EqualDense(self.config.w_dim, lr_mul=0.01, name=f"fc{i}")(w))
        return w


class Synthesis(nn.Module):
    """ws (B, num_ws, w_dim) -> image (B, R, R, 3), nominally in [-1, 1]."""

    config: GeneratorConfig
    dtype: jnp.dtype = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(
        self, ws: jax.Array, offsets: Offsets | None = None, noise: str = "const", resolution: int | None = None
    ) -> jax.Array:
        """resolution: of the last block to run; every block adds detail to the previous image. None: all blocks."""
        c4 = self.config.channels(4)
        const = self.param("const", nn.initializers.normal(1.0), (4, 4, c4))
        x = jnp.broadcast_to(const[None].astype(self.dtype), (ws.shape[0], 4, 4, c4))
        image = None
        layer = nn.remat(ModulatedConv, static_argnums=(4,)) if self.remat else ModulatedConv
        for spec in layer_specs(self.config):
            if resolution is not None and spec.resolution > resolution:
                break
            offset = None if offsets is None else offsets.get(spec.name)
            y = layer(spec, self.config.conv_clamp, name=spec.name)(x, ws[:, spec.w_index], offset, noise)
            if spec.kernel == 1:
                rgb = y.astype(jnp.float32)
                image = rgb if image is None else upsample2d(image) + rgb
            else:
                x = y
        return image


class Generator(nn.Module):
    """StyleGAN2. ``method=`` ``map`` or ``synthesize``; the call does both.

    remat: the gradient recomputes every layer from its input, which saves memory and costs time.
    """

    config: GeneratorConfig
    dtype: jnp.dtype = jnp.float32
    remat: bool = False

    def setup(self):
        self.mapping = Mapping(self.config)
        self.synthesis = Synthesis(self.config, self.dtype, self.remat)

    def __call__(self, z: jax.Array, noise: str = "const") -> jax.Array:
        return self.synthesize(self.map(z), noise=noise)

    def map(self, z: jax.Array) -> jax.Array:
        """z (B, z_dim) -> w (B, w_dim)."""
        return self.mapping(z)

    def synthesize(
        self, w: jax.Array, offsets: Offsets | None = None, noise: str = "const", resolution: int | None = None
    ) -> jax.Array:
        """w (B, w_dim), or w+ (B, num_ws, w_dim), and per-sample kernel offsets -> image in [-1, 1].

        resolution: of the image, one of ``config.block_resolutions``; None: the generator's own.
        """
        if w.ndim == 2:
            w = jnp.broadcast_to(w[:, None], (w.shape[0], self.config.num_ws, w.shape[1]))
        return self.synthesis(w, offsets, noise, resolution)


def truncate(w: jax.Array, w_avg: jax.Array, truncation: float, cutoff: int | None = None) -> jax.Array:
    """Moves w (B, w_dim) or w+ (B, num_ws, w_dim) towards its mean: w_avg + truncation · (w − w_avg).

    cutoff: truncates only the layers below it (w+ only); None: all.
    """
    w_avg = per_channel(w_avg, w)
    pulled = w_avg + truncation * (w - w_avg)
    if cutoff is None:
        return pulled
    return jnp.where(jnp.arange(w.shape[1])[None, :, None] < cutoff, pulled, w)


def to_signed(image: jax.Array) -> jax.Array:
    """[0, 1] -> [-1, 1], the range of a generator's images."""
    return image * 2.0 - 1.0


def from_signed(image: jax.Array) -> jax.Array:
    """[-1, 1] -> [0, 1], clipped; the gradient is zero outside the range."""
    return jnp.clip(image * 0.5 + 0.5, 0.0, 1.0)
