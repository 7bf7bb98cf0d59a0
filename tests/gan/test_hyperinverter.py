"""HyperInverter: the published sizes, which style each layer reads, and the order of predicted kernels."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import compiled, drawn, images, pair

from fdetect_jax.gan.hyperinverter import HyperConfig, HyperInverter, Regressor, kernel_from, style_index
from fdetect_jax.gan.stylegan2 import GeneratorConfig, LayerSpec, layer_specs

KEY = jax.random.key(0)


def count(tree):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


@functools.cache
def paper():
    hyper = HyperInverter(HyperConfig(), GeneratorConfig(1024))
    image = jax.ShapeDtypeStruct((2, 1024, 1024, 3), jnp.float32)
    return jax.eval_shape(hyper.init_with_output, KEY, image, image)


def test_parameter_counts_of_the_paper():
    params = dict(paper()[1]["params"])
    assert count(params.pop("encoder")) == 134_979_264
    assert len(params) == 26
    assert count(params) == 184_665_563


def test_offsets_of_the_paper():
    offsets = paper()[0]
    wanted = {s.name: (2, s.kernel, s.kernel, s.inputs, s.outputs) for s in layer_specs(GeneratorConfig(1024))}
    assert {name: x.shape for name, x in offsets.items()} == wanted
    assert count(offsets) == 2 * 23_592_864


def test_style_of_every_layer():
    wanted = {"b4_conv1": 0, "b4_torgb": 1}
    for i, r in enumerate((8, 16, 32, 64, 128, 256, 512, 1024)):
        wanted |= {f"b{r}_conv0": 2 * i + 2, f"b{r}_conv1": 2 * i + 3, f"b{r}_torgb": 2 * i + 3}
    assert {s.name: style_index(s) for s in layer_specs(GeneratorConfig(1024))} == wanted
    assert wanted["b1024_conv0"] == 16
    assert wanted["b1024_torgb"] == 17


@pytest.mark.parametrize(("k", "inputs", "outputs"), [(3, 5, 4), (1, 6, 3), (3, 4, 4)])
def test_kernels_are_read_raw(k, inputs, outputs):
    spec = LayerSpec("b8_conv1", 8, 0, k, inputs, outputs)
    buffer = np.random.default_rng(0).standard_normal((2, inputs, outputs * k * k), np.float32)
    found = np.asarray(kernel_from(jnp.asarray(buffer), spec))
    assert found.shape == (2, k, k, inputs, outputs)
    raw = np.ascontiguousarray(buffer).reshape(2, outputs, inputs, k, k)  # PyTorch's (O, I, k, k), no transpose
    for o in range(outputs):
        for i in range(inputs):
            np.testing.assert_array_equal(found[:, :, :, i, o], raw[:, o, i])


def test_offsets_of_every_layer():
    inverter, variables = pair()
    offsets = compiled("hyper")(variables["hyper"], 2 * images(3) - 1, 2 * images(3, seed=1) - 1)
    wanted = {s.name: (3, s.kernel, s.kernel, s.inputs, s.outputs) for s in layer_specs(inverter.generator.config)}
    assert {name: x.shape for name, x in offsets.items()} == wanted
    for name, offset in offsets.items():
        assert np.isfinite(offset).all()
        assert np.abs(offset[0] - offset[1]).max() > 1e-6, name


@pytest.fixture(scope="module")
def regressor():
    spec = LayerSpec("b8_conv1", 8, 0, 3, 5, 4)
    module = Regressor(spec, width=6, regressor=3, hidden=7, instance_norm=True)
    rng = np.random.default_rng(0)
    first, image = rng.standard_normal((2, 3, 4, 4, 6), np.float32)
    return jax.jit(module.apply), drawn(jax.eval_shape(module.init, KEY, first, image)), first, image


def test_regressor_takes_the_first_reconstruction_first(regressor):
    run, variables, first, image = regressor
    kernel = variables["params"]["fusion"]["kernel"].copy()
    assert kernel.shape == (1, 1, 12, 6)
    kernel[:, :, 6:] = 0
    params = variables["params"] | {"fusion": variables["params"]["fusion"] | {"kernel": kernel}}
    found = run({"params": params}, first, image)
    np.testing.assert_allclose(run({"params": params}, first, image[::-1]), found, atol=1e-6)
    assert np.abs(run({"params": params}, first[::-1], image) - found).max() > 1e-4


def test_regressor_normalises_each_channel_of_each_sample(regressor):
    run, variables, first, image = regressor
    bias = variables["params"]["fusion"]["bias"]
    assert np.abs(bias).max() > 0
    params = variables["params"] | {"fusion": variables["params"]["fusion"] | {"bias": bias + 5}}
    scaled = run(variables, 4 * first, 4 * image)
    np.testing.assert_allclose(run({"params": params}, first, image), run(variables, first, image), atol=1e-3)
    np.testing.assert_allclose(scaled, run(variables, first, image), atol=1e-3)


def test_regressor_without_normalisation_sees_the_scale(regressor):
    _, variables, first, image = regressor
    spec = LayerSpec("b8_conv1", 8, 0, 3, 5, 4)
    run = jax.jit(Regressor(spec, width=6, regressor=3, hidden=7, instance_norm=False).apply)
    assert np.abs(run(variables, 4 * first, 4 * image) - run(variables, first, image)).max() > 0.1


def test_regressor_halves_to_one_pixel(regressor):
    _, variables, _, _ = regressor
    shapes = {name: np.shape(value) for name, value in variables["params"].items() if "kernel" in name}
    assert shapes == {"feature1_kernel": (4, 4, 3, 3), "feature2_kernel": (4, 4, 3, 7)}
    assert variables["params"]["w1"].shape == (7, 5 * 7)
    assert variables["params"]["w2"].shape == (7, 4 * 9)
