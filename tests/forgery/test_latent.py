"""The latent adversary against toy detectors: it fools them, stays in its ball, and starts at the reconstruction."""

import functools
import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import compiled, images, pair, save_pair

from fdetect_jax import weights
from fdetect_jax.errors import UserError
from fdetect_jax.forgery import latent, make_forgery
from fdetect_jax.forgery.base import Scene
from fdetect_jax.forgery.latent import SPACES, LatentAdversary, Reconstruction, fit, when
from fdetect_jax.forgery.pgd import Attack
from fdetect_jax.gan.inversion import Inversion
from fdetect_jax.gan.stylegan2 import GeneratorConfig
from fdetect_jax.nn.keys import purposes
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
    view = jnp.sin(7.0 * jnp.arange(np.prod(image.shape[1:])))
    likeness = 0.3 * ((image - 0.5).reshape(len(image), -1) @ view)
    return jnp.stack([-likeness, likeness], axis=1)


def sure(image):
    """Takes everything for fake, and so surely that the loss of the label fake is zero in float32."""
    return classify(image) + jnp.array([[-60.0, 60.0]])


def probability(image):
    return np.asarray(score(classify(image)))


def scene(faces, frozen, judge=classify, step=0, logged=True, stages=True):
    return Scene(judge, faces, frozen, jnp.int32(step), logged, stages)


@functools.cache
def forge(space="w", epsilon=1.0, steps=8, judge=classify, **attack):
    """The compiled adversary of the toy: (keys, images) -> Forged, with the reconstruction and metrics."""
    adversary = LatentAdversary(Toy(), Attack(epsilon=epsilon, steps=steps, **attack), space)
    run = jax.jit(lambda keys, faces, frozen: adversary.forge(keys, scene(faces, frozen, judge)))
    return lambda keys, faces: run(keys, faces, FROZEN)


def start(forged):
    """What the attack began with."""
    return forged.stages["reconstruction"]


FACES = images(3, SIZE)


def test_a_detector_that_is_sure_is_attacked_all_the_same():
    a, b = forge()(KEYS, FACES), forge(judge=sure)(KEYS, FACES)
    np.testing.assert_allclose(a.image, b.image, atol=1e-3)
    assert np.all(np.asarray(score(sure(start(b)))) == 1)


@pytest.mark.parametrize("space", SPACES)
def test_the_detector_is_fooled(space):
    forged = forge(space)(KEYS, FACES)
    assert forged.image.shape == start(forged).shape == (3, SIZE, SIZE, 3)
    before, after = probability(start(forged)), probability(forged.image)
    assert (after < 0.7 * before).all()
    metrics = forged.metrics
    assert 0.5 < metrics["delta_norm"] <= 1 + 1e-5
    assert 0 <= metrics["on_sphere"] <= 1
    np.testing.assert_allclose(metrics["p_fake/reconstruction"], before.mean(), rtol=1e-4)
    np.testing.assert_allclose(metrics["p_fake/adversary"], after.mean(), rtol=1e-4)


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
    np.testing.assert_allclose(start(forged), wanted, atol=1e-6)
    np.testing.assert_allclose(forged.image, wanted, atol=1e-4)


def test_the_space_z_starts_at_random_faces_of_the_generator():
    forged = forge("z", epsilon=1e-6, steps=1)(KEYS, FACES)
    np.testing.assert_allclose(forged.image, start(forged), atol=1e-4)
    other = forge("z", epsilon=1e-6, steps=1)(KEYS[::-1], images(3, SIZE, seed=1))
    np.testing.assert_allclose(start(other)[::-1], start(forged), atol=1e-6)
    assert np.abs(start(forged)[0] - start(forged)[1]).max() > 0.05


@pytest.mark.parametrize("space", SPACES)
def test_the_path_leads_to_the_fake(space):
    adversary = LatentAdversary(Toy(), Attack(epsilon=1.0, steps=8), space)
    path = jax.jit(lambda faces, frozen: adversary.path(KEYS, scene(faces, frozen)))(FACES, FROZEN)
    forged = forge(space)(KEYS, FACES)
    assert path.image.shape == (9, 3, SIZE, SIZE, 3)
    np.testing.assert_allclose(path.image[-1], forged.image, atol=1e-5)
    np.testing.assert_allclose(path.radius[-1].mean(), forged.metrics["delta_norm"], atol=1e-5)
    assert (path.radius <= 1 + 1e-5).all()
    begun = forge(space, steps=1, step_size=1e-6)(KEYS, FACES)  # the random start, hardly moved
    np.testing.assert_allclose(path.image[0], begun.image, atol=1e-4)
    assert (probability(path.image[-1]) < probability(path.image[0])).all()


