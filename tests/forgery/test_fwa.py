"""Warping artefacts: what is pasted, where, and in which ranges it is drawn."""

import dataclasses
from collections import Counter

import cv2
import numpy as np
import pytest

from fdetect_jax.faces.crop import face_crop, make_recipe
from fdetect_jax.faces.warp import similarity
from fdetect_jax.facesim.faces import FaceSim
from fdetect_jax.forgery import fwa
from fdetect_jax.forgery.framing import draw_frame
from fdetect_jax.forgery.fwa import HULLS, MEAN_FACE, SIZE, WarpArtefacts, coarse_part, hull_mask
from fdetect_jax.forgery.sbi_transforms import Augmentation, Colour

RECIPE = make_recipe("sbi", 96)


@pytest.fixture(scope="module")
def face():
    drawn = FaceSim("test", 192, 2, 1)[1]
    box = np.r_[drawn["landmarks"].min(0), drawn["landmarks"].max(0)]
    return {name: drawn[name] for name in ("image", "landmarks", "identity")} | {"box": box}


def _rng(seed=0):
    return np.random.default_rng(seed)


def test_the_mean_face_is_a_face():
    assert MEAN_FACE.shape == (51, 2)
    assert MEAN_FACE.min() >= 0
    assert MEAN_FACE.max() <= 1
    np.testing.assert_allclose(MEAN_FACE[:5, 1], MEAN_FACE[9:4:-1, 1])  # brows, the same on both sides
    np.testing.assert_allclose(MEAN_FACE[:5, 0] + MEAN_FACE[9:4:-1, 0], 0.98, atol=0.001)


@pytest.mark.parametrize("hull", HULLS)
def test_hulls(face, hull):
    aligning = SIZE * similarity(face["landmarks"][17:].astype(float), MEAN_FACE)
    points = face["landmarks"] @ aligning[:, :2].T + aligning[:, 2]
    chosen = {
        "normal": points,
        "inner": points[17:],
        "inner without brows": points[27:],
        "mouth": np.concatenate([points[2:15], points[29:30]]),
    }
    if hull == "whole":
        height = points[9, 1] - points[22, 1]
        low = [(x, y + 15 if 5 <= i <= 11 else y) for i, (x, y) in enumerate(points[:18])]
        chosen["whole"] = np.array([*low, *(points[18:27] - [0, height / 4])])
    wanted = np.zeros((SIZE, SIZE), np.uint8)
    cv2.fillPoly(wanted, [cv2.convexHull(chosen[hull].astype(np.int32))], 1)
    assert (hull_mask(points, hull) != wanted).mean() < 0.005  # pixels that the outline crosses


def test_hulls_scales_and_kernels_are_drawn_evenly(face, monkeypatch):
    hulls, sizes, kernels, deformed = Counter(), Counter(), Counter(), []
    real, resize, blur, deform = fwa.hull_mask, cv2.resize, cv2.GaussianBlur, fwa._deformed
    monkeypatch.setattr(fwa, "hull_mask", lambda points, hull: hulls.update([hull]) or real(points, hull))
    monkeypatch.setattr(
        fwa.cv2, "resize", lambda image, size, **how: sizes.update([size]) or resize(image, size, **how)
    )
    monkeypatch.setattr(
        fwa.cv2, "GaussianBlur", lambda image, k, s: kernels.update([(image.ndim, k, s)]) or blur(image, k, s)
    )
    monkeypatch.setattr(fwa, "_deformed", lambda rng, mask: deformed.append(1) or deform(rng, mask))
    rng, count = _rng(), 900
    for _ in range(count):
        coarse_part(rng, face["image"], face["landmarks"])
    hulls["whole"] -= count  # that one restricts all
    assert set(hulls) == set(HULLS)
    assert min(hulls.values()) > 0.16 * count
    assert sizes.pop((SIZE, SIZE)) == count
    assert set(sizes) == {(s, s) for s in (51, 77, 102, 128, 154, 179, 205)}
    assert min(sizes.values()) > 0.11 * count
    assert kernels.pop((3, (5, 5), 0)) == count
    assert set(kernels) == {(2, (k, k), 0) for k in range(1, 19, 2)}
    assert sum(kernels.values()) / count == pytest.approx(0.9, abs=0.03)
    assert len(deformed) / count == pytest.approx(0.9, abs=0.03)


