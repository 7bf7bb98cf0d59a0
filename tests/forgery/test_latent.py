"""The latent adversary against toy detectors: it fools them, stays in its ball, and starts at the reconstruction."""

import functools
import math
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from tiny import compiled, images, pair, save_pair

from fdetect_jax.forgery import FORGERIES, make_forgery
from fdetect_jax.forgery.latent import SPACES, LatentAdversary, Reconstruction, fit
from fdetect_jax.forgery.pgd import Attack
from fdetect_jax.gan.inversion import Inversion
from fdetect_jax.gan.stylegan2 import GeneratorConfig
from fdetect_jax.types import score

KEYS = jax.random.split(jax.random.key(0), 3)
SIZE = 8


class Toy:
    """The face of an ``Inverter`` with networks of one matrix each; ``frozen`` holds the matrices."""

    generator = SimpleNamespace(config=GeneratorConfig(32, z_dim=6, w_dim=5))

    def map(self, frozen, z):
        return jnp.tanh(z @ frozen["mapping"])

    def render(self, frozen, w, offsets=None, resolution=None):
        if w.ndim == 2:
            w = jnp.broadcast_to(w[:, None], (w.shape[0], 8, 5))
        x = jnp.einsum("bld,ldp->bp", w, frozen["synthesis"]) + (0.0 if offsets is None else offsets["shift"])
        return jax.nn.sigmoid(x).reshape(-1, SIZE, SIZE, 3)

    def invert(self, frozen, image):
        w = image.mean(axis=(1, 2)) @ frozen["encoder"]
        offsets = {"shift": image[:, :1, :1].reshape(-1, 3) @ frozen["hyper"]}
        return Inversion(w, offsets, self.render(frozen, w, offsets))


