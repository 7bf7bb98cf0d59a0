"""How terms make a loss: Eq. 5's weighted sum, and objectives that take turns."""

import numpy as np
import pytest
from ml_collections import ConfigDict

from fdetect_jax.losses.objective import make_objective
from fdetect_jax.losses.terms import contrastive, cross_entropy
from fdetect_jax.types import Batch, Outputs

RNG = np.random.default_rng(0)
ROWS = Batch(
    image=np.zeros((5, 1, 1, 3)),
    label=np.array([0, 0, 1, 1, 1]),
    identity=np.arange(5),
    weight=np.array([1, 1, 1, 1, 0], np.float32),
    pair=np.array([0, 1, 0, 1, 1]),
)
OUTPUTS = Outputs(RNG.standard_normal((5, 2)).astype(np.float32), RNG.standard_normal((5, 3)).astype(np.float32))


def config(ce=1.0, metric=1.0, lam=1.0, mode="joint", turn="step"):
    losses = {"cross_entropy": {"weight": ce}, "contrastive": {"weight": metric, "margin": 2.0, "normalize": False}}
    return ConfigDict({"steps": 100, "losses": losses, "objective": {"lam": lam, "mode": mode, "turn": turn}})


def means():
    ce = np.mean(cross_entropy(OUTPUTS, ROWS)[:4])  # the fifth row only pads
    metric = np.mean(contrastive(OUTPUTS, ROWS, margin=2.0, normalize=False)[:4])
    return float(ce), float(metric)


def test_joint_is_equation_5():
    ce, metric = means()
    objective = make_objective(config(2.0, 0.5, lam=0.3), steps_per_epoch=10)
    assert objective.turns == 1
    loss, terms = objective(OUTPUTS, ROWS, objective.turn(np.int32(17)))
    assert loss == pytest.approx(0.3 * 2.0 * ce + 0.7 * 0.5 * metric, rel=1e-5)
    assert terms["cross_entropy"] == pytest.approx(ce, rel=1e-5)
    assert terms["contrastive"] == pytest.approx(metric, rel=1e-5)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"lam": 1.0}, ("cross_entropy",)),
        ({"lam": 0.0}, ("contrastive",)),
        ({"lam": 0.5, "metric": 0.0}, ("cross_entropy",)),
        ({"lam": 0.5, "ce": 0.0}, ("contrastive",)),
        ({"lam": 0.5}, ("cross_entropy", "contrastive")),
        ({"mode": "alternating", "metric": 0.0}, ("cross_entropy",)),
    ],
)
def test_terms_without_weight_are_left_out(options, names):
    objective = make_objective(config(**options), 10)
    assert set(objective.names) == set(names)
    assert all(len(row) == len(names) for row in objective.table)
    _, terms = objective(OUTPUTS, ROWS, 0)
    assert terms.keys() == set(names)


def test_alternating_takes_turns_unweighted_by_lambda():
    ce, metric = means()
    objective = make_objective(config(2.0, 0.5, mode="alternating"), 10)
    assert objective.turns == 2
    table = [dict(zip(objective.names, row, strict=True)) for row in objective.table]
    assert table == [{"cross_entropy": 2.0, "contrastive": 0.0}, {"cross_entropy": 0.0, "contrastive": 0.5}]
    for turn, wanted in enumerate((2.0 * ce, 0.5 * metric)):
        loss, terms = objective(OUTPUTS, ROWS, turn)
        assert loss == pytest.approx(wanted, rel=1e-5)
        assert terms["cross_entropy"] == pytest.approx(ce, rel=1e-5)
        assert terms["contrastive"] == pytest.approx(metric, rel=1e-5)


def test_turns_per_step_and_per_epoch():
    by_step = make_objective(config(mode="alternating"), 3)
    assert [int(by_step.turn(np.int32(i))) for i in range(5)] == [0, 1, 0, 1, 0]
    by_epoch = make_objective(config(mode="alternating", turn="epoch"), 3)
    assert [int(by_epoch.turn(np.int32(i))) for i in range(8)] == [0, 0, 0, 1, 1, 1, 0, 0]
    joint = make_objective(config(turn="epoch"), 3)
    assert [int(joint.turn(np.int32(i))) for i in range(5)] == [0] * 5


def test_a_batch_of_padding_alone_costs_nothing():
    objective = make_objective(config(lam=0.5), 10)
    loss, _ = objective(OUTPUTS, ROWS.replace(weight=np.zeros(5, np.float32)), 0)
    assert loss == 0.0
