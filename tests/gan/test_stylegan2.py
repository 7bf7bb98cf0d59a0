"""StyleGAN2's generator: the published shapes, what modulation and noise do, and kernels that differ by sample."""

import functools
import math

import flax.errors
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import drawn, pair

from fdetect_jax.gan.stylegan2 import (
    Generator,
    GeneratorConfig,
    LayerSpec,
    ModulatedConv,
    from_signed,
    layer_specs,
    to_signed,
    truncate,
)


def count(tree):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


@functools.cache
def tiny():
    inverter, variables = pair()
    return inverter.generator, variables["generator"]


@functools.partial(jax.jit, static_argnames=("noise", "clamp"))
def synthesize(variables, w, offsets=None, rng=None, noise="const", clamp=None):
    config = tiny()[0].config
    generator = Generator(config if clamp is None else GeneratorConfig(**vars(config) | {"conv_clamp": clamp}))
    rngs = None if rng is None else {"noise": rng}
    return generator.apply(variables, w, offsets, noise, method=Generator.synthesize, rngs=rngs)


@pytest.fixture(scope="module")
def w():
    return np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def offsets():
    rng = np.random.default_rng(1)
    shape = {s.name: (3, s.kernel, s.kernel, s.inputs, s.outputs) for s in layer_specs(tiny()[0].config)}
    return {name: 0.5 * rng.standard_normal(s).astype(np.float32) for name, s in shape.items()}


@pytest.mark.parametrize(
    ("resolution", "synthesis", "total"),
    [(256, 27_933_090, 30_034_338), (512, 28_175_335, 30_276_583), (1024, 28_268_812, 30_370_060)],
)
def test_parameter_counts(resolution, synthesis, total):
    generator = Generator(GeneratorConfig(resolution))
    params = jax.eval_shape(generator.init, jax.random.key(0), jnp.zeros((1, 512)))["params"]
    assert count(params["mapping"]) == 2_101_248
    assert count(params["synthesis"]) == synthesis
    assert count(params) == total


@pytest.mark.parametrize(("resolution", "wanted"), [(32, 8), (64, 10), (256, 14), (1024, 18)])
def test_num_ws(resolution, wanted):
    config = GeneratorConfig(resolution)
    assert config.num_ws == wanted
    assert max(spec.w_index for spec in layer_specs(config)) == wanted - 1


@pytest.mark.parametrize(
    ("base", "wanted"),
    [
        (32768, (512, 512, 512, 512, 512, 256, 128, 64, 32)),
        (16384, (512, 512, 512, 512, 256, 128, 64, 32, 16)),
    ],
)
def test_channels(base, wanted):
    config = GeneratorConfig(1024, channel_base=base)
    assert tuple(config.channels(4 * 2**i) for i in range(9)) == wanted


def test_layers_at_1024():
    wanted = [LayerSpec("b4_conv1", 4, 0, 3, 512, 512), LayerSpec("b4_torgb", 4, 1, 1, 512, 3)]
    rows = [  # resolution, w of conv0, conv1, torgb, channels in and out
        (8, 1, 2, 3, 512, 512),
        (16, 3, 4, 5, 512, 512),
        (32, 5, 6, 7, 512, 512),
        (64, 7, 8, 9, 512, 512),
        (128, 9, 10, 11, 512, 256),
        (256, 11, 12, 13, 256, 128),
        (512, 13, 14, 15, 128, 64),
        (1024, 15, 16, 17, 64, 32),
    ]
    for r, conv0, conv1, torgb, inputs, outputs in rows:
        wanted.append(LayerSpec(f"b{r}_conv0", r, conv0, 3, inputs, outputs))
        wanted.append(LayerSpec(f"b{r}_conv1", r, conv1, 3, outputs, outputs))
        wanted.append(LayerSpec(f"b{r}_torgb", r, torgb, 1, outputs, 3))
    assert list(layer_specs(GeneratorConfig(1024))) == wanted


def test_unknown_resolution():
    with pytest.raises(ValueError, match=r"generator\.resolution: found 48"):
        GeneratorConfig(48)


