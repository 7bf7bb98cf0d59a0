"""The public predictor gives the verdicts of the command, and clips, kinds and heat maps go through the same engine."""

import gc

import numpy as np
import pytest

import fdetect_jax
from fdetect_jax.errors import UserError
from fdetect_jax.faces.extract import start_readers
from fdetect_jax.inference.protocol import Protocol
from fdetect_jax.inference.scorer import Scorer
from fdetect_jax.media.video import Sampling
from fdetect_jax.predict.predictor import Predictor
from fdetect_jax.predict.run import predict
from fdetect_jax.types import KINDS
from tests.inference import clip_detector

PROTOCOL = Protocol(sampling=Sampling(per_second=5), threshold=0.0)


def test_verdicts_are_the_commands(model, media):
    predictor = Predictor(model, protocol=PROTOCOL, workers=1)
    found = list(predictor.predict([media / "face.png", str(media / "folder"), media / "empty.jpg"]))
    rows = list(predict([verdict.file for verdict in found], predictor.scorer, PROTOCOL, workers=1))
    shown = {"annotated", "heat_map", "poster", "note", "evidence"}
    assert [{k: v for k, v in one.to_row().items() if k not in shown} for one in found] == [
        {k: v for k, v in row.items() if k not in shown} for row in rows
    ]
    assert [len(one.evidence) for one in found] == [1, 1, 0]


def test_files_in_turn_are_read_by_the_same_processes_until_it_is_closed(model, media, monkeypatch):
    started = []

    def start(*given, **options):
        started.append(start_readers(*given, **options))
        return started[-1]

    monkeypatch.setattr("fdetect_jax.faces.extract.start_readers", start)
    with Predictor(model, protocol=PROTOCOL, workers=1) as predictor:
        (one,) = predictor.predict(media / "face.png")
        assert [verdict.score for verdict in predictor.predict(media / "face.png")] == [one.score]
        assert len(started) == 1
        first, second = (predictor.predict(media / "face.png") for _ in range(2))
        both = [next(first).score, next(second).score, *(verdict.score for verdict in (*first, *second))]
        assert both == [one.score] * 2
        assert len(started) == 2  # the second began while the first one was at work
        (processes,) = [kept for kept in started if kept.running()]
    assert not processes.running()
    (again,) = predictor.predict(media / "face.png")
    assert (again.score, processes.running()) == (one.score, True)
    del predictor
    gc.collect()
    assert not processes.running()


@pytest.mark.parametrize("as_type", [str, lambda path: path, lambda path: [path], lambda path: (str(path),)])
def test_paths_may_be_one_or_several(model, media, monkeypatch, as_type):
    monkeypatch.setattr("fdetect_jax.predict.engine.verdicts", lambda files, *_, **__: ((file, None) for file in files))
    assert list(Predictor(model).predict(as_type(media / "folder"))) == [media / "folder" / "face.jpg"]


def test_what_is_not_there_is_refused_when_asked_for(model):
    with pytest.raises(UserError, match="absent"):
        Predictor(model).predict("absent")


def test_scores_are_the_scorers(model):
    crops = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    np.testing.assert_array_equal(Predictor(model).scores(crops), Scorer(model).scores(crops))


def test_what_it_computes_in_may_be_chosen(model):
    assert Predictor(model, dtype="bfloat16").scorer.dtype == "bfloat16"
    assert Predictor(model).scorer.dtype == "float32"


def test_without_a_protocol_the_models_own_threshold_counts():
    predictor = fdetect_jax.Predictor()
    own = predictor.scorer.calibration
    assert predictor.protocol == Protocol(threshold=own.threshold, suspicious=own.suspicious)
    assert predictor.protocol != Protocol()


def test_a_detector_of_clips_of_six_kinds_goes_through(media, tmp_path, monkeypatch):
    clip_detector.register(monkeypatch, "six", 6)
    scorer = Scorer(clip_detector.save(tmp_path / "d.safetensors", "six"), batch_size=4)
    clip, wall = predict(
        [media / "clip.mp4", media / "wall.png"], scorer, PROTOCOL, tmp_path / "out", heat_map=True, workers=1
    )
    assert clip["verdict"] == "fake"
    assert list(clip["classes"]) == list(KINDS)
    assert sum(clip["classes"].values()) == pytest.approx(1, abs=1e-5)
    likeliest = max(KINDS[1:], key=clip["classes"].__getitem__)
    assert clip["reason"].endswith(f"most like {likeliest}")
    scores = [score for _, score in clip["frames"]]
    assert len(scores) == 8
    assert scores[0] == scores[1] == scores[2] != scores[3]  # clips of three frames
    assert (tmp_path / "out" / clip["heat_map"]).is_file()
    assert (wall["verdict"], wall["classes"]) == ("not_applicable", {})


def test_heat_maps_of_a_detector_that_has_none_are_refused_before_work_starts(media, tmp_path, monkeypatch):
    clip_detector.register(monkeypatch, "bare", mask=False)
    scorer = Scorer(clip_detector.save(tmp_path / "d.safetensors", "bare"))
    with pytest.raises(UserError, match="heat map: this detector of clips has no head"):
        predict([media / "face.png"], scorer, PROTOCOL, tmp_path / "out", heat_map=True)
