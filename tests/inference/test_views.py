"""A face's score from its views, for detectors of faces and of clips, in files and in evaluations."""

import json

import cv2
import numpy as np
import pytest
from scipy.special import expit, logit

from fdetect_jax.cli import main
from fdetect_jax.errors import UserError
from fdetect_jax.evaluation.sets import DataSet, score_sets
from fdetect_jax.faces.clips import FaceCrop
from fdetect_jax.facesim.faces import FaceSim
from fdetect_jax.inference.labelled import files_of, score_files
from fdetect_jax.inference.protocol import Protocol
from fdetect_jax.inference.scorer import Scorer
from fdetect_jax.inference.views import predictions_of_faces, views_of
from tests.evaluation.models import save
from tests.inference import clip_detector


def crops_of(count, views, size, tracks):
    rng = np.random.default_rng(0)
    shown = rng.integers(0, 256, (count, views, size, size, 3), np.uint8)
    return [
        FaceCrop(number, 0.0, track, (0, 0, 1, 1), 1.0, {"image": one[0], "views": one})
        for number, (one, track) in enumerate(zip(shown, tracks, strict=True))
    ]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save(tmp_path_factory.mktemp("model") / "d.safetensors")


def test_a_face_has_the_mean_of_its_higher_half(model):
    """Two files, one without a face; means are over P(fake)."""
    scorer, faces = Scorer(model, batch_size=4, recipe="fwa"), crops_of(3, 4, 64, (0, 0, 1))
    groups = [("a", *views_of(faces, 4)), ("b", (), ())]
    found = dict(predictions_of_faces(scorer, Protocol(views=4), groups))
    for number, face in enumerate(faces):
        each = scorer.predictions(face.example["views"])
        assert found["a"].margins[number] == pytest.approx(logit(np.sort(expit(each.margins))[2:].mean()), abs=1e-4)
        np.testing.assert_allclose(found["a"].classes[number], each.classes.mean(axis=0), rtol=1e-5)
    assert [values.shape for values in found["b"]] == [(0,), (0, 2), (0,)]
    plain = dict(predictions_of_faces(scorer, Protocol(), [("a", *views_of(faces, 1))]))
    images = np.stack([face.example["image"] for face in faces])
    np.testing.assert_allclose(plain["a"].margins, scorer.margins(images), rtol=1e-6)


def test_no_clip_mixes_views(tmp_path, monkeypatch):
    clip_detector.register(monkeypatch)
    scorer = Scorer(clip_detector.save(tmp_path / "d.safetensors"), batch_size=2, recipe="fwa")
    faces = crops_of(6, 2, scorer.size, (0, 1, 0, 1, 0, 1))
    found = dict(predictions_of_faces(scorer, Protocol(views=2), [("a", *views_of(faces, 2))]))["a"]
    tracks = [face.track for face in faces]
    both = [
        dict(scorer.margins_of_each([("a", [face.example["views"][view] for face in faces], tracks)]))["a"]
        for view in range(2)
    ]
    np.testing.assert_allclose(found.margins, np.max(both, axis=0), rtol=1e-6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, faces):
    root, source = tmp_path_factory.mktemp("data"), FaceSim(split="test", size=128, identities=2, per_identity=1)
    for number, name in enumerate(("real", "fake")):
        (root / name).mkdir()
        cv2.imwrite(str(root / name / "a.png"), source[number]["image"][..., ::-1])
    return root


def test_commands_and_evaluation_see_the_same_views(model, folder, tmp_path, monkeypatch):
    """The score of a file is that of its one face, from ten crops, and the same each time."""
    monkeypatch.setattr("fdetect_jax.predict.command.set_up", lambda: None)
    scorer, files = Scorer(model, recipe="fwa"), files_of(folder)
    found = [one.margins[0] for one in score_files(folder, files, scorer, Protocol(views=10), workers=1)]
    other = [one.margins[0] for one in score_files(folder, files, scorer, Protocol(), workers=1)]
    assert found != pytest.approx(other, abs=1e-6)
    rules = ["--recipe", "fwa", "--views", "10", "--aggregation", "top_third", "--workers", "1"]
    names = [str(folder / file.name) for file in files]
    main(["predict", *names, "--model", str(model), *rules, "--json", str(tmp_path / "rows.json")])
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [row["score"] for row in rows] == pytest.approx(expit(found), abs=1e-5)


@pytest.mark.parametrize(
    ("prepared", "degraded", "what"), [(None, True, "degraded faces"), (object(), False, "prepared crops")]
)
def test_what_is_seen_once_is_refused(prepared, degraded, what, model, folder):
    sets = [DataSet("a", folder, prepared, tuple(files_of(folder)))]
    how = {"degraded": degraded, "seed": 0, "workers": 1, "seconds": 60}
    with pytest.raises(UserError, match=f"views: found 2, wanted 1: {what} are seen once"):
        score_sets(sets, Scorer(model, recipe="fwa"), Protocol(views=2), **how)
