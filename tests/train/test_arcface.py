"""A run with attention and an ArcFace head: both terms fall, and what it learned travels to whoever scores with it."""

import numpy as np
import pytest
from small import run, small_arcface

from fdetect_jax.config import check
from fdetect_jax.errors import UserError
from fdetect_jax.inference.scorer import Scorer
from fdetect_jax.train.trainers import make_task
from fdetect_jax.train.writer import read_history


def test_a_run(tmp_path):
    config = small_arcface()
    config.steps, config.optimizer.learning_rate = 40, 0.01
    found = run(config, tmp_path)
    assert list(found["tests"]) == ["swap", "sbi", "fwa", "composite", "resample"]
    history = read_history(tmp_path)
    for name in ("loss/attention", "loss/arcface"):
        values = [row[name] for row in history]
        assert np.mean(values[-10:]) < np.mean(values[:10]), name
    assert "loss/cross_entropy" not in history[0]  # its weight is 0
    scorer = Scorer(tmp_path, recipe="aligned64")
    images = np.random.default_rng(0).integers(0, 256, (3, config.data.size, config.data.size, 3), np.uint8)
    assert scorer.attention(images).shape == (3, 16, 16)  # the branch's own map, not Grad-CAM's


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("detector", {"name": "efficientnet_small64", "overrides": {}}, r"losses\.arcface: .*wanted one with cosines"),
        ("detector", {"overrides": {"head": "softmax"}}, r"losses\.arcface: .*wanted one with cosines"),
        ("losses.arcface.margin", -0.1, "losses.arcface.margin"),
        ("losses.arcface.scale", 0.0, "losses.arcface.scale"),
        ("losses.arcface.form", "easy", "losses.arcface.form"),
    ],
)
def test_what_does_not_fit_is_refused_before_work(field, value, named):
    config = small_arcface()
    if field == "detector":
        config.detector.overrides = value.pop("overrides")
        config.detector.update(value)
    else:
        config.update_from_flattened_dict({field: value})
    with pytest.raises(UserError, match=named):
        checked_and_made(config)


def checked_and_made(config):
    check(config)
    return make_task(config)  # looks at the heads
