"""Self-blended images as a whole: what is blended with what, what a pair shares, and what training adds."""

from collections import Counter

import cv2
import numpy as np
import pytest

from fdetect_jax.faces.crop import face_area, face_crop, make_recipe
from fdetect_jax.faces.landmarks import mirror
from fdetect_jax.facesim.faces import FaceSim
from fdetect_jax.forgery import framing, sbi
from fdetect_jax.forgery.sbi import SelfBlend, self_blend
from fdetect_jax.forgery.sbi_masks import HULLS
from fdetect_jax.forgery.sbi_transforms import Augmentation, Colour

RECIPE = make_recipe("sbi", 96)
SERVING, TRAINING = SelfBlend(RECIPE, False), SelfBlend(RECIPE, True)


@pytest.fixture(scope="module")
def face():
    """A context crop, taller than wide."""
    drawn = FaceSim("test", 128, 2, 1)[1]
    image = cv2.copyMakeBorder(drawn["image"], 40, 12, 25, 30, cv2.BORDER_REFLECT_101)
    landmarks = drawn["landmarks"] + np.float32([25, 40])
    box = np.r_[landmarks.min(0), landmarks.max(0)]
    return {"image": image, "landmarks": landmarks, "box": box, "identity": drawn["identity"]}


def _rng(seed=0):
    return np.random.default_rng(seed)


def _whole(face):
    return slice(0, face["image"].shape[0]), slice(0, face["image"].shape[1])


def _blends(face, count=60):
    return [self_blend(_rng(seed), face["image"], face["landmarks"], _whole(face)) for seed in range(count)]


def _never():
    pytest.fail("asked for a donor")


def test_the_blend_in_closed_form(face):
    for blend in _blends(face, 20):
        mask, source, target = (one.astype(np.float64) for one in (blend.mask[..., None], blend.source, blend.target))
        exact = mask * source + (1 - mask) * target
        # Truncated, but for what lies so near a whole number that float32 cannot tell.
        assert (np.abs(np.floor(exact) - blend.blended) <= (np.abs(exact - np.round(exact)) < 1e-4)).all()
        np.testing.assert_array_equal(blend.blended[blend.mask == 0], blend.target[blend.mask == 0])
        equal = (source == target).all(-1)
        np.testing.assert_array_equal(blend.blended[equal], blend.target[equal])


def test_source_or_target_is_changed_never_both(face, monkeypatch):
    moves, real, kept = [], sbi.draw_affine, []
    monkeypatch.setattr(sbi, "draw_affine", lambda *args: moves.append(real(*args)) or moves[-1].copy())
    image, rng = face["image"], _rng()
    for _ in range(200):
        blend = self_blend(rng, image, face["landmarks"], _whole(face))
        moved = cv2.warpAffine(image, moves[-1], image.shape[1::-1])
        kept.append(np.array_equal(blend.target, image))
        assert np.array_equal(blend.source, moved) != kept[-1]
    assert np.mean(kept) == pytest.approx(0.5, abs=0.1)


def test_hulls_and_the_forehead_are_drawn_evenly(face, monkeypatch):
    calls, real = [], sbi.hull_mask
    monkeypatch.setattr(sbi, "hull_mask", lambda *args: calls.append(args) or real(*args))
    _blends(face, 800)
    hulls = Counter(hull for _, hull, _, _ in calls)
    assert set(hulls) == set(HULLS)
    assert min(hulls.values()) > 0.21 * len(calls)
    assert np.mean([above for *_, above in calls]) == pytest.approx(0.75, abs=0.04)


def test_the_mask_moves_as_the_source_does(face, monkeypatch):
    moves, real = [], sbi.draw_affine
    monkeypatch.setattr(sbi, "draw_affine", lambda *args: moves.append(real(*args)) or moves[-1].copy())
    monkeypatch.setattr(sbi, "elastic", lambda rng, mask: mask)
    monkeypatch.setattr(sbi, "soften", lambda rng, mask: mask.astype(np.float32))
    height, width = face["image"].shape[:2]
    for seed in range(6):
        blend = self_blend(_rng(seed), face["image"], face["landmarks"], _whole(face))
        wanted = cv2.warpAffine(blend.hull, moves[-1], (width, height), flags=cv2.INTER_NEAREST)
        np.testing.assert_array_equal(blend.mask, wanted)


def test_a_part_shows_what_the_whole_does(face, monkeypatch):
    monkeypatch.setattr(sbi.Detail, "draw", lambda rng: lambda image: image)  # shrinking starts at the part's corner
    part = slice(20, 150), slice(10, 160)
    for seed in range(6):
        whole = self_blend(_rng(seed), face["image"], face["landmarks"], _whole(face))
        piece = self_blend(_rng(seed), face["image"], face["landmarks"], part)
        np.testing.assert_array_equal(piece.mask, whole.mask[part])
        # OpenCV's own 8-bit colour conversion differs by a level between its vector loop and the rest of a row.
        assert np.abs(piece.target.astype(int) - whole.target[part]).max() <= 2
        inner = slice(8, -8), slice(12, -12)  # what the move may bring in
        difference = np.abs(piece.blended[inner].astype(int) - whole.blended[part][inner])
        assert difference.max() <= 3
        assert difference.mean() < 0.2