def test_same_keys_same_fakes():
    run = forge("w", steps=2)
    one, two = run(KEYS, FACES), run(KEYS, FACES)
    np.testing.assert_array_equal(one.image, two.image)
    other = run(jax.random.split(jax.random.key(1), 3), FACES)
    assert np.abs(one.image - other.image).max() > 1e-3
    np.testing.assert_array_equal(start(one), start(other))


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
    assert (probability(forged.image) < 0.7 * probability(start(forged))).all()


def test_linf_bounds_every_coordinate():
    forged = forge("w", epsilon=0.3, norm="linf")(KEYS, FACES)
    np.testing.assert_allclose(forged.metrics["delta_norm"], 0.3, rtol=1e-5)
    assert forged.metrics["on_sphere"] == 1
    assert (probability(forged.image) < probability(start(forged))).all()


def test_a_detector_of_another_size():
    forged = forge("w", epsilon=1e-6, steps=1)(KEYS, images(3, 6))
    assert forged.image.shape == (3, 6, 6, 3)
    wanted = fit(Toy().invert(FROZEN, images(3, 6)).image, 6)
    np.testing.assert_allclose(start(forged), wanted, atol=1e-6)
    np.testing.assert_allclose(forged.image, wanted, atol=1e-4)


def test_plain_reconstruction():
    made = Reconstruction(Toy(), FROZEN)
    forged = made.forge(KEYS, scene(FACES, FROZEN))
    np.testing.assert_allclose(forged.image, Toy().invert(FROZEN, FACES).image, atol=1e-6)
    assert made.counterpart
    assert forged.stages == forged.targets == {}  # its mask is 1 everywhere, as for every entire synthesis
    np.testing.assert_allclose(forged.metrics["p_fake/reconstruction"], probability(forged.image).mean(), rtol=1e-5)


def test_enlarged_fakes_are_compared_with_faces_that_were_enlarged_too():
    toy, small, large = Toy(), jnp.asarray(images(3, SIZE)), jnp.asarray(images(3, 3 * SIZE))
    toy.generator = SimpleNamespace(config=SimpleNamespace(resolution=SIZE, num_ws=8, w_dim=5))
    for made in (Reconstruction(toy, FROZEN), LatentAdversary(toy, Attack(epsilon=1e-6, steps=1), "w")):
        assert made.forge(KEYS, scene(small, FROZEN)).real is None
        real = made.forge(KEYS, scene(large, FROZEN)).real
        np.testing.assert_allclose(real, fit(fit(large, SIZE), 3 * SIZE), atol=1e-6)
        assert np.std(np.diff(real, axis=1)) < np.std(np.diff(large, axis=1))


def test_with_real_networks():
    inverter, variables = pair("generator", "encoder")
    adversary = LatentAdversary(inverter, Attack(epsilon=1.0, steps=4), "w")
    run = jax.jit(lambda keys, faces, frozen: adversary.forge(keys, scene(faces, frozen)))
    forged = run(KEYS, images(3), variables)
    whole = compiled("render")(pair()[1], compiled("encode")(pair()[1], images(3)))
    np.testing.assert_allclose(start(forged), whole, atol=1e-4)
    assert forged.image.shape == (3, 32, 32, 3)
    assert forged.image.min() >= 0
    assert forged.image.max() <= 1
    assert probability(forged.image).mean() < probability(start(forged)).mean()
    assert forged.metrics["delta_norm"] <= 1 + 1e-5


def test_rendering_stops_at_the_resolution_above_the_detector():
    """The skip architecture: an image of 16 pixels is there before the block of 32 adds to it."""
    inverter, variables = pair("generator", "encoder")
    small = images(3, size=12)
    for render, wanted in (("fit", 16), ("full", None)):
        adversary = LatentAdversary(inverter, Attack(epsilon=1.0, steps=2), "w", render)
        run = jax.jit(lambda faces, frozen, adversary=adversary: adversary.forge(KEYS, scene(faces, frozen)))
        forged = run(small, variables)
        early = jax.jit(lambda v, x, wanted=wanted: inverter.render(v, inverter.encode(v, x), None, wanted))(
            variables, small
        )
        assert early.shape[1] == (wanted or 32)
        np.testing.assert_allclose(start(forged), fit(early, 12), atol=1e-4)
        assert probability(forged.image).mean() < probability(start(forged)).mean()
    config = inverter.generator.config
    assert [config.resolution_for(size) for size in (4, 5, 32, 380)] == [4, 8, 32, 32]


