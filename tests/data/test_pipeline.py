"""From a source to batches: reproducible, resumable, shared out between processes, nothing lost in evaluation."""

import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from fdetect_jax.data.pipeline import Quarantine, chosen_faces, eval_batches, train_batches
from fdetect_jax.data.rows import Slot, UnusableFace
from fdetect_jax.data.source import spread
from fdetect_jax.errors import UserError
from fdetect_jax.types import UNKNOWN, ForgedPair


class Faces:
    """``count`` faces of ``people``; every pixel of face i is i, so that a batch tells what it holds."""

    size, recipe, video = 4, None, False
    fingerprint = "faces"

    def __init__(self, count=10, people=5):
        self.count, self.people = count, people

    @property
    def groups(self):
        return np.arange(self.count) % self.people

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        assert 0 <= index < self.count
        image = np.full((4, 4, 3), index, np.uint8)
        return {"image": image, "identity": np.int32(index % self.people)}


def marked(rng, face, donor):
    """A forgery that leaves its partner, its target and a draw to be found."""
    other = donor()
    assert face["identity"] != other["identity"]
    fake = np.zeros((4, 4, 3), np.uint8)
    fake[0, 0] = face["image"][0, 0, 0], other["image"][0, 0, 0], rng.integers(256)
    return ForgedPair(face["image"], fake, np.full((4, 4), face["image"][0, 0, 0] / 255, np.float32))


MARKED = (Slot(marked),)


def shift(rng, images, masks=()):
    offset = np.uint8(100 + rng.integers(100))
    return [image + offset for image in images], [mask + np.float32(offset / 255) for mask in masks]


def take(batches, count):
    return [next(batches) for _ in range(count)]


def equal(one, two):
    assert len(one) == len(two)
    for a, b in zip(one, two, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])


def indices(batches):
    return [int(i) for batch in batches for i in batch["image"][:, 0, 0, 0]]


def test_an_epoch_holds_every_face_once_in_another_order():
    found = indices(take(train_batches(Faces(), 5, seed=0), 6))
    epochs = [found[i : i + 10] for i in range(0, 30, 10)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(10))
    assert len({tuple(epoch) for epoch in epochs} | {tuple(range(10))}) == 4


def test_rows():
    batch = next(train_batches(Faces(), 4, seed=0))
    assert batch.keys() == {"image"}
    batch = next(train_batches(Faces(), 4, seed=0, targets=("identity",)))
    assert batch.keys() == {"image", "target/identity"}
    assert batch["image"].shape == (4, 4, 4, 3)
    assert batch["image"].dtype == np.uint8
    assert batch["target/identity"].dtype == np.int32
    np.testing.assert_array_equal(batch["target/identity"], batch["image"][:, 0, 0, 0] % 5)


def test_a_seed_settles_everything():
    make = lambda seed: take(train_batches(Faces(), 4, seed, MARKED, shift), 8)  # noqa: E731
    equal(make(0), make(0))
    with pytest.raises(AssertionError):
        equal(make(0), make(1))


@pytest.mark.parametrize("before", [0, 1, 3, 7])
def test_resume_continues_alike(before):
    batches = train_batches(Faces(7), 4, 3, MARKED, shift)
    take(batches, before)
    state = json.loads(json.dumps(batches.get_state()))
    wanted = take(batches, 6)
    resumed = train_batches(Faces(7), 4, 3, MARKED, shift)
    resumed.set_state(state)
    equal(take(resumed, 6), wanted)
    batches.set_state(state)
    equal(take(batches, 6), wanted)


@pytest.fixture
def opened():
    """Makes batches that are closed again."""
    with contextlib.ExitStack() as stack:
        yield lambda *args, **more: stack.enter_context(contextlib.closing(train_batches(*args, **more)))


def test_workers_make_the_same_batches_and_resume_in_any_number(opened):
    wanted = take(opened(Faces(7), 4, 3, MARKED, shift, targets=("mask",)), 9)
    two = opened(Faces(7), 4, 3, MARKED, shift, targets=("mask",), workers=2)
    equal(take(two, 5), wanted[:5])
    state = json.loads(json.dumps(two.get_state()))
    equal(take(two, 2), wanted[5:7])
    two.set_state(state)
    equal(take(two, 2), wanted[5:7])
    one = opened(Faces(7), 4, 3, MARKED, shift, targets=("mask",), workers=1)
    one.set_state(state)
    equal(take(one, 4), wanted[5:])


