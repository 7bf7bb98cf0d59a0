"""Augmentation: one draw for all images of a call, off means untouched, and a wrong field is named."""

import dataclasses

import cv2
import numpy as np
import pytest

from fdetect_jax.data.augment import Augment
from fdetect_jax.facesim.faces import FaceSim

OFF = Augment.off()


@pytest.fixture(scope="module")
def image():
    return FaceSim(split="test", size=64, identities=1, per_identity=1)[0]["image"]


def _run(augment, *images, seed=0):
    return augment(np.random.default_rng(seed), images)[0]


def test_off_changes_nothing(image):
    for seed in range(20):
        np.testing.assert_array_equal(_run(OFF, image, seed=seed)[0], image)


ONLY = {
    "flip": {"flip": 1.0},
    "translate": {"translate": 0.2},
    "scale": {"scale": (1.2, 1.3)},
    "brightness": {"brightness": 0.3},
    "contrast": {"contrast": 0.5},
    "saturation": {"saturation": 0.5},
    "hue": {"hue": 0.2},
    "blur": {"blur": 1.0, "blur_sigma": (1.0, 2.0)},
    "resample": {"resample": 1.0, "resample_factor": (0.3, 0.5)},
    "jpeg": {"jpeg": 1.0, "jpeg_quality": (20, 40)},
    "noise": {"noise": 1.0, "noise_sigma": (3.0, 4.0)},
}


@pytest.mark.parametrize("part", ONLY)
def test_every_part_works_alone_and_alike_on_all_images(image, part):
    augment = dataclasses.replace(OFF, **ONLY[part])
    for seed in range(3):
        one, two = _run(augment, image, image.copy(), seed=seed)
        assert one.dtype == np.uint8
        assert one.shape == image.shape
        assert not np.array_equal(one, image)
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(one, _run(augment, image, seed=seed)[0])


def test_all_parts_are_covered():
    numbers = {f.name for f in dataclasses.fields(Augment)} - {
        "blur_sigma",
        "resample_factor",
        "jpeg_quality",
        "noise_sigma",
        "resample_kernels",
        "webp",
        "full_chroma",
    }
    assert set(ONLY) == numbers


def test_the_whole_is_the_same_for_a_face_and_its_fake(image):
    fake = image.copy()
    fake[20:30, 20:30] = 0
    for seed in range(30):
        augment = dataclasses.replace(Augment(), jpeg=0.0, blur=0.0, resample=0.0)
        one, two = _run(augment, image, fake, seed=seed)
        assert (one == two).all(-1).mean() > 0.9  # only the painted square differs


def test_what_the_parts_do(image):
    np.testing.assert_array_equal(_run(dataclasses.replace(OFF, flip=1.0), image)[0], image[:, ::-1])
    grey = np.full((32, 32, 3), 128, np.uint8)
    means = [float(_run(dataclasses.replace(OFF, brightness=0.2), grey, seed=s)[0].mean()) for s in range(40)]
    assert 128 - 52 <= min(means) < 100
    assert 155 < max(means) <= 128 + 52
    # Colour parts leave grey grey.
    np.testing.assert_array_equal(_run(dataclasses.replace(OFF, hue=0.5, saturation=1.0), grey)[0], grey)
    blurred = _run(dataclasses.replace(OFF, blur=1.0, blur_sigma=(2.0, 2.0)), image)[0]
    np.testing.assert_array_equal(blurred, cv2.GaussianBlur(image, (0, 0), 2.0))


def test_hue_turns_by_at_most_its_share_of_the_circle():
    red = np.zeros((8, 8, 3), np.float32)
    red[..., 0] = 200
    for share in (0.1, 0.4):
        augment = dataclasses.replace(OFF, hue=share)
        seen = [_run(augment, red.astype(np.uint8), seed=seed)[0].astype(np.float32) for seed in range(40)]
        hue = np.array([cv2.cvtColor(one / 255, cv2.COLOR_RGB2HSV)[0, 0, 0] for one in seen])
        turned = np.abs((hue + 180) % 360 - 180)
        assert 0.8 * 360 * share < turned.max() <= 360 * share + 1
        assert {one.max() for one in seen} == {200}


