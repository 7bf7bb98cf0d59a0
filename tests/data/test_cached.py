"""A source that keeps its faces: the same faces, each made once."""

from collections import Counter

import numpy as np

from fdetect_jax.data.cached import Cached
from fdetect_jax.faces.crop import RECIPES


class Counted:
    size = 4
    fingerprint = "counted"
    recipe = RECIPES["aligned64"]

    def __init__(self):
        self.made = Counter()

    def __len__(self):
        return 3

    def __getitem__(self, index):
        self.made[index] += 1
        return {"image": np.full((4, 4, 3), index, np.uint8), "identity": np.int32(index)}


def test_every_face_is_made_once():
    source = Counted()
    remembered = Cached(source)
    for _ in range(3):
        for i in range(2):
            np.testing.assert_array_equal(remembered[i]["image"], np.full((4, 4, 3), i))
    assert source.made == {0: 1, 1: 1}


def test_it_passes_for_its_source():
    remembered = Cached(Counted())
    assert (len(remembered), remembered.size, remembered.fingerprint) == (3, 4, "counted")
    assert remembered.recipe == RECIPES["aligned64"]


def test_two_do_not_share_what_they_keep():
    one, two = Cached(Counted()), Cached(Counted())
    one[0]
    assert two.kept == {}
    assert two[0]["identity"] == 0
