"""Command-line arguments reach the detector and the protocol."""

from argparse import Namespace

from fdetect_jax.inference.options import chosen
from fdetect_jax.inference.protocol import Protocol
from fdetect_jax.media.video import Sampling
from tests.inference import clip_detector

DEFAULTS = {
    "model": None,
    "recipe": None,
    "dtype": None,
    "frames": None,
    "per_second": None,
    "faces": None,
    "min_face_share": 0.5,
    "multi_face": "max",
    "aggregation": "mean",
    "views": 1,
    "threshold": None,
}


def test_by_default_the_bundled_detector_and_its_threshold_count(capsys):
    scorer, protocol = chosen(Namespace(**DEFAULTS))
    own = scorer.calibration
    assert protocol == Protocol(threshold=own.threshold, suspicious=own.suspicious)
    assert 0 < protocol.suspicious < protocol.threshold
    assert protocol.threshold != 0.5
    assert "no --model given: using the bundled detector" in capsys.readouterr().err


def test_every_argument_counts(tmp_path, monkeypatch, capsys):
    clip_detector.register(monkeypatch, unit="face")
    model = clip_detector.save(tmp_path / "d.safetensors")
    rules = {"faces": "largest", "min_face_share": 0.1, "multi_face": "mean", "aggregation": "max", "threshold": 0.2}
    rules["views"] = 10
    changed = {"model": model, "recipe": "paper", "dtype": "bfloat16", "per_second": 2.0}
    scorer, protocol = chosen(Namespace(**DEFAULTS | rules | changed))
    assert (scorer.path, scorer.dtype, scorer.recipe.scale) == (model, "bfloat16", 1.3)
    assert protocol == Protocol(sampling=Sampling(per_second=2.0), **rules)
    assert chosen(Namespace(**DEFAULTS | {"model": model, "frames": 4}))[1].sampling == Sampling(4)
    assert capsys.readouterr().err == ""
