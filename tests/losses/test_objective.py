"""How terms make a loss: Eq. 5's weighted sum, objectives that take turns, and stages; and which parameters move."""

import numpy as np
import pytest
from ml_collections import ConfigDict

from fdetect_jax.errors import UserError
from fdetect_jax.losses.objective import check_objective, hold, make_objective
from fdetect_jax.losses.terms import contrastive, cross_entropy
from fdetect_jax.types import Batch, Outputs

RNG = np.random.default_rng(0)
ROWS = Batch(
    image=np.zeros((5, 1, 1, 3)),
    label=np.array([0, 0, 1, 1, 1]),
    weight=np.array([1, 1, 1, 1, 0], np.float32),
    targets={"pair": np.array([0, 1, 0, 1, 1])},
)
OUTPUTS = Outputs(
    RNG.standard_normal((5, 2)).astype(np.float32), {"embedding": RNG.standard_normal((5, 3)).astype(np.float32)}
)


def config(ce=1.0, metric=1.0, lam=1.0, mode="joint", turn="step", trainable=("*",), stages=(), steps=100):
    losses = {"cross_entropy": {"weight": ce}, "contrastive": {"weight": metric, "margin": 2.0, "normalize": False}}
    objective = {"lam": lam, "mode": mode, "turn": turn, "trainable": trainable, "stages": stages}
    return ConfigDict({"steps": steps, "losses": losses, "objective": objective})


def means():
    ce = np.mean(cross_entropy(OUTPUTS, ROWS)[:4])  # the fifth row only pads
    metric = np.mean(contrastive(OUTPUTS, ROWS, margin=2.0, normalize=False)[:4])
    return float(ce), float(metric)


def test_joint_is_equation_5():
    ce, metric = means()
    objective = make_objective(config(2.0, 0.5, lam=0.3), steps_per_epoch=10)
    assert objective.phases == 1
    loss, terms = objective(OUTPUTS, ROWS, objective.phase(np.int32(17)))
    assert loss == pytest.approx(0.3 * 2.0 * ce + 0.7 * 0.5 * metric, rel=1e-5)
    assert terms["cross_entropy"] == pytest.approx(ce, rel=1e-5)
    assert terms["contrastive"] == pytest.approx(metric, rel=1e-5)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"lam": 1.0}, ("cross_entropy",)),
        ({"lam": 0.0}, ("contrastive",)),
        ({"lam": 0.5, "metric": 0.0}, ("cross_entropy",)),
        ({"lam": 0.5}, ("cross_entropy", "contrastive")),
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
    assert objective.phases == 2
    table = [dict(zip(objective.names, row, strict=True)) for row in objective.table]
    assert table == [{"cross_entropy": 2.0, "contrastive": 0.0}, {"cross_entropy": 0.0, "contrastive": 0.5}]
    for phase, wanted in enumerate((2.0 * ce, 0.5 * metric)):
        loss, terms = objective(OUTPUTS, ROWS, phase)
        assert loss == pytest.approx(wanted, rel=1e-5)
        assert terms["cross_entropy"] == pytest.approx(ce, rel=1e-5)
        assert terms["contrastive"] == pytest.approx(metric, rel=1e-5)


def test_turns_per_step_and_per_epoch():
    by_step = make_objective(config(mode="alternating"), 3)
    assert [int(by_step.phase(np.int32(i))) for i in range(5)] == [0, 1, 0, 1, 0]
    by_epoch = make_objective(config(mode="alternating", turn="epoch"), 3)
    assert [int(by_epoch.phase(np.int32(i))) for i in range(8)] == [0, 0, 0, 1, 1, 1, 0, 0]
    joint = make_objective(config(turn="epoch"), 3)
    assert [int(joint.phase(np.int32(i))) for i in range(5)] == [0] * 5


def test_a_batch_of_padding_alone_costs_nothing():
    objective = make_objective(config(lam=0.5), 10)
    loss, _ = objective(OUTPUTS, ROWS.replace(weight=np.zeros(5, np.float32)), 0)
    assert loss == 0.0


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "alternating", "metric": 0.0},
        {"mode": "alternating", "ce": 0.0},
        {"lam": 0.5, "ce": 0.0},
        {"lam": 0.0, "metric": 0.0},
    ],
)
def test_an_objective_without_its_terms_is_refused(options):
    with pytest.raises(UserError, match=r"^losses: found .*, wanted a term with weight for each objective"):
        make_objective(config(**options), 10)


def test_the_targets_that_are_read():
    assert make_objective(config(lam=0.5), 10).targets == ("pair",)
    assert make_objective(config(lam=1.0), 10).targets == ()


def stage(share, terms=(), trainable=("*",)):
    return {"share": share, "terms": terms, "trainable": trainable}


