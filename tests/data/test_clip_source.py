"""Clips: crops of one group in order of time, and rows whose frames are forged and moved alike."""

from collections import Counter

import numpy as np
import pytest

from fdetect_jax.data.augment import Augment
from fdetect_jax.data.clips import Clips
from fdetect_jax.data.pipeline import chosen_faces, eval_batches, train_batches
from fdetect_jax.data.rows import MakeRow, Slot
from fdetect_jax.types import ForgedPair


class Frames:
    """Frames of three videos that lie one among another: person, then the number of the frame in every pixel."""

    size, recipe, video, fingerprint = 4, None, True, "frames"
    groups = np.array([0, 1, 0, 1, 0, 2, 1, 0, 0, 1])

    def __len__(self):
        return len(self.groups)

    def __getitem__(self, index):
        person = int(self.groups[index])
        number = int((self.groups[:index] == person).sum())
        image = np.empty((4, 4, 3), np.uint8)
        image[:] = person, number, index
        return {"image": image, "identity": np.int32(person), "mask": np.full((4, 4), number % 2, np.uint8)}


@pytest.mark.parametrize("frames", [1, 2, 3, 8])
def test_clips_hold_one_group_each_in_order(frames):
    clips, seen = Clips(Frames(), frames), []
    for number, clip in enumerate(clips[i] for i in range(len(clips))):
        images = np.stack([one["image"][0, 0] for one in clip["frames"]])
        assert images.shape == (frames, 3)
        assert set(images[:, 0].tolist()) == {int(clip["identity"])} == {int(clips.groups[number])}
        own = images[:, 1].tolist()
        last = own.index(own[-1])
        assert own == [*range(own[0], own[last]), *own[last:]]  # in order, and the last repeated to fill up
        seen += [(images[0, 0], frame) for frame in own[: last + 1]]
    assert sorted(seen) == sorted((int(person), n) for person, count in ((0, 5), (1, 4), (2, 1)) for n in range(count))
    assert len(clips) == sum(-(-count // frames) for count in (5, 4, 1))
    assert (clips.size, clips.recipe, clips.video) == (4, None, True)


def test_another_length_is_another_source():
    assert len({Clips(Frames(), frames).fingerprint for frames in (1, 2, 3)} | {"frames"}) == 4


def test_clips_are_chosen_over_people():
    clips = Clips(Frames(), 2)
    assert Counter(int(clips.groups[i]) for i in chosen_faces(clips, 3)) == {0: 1, 1: 1, 2: 1}


def marked(rng, face, donor):
    """A fake whose pixels are a draw, the donor and the frame."""
    fake = np.empty((4, 4, 3), np.uint8)
    fake[:] = rng.integers(256), donor()["identity"], face["image"][0, 0, 1]
    return ForgedPair(face["image"], fake, np.full((4, 4), face["image"][0, 0, 1] / 10, np.float32))


WANTED = ("identity", "mask", "kind", "face")


def test_a_row_of_a_clip():
    clips = Clips(Frames(), 3)
    row = MakeRow(clips, (Slot(marked, kind=3),), targets=WANTED)((0, 0), np.random.default_rng(0))
    assert row["image"].shape == row["forged"].shape == (3, 4, 4, 3)
    assert row["image"][:, 0, 0, 1].tolist() == row["forged"][:, 0, 0, 2].tolist() == [0, 1, 2]
    draws, donors = row["forged"][:, 0, 0, 0], row["forged"][:, 0, 0, 1]
    assert len(set(draws.tolist())) == len(set(donors.tolist())) == 1  # forged alike, with one donor
    assert donors[0] != 0
    assert row["target/mask"].shape == (3, 4, 4)
    assert row["target/mask"][:, 0, 0].tolist() == [0, 26, 51]  # a tenth of 255 each, rounded to even
    assert row["target/face"][:, 0, 0].tolist() == [0, 255, 0]
    assert (row["target/identity"], row["target/kind"]) == (0, 3)
    assert row["target/identity"].shape == row["target/kind"].shape == ()


def test_clips_differ_in_their_draws():
    clips = Clips(Frames(), 3)
    make = MakeRow(clips, (Slot(marked),))
    draws = {int(make((0, 0), np.random.default_rng(seed))["forged"][0, 0, 0, 0]) for seed in range(20)}
    assert len(draws) > 10


def test_frames_are_augmented_alike():
    augment = Augment.off().__class__(**{**vars(Augment.off()), "brightness": 0.3, "flip": 0.5})
    clips = Clips(Frames(), 3)
    make, plain = MakeRow(clips, (Slot(),), augment), MakeRow(clips)
    for seed in range(4):
        lit, raw = (one((0, 1), np.random.default_rng(seed))["image"][:, 0, 0].astype(int) for one in (make, plain))
        moved = lit - raw
        assert moved.any()
        assert (np.abs(moved - moved[:1]) <= 1).all() or (lit == 0).any()


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_of_clips(workers):
    clips = Clips(Frames(), 2)
    batches = train_batches(clips, 3, 0, (Slot(marked),), targets=WANTED, workers=workers)
    batch = next(batches)
    batches.close()
    assert batch["image"].shape == batch["forged"].shape == (3, 2, 4, 4, 3)
    assert batch["target/mask"].shape == (3, 2, 4, 4)
    assert batch["target/identity"].shape == (3,)
    for clip in batch["image"]:
        assert len(set(clip[:, 0, 0, 0].tolist())) == 1
    (evaluated,) = eval_batches(clips, range(2), 2, slot=Slot(marked))
    assert evaluated["forged"].shape == (2, 2, 4, 4, 3)