@pytest.mark.parametrize("field", ["space", "render"])
def test_unknown_options(field):
    with pytest.raises(ValueError, match=rf"^{field}: found 's', wanted one of"):
        LatentAdversary(pair()[0], Attack(), **{field: "s"})


def test_fit():
    image = jnp.asarray(images(2, size=8))
    assert fit(image, 8) is image
    assert fit(image, 12).shape == (2, 12, 12, 3)
    stripes = jnp.tile(jnp.array([0.0, 1.0]), 8)[None, None, :, None] * jnp.ones((1, 16, 1, 3))
    np.testing.assert_allclose(fit(stripes, 4)[:, :, 1:-1], 0.5, atol=0.02)  # antialiased: no stripe survives


def options(folder, **fields):
    attack = {"epsilon": 2.0, "steps": 3, "step_size": 0.5, "norm": "linf", "gradient": "raw"}
    attack |= {"random_start": False}
    fields = {
        "inverter": str(folder),
        "space": "w+",
        "render": "fit",
        "dtype": "bfloat16",
        "remat": True,
        "attack": attack,
    } | fields
    return fields


def made(name, fields):
    return make_forgery(name, fields, None, "train", None, True)


def test_from_a_config(tmp_path):
    folder = save_pair(tmp_path / "pair")
    adversary = made("latent", options(folder))
    assert adversary.attack == Attack(2.0, 3, 0.5, "linf", "raw", False)
    assert (adversary.space, adversary.render, adversary.warmup) == ("w+", "fit", 0)
    assert adversary.inverter.generator.remat
    assert adversary.frozen.keys() == {"generator", "encoder", "hyper"}
    plain = made("reconstruction", {name: options(folder)[name] for name in ("inverter", "dtype", "remat")})
    assert isinstance(plain, Reconstruction)
    assert plain.inverter == adversary.inverter
    assert plain.inverter.generator.config == pair()[0].generator.config
    assert plain.inverter.generator.dtype == jnp.bfloat16
    assert made("latent", options(folder, dtype="float32", remat=False)).inverter == pair()[0]


def test_unknown_names(tmp_path):
    with pytest.raises(UserError, match=r"^forgery\.mix: found 'paste', wanted some of .*latent"):
        made("paste", {})
    with pytest.raises(UserError, match=r"^inverter: found .*nowhere"):
        made("latent", options(tmp_path / "nowhere"))


def test_networks_are_read_once_for_all_who_ask_alike(tmp_path, monkeypatch):
    folder, read = save_pair(tmp_path / "pair"), []
    original = weights.read
    monkeypatch.setattr(weights, "read", lambda path, *more: read.append(path) or original(path, *more))
    first = made("latent", options(folder))
    assert len(read) == 3  # G, E and H
    others = [made("latent", options(folder, space="w")), made("reconstruction", {**_networks(options(folder))})]
    assert len(read) == 3
    assert all(one.frozen is first.frozen for one in others)


def _networks(fields):
    return {name: fields[name] for name in ("inverter", "dtype", "remat")}


def test_only_what_is_not_in_z_is_a_counterpart_of_its_face():
    assert [LatentAdversary(Toy(), Attack(), space).counterpart for space in ("w", "w+", "z")] == [True, True, False]


def warming(warmup, step, logged=False, keys=KEYS, stages=False):
    adversary = LatentAdversary(Toy(), Attack(epsilon=1.0, steps=4, random_start=False), "w", warmup=warmup)
    run = jax.jit(lambda step, logged: adversary.forge(keys, Scene(classify, faces, FROZEN, step, logged, stages)))
    faces = jnp.broadcast_to(jnp.asarray(FACES[:1]), (len(keys), SIZE, SIZE, 3))
    return run(jnp.int32(step), jnp.asarray(logged))