@pytest.mark.parametrize("asked", [signal.SIGTERM, signal.SIGINT])
def test_workers_leave_it_to_the_parent_to_stop(opened, asked):
    batches = opened(Faces(), 5, 0, workers=1)
    next(batches)
    (worker,) = multiprocessing.active_children()
    os.kill(worker.pid, asked)
    equal(take(batches, 8), take(opened(Faces(), 5, 0), 9)[1:])
    batches.close()
    assert not worker.is_alive()


SCRIPT = """
import numpy as np
from fdetect_jax.data.pipeline import train_batches

class Faces:
    size, recipe, fingerprint, video, groups = 4, None, "", False, np.arange(5)
    __len__ = lambda self: 5
    __getitem__ = lambda self, index: {"image": np.full((4, 4, 3), index, np.uint8), "identity": np.int32(index)}

batches = train_batches(Faces(), 5, 0, workers=1)
print(sorted(next(batches)["image"][:, 0, 0, 0].tolist()))
batches.close()
"""


def test_a_script_without_a_guard_has_workers_too(tmp_path):
    """Its own sources reach them, and it does not start over in them."""
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "script.py")]
    root = str(Path(__file__).parents[2])
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=os.environ | {"PYTHONPATH": root})
    assert done.stdout == "[0, 1, 2, 3, 4]\n", done.stderr


class Damaged(Faces):
    """Some faces cannot be read."""

    def __init__(self, count=10, bad=(3,), error=UserError):
        super().__init__(count)
        self.bad, self.error = bad, error

    def __getitem__(self, index):
        if index in self.bad:
            raise self.error("checksum mismatch in faces.array_record-00001-of-00002")
        return super().__getitem__(index)


LINE = "data: face 3 of 10: checksum mismatch in faces.array_record-00001-of-00002"


def test_a_face_that_cannot_be_used_is_replaced_and_counted(opened):
    batches, whole = (opened(source, 5, 0, max_unusable=1.0) for source in (Damaged(), Faces()))
    found, wanted = np.array(indices(take(batches, 8))), np.array(indices(take(whole, 8)))
    bad = wanted == 3
    assert bad.sum() == 4
    np.testing.assert_array_equal(found[~bad], wanted[~bad])  # the others stay where they are
    assert 3 not in found
    assert batches.quarantine.reasons[LINE] >= 4  # a replacement may be the bad one again
    assert batches.quarantine.rows == 40 + batches.quarantine.reasons[LINE]
    assert not whole.quarantine.reasons


def test_replacements_are_the_same_with_workers_and_after_resume(opened):
    make = lambda workers: opened(Damaged(), 4, 1, MARKED, shift, ("mask",), workers, max_unusable=1.0)  # noqa: E731
    none, two = make(0), make(2)
    wanted = take(none, 9)
    equal(take(two, 5), wanted[:5])
    state = json.loads(json.dumps(two.get_state()))
    resumed = make(2)
    resumed.set_state(state)
    equal(take(resumed, 4), wanted[5:])
    assert resumed.quarantine == none.quarantine  # with what was met before the resume
    two.set_state(state)
    equal(take(two, 4), wanted[5:])
    assert two.quarantine == none.quarantine


def test_a_face_that_cannot_be_used_is_no_donor(opened):
    """It is no fault of the face that it was drawn for."""
    batches = opened(Damaged(), 5, 0, MARKED, max_unusable=1.0)
    assert 3 not in {int(donor) for batch in take(batches, 20) for donor in batch["forged"][:, 0, 0, 1]}
    assert list(batches.quarantine.reasons) == [LINE]


def test_a_state_of_before_is_left_alone(opened):
    batches = opened(Damaged(), 5, 0, max_unusable=1.0)
    take(batches, 2)
    state = json.dumps(batches.get_state())
    kept = json.loads(state)
    batches.set_state(kept)
    take(batches, 4)
    assert json.dumps(kept) == state


def test_a_row_that_is_replaced_is_forged_by_the_same_forgery(opened):
    def nothing(rng, face, donor):
        return ForgedPair(face["image"], np.zeros((4, 4, 3), np.uint8), None)

    slots = (Slot(marked, method=1), Slot(nothing, method=2))
    batches = opened(Damaged(), 4, 0, slots, targets=("method",), max_unusable=1.0)
    for batch in take(batches, 8):
        assert batch["target/method"].tolist() == [1, 2, 1, 2]
    assert batches.quarantine.reasons


