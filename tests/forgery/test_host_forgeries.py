"""Forgeries by name, and several of them at once."""

import cv2
import numpy as np
import pytest
from ml_collections import ConfigDict

from fdetect_jax.facesim.faces import FaceSim
from fdetect_jax.forgery import host as forgeries
from fdetect_jax.forgery.host import HOST_FORGERIES, Mixed, host_kinds, make_host_forgery, wants_context
from fdetect_jax.media.crop import face_crop, make_recipe

RECIPE = make_recipe("sbi", 64)


def context_crop(number):
    """A context crop with its box, of one person each."""
    drawn = FaceSim("test", 96, 3, 1)[number]
    image = cv2.copyMakeBorder(drawn["image"], 30, 12, 25, 25, cv2.BORDER_REFLECT_101)
    landmarks = drawn["landmarks"] + np.float32([25, 30])
    box = np.r_[landmarks.min(0), landmarks.max(0)]
    return {"image": image, "landmarks": landmarks, "box": box, "identity": drawn["identity"]}


@pytest.mark.parametrize(
    ("options", "kinds", "is_loose"),
    [
        ({"kind": "swap"}, ("swap",), False),
        ({"kind": "sbi"}, ("sbi",), True),
        ({"kind": "mixed", "kinds": ("swap", "fwa")}, ("swap", "fwa"), True),
        ({"kind": "latent", "half": ""}, (), False),
        ({"kind": "latent", "half": "sbi"}, ("sbi",), True),
        ({"kind": "given"}, ("given",), False),
    ],
)
def test_what_is_made_on_the_host(options, kinds, is_loose):
    assert host_kinds(ConfigDict(options)) == kinds
    assert wants_context(ConfigDict(options)) == is_loose


def test_a_mixture_takes_each_kind_equally_often_and_as_it_is():
    face, other = FaceSim("test", 64, 2, 1)[0], FaceSim("test", 64, 2, 1)[1]
    made = make_host_forgery(ConfigDict({"kind": "mixed", "kinds": ("swap", "sbi")}), None, "train", None, True)
    counts = dict.fromkeys(("swap", "sbi"), 0)
    for seed in range(60):
        found = made(np.random.default_rng(seed), face, lambda: other)
        rng = np.random.default_rng(seed)
        kind = ("swap", "sbi")[rng.integers(2)]
        alone = HOST_FORGERIES[kind](None, True)(rng, face, lambda: other)
        np.testing.assert_array_equal(found.fake, alone.fake)
        np.testing.assert_array_equal(found.real, alone.real)
        counts[kind] += 1
    assert min(counts.values()) > 18  # 30 are expected, with a deviation of 3.9


@pytest.mark.parametrize("training", [True, False])
def test_of_loose_crops_a_swap_gets_tight_ones(training, monkeypatch):
    seen = []

    def swap(rng, face, donor):
        seen.extend([face, donor()])
        return face

    monkeypatch.setitem(forgeries.HOST_FORGERIES, "swap", lambda *_: swap)
    Mixed(("swap",), RECIPE, training)(np.random.default_rng(0), context_crop(0), lambda: context_crop(1))
    for number, one in enumerate(seen):
        assert one["image"].shape == (64, 64, 3)
        assert np.array_equal(one["image"], face_crop(context_crop(number), RECIPE)["image"]) != training
    fake = Mixed(("sbi",), RECIPE, training)(np.random.default_rng(0), context_crop(0), None).fake
    assert fake.shape == (64, 64, 3)
