"""A training with FFD's map: its terms fall, and the templates stay as they were."""

import numpy as np
import pytest
from small import DATA
from strict import guarded_steps

from configs import ffd
from fdetect_jax.config import check
from fdetect_jax.detectors.ffd import read_templates
from fdetect_jax.errors import UserError
from fdetect_jax.train.trainers import make_task


def small(**overrides):
    config = ffd.get_config()
    config.update(data=DATA, steps=8, batch_size=4, log_every=1)
    config.forgery.mix.update(reconstruction=0.0, composite=0.0)
    config.evaluation.update(batch_size=4, limit=6)
    config.evaluation.forgeries = {}
    config.detector.overrides = {"trunk_overrides": {"width": 0.05, "blocks": 1, "stem_stride": 1}} | overrides
    config.optimizer.learning_rate = 0.003
    return config


def test_both_terms_fall_and_templates_stay():
    """It begins with the mean map, which has much to lose on real faces."""
    config = small(attention="templates", mean=True)
    config.losses.weak_map.update(weight=0.5, squash=True)
    check(config)
    found = []
    for state, metrics in guarded_steps(make_task(config), 8):
        found.append({name: float(metrics[f"loss/{name}"]) for name in ("map", "weak_map")})
        maps = np.asarray(state.variables["templates"]["attention"]["maps"])
        np.testing.assert_array_equal(maps, read_templates(""))
    for name in found[0]:
        assert np.mean([row[name] for row in found[-3:]]) < found[0][name], name


def test_a_term_wants_a_detector_with_a_map():
    config = small()
    config.detector.name, config.detector.overrides = "meso4", {"size": 32}
    with pytest.raises(UserError, match=r"losses\.map: found a detector with the heads .*wanted one with map"):
        make_task(config)


def test_templates_that_are_not_there_are_named_before_work():
    with pytest.raises(UserError, match=r"detector\.templates: found 'nowhere'"):
        make_task(small(attention="templates", templates="nowhere"))
