"""Faces are found on drawn and on real pictures, with landmarks in iBUG order."""

import cv2
import numpy as np
import pytest

from fdetect_jax.faces import finder
from fdetect_jax.faces.finder import Faces
from fdetect_jax.faces.landmarks import MESH_TO_68, MIRRORED_68, eyes, face_mask, facing, mirror
from fdetect_jax.facesim.faces import FaceSim
from fdetect_jax.media.photos import read_photo


@pytest.fixture(scope="module")
def drawn():
    return FaceSim(split="test", size=128, identities=20, per_identity=1)


@pytest.fixture(scope="module")
def portraits(shared):
    paths = sorted((shared / "data/faces/all_age_faces/val").glob("*.jpg"))[::20]
    assert paths
    return [read_photo(path) for path in paths]


def test_landmarks_lie_where_facesim_drew_them(faces, drawn):
    distance = []
    for number in range(len(drawn)):
        example = drawn[number]
        found = faces.detect(example["image"])
        assert len(found) == 1
        distance.append(np.linalg.norm(found[0].landmarks - example["landmarks"], axis=1).mean(0))
    assert np.median(distance) < 0.045 * drawn.size


def test_real_portraits(faces, portraits):
    for photo in portraits:
        face = faces.detect(photo)[0]
        left, right = eyes(face.landmarks)
        between = np.linalg.norm(right - left)
        # Two networks agree on the eyes, the nose tip and the mouth.
        assert np.linalg.norm(face.keypoints[:2] - [left, right], axis=1).max() < 0.25 * between
        assert np.linalg.norm(face.keypoints[2] - face.landmarks[30]) < 0.35 * between
        assert np.linalg.norm(face.keypoints[3] - face.landmarks[48:68].mean(0)) < 0.35 * between
        assert left[0] < right[0]
        assert face.landmarks[8, 1] > face.landmarks[57, 1] > face.landmarks[33, 1] > left[1]
        assert np.all(np.diff(face.landmarks[17:27, 0]) > -0.1 * between)
        x0, y0, x1, y1 = face.box
        inside = (face.landmarks > [x0 - 0.2 * face.side, y0 - 0.2 * face.side]) & (
            face.landmarks < [x1 + 0.2 * face.side, y1 + 0.2 * face.side]
        )
        assert inside.mean() > 0.95


def test_coordinates_follow_the_picture(faces, drawn):
    image = drawn[0]["image"]
    moved = cv2.copyMakeBorder(image, 30, 10, 50, 20, cv2.BORDER_REPLICATE)
    grown = cv2.resize(image, None, fx=10, fy=10, interpolation=cv2.INTER_LINEAR)  # over the detector's limit
    here, there, large = (faces.detect(one)[0] for one in (image, moved, grown))
    np.testing.assert_allclose(there.landmarks.mean(0) - here.landmarks.mean(0), [50, 30], atol=2)
    np.testing.assert_allclose(np.subtract(there.box, here.box), [50, 30, 50, 30], atol=8)
    np.testing.assert_allclose((large.landmarks.mean(0) + 0.5) / 10 - 0.5, here.landmarks.mean(0), atol=1.5)
    np.testing.assert_allclose((large.keypoints + 0.5) / 10 - 0.5, here.keypoints, atol=5)


def test_a_face_that_fills_the_frame(faces, portraits):
    escaped = 0
    for photo in portraits:
        face = faces.detect(photo)[0]
        low = np.maximum(np.round(face.centre - 0.4 * face.side), 0).astype(int)
        high = np.round(face.centre + 0.4 * face.side).astype(int)
        tight = np.ascontiguousarray(photo[low[1] : high[1], low[0] : high[0]])
        found = faces.detect(tight)
        assert found
        assert np.linalg.norm(found[0].centre + low - face.centre) < 0.25 * face.side
        escaped += not faces._boxes(tight)
    assert escaped  # else the second look is not tested