def test_mapping_is_its_formula():
    generator, variables = tiny()
    z = np.random.default_rng(2).standard_normal((4, 8)).astype(np.float32)
    found = jax.jit(functools.partial(generator.apply, method=Generator.map))(variables, z)
    wanted = z / np.sqrt(np.mean(z**2, axis=1, keepdims=True))
    for i in range(2):
        layer = variables["params"]["mapping"][f"fc{i}"]
        wanted = wanted @ layer["weight"] * 0.01 / math.sqrt(8) + 0.01 * layer["bias"]
        wanted = np.where(wanted > 0, wanted, 0.2 * wanted) * math.sqrt(2)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_mapping_normalises_its_input():
    generator, variables = tiny()
    z = np.random.default_rng(2).standard_normal((4, 8)).astype(np.float32)
    run = jax.jit(functools.partial(generator.apply, method=Generator.map))
    np.testing.assert_allclose(run(variables, z), run(variables, 5 * z), rtol=1e-4, atol=1e-5)


def modulated(spec, x, w, scale=1.0):
    """A modulated convolution with random parameters, whose style is ``scale`` times as large."""
    layer = ModulatedConv(spec, None)
    variables = drawn(jax.eval_shape(functools.partial(layer.init, noise="none"), jax.random.key(0), x, w, None))
    affine = jax.tree.map(lambda p: scale * p, variables["params"]["affine"])
    params = variables["params"] | {"affine": affine, "bias": np.zeros(spec.outputs, np.float32)}
    return jax.jit(functools.partial(layer.apply, noise="none"))({**variables, "params": params}, x, w, None)


@pytest.fixture(scope="module")
def features():
    rng = np.random.default_rng(4)
    return rng.standard_normal((2, 16, 16, 64), np.float32), rng.standard_normal((2, 8), np.float32)


def test_demodulation_keeps_the_variance(features):
    found = np.asarray(modulated(LayerSpec("b16_conv1", 16, 0, 3, 64, 64), *features))[:, 1:-1, 1:-1]
    # x of unit variance stays so through the convolution; the activation makes it 2 · (1 + 0.2²) / 2.
    np.testing.assert_allclose(np.mean(found**2, axis=(1, 2, 3)), 1.04, atol=0.12)
    assert np.std(np.mean(found**2, axis=(1, 2)), axis=1).max() < 0.2


def test_demodulation_undoes_the_scale_of_the_style(features):
    spec = LayerSpec("b16_conv1", 16, 0, 3, 64, 64)
    np.testing.assert_allclose(modulated(spec, *features, scale=3.0), modulated(spec, *features), atol=1e-4)


def test_to_rgb_is_not_demodulated(features):
    spec = LayerSpec("b16_torgb", 16, 0, 1, 64, 3)
    np.testing.assert_allclose(
        modulated(spec, *features, scale=3.0), 3 * modulated(spec, *features), rtol=1e-4, atol=1e-4
    )


def test_offsets_per_sample_are_kernels_changed_one_by_one(w, offsets):
    _, variables = tiny()
    found = synthesize(variables, w, offsets)
    assert found.shape == (3, 32, 32, 3)
    for i in range(3):
        synthesis = dict(variables["params"]["synthesis"])
        for name, offset in offsets.items():
            synthesis[name] = synthesis[name] | {"weight": synthesis[name]["weight"] + offset[i]}
        changed = {**variables, "params": {**variables["params"], "synthesis": synthesis}}
        np.testing.assert_allclose(found[i], synthesize(changed, w)[i], atol=1e-4)
    assert np.abs(found - synthesize(variables, w)).max() > 0.1


def test_no_offsets_and_offsets_of_zero(w, offsets):
    _, variables = tiny()
    plain = synthesize(variables, w)
    zero = jax.tree.map(np.zeros_like, offsets)
    np.testing.assert_allclose(synthesize(variables, w, zero), plain, atol=1e-4)
    some = {"b8_conv0": offsets["b8_conv0"]}  # a layer without an offset keeps its kernel
    np.testing.assert_allclose(synthesize(variables, w, some), synthesize(variables, w, zero | some), atol=1e-4)


def test_one_w_for_all_layers(w):
    _, variables = tiny()
    plus = np.repeat(w[:, None], 8, axis=1)
    np.testing.assert_allclose(synthesize(variables, plus), synthesize(variables, w), atol=1e-5)


