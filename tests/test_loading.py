"""Weights files become networks, and a description that does not hold is refused by name."""

import jax.numpy as jnp
import numpy as np
import pytest

from fdetect_jax import assets, weights
from fdetect_jax.errors import UserError
from fdetect_jax.loading import load
from tests.inference import clip_detector


def test_the_bundled_detector():
    loaded = load(assets.detector())
    assert (loaded.kind, loaded.unit, loaded.input_shape) == ("detector", "face", (None, None, None, 3))
    assert loaded(np.zeros((1, 64, 64, 3), np.uint8)).logits.shape == (1, 6)
    with pytest.raises(UserError, match=r"found an input of shape \(64, 64, 3\), wanted \(any, any, any, 3\)"):
        loaded(np.zeros((64, 64, 3), np.uint8))


def test_a_detector_of_clips(tmp_path, monkeypatch):
    clip_detector.register(monkeypatch)
    loaded = load(clip_detector.save(tmp_path / "d.safetensors"))
    assert (loaded.unit, loaded.input_shape) == ("clip", (None, None, None, None, 3))
    assert loaded(np.zeros((2, 3, 64, 64, 3), np.uint8)).logits.shape == (2, 2)
    with pytest.raises(UserError, match=r"wanted \(any, any, any, any, 3\)"):
        loaded(np.zeros((2, 64, 64, 3), np.uint8))


def test_a_detector_computes_in_the_dtype_that_is_asked_for():
    loaded = load(assets.detector(), jnp.bfloat16)
    assert loaded.module.dtype == jnp.bfloat16
    assert loaded(np.zeros((1, 64, 64, 3), np.uint8)).logits.dtype == jnp.float32


@pytest.mark.parametrize(
    ("kind", "config", "message"),
    [
        ("hat", {}, "found weights of kind 'hat', wanted one of"),
        ("detector", {}, "name: found None, wanted a str"),
        ("detector", {"name": "nose", "overrides": {}}, "detector.name: found 'nose'"),
        ("detector", {"name": "efficientnet_b0", "overrides": []}, r"overrides: found \[\], wanted a dict"),
        ("detector", ["efficientnet_b0"], "wanted the fields"),
        ("efficientnet", {"depht": 1}, "detector.depht: found 1, wanted no such field"),
        ("efficientnet", {"depth": "deep"}, "detector.depth: found 'deep'"),
        ("efficientnet", {"depth": 1e9}, "wanted at most 300 blocks"),
        ("efficientnet", {"stages": [[1, 3, 1, 1]]}, "detector.stages: found "),
        ("efficientnet", {"stages": 7}, "detector.stages: found 7"),
        ("detector", {"name": "multiresolution", "overrides": {"trunk_overrides": 1.5}}, "trunk_overrides: found 1.5"),
        ("stylegan2", {"generator": {"mapping_layers": 10**9}}, "generator.mapping_layers"),
        ("stylegan2", {"generator": {"w_dim": "wide"}}, "generator.w_dim: found 'wide', wanted a whole number"),
        ("stylegan2", {"generator": {"resolution": 63}}, "generator.resolution: found 63"),
        ("hyperinverter", {"generator": {}}, "wanted a dict"),
    ],
)
def test_a_description_that_does_not_hold_is_refused(tmp_path, kind, config, message):
    path = tmp_path / "x.safetensors"
    weights.save(path, kind, config, {"generator": {"a": np.ones(1)}})
    with pytest.raises(weights.WeightsError, match=message) as error:
        load(path)
    assert str(path) in str(error.value)


def test_a_fault_of_the_program_keeps_its_traceback(tmp_path, monkeypatch):
    def broken(*_, **__):
        raise TypeError("a bug")

    clip_detector.register(monkeypatch)
    path = clip_detector.save(tmp_path / "d.safetensors")
    monkeypatch.setattr("fdetect_jax.loading.make_detector", broken)
    with pytest.raises(TypeError, match="a bug"):
        load(path)