def test_a_face_lost_in_a_large_picture(faces, drawn):
    image = drawn[1]["image"]
    wide = cv2.copyMakeBorder(image, 600, 300, 900, 200, cv2.BORDER_CONSTANT, value=(90, 120, 90))
    assert not faces._boxes(wide)
    found = faces.detect(wide)
    assert len(found) == 1  # tiles overlap, and see it more than once
    np.testing.assert_allclose(found[0].centre - [900, 600], faces.detect(image)[0].centre, atol=12)


def test_largest_first(faces, drawn):
    small = cv2.resize(drawn[0]["image"], (100, 100), interpolation=cv2.INTER_AREA)
    large = cv2.resize(drawn[1]["image"], (160, 160))
    scene = np.full((200, 320, 3), 120, np.uint8)
    scene[50:150, 10:110], scene[20:180, 140:300] = small, large
    found = faces.detect(scene)
    assert [face.centre[0] > 140 for face in found] == [True, False]
    assert found[0].side > found[1].side
    assert all(face.landmarks is not None for face in found)


@pytest.mark.parametrize("shape", [(3000, 1), (1, 3000), (30_000, 3), (1, 1)])
def test_a_strip_shows_no_face_and_breaks_nothing(faces, drawn, shape):
    assert faces.detect(np.full((*shape, 3), 90, np.uint8)) == []
    assert not faces.broken
    assert len(faces.detect(drawn[0]["image"])) == 1


def test_broken_models_are_opened_anew(monkeypatch, drawn):
    finder.open_faces()
    with finder.own_faces() as first:
        with pytest.raises(RuntimeError, match="ROI"):
            first._run(first._detector, np.zeros((0, 64, 3), np.uint8))
        monkeypatch.setattr(finder, "load_models", lambda: pytest.fail("read again"))
        with finder.own_faces() as second:
            assert len(second.detect(drawn[0]["image"])) == 1
    monkeypatch.setattr(finder, "_own", None)


def test_nothing_to_find(faces):
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    assert faces.detect(noise) == []
    assert faces.detect(np.zeros((1, 1, 3), np.uint8)) == []


@pytest.mark.parametrize("bad", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3)), np.zeros((0, 8, 3), np.uint8)])
def test_other_arrays_are_refused(faces, bad):
    with pytest.raises(ValueError, match=r"image: found .* wanted uint8"):
        faces.detect(bad)


def test_min_confidence_is_checked_and_used(faces, drawn):
    with pytest.raises(ValueError, match="min_confidence"):
        Faces(min_confidence=0)
    with Faces(min_confidence=1.0) as strict:
        assert strict.detect(drawn[0]["image"]) == []


def test_no_chatter(faces, drawn, capfd):
    with Faces() as another:
        another.detect(drawn[0]["image"])
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def test_the_tables_are_permutations():
    assert len(set(MESH_TO_68.tolist())) == 68
    assert MESH_TO_68.max() < 468
    np.testing.assert_array_equal(MIRRORED_68[MIRRORED_68], np.arange(68))


def test_mirrored_landmarks_lie_on_the_mirrored_face(faces, drawn):
    for number in range(3):
        image = drawn[number]["image"]
        here = faces.detect(image)[0].landmarks
        there = faces.detect(np.ascontiguousarray(image[:, ::-1]))[0].landmarks
        np.testing.assert_allclose(mirror(here, drawn.size), there, atol=6)
        assert facing(mirror(here, drawn.size)) == pytest.approx(-facing(here), abs=1e-4)


def test_face_mask_reaches_from_forehead_to_chin():
    landmarks = FaceSim(split="test", size=128, identities=1, per_identity=1)[0]["landmarks"]
    mask = face_mask(landmarks, (128, 128))
    assert mask.dtype == np.uint8
    assert set(np.unique(mask)) == {0, 1}
    rows, columns = np.nonzero(mask)
    assert abs(rows.max() - min(landmarks[:17, 1].max(), 127)) <= 1
    assert rows.min() < landmarks[17:27, 1].min() - 3
    assert abs(columns.min() - max(landmarks[:, 0].min(), 0)) <= 1