STAGES = (stage(0.25, ("cross_entropy",), ("fc/*",)), stage(0.5, (), ("fc/*", "norm/*")), stage(0.25))


def test_stages_begin_at_their_steps_and_have_their_terms():
    ce, metric = means()
    objective = make_objective(config(2.0, 0.5, mode="staged", stages=STAGES), 10)
    assert (objective.phases, objective.starts) == (3, (0, 25, 75))
    found = [int(objective.phase(np.int32(step))) for step in (0, 24, 25, 74, 75, 99, 200)]
    assert found == [0, 0, 1, 1, 2, 2, 2]
    for phase, wanted in enumerate((2.0 * ce, 2.0 * ce + 0.5 * metric, 2.0 * ce + 0.5 * metric)):
        assert objective(OUTPUTS, ROWS, phase)[0] == pytest.approx(wanted, rel=1e-5)


VARIABLES = {
    "params": {
        "stem": {"kernel": np.zeros(2)},
        "norm": {"scale": np.zeros(2), "bias": np.zeros(2)},
        "fc": {"kernel": np.zeros(2)},
    },
    "batch_stats": {"norm": {"mean": np.zeros(2), "var": np.zeros(2)}},
}


def test_what_each_stage_leaves_as_it_is():
    held = make_objective(config(mode="staged", stages=STAGES), 10).frozen(VARIABLES)
    assert held["params"]["stem"]["kernel"].tolist() == [True, True, False]
    assert held["params"]["norm"]["scale"].tolist() == [True, False, False]
    assert held["params"]["fc"]["kernel"].tolist() == [False, False, False]
    assert held["batch_stats"]["norm"]["mean"].tolist() == [True, False, False]  # as the norm's own parameters


def test_all_move_without_patterns():
    assert make_objective(config(lam=0.5), 10).frozen(VARIABLES) is None


@pytest.mark.parametrize("mode", ["joint", "alternating"])
def test_patterns_without_stages_hold_in_every_phase(mode):
    objective = make_objective(config(mode=mode, lam=1.0, trainable=("norm/*",)), 10)
    held = objective.frozen(VARIABLES)
    moving = {
        "/".join((part, name)) for part, tree in held["params"].items() for name, v in tree.items() if not v.any()
    }
    assert moving == {"norm/scale", "norm/bias"}
    assert held["params"]["fc"]["kernel"].shape == (objective.phases,)
    assert not held["batch_stats"]["norm"]["mean"].any()


def test_a_pattern_that_fits_nothing_is_named():
    objective = make_objective(config(trainable=("fc/*", "head/*")), 10)
    with pytest.raises(
        UserError, match=r"^objective\.trainable: found 'head/\*', which matches no parameter; .*'fc/kernel'"
    ):
        objective.frozen(VARIABLES)


def test_what_is_held_is_taken_from_the_old():
    held = {"a": np.array([True, False]), "b": np.array([True, True]), "c": np.array([False, False])}
    old, new = (dict.fromkeys("abc", np.full(2, value)) for value in (0.0, 1.0))
    for phase, wanted in ((0, [0, 0, 1]), (1, [1, 0, 1])):
        found = hold(held, np.int32(phase), new, old)
        assert [float(found[name][0]) for name in "abc"] == wanted
    assert hold(None, 0, new, old) is new


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ((), r"^objective\.stages: found none, wanted at least one"),
        ((stage(0.5), stage(0.4)), r"^objective\.stages: found shares that sum to 0\.9, wanted 1"),
        ((stage(0.5), {"share": 0.5}), r"^objective\.stages\[1\]: found the fields \['share'\]"),
        ((stage(0.0), stage(1.0)), r"^objective\.stages\[0\]\.share: found 0\.0"),
        ((stage(1.0, ("triplet",)),), r"^objective\.stages\[0\]\.terms: found \['triplet'\], wanted terms with weight"),
        ((stage(1.0, trainable=()),), r"^objective\.stages\[0\]\.trainable: found"),
        ((stage(0.999), stage(0.001)), r"^objective\.stages: found stages that begin at the steps \[0, 100\]"),
    ],
)
def test_stages_that_cannot_be_are_named(stages, message):
    with pytest.raises(UserError, match=message):
        make_objective(config(mode="staged", stages=stages), 10)


@pytest.mark.parametrize("trainable", [(), ("",), (1,)])
def test_patterns_are_words(trainable):
    with pytest.raises(UserError, match=r"^objective\.trainable: found"):
        make_objective(config(trainable=trainable), 10)


def test_stages_want_their_mode():
    with pytest.raises(UserError, match=r"^objective\.stages: found 3, wanted none with mode 'joint'"):
        check_objective(config(stages=STAGES).objective)
    check_objective(config(mode="staged", stages=STAGES).objective)