def test_warming_up_adversaries_take_the_place_of_reconstructions():
    """Of 64 rows as many as the share of the warm-up that has passed, and no others than before."""
    keys = jax.random.split(jax.random.key(5), 64)
    plain = Toy().invert(FROZEN, FACES[:1]).image
    attacked = warming(0, 0, keys=keys).image
    draws = jax.vmap(jax.random.uniform)(purposes(keys, "warm-up"))
    before = np.zeros(64, bool)
    for step, expected in ((0, 4), (7, 32), (14, 60), (15, 64)):
        found = warming(16, step, keys=keys).image
        own = np.abs(found - attacked).max(axis=(1, 2, 3)) < 1e-5
        rest = np.abs(found - plain).max(axis=(1, 2, 3)) < 1e-5
        assert (own != rest).all()
        np.testing.assert_array_equal(own, draws < (step + 1) / 16)
        assert abs(own.sum() - expected) <= 12  # a deviation of 4 at most
        assert (own >= before).all()
        before = own
    assert before.all()


def test_the_warm_up_draws_apart_from_the_start_of_the_attack():
    """fold_in(key, 1) was split(key)[1], the key of the attack's start: one draw a purpose."""
    for name in ("warm-up", "start of the attack", "random face"):
        own = jax.random.key_data(purposes(KEYS, name))
        for other in ("warm-up", "start of the attack", "random face"):
            if other != name:
                assert (own != jax.random.key_data(purposes(KEYS, other))).any(axis=1).all()
        split = jax.random.key_data(jax.vmap(jax.random.split)(KEYS))
        assert (own[:, None] != split).any(axis=2).all()
        assert (own != jax.random.key_data(KEYS)).any(axis=1).all()


def test_the_attack_starts_by_its_own_key(monkeypatch):
    starts = []
    original = latent.ascend
    monkeypatch.setattr(latent, "ascend", lambda loss, keys, *more: starts.append(keys) or original(loss, keys, *more))
    adversary = LatentAdversary(Toy(), Attack(epsilon=1.0, steps=1, random_start=False), "w", warmup=5)
    with jax.disable_jit():
        adversary.forge(KEYS[:1], Scene(classify, jnp.asarray(FACES[:1]), FROZEN, jnp.int32(0), True, False))
    assert len(starts) == 1
    wanted = purposes(KEYS[:1], "start of the attack")
    np.testing.assert_array_equal(jax.random.key_data(starts[0]), jax.random.key_data(wanted))


@pytest.mark.parametrize(("warmup", "step"), [(0, 0), (8, 7), (8, 20)])
def test_nothing_is_rendered_for_a_log_that_nobody_reads(warmup, step):
    quiet, logged = (warming(warmup, step, logged=value) for value in (False, True))
    np.testing.assert_array_equal(quiet.image, logged.image)
    assert all(value == 0 for value in quiet.metrics.values())
    assert 0 < logged.metrics["p_fake/adversary"] < logged.metrics["p_fake/reconstruction"]


def test_the_reconstruction_stands_in_a_conditional():
    """Renderings of the compiled forgery: with the log in a branch of its own, one less than with the log always."""

    def renderings(logged):
        class Counted(Toy):
            def render(self, frozen, w, offsets=None, resolution=None):
                return jax.jit(rendering)(super().render(frozen, w, offsets, resolution))

        def rendering(image):
            return image

        adversary = LatentAdversary(Counted(), Attack(epsilon=1.0, steps=2), "w")
        made = jax.make_jaxpr(
            lambda logged: adversary.forge(KEYS, Scene(classify, jnp.asarray(FACES), FROZEN, jnp.int32(0), logged))
        )
        made = (
            made(logged)
            if logged is not True
            else jax.make_jaxpr(
                lambda: adversary.forge(KEYS, Scene(classify, jnp.asarray(FACES), FROZEN, jnp.int32(0), True))
            )()
        )
        return [eqn.primitive.name for eqn in made.jaxpr.eqns].count("cond"), [
            eqn.params.get("name") for eqn in made.jaxpr.eqns
        ].count("rendering")

    conditionals, open_ = renderings(jnp.asarray(False))
    assert conditionals >= 2  # the reconstruction, and the metrics that are made of it
    assert open_ == renderings(True)[1] - 1


def test_what_is_not_wanted_is_zeros():
    make = lambda: {"a": jnp.ones(3), "b": jnp.int32(4)}  # noqa: E731
    for wanted, scale in ((True, 1), (False, 0), (jnp.asarray(True), 1), (jnp.asarray(False), 0)):
        found = when(wanted, make)
        np.testing.assert_array_equal(found["a"], np.full(3, scale, np.float32))
        assert found["b"] == 4 * scale
        assert found["b"].dtype == jnp.int32
