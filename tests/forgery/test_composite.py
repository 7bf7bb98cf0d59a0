"""Composites: a part of another person, inside the face, with a mask that says where."""

import numpy as np
import pytest

from fdetect_jax.facesim.faces import FaceSim
from fdetect_jax.forgery.composite import PARTS, composite, stages

FACES = [FaceSim("test", 96, 6, 1, 0)[n] for n in range(2)]


def run(seed: int, target=FACES[0], donor=FACES[1]):
    return stages(np.random.default_rng(seed), target, lambda: donor)


@pytest.mark.parametrize("seed", range(40))
def test_what_lies_outside_the_part_is_the_target(seed):
    shown, pair = run(seed)
    np.testing.assert_array_equal(pair.real, FACES[0]["image"])
    assert pair.fake.shape == pair.real.shape
    assert pair.fake.dtype == np.uint8
    assert pair.mask.dtype == np.float32
    assert 0 <= pair.mask.min() <= pair.mask.max() <= 1 + 1e-6
    outside = pair.mask <= 1e-3
    assert np.abs(pair.fake[outside].astype(int) - pair.real[outside]).max(initial=0) <= 1
    assert (pair.fake != pair.real).any()
    again = run(seed)[1]
    np.testing.assert_array_equal(again.fake, pair.fake)
    assert shown.warped.shape == pair.real.shape


def test_the_part_lies_where_its_landmarks_are():
    """The mask's middle: over many draws every part is met, eyes above the nose above the mouth."""
    masks = [run(seed)[1].mask > 0.5 for seed in range(60)]
    sizes = {round(float(mask.mean()), 3) for mask in masks}
    assert len(sizes) > len(PARTS)
    rows = np.array([np.argwhere(mask).mean(0)[0] for mask in masks if mask.any()])
    landmarks = FACES[0]["landmarks"]
    assert rows.min() < landmarks[27, 1]
    assert rows.max() > landmarks[33, 1]


def test_broken_landmarks_give_an_ellipse():
    broken = FACES[0] | {"landmarks": np.full((68, 2), np.nan, np.float32)}
    for seed in range(5):
        _, pair = run(seed, target=broken)
        y, x = np.argwhere(pair.mask > 0.5).mean(0)
        assert (y, x) == pytest.approx((48, 48), abs=1)
        assert np.isfinite(pair.mask).all()


def test_donor_of_another_size():
    donor = FaceSim("test", 64, 6, 1, 0)[2]
    assert composite(np.random.default_rng(0), FACES[0], lambda: donor).fake.shape == (96, 96, 3)
