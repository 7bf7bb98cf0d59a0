"""Procedural faces: the same bytes for one index, exact landmarks, one person over many shots."""

import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest

from fdetect_jax.facesim.faces import SPLITS, FaceSim, clip

RIGHT_EYE, LEFT_EYE = slice(36, 42), slice(42, 48)


@pytest.fixture(scope="module")
def examples():
    source = FaceSim(size=64, identities=40, per_identity=2)
    return [source[i] for i in range(len(source))]


def _height_of_eyes(landmarks):
    lids = landmarks[[41, 40, 47, 46]].mean(0) - landmarks[[37, 38, 43, 44]].mean(0)
    return lids[1] / np.linalg.norm(landmarks[36] - landmarks[45])


def test_example_contract(examples):
    for e in examples[:8]:
        assert e["image"].shape == (64, 64, 3)
        assert e["image"].dtype == np.uint8
        assert e["landmarks"].shape == (68, 2)
        assert e["landmarks"].dtype == np.float32
        assert e["mask"].shape == (64, 64)
        assert e["mask"].dtype == np.uint8
        assert set(np.unique(e["mask"])) == {0, 1}
        assert e["identity"].dtype == np.int32


def test_random_access_gives_the_same_bytes():
    forward = FaceSim(size=48, identities=6, per_identity=2)
    backward = FaceSim(size=48, identities=6, per_identity=2)
    there = [forward[i] for i in range(len(forward))]
    back = [backward[i] for i in reversed(range(len(backward)))][::-1]
    for a, b in zip(there, back, strict=True):
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])
    np.testing.assert_array_equal(forward[-1]["image"], there[-1]["image"])
    with pytest.raises(IndexError):
        forward[len(forward)]