def test_too_many_unusable_faces_end_the_training(opened):
    batches = opened(Damaged(20, bad=(3, 7)), 50, 0, max_unusable=0.09)
    take(batches, 3)  # too few to judge by
    message = (
        r"^data\.max_unusable: found \d+ unusable of \d+ faces drawn, wanted 9\.0% at most; for example data: face"
    )
    with pytest.raises(UserError, match=message):
        take(batches, 2)
    take(opened(Damaged(20, bad=(3, 7)), 50, 0, max_unusable=0.15), 5)


def test_no_unusable_face_is_suffered_by_default(opened):
    with pytest.raises(UserError, match=r"^data\.max_unusable: found 1[0-9]* unusable"):
        take(opened(Damaged(200), 50, 0), 8)


def test_where_nothing_can_be_used_it_ends_at_once(opened):
    with pytest.raises(UserError, match=r"found 50 unusable faces one after another, the last: data: face \d of 10"):
        take(opened(Damaged(bad=range(10)), 5, 0, max_unusable=1.0), 1)


def test_the_share_is_looked_at_from_two_hundred_rows_on():
    quarantine = Quarantine()
    quarantine.add(100, ["a"] * 50, 0.1)
    assert (quarantine.rows, quarantine.reasons) == (150, {"a": 50})
    with pytest.raises(UserError, match=r"found 50 unusable of 200 faces"):
        quarantine.add(50, [], 0.1)


@pytest.mark.parametrize(("error", "workers"), [(OSError, 0), (KeyError, 0), (OSError, 1)])
def test_a_bug_is_raised_and_names_the_face(opened, workers, error):
    batches = opened(Damaged(error=error), 5, 0, workers=workers, max_unusable=1.0)
    for _ in range(2):  # it is met again when training goes on
        with pytest.raises(error, match="checksum mismatch") as raised:
            take(batches, 2)
        assert "at face 3 of 10" in "".join(traceback.format_exception(raised.value))


def test_evaluation_names_the_face_that_cannot_be_used():
    with pytest.raises(UnusableFace, match=LINE):
        list(eval_batches(Damaged(), range(10), 5))


def test_too_little_shared_memory_is_said_before_any_work(monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=64 << 20))
    large = Faces()
    large.size = 1024
    with pytest.raises(UserError, match=r"^data\.workers: found 64 MB of shared memory .*, wanted 288 MB"):
        train_batches(large, 8, 0, MARKED, workers=2)
    train_batches(large, 8, 0, MARKED, workers=0)


class Deadly(Faces):
    """Face 3 ends the process that reads it, as a library's crash or a lack of memory would."""

    def __getitem__(self, index):
        if index == 3:
            os._exit(11)
        return super().__getitem__(index)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_dead_worker_ends_the_run(opened, workers):
    with pytest.raises(RuntimeError, match="exit code 11"):
        take(opened(Deadly(), 5, 0, workers=workers), 2)


def test_forgery_and_augmentation():
    seen = take(train_batches(Faces(), 5, 0, MARKED), 4)
    for batch in seen:
        assert batch.keys() == {"image", "forged"}
        target, partner, _ = batch["forged"][:, 0, 0].T
        np.testing.assert_array_equal(target, batch["image"][:, 0, 0, 0])
        assert (target % 5 != partner % 5).all()
    both = next(train_batches(Faces(), 5, 0, MARKED, shift))
    offset = both["forged"][:, 1, 1, 0]  # the forgery left zero there
    assert (offset >= 100).all()
    assert len(set(offset)) > 1
    np.testing.assert_array_equal(both["image"][:, 1, 1, 0] - offset, both["forged"][:, 0, 0, 0] - offset)


def test_the_real_face_is_the_forgery_s():
    def dimmed(rng, face, donor):
        return ForgedPair(face["image"] + 100, face["image"], np.zeros((4, 4), np.float32))

    batch = next(train_batches(Faces(people=1), 5, 0, (Slot(dimmed),)))  # asks for no donor
    np.testing.assert_array_equal(batch["image"], batch["forged"] + 100)


def test_masks_come_on_demand():
    assert "target/mask" not in next(train_batches(Faces(), 5, 0, MARKED))
    batch = next(train_batches(Faces(), 5, 0, MARKED, shift, targets=("mask",)))
    assert batch["target/mask"].dtype == np.uint8
    np.testing.assert_array_equal(batch["target/mask"], batch["image"][..., 0])


