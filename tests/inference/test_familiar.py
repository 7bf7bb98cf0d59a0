"""What a detector knows: limits of size and sharpness, and a plane of embeddings; fitted, kept in the file, used."""

import jax.numpy as jnp
import numpy as np
import pytest

from fdetect_jax import weights
from fdetect_jax.errors import UserError
from fdetect_jax.inference.familiar import COLLECTION, MOST, Limits, Sample, fit_plane, sharpness
from fdetect_jax.inference.scorer import Scorer
from fdetect_jax.inference.strangeness import strangeness
from fdetect_jax.types import Outputs
from tests.inference.test_scorer import save


def _cloud(rng, count, scale=0.1):
    """Near a plane of three dimensions among twenty."""
    spread = np.zeros((3, 20))
    spread[:, :3] = 5 * np.eye(3)
    return 1.0 + rng.normal(size=(count, 3)) @ spread + scale * rng.normal(size=(count, 20))


def _far(known, rows):
    return np.asarray(strangeness(known, {"embedding": jnp.asarray(rows, jnp.float32)}, len(rows)))


def test_known_faces_are_near_and_others_are_far():
    rng = np.random.default_rng(0)
    known = fit_plane(_cloud(rng, 90))
    assert {name: array.shape for name, array in known.items()} == {"mean": (20,), "basis": (20, 10), "limit": ()}
    basis = known["basis"]
    np.testing.assert_allclose(basis.T @ basis, np.eye(10), atol=1e-5)
    assert np.mean(_far(known, _cloud(rng, 400)) > 1) < 0.2
    strange = _cloud(rng, 50)
    strange[:, 10] += 4.0
    assert _far(known, strange).min() > 1
    moved = strange + 30 * np.ones((50, 1)) * basis[:, 0]  # along the plane nothing is strange
    np.testing.assert_allclose(_far(known, moved), _far(known, strange), rtol=1e-3)


def test_one_in_a_hundred_of_those_that_were_held_back_lies_outside():
    known = fit_plane(_cloud(np.random.default_rng(1), 3000))
    assert np.mean(_far(known, _cloud(np.random.default_rng(2), 4000)) > 1) == pytest.approx(0.01, abs=0.008)


def test_few_faces_and_other_arrays_are_refused():
    with pytest.raises(UserError, match=r"familiar: found 59 faces, wanted at least 60"):
        fit_plane(np.zeros((59, 4)))
    known = fit_plane(_cloud(np.random.default_rng(0), 90))
    for other in ({**known, "mean": known["mean"][:-1]}, {**known, "basis": np.zeros(3)}, {"mean": known["mean"]}):
        with pytest.raises(UserError, match=r"familiar: found arrays"):
            _far(other, np.zeros((2, 20)))
    with pytest.raises(UserError, match=r"familiar: found arrays"):
        strangeness(known, {}, 2)
    assert np.isnan(strangeness(None, {}, 2)).all()


def test_limits_are_kept_in_the_file():
    assert Limits.from_metadata({}) == Limits()
    limits = Limits(80.0, 6.5)
    assert Limits.from_metadata(limits.to_metadata()) == limits
    for text in ("[1]", "x", '{"smallest": "a"}', '{"largest": 1}'):
        with pytest.raises(UserError, match="familiar"):
            Limits.from_metadata({"familiar": text})


def test_limits_are_what_one_in_a_hundred_is_below():
    sample = Sample()
    rng = np.random.default_rng(0)
    for side in range(1, 301):
        sample.add(rng.integers(100, 100 + side, (32, 32, 3)).astype(np.uint8), side)
    limits = Limits.fit(sample)
    assert np.mean(np.array(sample.sides) < limits.smallest) == pytest.approx(0.01, abs=0.005)
    assert np.mean([sharpness(crop) < limits.blurred for crop in sample.crops]) == pytest.approx(0.01, abs=0.005)


def test_a_sample_of_many_is_drawn_evenly():
    sample = Sample(seed=3)
    for number in range(4 * MOST):
        sample.add(np.full((1, 1, 3), number % 256, np.uint8) + np.uint8(0), number)
    assert len(sample.crops) == MOST
    assert len(sample.sides) == 4 * MOST
    kept = np.array([crop[0, 0, 0] for crop in sample.crops], int)
    assert kept.mean() == pytest.approx(127.5, abs=12)


def test_a_scorer_says_how_far(tmp_path):
    path, output = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    save(path)
    images = np.random.default_rng(0).integers(0, 256, (80, 64, 64, 3), np.uint8)
    scorer = Scorer(path, batch_size=8)
    embeddings = scorer.embeddings(images)
    assert embeddings.shape[0] == 80
    assert np.isnan(scorer.predictions(images[:3]).strangeness).all()
    known = fit_plane(embeddings)
    weights.annotate(path, output, {f"{COLLECTION}/{name}": array for name, array in known.items()})
    told = Scorer(output, batch_size=8)
    np.testing.assert_array_equal(told.margins(images[:5]), scorer.margins(images[:5]))
    found = told.predictions(images[:5]).strangeness
    np.testing.assert_allclose(found, _far(known, embeddings[:5]), rtol=1e-3)
    groups = [(0, list(images[:3]), [0, 0, 0]), (1, list(images[3:5]), [0, 0])]
    rows = np.concatenate([one.strangeness for _, one in told.predictions_of_each(groups)])
    np.testing.assert_allclose(rows, found, rtol=1e-5)
    weights.annotate(
        path, output, {f"{COLLECTION}/{name}": array[:2] if name == "mean" else array for name, array in known.items()}
    )
    with pytest.raises(UserError, match=r"b\.safetensors: familiar: found arrays"):
        Scorer(output)


def test_arrays_are_added_and_replaced(tmp_path):
    path = tmp_path / "a.safetensors"
    weights.save(path, "detector", {}, {"params": {"a": np.arange(6.0).reshape(2, 3)}, "other": {"b": np.array(2)}})
    for value in (np.ones((4, 2)), np.zeros(3)):
        weights.annotate(path, path, {"familiar/mean": value}, size="3")
        _, found, metadata = weights.read(path)
        np.testing.assert_array_equal(found["params"]["a"], np.arange(6.0).reshape(2, 3))
        assert found["other"]["b"] == 2
        np.testing.assert_array_equal(found["familiar"]["mean"], value)
        assert metadata["size"] == "3"


def test_a_detector_without_an_embedding_has_none(tmp_path, monkeypatch):
    save(tmp_path / "a.safetensors")
    scorer = Scorer(tmp_path / "a.safetensors", batch_size=2)
    run = scorer._run
    monkeypatch.setattr(scorer, "_run", lambda variables, images: Outputs(run(variables, images).logits, {}))
    assert scorer.embeddings(np.zeros((2, 64, 64, 3), np.uint8)) is None
