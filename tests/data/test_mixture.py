"""Several sources as one: proportions held exactly, others of the same part, people kept apart, exact resume."""

import contextlib
from collections import Counter

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import common
from fdetect_jax.data.mixture import Mixture, Part, cycle
from fdetect_jax.data.pipeline import chosen_faces, eval_batches, train_batches
from fdetect_jax.data.rows import Slot
from fdetect_jax.data.sources import make_source
from fdetect_jax.errors import UserError
from fdetect_jax.faces.crop import RECIPES
from fdetect_jax.types import ForgedPair


class Faces:
    """``count`` faces of two people; the first channel is the part's ``mark``, the second the index."""

    size, video = 4, False

    def __init__(self, mark, count, recipe=None):
        self.mark, self.count, self.recipe = mark, count, recipe
        self.fingerprint = f"{mark} {count}"

    @property
    def groups(self):
        return np.arange(self.count) % 2

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        image = np.empty((4, 4, 3), np.uint8)
        image[:] = self.mark, index, 0
        return {"image": image, "identity": np.int32(index % 2)}


def mixture(**weights):
    counts = {"a": 6, "b": 10, "c": 3}
    return Mixture(tuple(Part(n, Faces(ord(n), counts[n]), weight) for n, weight in weights.items()))


def pasted(rng, face, donor):
    return ForgedPair(face["image"], donor()["image"], np.ones((4, 4), np.float32))


PASTED = (Slot(pasted),)


def take(batches, count):
    with contextlib.closing(batches):
        return [next(batches) for _ in range(count)]


def marks(batches, name="image"):
    return "".join(chr(i) for batch in batches for i in batch[name][:, 0, 0, 0])


@pytest.mark.parametrize(
    ("weights", "wanted"),
    [
        ((1.0, 1.0), [1, 1]),
        ((0.7, 0.3), [7, 3]),
        ((50, 100, 25), [2, 4, 1]),
        ((0.1, 0.2, 0.3), [1, 2, 3]),
        ((2.5,), [1]),
    ],
)
def test_a_cycle_is_the_shortest_with_these_proportions(weights, wanted):
    assert cycle(dict(zip("abc", weights, strict=False))) == wanted


@pytest.mark.parametrize("weight", [0, -1.0, float("nan"), float("inf")])
def test_a_weight_that_is_none(weight):
    with pytest.raises(ValueError, match=r"^b\.weight: found .*, wanted a positive number"):
        cycle({"a": 1.0, "b": weight})


def test_proportions_are_exact_in_every_cycle():
    rows = marks(take(train_batches(mixture(a=0.7, b=0.2, c=0.1), 5, 0), 20))
    for start in range(0, 100, 10):
        assert Counter(rows[start : start + 10]) == {"a": 7, "b": 2, "c": 1}
    # Spread, not in blocks.
    assert max(len(run) for run in rows.replace("b", " ").replace("c", " ").split()) <= 4


def test_each_part_goes_round_by_itself():
    rows = [
        (mark, index)
        for batch in take(train_batches(mixture(a=1, b=3), 8, 0), 20)
        for mark, index in batch["image"][:, 0, 0, :2].tolist()
    ]
    for mark, count in (("a", 6), ("b", 10)):
        seen = [index for m, index in rows if chr(m) == mark]
        rounds = [seen[start : start + count] for start in range(0, len(seen) - count, count)]
        assert all(sorted(one) == list(range(count)) for one in rounds)
        assert len({tuple(one) for one in rounds}) == len(rounds)


def test_another_part_leaves_the_order_of_the_others_alone():
    def order(**weights):
        batches = take(train_batches(mixture(**weights), 6, 0), 6)
        return [i for batch in batches for mark, i in batch["image"][:, 0, 0, :2].tolist() if chr(mark) == "b"]

    few = order(a=1, b=1, c=1)
    assert order(a=1, b=1)[: len(few)] == few


def test_donors_are_of_the_same_part_and_another_person():
    for batch in take(train_batches(mixture(a=1, b=1), 8, 0, PASTED), 6):
        mark, index, _ = batch["image"][:, 0, 0].T
        other_mark, other_index, _ = batch["forged"][:, 0, 0].T
        np.testing.assert_array_equal(mark, other_mark)
        assert ((index % 2) != (other_index % 2)).all()


def test_people_of_two_parts_are_two():
    (batch,) = take(train_batches(mixture(a=1, b=1, c=1), 30, 0, targets=("identity",)), 1)
    people = {}
    for identity, mark, index in zip(batch["target/identity"].tolist(), *batch["image"][:, 0, 0, :2].T, strict=True):
        people.setdefault(identity, set()).add((mark, index % 2))
    assert len(people) == 6
    assert all(len(found) == 1 for found in people.values())