def test_the_face_is_the_forgery_s_or_the_example_s_own():
    class Masked(Faces):
        def __getitem__(self, index):
            return super().__getitem__(index) | {"mask": np.eye(4, dtype=np.uint8)}

    batch = next(train_batches(Masked(), 5, 0, targets=("face",)))
    np.testing.assert_array_equal(batch["target/face"], np.broadcast_to(255 * np.eye(4, dtype=np.uint8), (5, 4, 4)))

    def elsewhere(rng, face, donor):
        return ForgedPair(face["image"], face["image"], np.zeros((4, 4), np.float32), 1 - face["mask"])

    batch = next(train_batches(Masked(), 5, 0, (Slot(elsewhere),), targets=("face", "mask")))
    np.testing.assert_array_equal(batch["target/face"][0], 255 * (1 - np.eye(4, dtype=np.uint8)))
    assert not batch["target/mask"].any()


def test_a_face_without_its_mask_is_named():
    with pytest.raises(UserError, match=r"face \d+ of 10: found no target 'face', wanted faces with landmarks"):
        next(train_batches(Faces(), 5, 0, targets=("face",)))


def test_an_epoch_s_draws_are_its_own():
    """The same face meets other others and other numbers when it comes again."""
    seen = take(train_batches(Faces(), 5, 0, MARKED), 8)
    draws = Counter(int(n) for batch in seen for n in batch["forged"][:, 0, 0, 2])
    assert max(draws.values()) <= 4
    partners = {}
    for batch in seen:
        for target, partner, _ in batch["forged"][:, 0, 0]:
            partners.setdefault(int(target), set()).add(int(partner))
    assert sum(len(found) > 1 for found in partners.values()) >= 8


def test_a_donor_is_found_among_many_pictures_of_one_person():
    class Crowd(Faces):
        def __len__(self):
            return 100_000

        def __getitem__(self, index):
            return super().__getitem__(0) | {"identity": np.int32(index == 99_999)}

    fakes = next(eval_batches(Crowd(), [0, 1], 2, slot=Slot(marked)))["forged"]
    assert fakes.shape[0] == 2


def test_one_person_has_nobody_to_swap_with():
    with pytest.raises(UserError, match="found one person, wanted at least two to swap faces between"):
        next(train_batches(Faces(people=1), 4, 0, MARKED, threads=0))
    assert next(train_batches(Faces(people=1), 4, 0))["image"].shape[0] == 4


def test_processes_share_an_epoch(monkeypatch):
    """Two processes with half a batch each see the halves of what one sees, fakes and draws included."""
    whole = take(train_batches(Faces(12), 4, 0, MARKED, shift), 6)
    shares = []
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    for process in range(2):
        monkeypatch.setattr(jax, "process_index", lambda process=process: process)
        shares.append(take(train_batches(Faces(12), 2, 0, MARKED, shift), 6))
        plain = indices(take(train_batches(Faces(12), 2, 0), 3))
        assert len(set(plain)) == 6
    for batches, half in zip(shares, (slice(0, 2), slice(2, 4)), strict=True):
        equal(batches, [{name: rows[half] for name, rows in batch.items()} for batch in whole])