def test_serving_s_pair(face):
    plain, kept = face_crop(face, RECIPE)["image"], 0
    for seed in range(60):
        made = SERVING(_rng(seed), face, _never)
        assert (made.real.shape, made.fake.shape, made.mask.shape) == ((96, 96, 3), (96, 96, 3), (96, 96))
        assert (made.real.dtype, made.fake.dtype, made.mask.dtype) == (np.uint8, np.uint8, np.float32)
        assert made.mask.min() >= 0
        assert 0.2 < made.mask.max() <= 1
        changed = (made.real != made.fake).any(-1)
        assert changed.any()
        assert not changed[made.mask == 0].any()
        kept += np.array_equal(made.real, plain)
    assert 20 < kept < 40


def test_training_augments_both_alike(face, monkeypatch):
    plain = lambda rng: Augmentation(Colour(tone=(0.8, 0.1)), None)  # noqa: E731
    monkeypatch.setattr(sbi.Augmentation, "draw", plain)
    for seed in range(10):
        made = TRAINING(_rng(seed), face, _never)
        outside = made.mask == 0
        np.testing.assert_array_equal(made.real[outside], made.fake[outside])
        assert made.real.min() >= 25  # of the brightness


def test_training_mirrors_half_and_draws_its_margins(face, monkeypatch):
    areas, real = [], framing.face_area
    monkeypatch.setattr(framing, "face_area", lambda *args: areas.append((args, real(*args))) or areas[-1][1])
    rng = _rng()
    for _ in range(400):
        TRAINING(rng, face)
    mirrored = [not np.array_equal(args[0]["image"], face["image"]) for args, _ in areas]
    assert np.mean(mirrored) == pytest.approx(0.5, abs=0.08)
    assert len({area for _, area in areas}) > 100
    areas.clear()
    SERVING(_rng(), face)
    assert areas[0][1] == face_area(face, RECIPE)


def test_mirroring_is_the_original_s(face):
    width = face["image"].shape[1]
    other = framing.mirrored(face)
    np.testing.assert_array_equal(other["image"], face["image"][:, ::-1])
    np.testing.assert_allclose(other["landmarks"], mirror(face["landmarks"], width) + np.array([1, 0]))
    np.testing.assert_allclose(
        other["landmarks"][[0, 36, 40, 48]], [width, 0] + face["landmarks"][[16, 45, 47, 54]] * [-1, 1]
    )
    x0, y0, x1, y1 = face["box"]
    np.testing.assert_allclose(other["box"], [width - x1, y0, width - x0, y1])
    again = framing.mirrored(other)
    np.testing.assert_allclose(again["landmarks"], face["landmarks"], atol=1e-4)


@pytest.mark.parametrize("forgery", [SERVING, TRAINING])
def test_the_draw_decides_everything_and_inputs_are_left_alone(face, forgery):
    before = {name: np.copy(value) for name, value in face.items()}
    one, two, other = (forgery(_rng(seed), face) for seed in (3, 3, 4))
    for name in ("real", "fake", "mask", "face"):
        a, b, c = (getattr(forged, name) for forged in (one, two, other))
        np.testing.assert_array_equal(a, b)
        assert (a != c).any() or (name == "face" and forgery is SERVING)  # which always cuts alike
    for name, value in before.items():
        np.testing.assert_array_equal(face[name], value)


def test_an_image_without_a_box_is_taken_as_it_is_framed():
    drawn = FaceSim("test", 64, 2, 1)[0]
    for recipe, size in ((None, 64), (make_recipe("aligned64"), 64), (make_recipe("aligned64", 48), 48)):
        for training in (False, True):
            made = SelfBlend(recipe, training)(_rng(1), drawn)
            assert made.real.shape == (size, size, 3)
            assert (made.real != made.fake).any()
    for seed in range(6):
        blend, made = SelfBlend(None, False).stages(_rng(seed), drawn)
        np.testing.assert_array_equal(made.real, blend.target)
        np.testing.assert_array_equal(made.fake, blend.blended)
        np.testing.assert_array_equal(made.mask, blend.mask)


@pytest.mark.parametrize(
    "broken",
    [np.zeros((68, 2)), np.full((68, 2), np.nan), np.full((68, 2), 1e9), np.full((68, 2), -500.0)],
    ids=["one point", "nan", "far away", "outside"],
)
def test_broken_landmarks_still_give_a_pair(face, broken):
    for forgery in (SERVING, TRAINING):
        made = forgery(_rng(2), face | {"landmarks": broken.astype(np.float32)})
        assert np.isfinite(made.mask).all()
        assert made.mask.max() > 0.2
        assert (made.real != made.fake).any()


def test_a_mask_that_leaves_nothing_is_drawn_again(face, monkeypatch):
    real, tries = sbi.soften, []
    monkeypatch.setattr(
        sbi, "soften", lambda rng, hull: tries.append(1) and None if len(tries) < 3 else real(rng, hull)
    )
    blend = self_blend(_rng(), face["image"], face["landmarks"], _whole(face))
    assert len(tries) == 3
    assert blend.mask.max() > 0.2


def test_the_face_is_where_the_tight_crop_has_it(face):
    wanted = face_crop(face, RECIPE)["mask"]
    assert 0.2 < wanted.mean() < 0.8
    np.testing.assert_array_equal(SERVING(_rng(), face).face, wanted)
    for seed in range(20):  # mirrored and cut anew, the face stays where most of the mask is
        made = TRAINING(_rng(seed), face)
        assert made.mask[made.face == 1].mean() > 3 * made.mask[made.face == 0].mean()
