"""The three frozen networks of the perceptual loss terms. In: images. Out: features or a distance.

All run with stored batch statistics, in float32, and take the same input as in their authors' code.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from fdetect_jax.gan.encoders import Conv, Trunk, TrunkConfig
from fdetect_jax.nn.axes import per_channel

ALEXNET_LAYERS = ((64, 11, 4, 2), (192, 5, 1, 2), (384, 3, 1, 1), (256, 3, 1, 1), (256, 3, 1, 1))
ALEXNET_SMALLEST = 31
RESNET50_STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))


def _batch_norm(name: str) -> nn.BatchNorm:
    return nn.BatchNorm(use_running_average=True, epsilon=1e-5, name=name)


class AlexNet(nn.Module):
    """(B, R, R, 3) -> the outputs of its five ReLUs, (B, r, r, 64 | 192 | 384 | 256 | 256); R is at least 31.

    Source: arXiv 1404.5997, the one-tower network; a 3×3 maximum comes before layers 1 and 2.
    """

    @nn.compact
    def __call__(self, x: jax.Array) -> list[jax.Array]:
        outputs = []
        for i, (features, kernel, stride, pad) in enumerate(ALEXNET_LAYERS):
            if i in (1, 2):
                x = nn.max_pool(x, (3, 3), (2, 2), "VALID")
            pads = ((pad, pad), (pad, pad))
            x = nn.relu(nn.Conv(features, (kernel, kernel), stride, pads, name=f"conv{i}")(x))
            outputs.append(x)
        return outputs


def unit_channels(x: jax.Array) -> jax.Array:
    """(B, H, W, C) divided by its norm over channels plus 1e-10; zero where every channel is zero."""
    square = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    # After a ReLU whole pixels are zero, where the square root has no finite gradient.
    norm = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)
    return x / (norm + 1e-10)


class LPIPS(nn.Module):
    """Distance of two images (B, R, R, 3) in [-1, 1], (B,): LPIPS v0.1 on AlexNet.

    ``lin0`` … ``lin4`` are the learned channel weights, never negative. Source: arXiv 1801.03924.
    """

    @nn.compact
    def __call__(self, image: jax.Array, target: jax.Array) -> jax.Array:
        statistics = np.float32((-0.030, -0.088, -0.188)), np.float32((0.458, 0.448, 0.450))
        mean, std = (per_channel(value, image) for value in statistics)
        alexnet = AlexNet(name="alexnet")
        # Two passes, not one of twice the batch, so that the gradient skips the target's.
        layers = zip(alexnet((image - mean) / std), alexnet((target - mean) / std), strict=True)
        total = jnp.zeros(image.shape[0], image.dtype)
        for i, (a, b) in enumerate(layers):
            lin = self.param(f"lin{i}", nn.initializers.uniform(1.0), (a.shape[-1],))
            difference = jnp.square(unit_channels(a) - unit_channels(b))
            total = total + jnp.mean(difference @ lin, axis=(1, 2))
        return total


class ArcFace(nn.Module):
    """Aligned faces (B, 112, 112, 3) in [-1, 1] -> identity embeddings (B, 512), not yet normalised.

    IR-SE50 with the output layer of arXiv 1801.07698, section 3.2 (BN, dropout, linear, BN).
    """

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = Trunk(TrunkConfig(), name="trunk")(x, False)[-1]
        x = _batch_norm("norm0")(x)
        # The published linear layer orders its inputs by channel, then row, then column.
        x = nn.Dense(512, name="linear")(jnp.transpose(x, (0, 3, 1, 2)).reshape(x.shape[0], -1))
        return _batch_norm("norm1")(x)


class Bottleneck(nn.Module):
    """(B, H, W, I) -> (B, H/s, W/s, 4·width); the 3×3 convolution has the stride ("v1.5")."""

    width: int
    stride: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = nn.relu(_batch_norm("bn0")(Conv(self.width, 1, name="conv0")(x)))
        y = nn.relu(_batch_norm("bn1")(Conv(self.width, 3, self.stride, name="conv1")(y)))
        y = _batch_norm("bn2")(Conv(4 * self.width, 1, name="conv2")(y))
        if x.shape[-1] != 4 * self.width:
            x = Conv(4 * self.width, 1, self.stride, name="shortcut_conv")(x)
            x = _batch_norm("shortcut_bn")(x)
        return nn.relu(x + y)


class ResNet50(nn.Module):
    """(B, 224, 224, 3) -> features averaged over the image, (B, 2048).

    Source: arXiv 1512.03385, without the classifier.
    """

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.relu(_batch_norm("stem_bn")(Conv(64, 7, 2, name="stem_conv")(x)))
        x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        index = 0
        for stage, (width, blocks) in enumerate(RESNET50_STAGES):
            for i in range(blocks):
                x = Bottleneck(width, 2 if i == 0 and stage else 1, name=f"block{index}")(x)
                index += 1
        return jnp.mean(x, axis=(1, 2))
