"""Encoders: the published sizes, the geometry of the IR-SE trunk and the two resamplings."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import drawn, images, pair

from fdetect_jax.gan.encoders import (
    Encoder,
    EncoderConfig,
    LayerwiseEncoder,
    Trunk,
    TrunkConfig,
    Unit,
    resize,
    upsample_corners,
)

KEY = jax.random.key(0)


def count(tree):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def shape_of(module, *args):
    return jax.eval_shape(module.init_with_output, KEY, *args)


def test_e1_of_the_paper():
    out, variables = shape_of(Encoder(EncoderConfig()), jnp.zeros((2, 256, 256, 3)))
    assert out.shape == (2, 512)
    assert count(variables["params"]) == 31_212_736


def test_e2_of_the_paper():
    encoder = LayerwiseEncoder(TrunkConfig(), input_size=256, n_styles=18, width=512)
    out, variables = shape_of(encoder, jnp.zeros((1, 1024, 1024, 3)))
    assert out.shape == (1, 18, 8, 8, 512)
    assert count(variables["params"]) == 134_979_264
    convolutions = [sum(name.startswith(f"style{j}_") for name in variables["params"]) for j in range(18)]
    assert convolutions == [1] * 3 + [2] * 4 + [3] * 11


def test_stages_of_ir_se50():
    trunk, image = Trunk(TrunkConfig()), jnp.zeros((1, 256, 256, 3))
    outputs, _ = jax.eval_shape(lambda: trunk.init_with_output(KEY, image, False))
    wanted = [(1, 128, 128, 64), (1, 64, 64, 128), (1, 32, 32, 256), (1, 16, 16, 512)]
    assert [x.shape for x in outputs] == wanted


def test_the_stride_sits_in_the_second_convolution():
    unit, x = Unit(6, 2, 2, None), np.zeros((1, 8, 8, 4), np.float32)
    variables = drawn(jax.eval_shape(lambda: unit.init(KEY, x, False)))
    _, found = jax.eval_shape(lambda: unit.apply(variables, x, False, capture_intermediates=True))
    shapes = {name: v["__call__"][0].shape for name, v in found["intermediates"].items() if name != "__call__"}
    assert shapes["conv0"] == (1, 8, 8, 6)
    assert shapes["conv1"] == shapes["shortcut_conv"] == (1, 4, 4, 6)


def test_unit_without_a_residual_is_its_shortcut():
    x = np.random.default_rng(0).standard_normal((2, 6, 6, 4), np.float32)
    unit = Unit(4, 2, 2, None)
    variables = drawn(jax.eval_shape(lambda: unit.init(KEY, x, False)))
    assert "shortcut_conv" not in variables["params"]
    silent = {name: np.zeros_like(value) for name, value in variables["params"]["bn1"].items()}
    variables = variables | {"params": variables["params"] | {"bn1": silent}}
    found = jax.jit(lambda v, x: unit.apply(v, x, False))(variables, x)
    np.testing.assert_allclose(found, x[:, ::2, ::2], atol=1e-6)


def test_pooling():
    x = images(2)
    for pool, inputs in (("mean", 8), ("flatten", 4 * 4 * 8)):
        config = EncoderConfig(TrunkConfig(4, ((4, 1), (8, 1), (8, 1)), 4), 32, 5, pool)
        out, variables = shape_of(Encoder(config), x)
        assert out.shape == (2, 5)
        assert variables["params"]["linear"]["weight"].shape == (inputs, 5)
    with pytest.raises(ValueError, match=r"encoder\.pool: found 'max'"):
        EncoderConfig(pool="max")


def test_running_statistics_move_in_training_alone():
    inverter, variables = pair()
    encoder, variables = inverter.encoder, variables["encoder"]
    run = jax.jit(lambda v, x, train: encoder.apply(v, x, train, mutable=["batch_stats"]), static_argnames="train")
    x = 2 * images(4) - 1
    out, changed = run(variables, x, train=False)
    chex.assert_trees_all_equal(dict(changed["batch_stats"]), variables["batch_stats"])
    one_by_one = np.concatenate([np.asarray(run(variables, x[[i, i, i, i]], train=False)[0])[:1] for i in range(4)])
    np.testing.assert_allclose(out, one_by_one, atol=1e-4)
    _, changed = run(variables, x, train=True)
    for before, after in zip(
        jax.tree.leaves(variables["batch_stats"]), jax.tree.leaves(changed["batch_stats"]), strict=True
    ):
        assert np.abs(before - after).max() > 1e-4


def along_both(x, size, at):
    """Linear interpolation at the positions ``at`` of both axes, by np.interp; ends are held."""
    for axis in (1, 2):
        grid = np.arange(x.shape[axis])
        x = np.apply_along_axis(lambda row, grid=grid: np.interp(at(size, len(grid)), grid, row), axis, x)
    return x


@pytest.mark.parametrize(("n", "size"), [(4, 8), (2, 7), (5, 5), (3, 9)])
def test_upsample_corners(n, size):
    x = np.random.default_rng(0).standard_normal((2, n, n, 3), np.float32)
    wanted = along_both(x, size, lambda size, n: np.linspace(0, n - 1, size))
    np.testing.assert_allclose(upsample_corners(jnp.asarray(x), size), wanted, atol=1e-5)


@pytest.mark.parametrize(("n", "size"), [(8, 2), (9, 4), (4, 10)])
def test_resize_takes_half_pixel_centres_without_antialiasing(n, size):
    x = np.random.default_rng(0).standard_normal((2, n, n, 3), np.float32)
    wanted = along_both(x, size, lambda size, n: (np.arange(size) + 0.5) * n / size - 0.5)
    np.testing.assert_allclose(resize(jnp.asarray(x), size), wanted, atol=1e-5)


def test_resize_to_its_own_size_is_nothing():
    x = jnp.ones((1, 4, 4, 3))
    assert resize(x, 4) is x


def test_pyramid_adds_coarse_to_fine():
    """With every convolution of the heads and laterals zero, only the coarsest stage reaches styles 3 and up."""
    encoder = LayerwiseEncoder(TrunkConfig(4, ((4, 1), (8, 1), (8, 1)), 4), input_size=32, n_styles=8, width=8)
    x = images(1)
    variables = drawn(jax.eval_shape(encoder.init, KEY, x))
    run = jax.jit(encoder.apply)

    def without(*names):
        params = {
            name: jax.tree.map(np.zeros_like, value) if name in names else value
            for name, value in variables["params"].items()
        }
        return np.asarray(run({**variables, "params": params}, x))

    whole, middle, fine = without(), without("lat1"), without("lat2")
    assert whole.shape == (1, 8, 2, 2, 8)
    moved = [[j for j in range(8) if np.abs(part[:, j] - whole[:, j]).max() > 1e-5] for part in (middle, fine)]
    assert moved == [[3, 4, 5, 6, 7], [7]]