def test_another_process_gives_the_same_bytes():
    code = (
        "import zlib; from fdetect_jax.facesim.faces import FaceSim; e = FaceSim(size=48)[4321];"
        "print(zlib.crc32(e['image'].tobytes() + e['landmarks'].tobytes()))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    e = FaceSim(size=48)[4321]
    assert int(found) == zlib.crc32(e["image"].tobytes() + e["landmarks"].tobytes())


def test_identities_do_not_cross_splits():
    seen = {}
    for split in SPLITS:
        source = FaceSim(split, size=32, identities=5, per_identity=2)
        seen[split] = {int(source[i]["identity"]) for i in range(len(source))}
        assert len(seen[split]) == 5
    assert not seen["train"] & seen["val"]
    assert not seen["train"] & seen["test"]
    assert not seen["val"] & seen["test"]


@pytest.mark.parametrize(
    "change", [{"split": "val"}, {"size": 32}, {"identities": 7}, {"per_identity": 9}, {"seed": 1}]
)
def test_fingerprint_changes_with_every_field(change):
    assert FaceSim(**change).fingerprint != FaceSim().fingerprint
    assert FaceSim().fingerprint == FaceSim().fingerprint


def test_seed_changes_the_people():
    a, b = FaceSim(size=48)[3]["image"], FaceSim(size=48, seed=1)[3]["image"]
    assert np.abs(a.astype(int) - b).mean() > 10


@pytest.mark.parametrize("index", [0, 5, 11])
def test_one_index_is_one_face_at_every_size(index):
    small, large = FaceSim(size=64)[index], FaceSim(size=256)[index]
    shrunk = cv2.resize(large["image"], (64, 64), interpolation=cv2.INTER_AREA).astype(float)
    a, b = (cv2.GaussianBlur(v, (0, 0), 1.0) for v in (shrunk, small["image"].astype(float)))
    assert np.abs(a - b).mean() < 6
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.98
    np.testing.assert_allclose((small["landmarks"] + 0.5) * 4, large["landmarks"] + 0.5, atol=2.0)
    overlap = cv2.resize(large["mask"], (64, 64), interpolation=cv2.INTER_NEAREST)
    assert (overlap & small["mask"]).sum() / (overlap | small["mask"]).sum() > 0.95


def test_faces_fill_the_frame(examples):
    boxes = np.array([[*e["landmarks"].min(0), *e["landmarks"].max(0)] for e in examples])
    assert boxes.min() > 0
    assert boxes.max() < 63
    heights = (boxes[:, 3] - boxes[:, 1]) / 64
    assert 0.5 < heights.mean() < 0.75  # brows to chin
    centres = (boxes[:, 0] + boxes[:, 2]) / 128
    assert abs(centres.mean() - 0.5) < 0.03


def test_landmarks_lie_on_the_mask(examples):
    for e in examples:
        points = np.round(e["landmarks"][27:68]).astype(int)
        assert e["mask"][points[:, 1], points[:, 0]].mean() > 0.9
        hull = np.zeros((64, 64), np.uint8)
        cv2.fillConvexPoly(hull, cv2.convexHull(np.round(e["landmarks"]).astype(np.int32)), 1)
        assert (hull & e["mask"]).sum() > 0.75 * hull.sum()
        assert 0.15 < e["mask"].mean() < 0.7


def test_landmarks_are_in_ibug_order(examples):
    for e in examples:
        p = e["landmarks"]
        assert p[RIGHT_EYE, 0].mean() < p[30, 0] < p[LEFT_EYE, 0].mean()
        assert p[0, 0] < p[8, 0] < p[16, 0]
        assert p[17:27, 1].mean() < p[36:48, 1].mean() < p[31:36, 1].mean() < p[48:68, 1].mean() < p[8, 1]
        assert np.all(np.diff(p[48:55, 0]) > 0)
        assert np.all(p[[65, 66, 67], 1] - p[[63, 62, 61], 1] > -0.05)


def test_landmarks_find_what_is_drawn():
    """Where the landmarks say eyes, there is more contrast than on the cheek below."""
    source = FaceSim(size=128, per_identity=1)
    busier = []
    for i in range(20):
        e = source[i]
        grey = e["image"].astype(float).mean(2)
        drop = int(0.25 * np.linalg.norm(e["landmarks"][36] - e["landmarks"][45]))
        for eye in (RIGHT_EYE, LEFT_EYE):
            x, y = np.round(e["landmarks"][eye].mean(0)).astype(int)
            at_eye, below = (grey[v - 3 : v + 4, x - 7 : x + 8].std() for v in (y, y + drop))
            busier.append(at_eye > below)
    assert np.mean(busier) >= 0.9


def test_one_person_resembles_himself(examples):
    """The shape between landmarks and the colour of the skin differ less within a person than between two."""

    def describe(e):
        p = e["landmarks"]
        unit = np.linalg.norm(p[27] - p[8])
        eyes = np.linalg.norm(p[36] - p[45]) / unit
        skin = e["image"][e["mask"] > 0].mean(0) / 255
        return np.array([eyes, np.linalg.norm(p[31] - p[35]) / unit, *skin])

    x = np.array([describe(e) for e in examples])
    x = (x - x.mean(0)) / x.std(0)
    same = np.linalg.norm(x[0::2] - x[1::2], axis=1).mean()
    other = np.linalg.norm(x[0::2] - np.roll(x[1::2], 1, axis=0), axis=1).mean()
    assert same < 0.85 * other


def test_clip_is_smooth_and_blinks():
    frames = list(clip(3, 17, frames=50, size=64))
    assert len(frames) == 50
    assert {int(e["identity"]) for e in frames} == {17}
    points = np.stack([e["landmarks"] for e in frames])
    rigid = points[:, 27:31]
    assert np.abs(np.diff(rigid, axis=0)).max() < 2.0
    assert np.ptp(rigid[..., 0], axis=0).max() > 0.5
    openness = np.array([_height_of_eyes(p) for p in points])
    assert openness.min() < 0.25 * np.median(openness)
    assert np.median(openness) > 0.03
    again = next(clip(3, 17, frames=50, size=64))
    np.testing.assert_array_equal(again["image"], frames[0]["image"])


def test_clip_shows_the_person_of_the_source():
    source = FaceSim(size=64, per_identity=1)
    e = source[9]
    frame = next(clip(0, int(e["identity"]), frames=1, size=64))
    a, b = (v["image"][v["mask"] > 0].mean(0) for v in (e, frame))
    assert np.abs(a - b).max() < 40


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: FaceSim(split="dev"), "split.*'dev'.*train"),
        (lambda: FaceSim(size=31), "size.*31.*32 to 256"),
        (lambda: FaceSim(size=64.0), "size.*64.0"),
        (lambda: FaceSim(identities=0), "identities.*0"),
        (lambda: FaceSim(per_identity=-1), "per_identity.*-1"),
        (lambda: FaceSim(seed=-2), "seed.*-2"),
        (lambda: clip(0, -1, 3), "identity.*-1"),
        (lambda: clip(0, 1, 0), "frames.*0"),
        (lambda: clip(0, 1, 3, fps=0), "fps.*0"),
        (lambda: clip(0, 1, 3, size=512), "size.*512"),
    ],
)
def test_bad_arguments_are_named(make, named):
    with pytest.raises(ValueError, match=named):
        make()


def test_mediapipe_finds_the_faces():
    faces = pytest.importorskip("fdetect_jax.faces.finder")
    try:
        finder = faces.Faces()
    except faces.ModelsUnavailable as e:
        pytest.skip(str(e))
    source = FaceSim(split="test", size=256, per_identity=1)
    found, errors = 0, []
    for i in range(100):
        e = source[i]
        people = finder.detect(e["image"])
        found += bool(people)
        if people and people[0].landmarks is not None:
            eyes = np.linalg.norm(e["landmarks"][36] - e["landmarks"][45])
            errors.append(np.linalg.norm(people[0].landmarks - e["landmarks"], axis=1).mean() / eyes)
    assert found >= 99
    assert len(errors) >= 99
    assert np.mean(errors) <= 0.08
