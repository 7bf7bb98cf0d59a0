"""The blended swap: another face inside the mask, the same picture outside, and no crash on broken
landmarks.
"""

import numpy as np
import pytest

from fdetect_jax.errors import UserError
from fdetect_jax.faces.landmarks import face_mask, facing
from fdetect_jax.facesim.faces import FaceSim
from fdetect_jax.forgery import find_entry, swap
from fdetect_jax.forgery.swap import BlendedSwap


@pytest.fixture(scope="module")
def people():
    return FaceSim(split="test", size=64, identities=20, per_identity=1)


def _rng(seed=0):
    return np.random.default_rng(seed)


def _swap(rng, target, source):
    """image, mask"""
    made = BlendedSwap()(rng, target, lambda: source)
    np.testing.assert_array_equal(made.real, target["image"])
    return made.fake, made.mask


def test_changes_the_face_and_nothing_else(people):
    for number in range(8):
        target, source = people[number], people[number + 8]
        image, mask = _swap(_rng(number), target, source)
        assert image.dtype == np.uint8
        assert mask.dtype == np.float32
        assert mask.min() == 0
        assert 0.9 < mask.max() <= 1
        np.testing.assert_array_equal(image[mask == 0], target["image"][mask == 0])
        assert np.abs(image.astype(int) - target["image"])[mask > 0.8].mean() > 2
        # Nearly nothing of it lies outside of the face.
        assert mask[face_mask(target["landmarks"], (64, 64)) == 0].sum() < 0.05 * mask.sum()


def test_the_draw_decides_everything(people):
    image, mask = _swap(_rng(3), people[0], people[1])
    again, mask_again = _swap(_rng(3), people[0], people[1])
    np.testing.assert_array_equal(image, again)
    np.testing.assert_array_equal(mask, mask_again)
    masks = {_swap(_rng(seed), people[0], people[1])[1].tobytes() for seed in range(5)}
    assert len(masks) == 5


def test_the_stages_end_in_the_swap(people):
    target, source = people[0], people[1]
    steps, made = BlendedSwap().stages(_rng(3), target, lambda: source)
    np.testing.assert_array_equal(made.fake, _swap(_rng(3), target, source)[0])
    looks_away = facing(target["landmarks"]) * facing(source["landmarks"]) < 0
    np.testing.assert_array_equal(steps.source, source["image"][:, ::-1] if looks_away else source["image"])
    inside = made.mask == made.mask.max()
    assert steps.warped.dtype == np.uint8
    np.testing.assert_allclose(made.fake[inside], steps.matched[inside], atol=1)
    real, warped, matched = (image[made.mask > 0.5].mean(0) for image in (made.real, steps.warped, steps.matched))
    assert np.abs(matched - real).max() < np.abs(warped - real).max()


def test_inputs_are_left_alone(people):
    target, source = people[0], people[1]
    before = target["image"].copy(), source["image"].copy(), source["landmarks"].copy()
    _swap(_rng(), target, source)
    for kept, now in zip(before, (target["image"], source["image"], source["landmarks"]), strict=True):
        np.testing.assert_array_equal(kept, now)


def test_a_face_onto_itself_is_itself(people):
    image, _ = _swap(_rng(), people[2], people[2])
    assert np.abs(image.astype(int) - people[2]["image"]).max() <= 2


def test_features_land_on_the_targets_features(people):
    onto, off = (np.float64(people[number]["landmarks"]) for number in (0, 1))
    columns, rows = swap.warp_field(onto, off, 64)
    for point in (36, 45, 30, 48, 54):
        x, y = np.round(onto[point]).astype(int)
        away = [x, y] - onto[point]  # at most half a pixel, stretched by the triangle
        np.testing.assert_allclose([columns[y, x], rows[y, x]], off[point] + away, atol=0.6)


def test_colours_follow_the_target(people):
    target, source = people[4], dict(people[5])
    source["image"] = (source["image"] * 0.4).astype(np.uint8)
    image, mask = _swap(_rng(), target, source)
    inside = mask > 0.9
    gap = abs(image[inside].mean() - target["image"][inside].mean())
    assert gap < 0.5 * abs(source["image"][inside].mean() - target["image"][inside].mean())


def test_a_source_that_looks_the_other_way_is_mirrored(people):
    source = people[0]
    turned = {"image": source["image"][:, ::-1].copy(), "landmarks": swap.mirror(source["landmarks"], 64)}
    assert abs(facing(source["landmarks"])) > 1e-3
    image, _ = _swap(_rng(), source, turned)
    assert np.abs(image.astype(int) - source["image"]).max() <= 2


@pytest.mark.parametrize(
    "broken",
    [
        np.zeros((68, 2), np.float32),
        np.full((68, 2), np.nan, np.float32),
        np.full((68, 2), np.inf, np.float32),
        np.repeat(np.linspace(0, 63, 68, dtype=np.float32)[:, None], 2, axis=1),
        np.full((68, 2), 1e9, np.float32),
    ],
    ids=["one point", "nan", "infinite", "a line", "far away"],
)
def test_broken_landmarks_still_give_a_forgery(people, broken):
    good, bad = people[0], dict(people[1], landmarks=broken)
    for target, source in ((good, bad), (bad, good), (bad, bad)):
        image, mask = _swap(_rng(), target, source)
        assert mask.max() > 0.9
        assert np.isfinite(mask).all()
        if target is not source:
            assert np.abs(image.astype(int) - target["image"])[mask > 0.8].mean() > 2


def test_landmarks_that_coincide(people):
    """A degenerate triangle falls back to one similarity for the whole face."""
    landmarks = people[0]["landmarks"].copy()
    landmarks[36:48] = landmarks[36]
    image, mask = _swap(_rng(), dict(people[0], landmarks=landmarks), people[1])
    assert mask.max() > 0.9
    assert np.abs(image.astype(int) - people[0]["image"])[mask > 0.8].mean() > 2


def test_sizes_may_differ(people):
    source = FaceSim(split="test", size=96, identities=2, per_identity=1)[1]
    image, mask = _swap(_rng(), people[0], source)
    assert image.shape == (64, 64, 3)
    assert mask.shape == (64, 64)


def test_each_option_changes_what_it_says(people):
    target, source = people[0], people[1]
    plain_steps, plain = BlendedSwap().stages(_rng(3), target, lambda: source)
    steps, made = BlendedSwap(changed=1.0).stages(_rng(3), target, lambda: source)
    assert np.any(steps.source != plain_steps.source)
    np.testing.assert_array_equal(made.mask, plain.mask)
    _, made = BlendedSwap(inner=1.0).stages(_rng(3), target, lambda: source)
    assert made.mask.sum() < 0.9 * plain.mask.sum()
    chin = np.round(target["landmarks"][8]).astype(int) - [0, 2]
    assert made.mask[chin[1], chin[0]] < 0.1
    _, made = BlendedSwap(gradients=1.0).stages(_rng(3), target, lambda: source)
    np.testing.assert_array_equal(made.mask, plain.mask)
    np.testing.assert_array_equal(made.fake[made.mask == 0], target["image"][made.mask == 0])
    assert np.any(made.fake != plain.fake)
    edge = (plain.mask > 0.3) & (plain.mask < 0.5)  # by gradients it is the target there
    gap = [np.abs(one.fake[edge].astype(int) - target["image"][edge]).mean() for one in (made, plain)]
    assert gap[0] < gap[1]


def test_an_option_that_is_no_probability_is_named():
    with pytest.raises(UserError, match=r"forgery\.swap\.inner: found 2\.0, wanted a value in \[0"):
        find_entry("swap", {"inner": 2.0}).check()
