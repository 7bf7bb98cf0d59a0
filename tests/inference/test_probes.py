"""Classifiers of embeddings as they are fitted: groups stay together, and the fits are scikit-learn's and optax's."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from fdetect_jax.errors import UserError
from fdetect_jax.inference import probes, spotter
from fdetect_jax.inference.probes import Rows
from fdetect_jax.types import margin


def rows_of(count: int, width: int, apart: float = 1.0, seed: int = 0, each: int = 1) -> Rows:
    """Two clouds; ``each`` rows of a group."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) // each % 2
    rows = rng.standard_normal((count, width)) * np.linspace(0.1, 3, width) + 5
    rows[:, : width // 2] += apart * labels[:, None] * np.linspace(0.1, 3, width)[: width // 2]
    return Rows(rows, labels, np.arange(count) // each, np.ones(count))


@pytest.mark.parametrize("seed", range(4))
def test_folds_divide_no_group_and_have_both_classes(seed):
    rng = np.random.default_rng(seed)
    real, fake, both = 3 + seed, 9 - 2 * seed, seed
    names = [*range(real + fake + both)] * 3
    labels = [*[0] * real, *[1] * fake, *[0] * both] + [*[0] * real, *[1] * fake, *[1] * both] * 2
    order = rng.permutation(len(names))
    names, labels = np.array(names)[order] * 7, np.array(labels)[order]
    fold = probes.folds(labels, names, seed=seed)
    assert fold.max() + 1 == min(5, real + both, fake + both)
    for group in np.unique(names):
        assert len(np.unique(fold[names == group])) == 1
    for number in np.unique(fold):
        assert set(labels[fold == number]) == {0, 1}
    assert not np.array_equal(fold, probes.folds(labels, names, seed=seed + 1))


def test_a_class_of_one_group_cannot_be_divided():
    with pytest.raises(UserError, match="folds: found 1 groups of a class"):
        probes.folds(np.array([0, 0, 1, 1]), np.array([1, 1, 2, 3]))


def test_classes_and_files_weigh_the_same():
    weights = probes.balanced(np.array([0, 0, 0, 1, 1, 1, 1]), np.array([0, 0, 1, 2, 2, 2, 3]))
    np.testing.assert_allclose(weights, 7 * np.array([1 / 8, 1 / 8, 1 / 4, 1 / 12, 1 / 12, 1 / 12, 1 / 4]))


@pytest.mark.parametrize(("count", "width"), [(40, 100), (60, 7)])
@pytest.mark.parametrize("strength", [0.01, 1.0])
def test_logistic_regression_is_scikit_learns(count, width, strength):
    data = dataclasses.replace(rows_of(count, width), weights=np.linspace(0.5, 1.5, count))
    scaler = StandardScaler().fit(data.rows)
    model = LogisticRegression(C=strength, tol=1e-10, max_iter=10_000)
    model.fit(scaler.transform(data.rows), data.labels, data.weights)
    found = probes.logistic(data, (strength,))
    np.testing.assert_allclose(found.kernel, model.coef_[0], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(found.bias, model.intercept_[0], rtol=1e-3, atol=1e-5)
    asked = rows_of(9, width, seed=1).rows
    np.testing.assert_allclose(
        found.margins(asked), model.decision_function(scaler.transform(asked)), rtol=1e-3, atol=1e-4
    )
    assert found.note == f"C = {strength:g}"


def test_many_channels_take_the_other_solver(monkeypatch):
    data = rows_of(40, 30)
    newton = probes.logistic(data, (0.1,))
    monkeypatch.setattr(probes, "_NEWTON", 1)
    np.testing.assert_allclose(probes.logistic(data, (0.1,)).kernel, newton.kernel, rtol=1e-3, atol=1e-5)


def test_the_regularisation_is_that_of_the_lowest_cross_validated_loss():
    data = rows_of(60, 20, apart=0.3, each=2)
    fold = probes.folds(data.labels, data.groups, 3)

    def loss(strength: float) -> float:
        margins = probes.cross_validated(lambda own: probes.logistic(own, (strength,)), data, fold)
        return log_loss(data.labels, 1 / (1 + np.exp(-margins)))

    best = min(probes.STRENGTHS, key=loss)
    assert probes.STRENGTHS[0] < best < probes.STRENGTHS[-1]
    assert probes.logistic(data).note == f"C = {best:g}"


def test_too_few_groups_to_choose_take_a_middle_one():
    data = dataclasses.replace(rows_of(8, 3), groups=np.array([0, 1] * 4))
    assert probes.logistic(data).note == "C = 0.001"


def test_the_linear_machine_is_scikit_learns():
    data = rows_of(50, 6)
    scaler = StandardScaler().fit(data.rows)
    model = SVC(C=0.1, kernel="linear").fit(scaler.transform(data.rows), data.labels)
    found = probes.svm(data, (0.1,))
    asked = rows_of(9, 6, seed=1).rows
    np.testing.assert_allclose(
        found.margins(asked), model.decision_function(scaler.transform(asked)), rtol=1e-4, atol=1e-5
    )
    assert probes.svm(data).note in [f"C = {strength:g}" for strength in probes.STRENGTHS]


def test_a_channel_that_never_changes_says_nothing():
    data = rows_of(40, 4)
    data.rows[:, 3] = 2.0
    found = probes.logistic(data, (1.0,))
    assert found.scale[3] == 1
    assert abs(found.kernel[3]) < 1e-9
    moved = data.rows.copy()
    moved[:, 3] = 50
    np.testing.assert_allclose(found.margins(moved), found.margins(data.rows), atol=1e-6)


def test_neighbours_are_scikit_learns():
    data = rows_of(60, 5)
    found = probes.neighbours(data, 5)
    scaler = StandardScaler().fit(data.rows)
    model = KNeighborsClassifier(5, weights=lambda d: np.exp(-(d**2) / (2 * found.width**2)))
    model.fit(scaler.transform(data.rows), data.labels)
    asked = rows_of(40, 5, seed=1).rows
    share = model.predict_proba(scaler.transform(asked))
    wanted = np.log(5 * share[:, 1] + 1) - np.log(5 * share[:, 0] + 1)
    np.testing.assert_allclose(found.margins(asked), wanted, atol=0.02)  # the bank is in half precision
    np.testing.assert_array_equal(found.margins(asked) > 0, model.predict(scaler.transform(asked)) == 1)


def test_the_width_is_the_distance_to_the_kth_row_of_another_group():
    rows = np.array([[0.0], [0.1], [3.0], [3.1], [7.0], [7.1]])
    data = Rows(rows, np.array([0, 0, 1, 1, 0, 0]), np.array([0, 0, 1, 1, 2, 2]), np.ones(6))
    found = probes.neighbours(data, 1)
    # The nearest of another group: 3, 2.9, 2.9, 3, 3.9 and 4.
    assert found.width == pytest.approx(3.0 / rows.std(), rel=1e-2)


def test_a_large_bank_keeps_the_share_of_each_class():
    labels = np.r_[np.zeros(300, int), np.ones(100, int)]
    data = Rows(np.random.default_rng(0).standard_normal((400, 3)), labels, np.arange(400), np.ones(400))
    found = probes.neighbours(data, 3, most=40)
    assert (len(found.label), found.label.sum()) == (40, 10)
    assert found.note == "k = 3, a bank of 40 faces"
    other = probes.neighbours(data, 3, most=40, seed=1)
    assert not np.array_equal(found.embedding, other.embedding)


def test_more_neighbours_than_faces_are_refused():
    with pytest.raises(UserError, match="k: found 9 with 8 faces"):
        probes.neighbours(rows_of(8, 2), 9)


def test_held_out_rows_are_scored_by_a_classifier_that_did_not_see_them():
    """A bank of one neighbour knows every row that it holds, and nothing of classes that are shuffled."""
    rng = np.random.default_rng(0)
    data = Rows(rng.standard_normal((80, 4)), rng.permutation(np.arange(80) % 2), np.arange(80), np.ones(80))
    fit = lambda own: probes.neighbours(own, 1)  # noqa: E731
    assert roc_auc_score(data.labels, fit(data).margins(data.rows)) == 1
    held_out = probes.cross_validated(fit, data, probes.folds(data.labels, data.groups))
    assert 0.3 < roc_auc_score(data.labels, held_out) < 0.7


def test_the_network_is_trained_by_the_published_optimiser():
    """On rows that are all equal, so that it does not matter which are drawn."""
    data = Rows(np.ones((4, 3)), np.ones(4, int), np.arange(4), np.ones(4))
    found = spotter.network(data, steps=4, seed=0)
    module, x = spotter.Classifier(spotter.HIDDEN, 2), jnp.zeros((1, 3))
    params = jax.jit(module.init)(jax.random.key(0), x)
    optimizer = optax.sgd(lambda step: 1e-4 / (1 + 1e-6 * step), momentum=0.9)
    state = optimizer.init(params)
    start = params

    @jax.jit
    def step(params, state):
        gradient = jax.grad(lambda p: jax.nn.softplus(-margin(module.apply(p, x))).sum())(params)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), state

    for _ in range(4):
        params, state = step(params, state)
    moved = [np.abs(a - b).max() for a, b in zip(*map(jax.tree.leaves, (params, start)), strict=True)]
    assert max(moved) > 1e-5
    for a, b in zip(jax.tree.leaves(found.variables), jax.tree.leaves(params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_the_network_draws_rows_by_their_weights():
    """Rows of weight 0 are as if they were not there."""
    rows, labels = np.array([[-1.0], [1.0], [-1.0], [1.0]]), np.array([0, 1, 1, 0])
    data = Rows(rows, labels, np.arange(4), np.array([1.0, 1.0, 1e-9, 1e-9]))
    margins = spotter.network(data, steps=3000).margins(rows)
    assert margins[0] < -0.5
    assert margins[1] > 0.5


def test_counts_that_part_the_classes_are_learned():
    counts = np.repeat(rows_of(60, 4, apart=2.0).rows[:, None], 4, axis=1)
    data = Rows(np.empty(0), np.arange(60) % 2, np.arange(60), np.ones(60))
    fold = probes.folds(data.labels, data.groups, 3)
    final, margins = spotter.fitted(lambda own: spotter.network(own, 1500), counts, data, fold)
    assert roc_auc_score(data.labels, margins) > 0.85
    assert roc_auc_score(data.labels, final.margins(counts[:, -1])) > 0.9


def test_every_fold_has_counts_of_its_own():
    """The last set alone parts the classes: the final classifier uses it, those of the folds do not see it."""
    rng = np.random.default_rng(0)
    counts = rng.standard_normal((60, 4, 2))
    counts[:, -1, 0] += 8 * (np.arange(60) % 2)
    data = Rows(np.empty(0), np.arange(60) % 2, np.arange(60), np.ones(60))
    fold = probes.folds(data.labels, data.groups, 3)
    final, margins = spotter.fitted(lambda own: probes.svm(own, (1.0,)), counts, data, fold)
    assert roc_auc_score(data.labels, final.margins(counts[:, -1])) == 1
    assert roc_auc_score(data.labels, margins) < 0.75