def matrices():
    rng = np.random.default_rng(0)
    shapes = {"mapping": (6, 5), "synthesis": (8, 5, SIZE * SIZE * 3), "encoder": (3, 5), "hyper": (3, SIZE * SIZE * 3)}
    scales = {"mapping": 0.5, "synthesis": 0.3, "encoder": 1.0, "hyper": 1.0}
    return {name: scales[name] * rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


FROZEN = matrices()


def classify(image):
    """Fake where the image looks like a fixed random view; a smooth function of every pixel."""
    view = jnp.sin(7.0 * jnp.arange(np.prod(image.shape[1:]))).reshape(image.shape[1:])
    likeness = 0.3 * jnp.sum(view * (image - 0.5), axis=(1, 2, 3))
    return jnp.stack([-likeness, likeness], axis=1)


def sure(image):
    """Takes everything for fake, and so surely that the loss of the label fake is zero in float32."""
    return classify(image) + jnp.array([-60.0, 60.0])


def probability(image):
    return np.asarray(score(classify(image)))


@functools.cache
def forge(space="w", epsilon=1.0, steps=8, judge=classify, **attack):
    """The compiled adversary of the toy: (keys, images) -> Forged."""
    adversary = LatentAdversary(Toy(), Attack(epsilon=epsilon, steps=steps, **attack), space)
    run = jax.jit(lambda keys, faces, frozen: adversary.forge(keys, judge, faces, frozen))
    return lambda keys, faces: run(keys, faces, FROZEN)


FACES = images(3, SIZE)


def test_a_detector_that_is_sure_is_attacked_all_the_same():
    a, b = forge()(KEYS, FACES), forge(judge=sure)(KEYS, FACES)
    np.testing.assert_allclose(a.image, b.image, atol=1e-3)
    assert np.all(np.asarray(score(sure(b.reconstruction))) == 1)


@pytest.mark.parametrize("space", SPACES)
def test_the_detector_is_fooled(space):
    forged = forge(space)(KEYS, FACES)
    assert forged.image.shape == forged.reconstruction.shape == (3, SIZE, SIZE, 3)
    before, after = probability(forged.reconstruction), probability(forged.image)
    assert (after < 0.7 * before).all()
    assert (forged.radius <= 1 + 1e-5).all()
    assert (forged.radius > 0.5).all()
    np.testing.assert_array_equal(forged.on_surface, forged.radius >= 1 - 1e-4)


def test_no_offset_of_the_same_size_does_better():
    """The best of many random offsets on the sphere leaves the detector surer than the adversary does."""
    forged = forge("w", steps=30)(KEYS, FACES)
    toy, rng = Toy(), np.random.default_rng(1)
    found = toy.invert(FROZEN, FACES)
    delta = rng.standard_normal((500, 1, 5)).astype(np.float32)
    delta /= np.linalg.norm(delta, axis=2, keepdims=True)
    tried = jax.vmap(lambda d: score(classify(toy.render(FROZEN, found.w + d, found.offsets))))(delta)
    assert (probability(forged.image) <= np.asarray(tried).min(axis=0) + 1e-3).all()


@pytest.mark.parametrize("space", ["w", "w+"])
def test_it_starts_at_the_reconstruction(space):
    forged = forge(space, epsilon=1e-6, steps=1)(KEYS, FACES)
    wanted = Toy().invert(FROZEN, FACES).image
    np.testing.assert_allclose(forged.reconstruction, wanted, atol=1e-6)
    np.testing.assert_allclose(forged.image, wanted, atol=1e-4)


def test_the_space_z_starts_at_random_faces_of_the_generator():
    forged = forge("z", epsilon=1e-6, steps=1)(KEYS, FACES)
    np.testing.assert_allclose(forged.image, forged.reconstruction, atol=1e-4)
    other = forge("z", epsilon=1e-6, steps=1)(KEYS[::-1], images(3, SIZE, seed=1))
    np.testing.assert_allclose(other.reconstruction[::-1], forged.reconstruction, atol=1e-6)
    assert np.abs(forged.reconstruction[0] - forged.reconstruction[1]).max() > 0.05


@pytest.mark.parametrize("space", SPACES)
def test_the_path_leads_to_the_fake(space):
    adversary = LatentAdversary(Toy(), Attack(epsilon=1.0, steps=8), space)
    path = jax.jit(lambda faces, frozen: adversary.path(KEYS, classify, faces, frozen))(FACES, FROZEN)
    forged = forge(space)(KEYS, FACES)
    assert path.image.shape == (9, 3, SIZE, SIZE, 3)
    np.testing.assert_allclose(path.image[-1], forged.image, atol=1e-5)
    np.testing.assert_allclose(path.radius[-1], forged.radius, atol=1e-5)
    assert (path.radius <= 1 + 1e-5).all()
    start = forge(space, steps=1, step_size=1e-6)(KEYS, FACES)  # the random start, hardly moved
    np.testing.assert_allclose(path.image[0], start.image, atol=1e-4)
    assert (probability(path.image[-1]) < probability(path.image[0])).all()


def test_same_keys_same_fakes():
    run = forge("w", steps=2)
    one, two = run(KEYS, FACES), run(KEYS, FACES)
    np.testing.assert_array_equal(one.image, two.image)
    other = run(jax.random.split(jax.random.key(1), 3), FACES)
    assert np.abs(one.image - other.image).max() > 1e-3
    np.testing.assert_array_equal(one.reconstruction, other.reconstruction)


@pytest.mark.parametrize("space", SPACES)
def test_rows_do_not_meet(space):
    whole, swapped = forge(space)(KEYS, FACES), forge(space)(KEYS[::-1], FACES[::-1])
    np.testing.assert_allclose(swapped.image[::-1], whole.image, atol=1e-4)


def test_w_plus_has_room_for_more():
    """The ball of w+ holds that of w, √num_ws times smaller, and every layer's own direction besides."""
    w = forge("w", epsilon=0.5, steps=20)(KEYS, FACES)
    plus = forge("w+", epsilon=0.5 * math.sqrt(8), steps=20)(KEYS, FACES)
    assert (probability(plus.image) < probability(w.image) - 1e-3).all()


def test_half_precision_detector():
    forged = forge("w", judge=lambda image: classify(image).astype(jnp.bfloat16))(KEYS, FACES)
    assert forged.image.dtype == jnp.float32
    assert (probability(forged.image) < 0.7 * probability(forged.reconstruction)).all()


def test_linf_bounds_every_coordinate():
    forged = forge("w", epsilon=0.3, norm="linf")(KEYS, FACES)
    np.testing.assert_allclose(forged.radius, 0.3, rtol=1e-5)
    np.testing.assert_array_equal(forged.on_surface, 1)
    assert (probability(forged.image) < probability(forged.reconstruction)).all()


def test_a_detector_of_another_size():
    forged = forge("w", epsilon=1e-6, steps=1)(KEYS, images(3, 6))
    assert forged.image.shape == (3, 6, 6, 3)
    wanted = fit(Toy().invert(FROZEN, images(3, 6)).image, 6)
    np.testing.assert_allclose(forged.reconstruction, wanted, atol=1e-6)
    np.testing.assert_allclose(forged.image, wanted, atol=1e-4)


def test_plain_reconstruction():
    forged = Reconstruction(Toy()).forge(KEYS, classify, FACES, FROZEN)
    np.testing.assert_allclose(forged.image, Toy().invert(FROZEN, FACES).image, atol=1e-6)
    np.testing.assert_array_equal(forged.reconstruction, forged.image)
    np.testing.assert_array_equal(forged.radius, 0)
    np.testing.assert_array_equal(forged.on_surface, 0)


def test_with_real_networks():
    inverter, variables = pair("generator", "encoder")
    adversary = LatentAdversary(inverter, Attack(epsilon=1.0, steps=4), "w")
    run = jax.jit(lambda keys, faces, frozen: adversary.forge(keys, classify, faces, frozen))
    forged = run(KEYS, images(3), variables)
    whole = compiled("render")(pair()[1], compiled("encode")(pair()[1], images(3)))
    np.testing.assert_allclose(forged.reconstruction, whole, atol=1e-4)
    assert forged.image.shape == (3, 32, 32, 3)
    assert forged.image.min() >= 0
    assert forged.image.max() <= 1
    assert probability(forged.image).mean() < probability(forged.reconstruction).mean()
    assert (forged.radius <= 1 + 1e-5).all()


def test_rendering_stops_at_the_resolution_above_the_detector():
    """The skip architecture: an image of 16 pixels is there before the block of 32 adds to it."""
    inverter, variables = pair("generator", "encoder")
    small = images(3, size=12)
    for render, wanted in (("fit", 16), ("full", None)):
        adversary = LatentAdversary(inverter, Attack(epsilon=1.0, steps=2), "w", render)
        run = jax.jit(partial(adversary.forge, KEYS, classify))
        forged = run(small, variables)
        early = inverter.render(variables, inverter.encode(variables, small), None, wanted)
        assert early.shape[1] == (wanted or 32)
        np.testing.assert_allclose(forged.reconstruction, fit(early, 12), atol=1e-4)
        assert probability(forged.image).mean() < probability(forged.reconstruction).mean()
    config = inverter.generator.config
    assert [config.resolution_for(size) for size in (4, 5, 32, 380)] == [4, 8, 32, 32]


@pytest.mark.parametrize("field", ["space", "render"])
def test_unknown_options(field):
    with pytest.raises(ValueError, match=rf"forgery\.{field}: found 's', wanted one of"):
        LatentAdversary(pair()[0], Attack(), **{field: "s"})


def test_fit():
    image = jnp.asarray(images(2, size=8))
    assert fit(image, 8) is image
    assert fit(image, 12).shape == (2, 12, 12, 3)
    stripes = jnp.tile(jnp.array([0.0, 1.0]), 8)[None, None, :, None] * jnp.ones((1, 16, 1, 3))
    np.testing.assert_allclose(fit(stripes, 4)[:, :, 1:-1], 0.5, atol=0.02)  # antialiased: no stripe survives


def config(folder, **fields):
    attack = {"epsilon": 2.0, "steps": 3, "step_size": 0.5, "norm": "linf", "gradient": "raw"}
    attack |= {"random_start": False}
    fields = {
        "kind": "latent",
        "inverter": str(folder),
        "space": "w+",
        "render": "fit",
        "dtype": "bfloat16",
        "remat": True,
        "attack": attack,
    } | fields
    return ConfigDict(fields)


def test_registry(tmp_path):
    folder = save_pair(tmp_path / "pair")
    adversary = make_forgery(config(folder))
    assert adversary.attack == Attack(2.0, 3, 0.5, "linf", "raw", False)
    assert (adversary.space, adversary.render) == ("w+", "fit")
    assert adversary.inverter.generator.remat
    assert adversary.frozen.keys() == {"generator", "encoder", "hyper"}
    plain = make_forgery(config(folder, kind="reconstruction"))
    assert isinstance(plain, Reconstruction)
    assert plain.inverter == adversary.inverter
    assert plain.inverter.generator.config == pair()[0].generator.config
    assert plain.inverter.generator.dtype == jnp.bfloat16
    assert make_forgery(config(folder, dtype="float32", remat=False)).inverter == pair()[0]


def test_registry_names_what_it_does_not_know(tmp_path):
    with pytest.raises(ValueError, match=r"forgery\.kind: found 'paste', wanted one of .*latent"):
        make_forgery(config(tmp_path, kind="paste"))
    with pytest.raises(ValueError, match=r"pair: found .*nowhere"):
        make_forgery(config(tmp_path / "nowhere"))
    assert set(FORGERIES) == {"latent", "reconstruction"}
