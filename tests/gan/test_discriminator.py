"""StyleGAN2's discriminator: the published size, the order of its groups and of its last layers' inputs."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import drawn

from fdetect_jax.gan.discriminator import Discriminator, DiscriminatorConfig
from fdetect_jax.nn.stddev import minibatch_stddev


@pytest.mark.parametrize(("resolution", "wanted"), [(256, 28_864_129), (512, 28_982_849), (1024, 29_012_513)])
def test_parameter_counts(resolution, wanted):
    discriminator = Discriminator(DiscriminatorConfig(resolution))
    image = jnp.zeros((1, resolution, resolution, 3))
    params = jax.eval_shape(discriminator.init, jax.random.key(0), image)["params"]
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params)) == wanted


@pytest.mark.parametrize(("n", "group"), [(8, 4), (4, 4), (6, 2), (3, 4), (1, 4)])
def test_minibatch_stddev(n, group):
    x = np.random.default_rng(0).standard_normal((n, 3, 2, 5), np.float32)
    found = np.asarray(minibatch_stddev(x, group))
    assert found.shape == (n, 3, 2, 6)
    np.testing.assert_array_equal(found[..., :5], x)
    groups = n // min(group, n)
    for i in range(n):
        members = x[i % groups :: groups]
        assert len(members) == min(group, n)
        wanted = np.sqrt(np.var(members, axis=0) + 1e-8).mean()
        np.testing.assert_allclose(found[i, ..., 5], np.full((3, 2), wanted), rtol=1e-5)


def test_minibatch_stddev_wants_whole_groups():
    with pytest.raises(ValueError, match="found 6 images, wanted a multiple of the group size 4"):
        minibatch_stddev(np.zeros((6, 4, 4, 1), np.float32), 4)


@pytest.fixture(scope="module")
def taps():
    """Parameters, logits and the outputs of every layer of a tiny discriminator."""
    discriminator = Discriminator(DiscriminatorConfig(32, channel_base=128, channel_max=16, group_size=2))
    image = np.random.default_rng(1).uniform(-1, 1, (4, 32, 32, 3)).astype(np.float32)
    variables = drawn(jax.eval_shape(discriminator.init, jax.random.key(0), image))
    run = jax.jit(lambda v, x: discriminator.apply(v, x, capture_intermediates=True))
    logits, found = run(variables, image)
    outputs = {name: np.asarray(v["__call__"][0]) for name, v in found["intermediates"].items() if name != "__call__"}
    return variables["params"], np.asarray(logits), outputs


def lrelu(x, gain=math.sqrt(2)):
    return np.where(x > 0, x, 0.2 * x) * gain


def test_last_layers(taps):
    params, logits, outputs = taps
    assert logits.shape == (4,)
    assert params["b4_conv"]["weight"].shape == (3, 3, 17, 16)
    assert params["b4_fc"]["weight"].shape == (4 * 4 * 16, 16)
    x = lrelu(outputs["b4_conv"])
    weight = params["b4_fc"]["weight"].reshape(4, 4, 16, 16)  # inputs are rows, columns, channels
    x = lrelu(np.einsum("nhwc,hwcd->nd", x, weight) / math.sqrt(256) + params["b4_fc"]["bias"])
    wanted = x @ params["b4_out"]["weight"][:, 0] / 4 + params["b4_out"]["bias"]
    np.testing.assert_allclose(logits, wanted, rtol=1e-4, atol=1e-4)


def test_residual_blocks(taps):
    _, _, outputs = taps
    assert outputs["b8_skip"].shape == (4, 4, 4, 16)
    x = outputs["b8_skip"] * math.sqrt(0.5) + lrelu(outputs["b8_conv1"], 1.0)
    deviation = np.stack([np.sqrt(np.var(x[i::2], axis=0) + 1e-8).mean() for i in (0, 1, 0, 1)])
    kernel, bias = taps[0]["b4_conv"]["weight"] / math.sqrt(9 * 17), taps[0]["b4_conv"]["bias"]
    x = np.concatenate([x, np.broadcast_to(deviation[:, None, None, None], (4, 4, 4, 1))], axis=-1)
    middle = np.einsum("nhwc,hwco->no", x[:, :3, :3], kernel) + bias
    np.testing.assert_allclose(outputs["b4_conv"][:, 1, 1], middle, rtol=1e-3, atol=1e-4)