def test_processes_cover_an_epoch_disjointly(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    found = []
    for process in range(3):
        monkeypatch.setattr(jax, "process_index", lambda process=process: process)
        found += indices(take(train_batches(Faces(12), 4, 0), 1))
    assert sorted(found) == list(range(12))


@pytest.mark.parametrize(
    ("count", "size", "limit"), [(10, 4, None), (8, 4, None), (10, 4, 6), (3, 4, None), (10, 4, 99)]
)
def test_evaluation_covers_every_chosen_face_once_in_order(count, size, limit):
    chosen = chosen_faces(Faces(count), limit)
    batches = list(eval_batches(Faces(count), chosen, size))
    wanted = min(count, limit or count)
    assert len(set(chosen)) == len(chosen) == wanted
    assert len(batches) == -(-wanted // size)
    assert all(batch["image"].shape[0] == batch["weight"].shape[0] == size for batch in batches)
    weight = np.concatenate([batch["weight"] for batch in batches])
    assert weight.dtype == np.float32
    np.testing.assert_array_equal(weight, [1] * wanted + [0] * (len(batches) * size - wanted))
    assert [i for i, kept in zip(indices(batches), weight, strict=True) if kept] == chosen
    np.testing.assert_array_equal(np.concatenate([batch["row"] for batch in batches]), np.arange(len(weight)))


def test_without_a_limit_faces_come_in_order():
    assert chosen_faces(Faces()) == chosen_faces(Faces(), 10) == list(range(10))


@pytest.mark.parametrize("limit", [3, 5, 7, 13])
def test_a_limit_takes_people_evenly(limit):
    """Not the first rows, which would be of few people; of one person with many pictures no more than of others."""
    faces = Faces(40, 5)
    counts = Counter(int(faces.groups[i]) for i in chosen_faces(faces, limit))
    assert sum(counts.values()) == limit
    assert len(counts) == min(limit, 5)
    assert max(counts.values()) - min(counts.values()) <= 1


def test_a_person_with_few_pictures_gives_all_of_them():
    groups = np.array([0] * 50 + [1] * 2 + [2] * 50)
    assert Counter(groups[spread(groups, 12)].tolist()) == {0: 5, 1: 2, 2: 5}
    assert sorted(spread(groups, 102)) == list(range(102))


def test_which_faces_are_taken_is_settled_by_the_seed():
    faces = Faces(40, 5)
    assert chosen_faces(faces, 7, 1) == chosen_faces(faces, 7, 1)
    assert len({tuple(chosen_faces(faces, 7, seed)) for seed in range(5)}) == 5
    assert chosen_faces(faces, 7)[:5] == chosen_faces(faces, 5)  # a larger limit takes more of the same


def test_evaluation_reads_ahead_by_threads_and_keeps_the_order():
    """While a batch is looked at the next ones are read; never more than two of them."""
    read, begun = [], threading.Event()

    class Slow(Faces):
        def __getitem__(self, index):
            read.append(index)
            if len(read) >= 10:
                begun.set()
            time.sleep(0.002 * (index % 3))
            return super().__getitem__(index)

    batches = eval_batches(Slow(40), range(40), 4, threads=4)
    first = next(batches)
    assert begun.wait(10)  # without asking for a second one
    time.sleep(0.1)
    assert len(read) <= 12
    assert indices([first, *batches]) == list(range(40))
    assert sorted(read) == list(range(40))  # each once


def test_evaluation_that_is_left_ends_its_threads():
    batches, before = eval_batches(Faces(40), range(40), 4), threading.active_count()
    next(batches)
    batches.close()
    assert threading.active_count() == before


def test_evaluation_s_forgeries_depend_on_the_face_and_the_seed_alone():
    slot = Slot(marked)
    one, two = ([b["forged"] for b in eval_batches(Faces(), range(10), n, 0, slot)] for n in (4, 5))
    np.testing.assert_array_equal(np.concatenate(one)[:10], np.concatenate(two))
    (few,) = eval_batches(Faces(), [7, 2], 2, 0, slot)
    np.testing.assert_array_equal(few["forged"], np.concatenate(two)[np.array([7, 2])])
    other = np.concatenate([b["forged"] for b in eval_batches(Faces(), range(10), 5, 1, slot)])
    assert (other[:, 0, 0, 2] != np.concatenate(two)[:, 0, 0, 2]).sum() > 5


def test_targets_of_a_fake_and_of_its_face():
    """Of the fake: kind, method, mask, valid; of both: the person. What the forgery says goes first."""

    def known(rng, face, donor):
        mask = None if face["identity"] == 0 else np.full((4, 4), 0.2, np.float32)
        targets = {"kind": 3} if face["identity"] == 1 else {}
        return ForgedPair(face["image"], face["image"], mask, None, targets)

    wanted = ("kind", "method", "mask", "valid", "identity")
    (batch,) = eval_batches(Faces(5), range(5), 5, 0, Slot(known, kind=5, method=2), wanted)
    assert batch["target/kind"].tolist() == [5, 3, 5, 5, 5]
    assert batch["target/method"].tolist() == [2] * 5
    assert batch["target/valid"].tolist() == [0, 1, 1, 1, 1]
    assert batch["target/valid"].dtype == np.float32
    assert batch["target/mask"][:, 0, 0].tolist() == [255, 51, 51, 51, 51]
    assert batch["target/identity"].tolist() == list(range(5))
    (batch,) = eval_batches(Faces(5), range(5), 5, 0, Slot(known), ("kind",))
    assert batch["target/kind"].tolist() == [UNKNOWN, 3, UNKNOWN, UNKNOWN, UNKNOWN]


def test_a_row_has_the_slot_of_its_position():
    """Rows that the device forges come without fakes, and the others keep their order."""
    batches = train_batches(Faces(), 4, 0, (Slot(), Slot(marked, method=2)), shift, ("identity", "mask", "method"))
    for batch in take(batches, 3):
        assert batch["image"].shape[0] == batch["target/identity"].shape[0] == 4
        for name in ("forged", "target/mask", "target/method"):
            assert batch[name].shape[0] == 2
        offset = batch["forged"][:, 1, 1, 0]
        np.testing.assert_array_equal(batch["forged"][:, 0, 0, 0], batch["image"][1::2, 0, 0, 0])
        assert (offset >= 100).all()
