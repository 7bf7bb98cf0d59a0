"""Terms of a detector's loss against closed forms and finite differences."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fdetect_jax import parallel
from fdetect_jax.data.targets import TARGETS
from fdetect_jax.errors import UserError
from fdetect_jax.losses.terms import (
    FORMS,
    OBJECTIVES,
    PAIRS,
    TERMS,
    arcface,
    attention,
    class_cross_entropy,
    contrastive,
    cross_entropy,
    find_term,
    require,
    squared_error,
)
from fdetect_jax.types import FAKE, REAL, UNKNOWN, Batch, Outputs

# Two real faces, then the fake of each.
EMBEDDING = np.array([[0.0, 0.0], [0.6, 0.0], [0.0, 0.8], [1.2, 1.0]], np.float32)
LABEL = np.array([REAL, REAL, FAKE, FAKE], np.int32)


def batch(label=LABEL, weight=None, pair=(0, 1, 0, 1)):
    n = len(label)
    weight = np.ones(n, np.float32) if weight is None else np.asarray(weight, np.float32)
    targets = {"identity": np.arange(n), "pair": np.asarray(pair, np.int32)}
    return Batch(np.zeros((n, 1, 1, 3)), np.asarray(label), weight, targets)


def outputs(embedding=EMBEDDING, logits=None):
    logits = jnp.zeros((len(embedding), 2)) if logits is None else logits
    return Outputs(logits, {"embedding": jnp.asarray(embedding)})


def distance(i, j):
    return math.dist(EMBEDDING[i], EMBEDDING[j])


def test_squared_error():
    """Of P(fake), the sum over the fake classes: 3/4, 1/2, 4/5 and 1/10 of the rows."""
    logits = jnp.log(jnp.array([[1.0, 2.0, 1.0], [2.0, 1.0, 1.0], [1.0, 1.0, 3.0], [9.0, 0.5, 0.5]]))
    found = squared_error(outputs(logits=logits), batch())
    np.testing.assert_allclose(found, [0.75**2, 0.5**2, 0.2**2, 0.9**2], rtol=1e-5)


def test_cross_entropy():
    logits = jnp.log(jnp.array([[1.0, 3.0], [2.0, 2.0], [1.0, 4.0], [9.0, 1.0]]))
    wanted = -np.log([1 / 4, 1 / 2, 4 / 5, 1 / 10])
    np.testing.assert_allclose(cross_entropy(outputs(logits=logits), batch()), wanted, rtol=1e-5)


def test_cross_entropy_of_half_precision_logits_is_in_single():
    logits = jnp.array([[0.0, 1.0]] * 4, jnp.bfloat16)
    value = cross_entropy(outputs(logits=logits), batch())
    assert value.dtype == jnp.float32
    assert float(value[0]) == pytest.approx(math.log(1 + math.e), rel=1e-5)


def test_cross_entropy_of_many_classes_sums_the_fakes():
    """-log of the sum of the fake classes' probabilities, whatever their number."""
    logits = np.random.default_rng(1).normal(0, 3, (4, 6)).astype(np.float32)
    found = cross_entropy(outputs(logits=jnp.asarray(logits)), batch())
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    wanted = -np.log(np.where(LABEL == FAKE, p[:, 1:].sum(axis=1), p[:, 0]))
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


def of_classes(classes, logits):
    rows = batch()
    rows = rows.replace(targets=rows.targets | {"kind": np.asarray(classes, np.int32)})
    return class_cross_entropy(outputs(logits=logits), rows, target="kind")


def test_a_class_s_cross_entropy():
    logits = jnp.asarray(np.random.default_rng(2).standard_normal((4, 6)), jnp.float32)
    p = np.asarray(jax.nn.softmax(logits))
    np.testing.assert_allclose(of_classes([0, 0, 1, 5], logits), -np.log(p[range(4), [0, 0, 1, 5]]), rtol=1e-4)


def test_a_fake_of_unknown_class_counts_as_any_fake():
    logits = jnp.asarray(np.random.default_rng(2).standard_normal((4, 6)), jnp.float32)
    found, any_fake = of_classes([0, 0, UNKNOWN, 5], logits), cross_entropy(outputs(logits=logits), batch())
    assert found[2] == any_fake[2]
    assert found[3] > any_fake[3]  # which has one class to hit instead of five
    gradient = jax.grad(lambda logits: jnp.sum(of_classes([0, 0, UNKNOWN, 5], logits)))(logits)
    assert np.isfinite(gradient).all()


def apart(form, margin, d):
    return 0.5 * max(0, margin - d) ** 2 if form == "hadsell" else 0.5 * max(0, margin - d**2)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("pairs", PAIRS)
