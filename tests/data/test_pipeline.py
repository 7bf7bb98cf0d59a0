"""From a source to batches: reproducible, resumable, shared out between processes, nothing lost in evaluation."""

import contextlib
import json
import multiprocessing
import os
import shutil
import signal
from collections import Counter
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from fdetect_jax.data.pipeline import ForgedPair, UnusableFace, eval_batches, train_batches


class Faces:
    """``count`` faces of ``people``; every pixel of face i is i, so that a batch tells what it holds."""

    size = 4
    fingerprint = "faces"

    def __init__(self, count=10, people=5):
        self.count, self.people = count, people

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
    assert batch.keys() == {"image", "identity"}
    assert batch["image"].shape == (4, 4, 4, 3)
    assert batch["image"].dtype == np.uint8
    assert batch["identity"].dtype == np.int32
    np.testing.assert_array_equal(batch["identity"], batch["image"][:, 0, 0, 0] % 5)


def test_a_seed_settles_everything():
    make = lambda seed: take(train_batches(Faces(), 4, seed, marked, shift), 8)  # noqa: E731
    equal(make(0), make(0))
    with pytest.raises(AssertionError):
        equal(make(0), make(1))


@pytest.mark.parametrize("before", [0, 1, 3, 7])
def test_resume_continues_alike(before):
    batches = train_batches(Faces(7), 4, 3, marked, shift)
    take(batches, before)
    state = json.loads(json.dumps(batches.get_state()))
    wanted = take(batches, 6)
    resumed = train_batches(Faces(7), 4, 3, marked, shift)
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
    wanted = take(opened(Faces(7), 4, 3, marked, shift, masks=("mask",)), 9)
    two = opened(Faces(7), 4, 3, marked, shift, masks=("mask",), workers=2)
    equal(take(two, 5), wanted[:5])
    state = json.loads(json.dumps(two.get_state()))
    equal(take(two, 2), wanted[5:7])
    two.set_state(state)
    equal(take(two, 2), wanted[5:7])
    one = opened(Faces(7), 4, 3, marked, shift, masks=("mask",), workers=1)
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


class Damaged(Faces):
    """Face 3 cannot be read."""

    def __getitem__(self, index):
        if index == 3:
            raise OSError("checksum mismatch in faces.array_record-00001-of-00002")
        return super().__getitem__(index)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_damaged_face_is_named(opened, workers):
    wanted = "data: face 3 of 10: OSError: checksum mismatch in faces.array_record-00001-of-00002"
    batches = opened(Damaged(), 5, 0, workers=workers)
    for _ in range(2):  # it is met again when training goes on
        with pytest.raises(UnusableFace, match=wanted):
            take(batches, 2)


def test_too_little_shared_memory_is_said_before_any_work(monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=64 << 20))
    large = Faces()
    large.size = 1024
    with pytest.raises(ValueError, match=r"^data\.workers: found 64 MB of shared memory .*, wanted 288 MB"):
        train_batches(large, 8, 0, marked, workers=2)
    train_batches(large, 8, 0, marked, workers=0)


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
    seen = take(train_batches(Faces(), 5, 0, marked), 4)
    for batch in seen:
        assert batch.keys() == {"image", "identity", "forged"}
        target, partner, _ = batch["forged"][:, 0, 0].T
        np.testing.assert_array_equal(target, batch["image"][:, 0, 0, 0])
        assert (target % 5 != partner % 5).all()
    both = next(train_batches(Faces(), 5, 0, marked, shift))
    offset = both["forged"][:, 1, 1, 0]  # the forgery left zero there
    assert (offset >= 100).all()
    assert len(set(offset)) > 1
    np.testing.assert_array_equal(both["image"][:, 1, 1, 0] - offset, both["forged"][:, 0, 0, 0] - offset)


def test_the_real_face_is_the_forgery_s():
    def dimmed(rng, face, donor):
        return ForgedPair(face["image"] + 100, face["image"], np.zeros((4, 4), np.float32))

    batch = next(train_batches(Faces(people=1), 5, 0, dimmed))  # asks for no donor
    np.testing.assert_array_equal(batch["image"], batch["forged"] + 100)