def test_jpeg_quality_is_in_its_range(image):
    def loss(low, high):
        augment = dataclasses.replace(OFF, jpeg=1.0, jpeg_quality=(low, high))
        return np.mean([np.abs(_run(augment, image, seed=s)[0].astype(int) - image).mean() for s in range(8)])

    assert loss(90, 95) < loss(50, 60) < loss(5, 10)


def test_a_shift_moves_by_at_most_the_fraction():
    dot = np.zeros((64, 64, 3), np.uint8)
    dot[32, 32] = 255
    places = []
    for seed in range(40):
        moved = _run(dataclasses.replace(OFF, translate=0.25), dot, seed=seed)[0][..., 0].astype(float)
        rows, columns = np.nonzero(moved > moved.max() / 2)
        places.append((rows.mean() - 32, columns.mean() - 32))
    assert np.abs(places).max() <= 16.5
    assert np.abs(places).max() > 10


def test_probability_is_met(image):
    augment = dataclasses.replace(OFF, flip=0.3)
    rng = np.random.default_rng(0)
    small = image[:8, :8]
    flips = np.mean([not np.array_equal(augment(rng, [small])[0][0], small) for _ in range(1000)])
    assert flips == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("flip", 1.5),
        ("translate", 0.6),
        ("scale", (1.1, 0.9)),
        ("brightness", -0.1),
        ("contrast", 2.0),
        ("saturation", -1.0),
        ("hue", 0.7),
        ("blur", -0.1),
        ("blur_sigma", (0.0, 1.0)),
        ("resample", 2),
        ("resample_factor", (0.5, 1.5)),
        ("jpeg", 1.01),
        ("jpeg_quality", (0, 50)),
        ("jpeg_quality", (50,)),
    ],
)
def test_a_wrong_field_is_named(field, value):
    with pytest.raises(ValueError, match=rf"augment\.{field}: found"):
        Augment(**{field: value})


def test_masks_move_with_the_images():
    """A mask that equals the image stays equal to it, up to rounding."""
    image = np.random.default_rng(0).integers(0, 256, (24, 24, 1), np.uint8).repeat(3, axis=2)
    augment = dataclasses.replace(OFF, flip=0.5, translate=0.2, scale=(0.8, 1.2))
    for seed in range(6):
        (moved,), (mask,) = augment(np.random.default_rng(seed), [image], [image[..., 0] / np.float32(255)])
        assert mask.dtype == np.float32
        np.testing.assert_allclose(255 * mask, moved[..., 0], atol=1.5)
        assert not np.array_equal(moved, image)


def test_masks_are_not_lit():
    mask = np.random.default_rng(0).random((8, 8), np.float32)
    augment = dataclasses.replace(OFF, brightness=0.5, blur=1.0, jpeg=1.0)
    _, (kept,) = augment(np.random.default_rng(0), [np.zeros((8, 8, 3), np.uint8)], [mask])
    np.testing.assert_array_equal(kept, mask)


def test_how_it_is_compressed_and_resampled(image):
    """Each choice changes the result, and none of them where its part is off."""
    jpeg = dataclasses.replace(OFF, jpeg=1.0, jpeg_quality=(40, 40))
    made = {name: _run(dataclasses.replace(jpeg, **{name: 1.0}), image)[0] for name in ("webp", "full_chroma")}
    made["neither"] = _run(jpeg, image)[0]
    assert len({one.tobytes() for one in made.values()}) == 3
    resample = dataclasses.replace(OFF, resample=1.0, resample_factor=(0.6, 0.6))
    kernels = dataclasses.replace(resample, resample_kernels=True)
    assert len({_run(kernels, image, seed=seed)[0].tobytes() for seed in range(60)}) == 12
    assert len({_run(resample, image, seed=seed)[0].tobytes() for seed in range(60)}) == 1
    off = dataclasses.replace(OFF, webp=1.0, full_chroma=1.0, resample_kernels=True)
    np.testing.assert_array_equal(_run(off, image)[0], image)


def test_noise_has_its_deviation(image):
    grey = np.full((128, 128, 3), 120, np.uint8)
    noisy = _run(dataclasses.replace(OFF, noise=1.0, noise_sigma=(5.0, 5.0)), grey)[0].astype(float)
    assert noisy.std() == pytest.approx(5, rel=0.02)
    assert noisy.mean() == pytest.approx(120, abs=0.1)