def test_contrastive(form, pairs):
    margin = 1.5
    found = contrastive(outputs(), batch(), margin, form, pairs, normalize=False)
    unlike = {"counterpart": [[2], [3], [0], [1]], "all": [[2, 3], [2, 3], [0, 1], [0, 1]]}[pairs]
    alike = [1, 0, 3, 2]
    wanted = [
        0.5 * distance(i, alike[i]) ** 2 + np.mean([apart(form, margin, distance(i, j)) for j in unlike[i]])
        for i in range(4)
    ]
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_contrastive_by_hand():
    """Real faces at 0 and 0.6, the fake of the first at distance 0.8 with margin 1: ½·0.36 + ½·0.2²."""
    found = contrastive(outputs(), batch(), normalize=False)
    assert found[0] == pytest.approx(0.18 + 0.02, rel=1e-4)
    squared = contrastive(outputs(), batch(), form="squared_hinge", normalize=False)
    assert squared[0] == pytest.approx(0.18 + 0.5 * (1 - 0.64), rel=1e-4)


def test_embeddings_are_normalised_first():
    found = contrastive(outputs(EMBEDDING + 3), batch())
    unit = (EMBEDDING + 3) / np.linalg.norm(EMBEDDING + 3, axis=1, keepdims=True)
    np.testing.assert_allclose(found, contrastive(outputs(unit), batch(), normalize=False), rtol=1e-4, atol=1e-6)
    scaled = (EMBEDDING + 3) * np.array([[0.1], [1], [10], [100]], np.float32)
    np.testing.assert_allclose(found, contrastive(outputs(scaled), batch()), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("pairs", PAIRS)
def test_padding_does_not_count(pairs):
    wanted = contrastive(outputs(), batch(), pairs=pairs)
    padded = np.concatenate([EMBEDDING, np.full((2, 2), 7.0, np.float32)])
    rows = batch([*LABEL, REAL, FAKE], [1, 1, 1, 1, 0, 0], [0, 1, 0, 1, 0, 0])
    found = contrastive(outputs(padded), rows, pairs=pairs)
    np.testing.assert_allclose(found[:4], wanted, rtol=1e-6)
    np.testing.assert_array_equal(found[4:], 0)
    gradient = jax.grad(lambda f: jnp.sum(contrastive(outputs(f), rows, pairs=pairs)))(padded)
    np.testing.assert_array_equal(gradient[4:], 0)


@pytest.mark.parametrize("form", FORMS)
def test_a_row_without_pairs_costs_nothing(form):
    rows = batch([REAL, FAKE], pair=[0, 1])
    np.testing.assert_array_equal(contrastive(outputs(EMBEDDING[:2]), rows, form=form), 0)


@pytest.mark.parametrize("form", FORMS)
def test_a_fake_that_is_no_counterpart_is_in_no_unlike_pair(form):
    """Its target ``pair`` is -1: neither a face nor another such fake is its partner."""
    whole = contrastive(outputs(), batch(), form=form, normalize=False)
    found = contrastive(outputs(), batch(pair=(0, 1, 0, -1)), form=form, normalize=False)
    np.testing.assert_allclose(found[::2], whole[::2], rtol=1e-6)
    np.testing.assert_allclose(found[1], 0.5 * distance(1, 0) ** 2, rtol=1e-4)  # its like pair alone
    np.testing.assert_allclose(found[3], 0.5 * distance(3, 2) ** 2, rtol=1e-4)
    alone = batch([REAL, FAKE], pair=(-1, -1))
    np.testing.assert_array_equal(contrastive(outputs(EMBEDDING[:2]), alone, form=form), 0)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("normalize", [True, False])
def test_gradient_is_finite_where_embeddings_coincide(form, normalize):
    same = np.tile(np.float32([0.3, 0.4]), (4, 1))
    value, gradient = jax.value_and_grad(
        lambda f: jnp.sum(contrastive(outputs(f), batch(), form=form, normalize=normalize))
    )(same)
    assert value == pytest.approx(2.0, abs=1e-3)  # four rows with one unlike pair each, at ½·1
    assert np.isfinite(gradient).all()


def test_gradient_is_finite_for_an_embedding_of_zero():
    gradient = jax.grad(lambda f: jnp.sum(contrastive(outputs(f), batch())))(np.zeros((4, 2), np.float32))
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("normalize", [True, False])
def test_gradient_is_that_of_finite_differences(form, normalize):
    embedding = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    weights = np.array([1.0, -2.0, 0.5, 3.0])

    @jax.jit
    def total(f):
        return jnp.sum(weights * contrastive(outputs(f), batch(), 2.0, form, "all", normalize))

    gradient = np.asarray(jax.grad(total)(embedding))
    for i, j in np.ndindex(4, 3):
        step = np.zeros((4, 3), np.float32)
        step[i, j] = 2e-3
        slope = (total(embedding + step) - total(embedding - step)) / 4e-3
        assert gradient[i, j] == pytest.approx(float(slope), abs=0.01)


def test_hadsell_gradient_of_an_unlike_pair():
    """−(m − D)/D · (f₁ − f₂) per row that sees the pair: two rows here, for the ½ of each."""
    f = np.array([[0.3, 0.0], [0.0, 0.4]], np.float32)
    rows = batch([REAL, FAKE], pair=[0, 0])
    gradient = jax.grad(lambda f: jnp.sum(contrastive(outputs(f), rows, margin=2.0, normalize=False)))(f)
    np.testing.assert_allclose(gradient[0], -2 * (2.0 - 0.5) / 0.5 * (f[0] - f[1]), rtol=1e-4)
    np.testing.assert_allclose(gradient[0], -gradient[1], rtol=1e-5)


def test_arcface_is_cross_entropy_with_the_own_angle_widened():
    theta = np.array([[0.4, 1.9], [1.2, 0.7], [2.0, 1.0], [0.3, 2.8]])
    found = arcface(Outputs(jnp.zeros((4, 2)), {"cosines": jnp.cos(theta)}), batch(), margin=0.5, scale=8.0)
    own = np.arange(2) == LABEL[:, None]
    logits = 8.0 * np.where(
        own, np.where(theta + 0.5 < np.pi, np.cos(theta + 0.5), np.cos(theta) - 0.5 * np.sin(0.5)), np.cos(theta)
    )
    wanted = np.log(np.exp(logits).sum(1)) - logits[own]
    np.testing.assert_allclose(found, wanted, rtol=1e-4)
    assert (
        found > arcface(Outputs(jnp.zeros((4, 2)), {"cosines": jnp.cos(theta)}), batch(), margin=0.0, scale=8.0)
    ).all()


def test_attention_is_cross_entropy_with_the_share_of_the_face():
    face = np.zeros((2, 8, 8), np.float32)
    face[0, :4, :4] = 1  # a quarter of the image: one cell of 2 x 2
    face[1, :, :2] = 1  # half of two cells
    p = np.array([[[0.9, 0.2], [0.3, 0.4]], [[0.5, 0.1], [0.6, 0.2]]], np.float32)
    rows = batch([REAL, FAKE]).replace(targets={"face": face})
    found = attention(Outputs(jnp.zeros((2, 2)), {"attention": jnp.asarray(p)[..., None]}), rows)
    share = jax.image.resize(face, (2, 2, 2), "linear")
    assert share[0, 1, 1] < 0.05 < 0.6 < share[0, 0, 0]
    wanted = -(share * np.log(p) + (1 - share) * np.log(1 - p)).mean((1, 2))
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


@pytest.mark.parametrize("name", sorted(TERMS))
def test_what_is_registered(name):
    term = find_term(name)
    assert term.objective in OBJECTIVES
    assert set(term.targets) <= set(TARGETS)


def test_an_unknown_term():
    with pytest.raises(UserError, match=r"^losses: found 'triplet', wanted terms among \[.*'arcface', 'attention'"):
        find_term("triplet")


@pytest.mark.parametrize(
    ("term", "lacking"), [("arcface", "cosines"), ("attention", "attention"), ("contrastive", "embedding")]
)
def test_a_head_that_the_detector_lacks_is_named(term, lacking):
    found = Outputs(jnp.zeros((2, 2)), {"features/last": 0, "other": 0})
    message = rf"^losses\.{term}: found a detector with the heads \['other'\], wanted one with {lacking}, since"
    with pytest.raises(UserError, match=message):
        require(["cross_entropy", term], found, TARGETS)


def test_a_target_that_the_batch_lacks_is_named():
    with pytest.raises(UserError, match=r"^losses\.kinds: found the targets \['pair'\], wanted kind among them"):
        require(["cross_entropy", "contrastive", "kinds"], outputs(), ["pair"])
    require(["cross_entropy", "contrastive", "kinds"], outputs(), ["pair", "kind"])


@pytest.mark.skipif(jax.device_count() < 2, reason="needs 2 devices: tests/conftest.py makes them of a CPU")
@pytest.mark.parametrize("pairs", PAIRS)
def test_contrastive_across_devices_is_that_of_the_whole_batch(pairs):
    """Value and gradient: two devices with a face, another face and a fake of each, one of them without counterpart."""
    rng = np.random.default_rng(3)
    f = rng.standard_normal((8, 3)).astype(np.float32)
    label, pair = np.tile(LABEL, 2), np.array([0, 1, 0, 1, 0, 1, 0, -1], np.int32)
    whole_pair = np.where(pair >= 0, pair + np.repeat([0, 4], 4), -1)

    def whole(w):
        return jnp.mean(contrastive(outputs(f * w), batch(label, pair=whole_pair), 2.0, pairs=pairs, normalize=False))

    def step(w, rows, frozen):
        def loss(w):
            found = outputs(rows["f"] * w)
            own = Batch(None, rows["label"], jnp.ones(4), {"pair": rows["pair"]})
            return jnp.mean(contrastive(found, own, 2.0, pairs=pairs, normalize=False, across=True))

        value, gradient = jax.value_and_grad(loss)(w)
        return parallel.mean(gradient), {"value": value}

    mesh = parallel.make_mesh(2)
    rows = parallel.put_batch({"f": f, "label": label, "pair": pair}, mesh)
    w = np.array([[1.0, 0.5, 2.0]], np.float32)
    gradient, found = parallel.compile_step(step, mesh)(parallel.put(w, mesh), rows, {})
    value, wanted = jax.value_and_grad(whole)(jnp.asarray(w))
    assert float(found["value"]) == pytest.approx(float(value), rel=1e-5)
    np.testing.assert_allclose(gradient, wanted, rtol=1e-4, atol=1e-6)