def test_masks_come_on_demand():
    assert "mask" not in next(train_batches(Faces(), 5, 0, marked))
    batch = next(train_batches(Faces(), 5, 0, marked, shift, masks=("mask",)))
    assert batch["mask"].dtype == np.uint8
    np.testing.assert_array_equal(batch["mask"], batch["image"][..., 0])


def test_the_face_is_the_triple_s_or_the_example_s_own():
    class Masked(Faces):
        def __getitem__(self, index):
            return super().__getitem__(index) | {"mask": np.eye(4, dtype=np.uint8)}

    batch = next(train_batches(Masked(), 5, 0, masks=("face",)))
    np.testing.assert_array_equal(batch["face"], np.broadcast_to(255 * np.eye(4, dtype=np.uint8), (5, 4, 4)))

    def elsewhere(rng, face, donor):
        return ForgedPair(face["image"], face["image"], np.zeros((4, 4), np.float32), 1 - face["mask"])

    batch = next(train_batches(Masked(), 5, 0, elsewhere, masks=("face", "mask")))
    np.testing.assert_array_equal(batch["face"][0], 255 * (1 - np.eye(4, dtype=np.uint8)))
    assert not batch["mask"].any()


def test_a_face_without_its_mask_is_named():
    with pytest.raises(UnusableFace, match=r"face \d+ of 10: .*found no face mask"):
        next(train_batches(Faces(), 5, 0, masks=("face",)))


def test_an_epoch_s_draws_are_its_own():
    """The same face meets other others and other numbers when it comes again."""
    seen = take(train_batches(Faces(), 5, 0, marked), 8)
    draws = Counter(int(n) for batch in seen for n in batch["forged"][:, 0, 0, 2])
    assert max(draws.values()) <= 4
    partners = {}
    for batch in seen:
        for target, partner, _ in batch["forged"][:, 0, 0]:
            partners.setdefault(int(target), set()).add(int(partner))
    assert sum(len(found) > 1 for found in partners.values()) >= 8


def test_a_stranger_is_found_among_many_pictures_of_one_person():
    class Crowd(Faces):
        def __len__(self):
            return 100_000

        def __getitem__(self, index):
            return super().__getitem__(0) | {"identity": np.int32(index == 99_999)}

    fakes = next(eval_batches(Crowd(), 2, forgery=marked, limit=2))["forged"]
    assert fakes.shape[0] == 2


def test_one_person_has_nobody_to_swap_with():
    with pytest.raises(ValueError, match="found one person, wanted at least two to swap faces between"):
        next(train_batches(Faces(people=1), 4, 0, marked, threads=0))
    assert next(train_batches(Faces(people=1), 4, 0))["image"].shape[0] == 4


def test_processes_share_an_epoch(monkeypatch):
    """Two processes with half a batch each see the halves of what one sees, fakes and draws included."""
    whole = take(train_batches(Faces(12), 4, 0, marked, shift), 6)
    shares = []
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    for process in range(2):
        monkeypatch.setattr(jax, "process_index", lambda process=process: process)
        shares.append(take(train_batches(Faces(12), 2, 0, marked, shift), 6))
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
def test_evaluation_covers_every_face_once(count, size, limit):
    batches = list(eval_batches(Faces(count), size, limit=limit))
    wanted = min(count, limit or count)
    assert len(batches) == -(-wanted // size)
    assert all(batch["image"].shape[0] == batch["weight"].shape[0] == size for batch in batches)
    weight = np.concatenate([batch["weight"] for batch in batches])
    assert weight.dtype == np.float32
    np.testing.assert_array_equal(weight, [1] * wanted + [0] * (len(batches) * size - wanted))
    assert [i for i, kept in zip(indices(batches), weight, strict=True) if kept] == list(range(wanted))


def test_evaluation_s_forgeries_depend_on_the_face_and_the_seed_alone():
    one, two = ([b["forged"] for b in eval_batches(Faces(), n, 0, marked)] for n in (4, 5))
    np.testing.assert_array_equal(np.concatenate(one)[:10], np.concatenate(two))
    other = np.concatenate([b["forged"] for b in eval_batches(Faces(), 5, 1, marked)])
    assert (other[:, 0, 0, 2] != np.concatenate(two)[:, 0, 0, 2]).sum() > 5
