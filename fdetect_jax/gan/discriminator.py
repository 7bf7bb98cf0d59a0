"""StyleGAN2's residual discriminator. In: images in [-1, 1]. Out: one logit each. Source: arXiv 1912.04958."""

import dataclasses
import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from fdetect_jax.gan.layers import EqualConv, EqualDense, lrelu
from fdetect_jax.nn.stddev import minibatch_stddev


@dataclasses.dataclass(frozen=True)
class DiscriminatorConfig:
    """The size of a discriminator; channels and clamp as in the generator."""

    resolution: int = 64
    channel_base: int = 32768
    channel_max: int = 512
    group_size: int = 4
    conv_clamp: float | None = None

    def channels(self, resolution: int) -> int:
        return min(self.channel_base // resolution, self.channel_max)


class Discriminator(nn.Module):
    """(B, R, R, 3) in [-1, 1] -> (B,) logits, higher for real images."""

    config: DiscriminatorConfig
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, image: jax.Array) -> jax.Array:
        config, r = self.config, self.config.resolution

        def activate(x: jax.Array, gain: float = 1.0) -> jax.Array:
            x = lrelu(x, gain * math.sqrt(2.0))
            return x if config.conv_clamp is None else jnp.clip(x, -gain * config.conv_clamp, gain * config.conv_clamp)

        x = image.astype(self.dtype)
        x = activate(EqualConv(config.channels(r), 1, name=f"b{r}_fromrgb")(x))
        while r > 4:
            skip = EqualConv(config.channels(r // 2), 1, down=True, use_bias=False, name=f"b{r}_skip")(x)
            x = activate(EqualConv(config.channels(r), name=f"b{r}_conv0")(x))
            x = activate(EqualConv(config.channels(r // 2), down=True, name=f"b{r}_conv1")(x), gain=math.sqrt(0.5))
            x = x + skip * math.sqrt(0.5)
            r //= 2
        x = minibatch_stddev(x, config.group_size)
        x = activate(EqualConv(config.channels(4), name="b4_conv")(x)).astype(jnp.float32)
        x = lrelu(EqualDense(config.channels(4), name="b4_fc")(x.reshape(x.shape[0], -1)))
        return EqualDense(1, name="b4_out")(x)[:, 0]