@pytest.mark.parametrize("workers", [0, 2])
def test_resume_continues_alike(workers):
    make = lambda: train_batches(mixture(a=2, b=1), 4, 1, PASTED, workers=workers)  # noqa: E731
    with contextlib.closing(make()) as batches:
        for _ in range(5):
            next(batches)
        state = batches.get_state()
        wanted = [next(batches) for _ in range(4)]
    resumed = make()
    resumed.set_state(state)
    for one, two in zip(take(resumed, 4), wanted, strict=True):
        jax.tree.map(np.testing.assert_array_equal, one, two)


def test_every_process_has_its_share_of_every_part(monkeypatch):
    whole = take(train_batches(mixture(a=1, b=1), 8, 0), 4)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    for process in range(2):
        monkeypatch.setattr(jax, "process_index", lambda process=process: process)
        share = take(train_batches(mixture(a=1, b=1), 4, 0), 4)
        assert Counter(marks(share)) == {"a": 8, "b": 8}
        for part, all_ in zip(share, whole, strict=True):
            np.testing.assert_array_equal(part["image"], all_["image"][4 * process : 4 * process + 4])


def test_evaluation_takes_equally_many_of_each_part():
    mixed = mixture(a=5, b=1, c=1)
    chosen = chosen_faces(mixed, 14)
    batches = list(eval_batches(mixed, chosen, 4))
    kept = np.concatenate([batch["weight"] for batch in batches]) > 0
    rows = "".join(np.array(list(marks(batches)))[kept])
    assert rows == "abcabcabcababa"
    assert "".join("abc"[mixed.number(index)] for index in chosen) == rows
    for part, people in (("a", 2), ("b", 2), ("c", 2)):
        own = [index for index, mark in zip(chosen, rows, strict=True) if mark == part]
        assert len(set(mixed.groups[own[:people]])) == people  # of each person one first


def test_evaluation_without_a_limit_holds_everything_once():
    mixed = mixture(a=1, b=1, c=1)
    batches = list(eval_batches(mixed, chosen_faces(mixed), 19))
    assert len(np.unique(batches[0]["image"][:, 0, 0], axis=0)) == 19


def test_people_of_two_parts_are_in_two_groups():
    mixed = mixture(a=1, b=1, c=1)
    assert len(set(mixed.groups.tolist())) == 6
    for index in range(len(mixed)):
        same = np.flatnonzero(mixed.groups == mixed.groups[index])
        assert {mixed.number(int(one)) for one in same} == {mixed.number(index)}


def test_a_damaged_face_is_named_with_its_part():
    class Damaged(Faces):
        def __getitem__(self, index):
            if index == 1:
                raise UserError("no such shard")
            return super().__getitem__(index)

    mixed = Mixture((Part("good", Faces(1, 4), 1.0), Part("bad", Damaged(2, 4), 1.0)))
    batches = train_batches(mixed, 4, 0, max_unusable=1.0)
    seen = {tuple(row) for batch in take(batches, 6) for row in batch["image"][:, 0, 0, :2].tolist()}
    assert seen == {(1, 0), (1, 1), (1, 2), (1, 3), (2, 0), (2, 2), (2, 3)}
    assert list(batches.quarantine.reasons) == ["data: face 5 of 8: face 1 of part 'bad': no such shard"]


def test_parts_must_go_together():
    paper, aligned = RECIPES["paper"], RECIPES["aligned64"]
    mixed = Mixture((Part("a", Faces(1, 2), 1.0), Part("b", Faces(2, 2, aligned), 1.0)))
    assert (mixed.size, mixed.recipe, len(mixed)) == (4, aligned, 4)
    with pytest.raises(ValueError, match=r"^data\.parts: found recipes .*, wanted one"):
        Mixture((Part("a", Faces(1, 2, paper), 1.0), Part("b", Faces(2, 2, aligned), 1.0)))
    large = Faces(1, 2)
    large.size = 8
    with pytest.raises(ValueError, match=r"^data\.parts: found crops of \{'a': 8, 'b': 4\} px, wanted one size"):
        Mixture((Part("a", large, 1.0), Part("b", Faces(2, 2), 1.0)))


def test_the_fingerprint_tells_parts_and_weights():
    found = {mixture(**weights).fingerprint for weights in ({"a": 1, "b": 1}, {"a": 1, "b": 2}, {"a": 1}, {"b": 1})}
    assert len(found) == 4


def test_from_a_config():
    data = common.mixture(
        few=common.facesim(32) | {"weight": 1.0},
        many=common.facesim(32) | {"weight": 2.0, "seed": 1, "per_identity": 6},
    )
    source = make_source(ConfigDict(data), "val")
    assert [(part.name, len(part.source), part.weight) for part in source.parts] == [
        ("few", 400, 1.0),
        ("many", 600, 2.0),
    ]
    assert not np.array_equal(source[0]["image"], source[400]["image"])