def test_nodes_move_by_20_pixels(monkeypatch):
    fields, remap = [], cv2.remap
    monkeypatch.setattr(
        fwa.cv2, "remap", lambda image, x, y, *more, **how: fields.append(x) or remap(image, x, y, *more, **how)
    )
    rng, mask = _rng(), np.ones((SIZE, SIZE), np.uint8)
    for _ in range(200):
        fwa._deformed(rng, mask)
    corners = np.array([x[0, 0] for x in fields] + [x[-1, 0] for x in fields])
    assert corners.std() == pytest.approx(20, rel=0.1)
    moved = np.array([x - np.arange(SIZE) for x in fields])
    assert np.abs(np.diff(moved, axis=2)).max() < 1.5  # in proportion between the nodes


def test_what_is_pasted_is_coarse_and_stays_within_the_face(face):
    for seed in range(20):
        part, mask = coarse_part(_rng(seed), face["image"], face["landmarks"])
        assert set(np.unique(mask)) == {0, 1}
        inside = mask > 0
        detail = [cv2.Laplacian(one.astype(np.float32), cv2.CV_32F)[inside].std() for one in (part, face["image"])]
        assert detail[0] < 0.9 * detail[1]
        gap = np.abs(part.astype(float) - face["image"])[inside]
        assert gap.mean() < 12  # the same face, no dark rim
        y, x = np.nonzero(inside)
        low, high = face["landmarks"].min(0) - 20, face["landmarks"].max(0) + 20
        assert (x.min() > low[0]) & (x.max() < high[0])
        assert y.max() < high[1]


def test_serving_s_pair(face):
    plain = face_crop(face, RECIPE)["image"]
    for seed in range(10):
        made = WarpArtefacts(RECIPE, False)(_rng(seed), face, lambda: pytest.fail("asked for a donor"))
        np.testing.assert_array_equal(made.real, plain)
        assert (made.real.dtype, made.fake.dtype, made.mask.dtype) == (np.uint8, np.uint8, np.float32)
        assert made.mask.shape == (96, 96)
        changed = (made.real != made.fake).any(-1)
        assert changed.any()
        assert not changed[made.mask == 0].any()


def test_the_stages_end_in_the_fake():
    drawn = FaceSim(split="test", size=128, identities=2, per_identity=1)[0]
    forgery = WarpArtefacts(None, False)
    paste, made = forgery.stages(_rng(1), drawn)
    np.testing.assert_array_equal(paste.target, drawn["image"])
    np.testing.assert_array_equal(made.fake, np.where(paste.mask[..., None] > 0, paste.part, paste.target))
    np.testing.assert_array_equal(made.fake, forgery(_rng(1), drawn).fake)


def test_training_augments_what_it_pastes_onto(face, monkeypatch):
    brighter = lambda rng: Augmentation(Colour(tone=(1.0, 0.2)), None)  # noqa: E731
    monkeypatch.setattr(fwa.Augmentation, "draw", brighter)
    for seed in range(8):
        made = WarpArtefacts(RECIPE, True)(_rng(seed), face)
        outside, inside = made.mask == 0, made.mask == 1
        np.testing.assert_array_equal(made.real[outside], made.fake[outside])
        assert made.real[inside].mean() - made.fake[inside].mean() > 20
        assert made.real.min() >= 51


def test_training_frames_as_sbi_does(face):
    rng = _rng()
    frames = [draw_frame(rng, face, RECIPE, True) for _ in range(600)]
    mirrored = np.mean([not np.array_equal(one["image"], face["image"]) for one, _ in frames])
    assert mirrored == pytest.approx(0.5, abs=0.06)
    assert len({area for _, area in frames}) > 100
    assert draw_frame(rng, face, RECIPE, False)[0] is face
    framed = {name: face[name] for name in ("image", "landmarks")}
    assert draw_frame(rng, framed, None, False)[1] == (0, 0, 192, 192)


@pytest.mark.parametrize("training", [False, True])
def test_the_draw_decides_everything_and_inputs_are_left_alone(face, training):
    before = {name: np.copy(value) for name, value in face.items()}
    one, two, other = (WarpArtefacts(RECIPE, training)(_rng(seed), face) for seed in (3, 3, 4))
    for a, b in zip(dataclasses.astuple(one), dataclasses.astuple(two), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (one.fake != other.fake).any()
    for name, value in before.items():
        np.testing.assert_array_equal(face[name], value)


@pytest.mark.parametrize("broken", [0.0, np.nan, 1e9])
def test_broken_landmarks_still_give_a_pair(face, broken):
    made = WarpArtefacts(RECIPE, True)(_rng(1), face | {"landmarks": np.full((68, 2), broken, np.float32)})
    assert made.mask.max() == 1
    assert (made.real != made.fake).any()