def test_the_last_w_colours_alone(w):
    _, variables = tiny()
    plus = np.repeat(w[:, None], 8, axis=1)
    moved = plus.copy()
    moved[:, 7] += 1
    assert np.abs(synthesize(variables, moved) - synthesize(variables, plus)).max() > 1e-3
    synthesis = variables["params"]["synthesis"]
    grey = synthesis["b32_torgb"] | {"weight": np.zeros_like(synthesis["b32_torgb"]["weight"])}
    params = variables["params"] | {"synthesis": synthesis | {"b32_torgb": grey}}
    variables = variables | {"params": params}
    np.testing.assert_allclose(synthesize(variables, moved), synthesize(variables, plus), atol=1e-6)


def test_noise_modes(w):
    _, variables = tiny()
    const = synthesize(variables, w)
    np.testing.assert_array_equal(const, synthesize(variables, w))
    one, two = (np.asarray(synthesize(variables, w, rng=jax.random.key(i), noise="random")) for i in (0, 1))
    none = synthesize(variables, w, noise="none")
    for a, b in ((one, two), (one, const), (one, none), (const, none)):
        assert np.abs(a - b).max() > 1e-3
    buffers = jax.tree.map(np.zeros_like, variables["buffers"])
    np.testing.assert_allclose(synthesize({**variables, "buffers": buffers}, w), none, atol=1e-5)


def test_random_noise_differs_by_sample(w):
    _, variables = tiny()
    same = np.repeat(w[:1], 3, axis=0)
    first, second, _ = synthesize(variables, same, rng=jax.random.key(0), noise="random")
    assert np.abs(first - second).max() > 1e-3


def test_random_noise_wants_a_key(w):
    with pytest.raises(flax.errors.InvalidRngError):
        synthesize(tiny()[1], w, noise="random")


def test_unknown_noise(w):
    with pytest.raises(ValueError, match="noise: found 'pink'"):
        synthesize(tiny()[1], w, noise="pink")


def test_clamp_bounds_every_layer(w):
    image = synthesize(tiny()[1], 20 * w, clamp=0.01)
    assert np.abs(image).max() <= 4 * 0.01 + 1e-6  # four toRGB layers, added
    assert np.abs(image).max() > 0.015


def test_truncation():
    rng = np.random.default_rng(5)
    w, mean = rng.standard_normal((2, 6, 4)), rng.standard_normal(4)
    np.testing.assert_allclose(truncate(w, mean, 0.0), np.broadcast_to(mean, w.shape), atol=1e-6)
    np.testing.assert_allclose(truncate(w, mean, 1.0), w, atol=1e-6)
    np.testing.assert_allclose(truncate(w, mean, 0.7), mean + 0.7 * (w - mean), atol=1e-6)
    some = truncate(w, mean, 0.0, cutoff=2)
    np.testing.assert_allclose(some[:, :2], np.broadcast_to(mean, (2, 2, 4)), atol=1e-6)
    np.testing.assert_allclose(some[:, 2:], w[:, 2:], atol=1e-6)


def test_ranges():
    np.testing.assert_allclose(to_signed(jnp.array([0.0, 0.25, 1.0])), [-1.0, -0.5, 1.0])
    np.testing.assert_allclose(from_signed(jnp.array([-3.0, -1.0, 0.0, 0.5, 2.0])), [0.0, 0.0, 0.5, 0.75, 1.0])
    gradient = jax.vmap(jax.grad(from_signed))(jnp.array([-3.0, -0.9, 0.9, 2.0]))
    np.testing.assert_allclose(gradient, [0.0, 0.5, 0.5, 0.0])


def test_remat_recomputes_every_layer_and_changes_nothing():
    inverter, variables = pair("generator", "encoder")
    g = inverter.generator
    w = jax.random.normal(jax.random.key(5), (4, g.config.w_dim))

    def gradient(generator):
        def loss(w):
            image = generator.apply(variables["generator"], w, method=Generator.synthesize)
            return jnp.sum(jnp.sin(3 * image))

        return jax.jit(jax.grad(loss))

    plain, again = gradient(g), gradient(g.clone(remat=True))
    np.testing.assert_allclose(again(w), plain(w), rtol=1e-4, atol=1e-5)
    recomputed = [str(jax.make_jaxpr(f)(w)).count("prevent_cse=True") for f in (plain, again)]
    assert recomputed == [0, len(layer_specs(g.config))]
