"""``fdetect evaluate`` from files to a report and a calibrated copy."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from fdetect_jax.cli import main
from fdetect_jax.datasets.prepare import prepare
from fdetect_jax.datasets.selection import Selection
from fdetect_jax.evaluation.metrics import METRICS
from fdetect_jax.faces.crop import crop
from fdetect_jax.inference.calibration import Calibration
from fdetect_jax.inference.scorer import Scorer
from fdetect_jax.media.video import Sampling
from tests.evaluation.models import RECIPE, draw_faces, save
from tests.pages import Page


@pytest.fixture(scope="module", autouse=True)
def this_process_stays_as_it_is():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fdetect_jax.evaluation.command.set_up", lambda: None)
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save(tmp_path_factory.mktemp("model") / "d.safetensors")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Drawn faces as they are and darkened, an image without a face, and a file that is none."""
    root = tmp_path_factory.mktemp("data") / "test"
    draw_faces(root, 12)
    (root / "fake" / "text.mp4").write_text("no video")
    return root


@pytest.fixture(scope="module")
def evaluated(model, data, tmp_path_factory, faces):
    folder = tmp_path_factory.mktemp("out")
    outputs = [
        "--output",
        str(folder),
        "--json",
        str(folder / "copy.json"),
        "--calibrate",
        str(folder / "c.safetensors"),
    ]
    assert main(["evaluate", "--model", str(model), "--data", str(data), "--workers", "1", *outputs]) == 0
    return folder


def test_scores_are_the_detectors_on_the_crops_of_the_largest_detected_face(evaluated, model, data, faces):
    report = json.loads((evaluated / "report.json").read_text())
    scorer = Scorer(model)
    for row in report["files"]:
        image = cv2.imread(str(data / row["name"]))[..., ::-1].copy()
        crops = [crop(image, face, RECIPE)["image"] for face in faces.detect(image)]
        assert row["score"] == pytest.approx(scorer.scores(np.stack(crops)).max(), abs=1e-4)
        assert row["label"] == int(row["name"].startswith("fake"))
        assert row["method"] == ("dark" if row["label"] else "real")


def test_table_has_a_line_for_what_there_is(model, data, capsys, faces):
    assert main(["evaluate", "--model", str(model), "--data", str(data), "--workers", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == " ".join(metric.title for metric in METRICS.values()).split()
    assert lines[1].split()[0] == "video"
    assert lines[1].endswith("(6 real, 6 fake)")
    assert [line.split(":")[0] for line in lines[2:]] == ["excluded"] * 2


def test_report_says_what_was_left_out_and_with_what_it_was_made(evaluated, data):
    report = json.loads((evaluated / "report.json").read_text())
    assert (report["data"]["scored"], report["data"]["excluded"]) == (12, 2)
    assert report["data"]["sets"] == [{"name": "test", "split": None, "scored": 12, "excluded": 2}]
    assert (report["job"], report["title"], report["threshold"]) == ("evaluation", "test", 0.5)
    reasons = report["data"]["reasons"]
    assert reasons["no face"] == ["real/blank.png"]
    assert ["fake/text.mp4"] in reasons.values()
    tests = report["tests"]
    assert list(tests) == [f"{level}{of}" for level in ("video", "frame") for of in ("", "/test", "/test/dark")]
    assert tests["video"] == tests["frame"] | {"unit": "video"}
    assert tests["video/test/dark"]["auc"] == tests["video"]["auc"]
    assert report["model"]["recipe"] == RECIPE.to_dict()
    assert "not calibrated" in report["model"]["description"]
    assert (evaluated / "copy.json").read_text() == (evaluated / "report.json").read_text()
    assert "blank.png" in (evaluated / "report.html").read_text()


def test_the_calibrated_copy_has_its_threshold(evaluated, model):
    scorer = Scorer(evaluated / "c.safetensors")
    assert scorer.calibration != Calibration()
    assert (scorer.calibration.data, scorer.calibration.n_real, scorer.calibration.n_fake) == ("test", 6, 6)
    assert scorer.limits.smallest > 20  # pixels
    assert scorer.limits.blurred > 0
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    np.testing.assert_array_equal(scorer.margins(images), Scorer(model).margins(images))


def test_arguments_reach_the_protocol(model, data, tmp_path, faces):
    rules = [
        "--frames",
        "4",
        "--faces",
        "largest",
        "--multi-face",
        "mean",
        "--aggregation",
        "median",
        "--threshold",
        "0.3",
    ]
    options = ["--workers", "1", "--json", str(tmp_path / "r.json"), "--recipe", "paper", "--min-face-share", "0.2"]
    assert main(["evaluate", "--model", str(model), "--data", str(data), *rules, *options]) == 0
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["protocol"] == {
        "sampling": {"count": 4},
        "faces": "largest",
        "min_face_share": 0.2,
        "multi_face": "mean",
        "aggregation": "median",
        "threshold": 0.3,
        "suspicious": None,
        "views": 1,
    }
    assert (report["model"]["recipe"]["scale"], report["model"]["recipe"]["size"]) == (1.3, 64)


@pytest.fixture(scope="module")
def prepared(data, tmp_path_factory, faces):
    return prepare("folder", data.parent, tmp_path_factory.mktemp("prepared") / "p", RECIPE, faces="all", workers=1)


def test_prepared_data_gets_the_same_scores(evaluated, model, prepared, tmp_path):
    assert main(["evaluate", "--model", str(model), "--data", str(prepared), "--output", str(tmp_path)]) == 0
    found, plain = (json.loads((folder / "report.json").read_text()) for folder in (tmp_path, evaluated))
    scores = {row["name"].removeprefix("test/"): row for row in found["files"]}
    assert len(scores) == 12
    for row in plain["files"]:
        other = scores[row["name"]]
        assert other["score"] == pytest.approx(row["score"], abs=1e-5)
        assert [other[name] for name in ("label", "method", "frames")] == [
            row[name] for name in ("label", "method", "frames")
        ]
    assert found["data"]["sets"][0]["split"] == "test"
    left_out = {
        reason: [name.removeprefix("test/") for name in names] for reason, names in found["data"]["reasons"].items()
    }
    assert left_out == plain["data"]["reasons"]
    assert found["protocol"] == plain["protocol"]


def test_reals_alone_have_the_figures_that_reals_have_and_fit_nothing(model, data, tmp_path, capsys, faces):
    folder = prepare("folder", data.parent, tmp_path / "p", RECIPE, selection=Selection(methods=("real",)), workers=1)
    command = ["evaluate", "--model", str(model), "--data", str(folder)]
    assert main([*command, "--json", str(tmp_path / "r.json"), "--output", str(tmp_path / "out")]) == 0
    video = json.loads((tmp_path / "r.json").read_text())["tests"]["video"]
    assert (video["n_real"], video["n_fake"], video["auc"]) == (6, 0, None)
    assert 0 <= video["accuracy"] <= 1
    assert main([*command, "--calibrate", str(tmp_path / "c.safetensors")]) == 2
    assert "calibrate: found files of label {0} alone" in capsys.readouterr().err
    assert main([*command, "--suite", "robustness"]) == 2
    assert "suite: found files of label {0} alone" in capsys.readouterr().err


def test_robustness_suite_of_files_and_of_crops(evaluated, model, data, prepared, tmp_path, capsys, faces):
    plain = json.loads((evaluated / "report.json").read_text())
    assert "robustness" not in plain
    for root, applied_to in ((data, "frames"), (prepared, "crops")):
        command = ["evaluate", "--model", str(model), "--data", str(root), "--suite", "robustness", "--workers", "1"]
        assert main([*command, "--output", str(tmp_path)]) == 0
        assert "worst: " in capsys.readouterr().out
        report = json.loads((tmp_path / "report.json").read_text())
        assert report["tests"]["video"]["auc"] == plain["tests"]["video"]["auc"]
        assert report["robustness"]["applied_to"] == applied_to
        assert report["robustness"]["clean"]["video"]["auc"] == report["tests"]["video"]["auc"]
        assert list(report["robustness"]["clean"]) == ["video"]  # of images
        page = (tmp_path / "report.html").read_text()
        assert "<h2>Robustness</h2>" in page
        Page(page).check()


def test_mistakes_are_on_the_wrong_side(evaluated):
    report = json.loads((evaluated / "report.json").read_text())
    scores = {row["name"]: (row["label"], row["score"]) for row in report["files"]}
    wrong = {name for name, (label, score) in scores.items() if (score >= 0.5) != label}
    rows = report["mistakes"]["real"] + report["mistakes"]["fake"]
    assert wrong == {row["name"] for row in rows}
    assert wrong
    page = (evaluated / "report.html").read_text()
    assert page.count("<img ") == len(rows)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--frames", "4"], "frames: found 4, wanted none"),
        (["--split", "train"], "split: found 'train'"),
        (["--recipe", "paper"], "'scale': 1.3"),
    ],
)
def test_what_was_fixed_by_preparing_stays(model, prepared, capsys, options, message):
    assert main(["evaluate", "--model", str(model), "--data", str(prepared), *options]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"--data": "nowhere"}, "nowhere: found no folder 'real'"),
        ({"--model": "nowhere.safetensors"}, "no such file"),
        ({"--aggregation": "mode"}, "protocol.aggregation: found 'mode'"),
        ({"--frames": "0"}, "sampling.count"),
        ({"--json": f"{__file__}/rows.json"}, "--json: found a file at"),
        ({"--json": str(Path(__file__).parent)}, "--json: found a folder at"),
        ({"--calibrate": "c.bin"}, "ends in .safetensors"),
        ({"--output": __file__}, "--output: found a file at"),
        ({"--split": "test"}, "split: found 'test'"),
        ({"--recipe": "nose"}, "recipe: found 'nose'"),
    ],
)
def test_mistakes_are_named_before_any_work(model, data, capsys, monkeypatch, changes, message):
    monkeypatch.setattr("fdetect_jax.inference.labelled.extract_faces", None)
    arguments = {"--model": str(model), "--data": str(data)} | changes
    assert main(["evaluate", *(text for pair in arguments.items() for text in pair)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error


@pytest.fixture(scope="module")
def second(data, tmp_path_factory):
    """Some of the same files under another name."""
    root = tmp_path_factory.mktemp("more") / "second"
    for name in ("real/0.png", "real/2.png", "fake/dark/1.png", "fake/dark/3.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes((data / name).read_bytes())
    return root


def test_several_data_sets_are_pooled_and_measured_alone(
    evaluated, model, data, prepared, second, tmp_path, capsys, faces
):
    # The first one prepared, under a name of its own.
    command = ["evaluate", "--model", str(model), "--data", str(prepared), str(second), "--workers", "1"]
    outputs = ["--json", str(tmp_path / "r.json"), "--output", str(tmp_path / "out")]
    assert main([*command, *outputs, "--calibrate", str(tmp_path / "c.safetensors")]) == 0
    report = json.loads((tmp_path / "r.json").read_text())
    alone = json.loads((evaluated / "report.json").read_text())
    assert report["title"] == "p, test; second"
    assert report["data"]["sets"] == [
        {"name": "p", "split": "test", "scored": 12, "excluded": 2},
        {"name": "second", "split": None, "scored": 4, "excluded": 0},
    ]
    assert list(report["tests"])[:5] == ["video", "video/p", "video/p/dark", "video/second", "video/second/dark"]
    assert report["tests"]["video"]["n_real"] == 8
    for name in ("accuracy", "auc", "n_real", "n_fake"):
        assert report["tests"]["video/p"][name] == pytest.approx(alone["tests"]["video"][name])
    scores = {row["name"]: row["score"] for row in report["files"]}
    assert len(scores) == 16
    assert scores["second/real/0.png"] == pytest.approx(scores["p/test/real/0.png"], abs=1e-5)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["video", "video/p", "video/second"]
    assert Scorer(tmp_path / "c.safetensors").calibration.data == "p, test; second"
    Page((tmp_path / "out" / "report.html").read_text()).check()


def test_data_sets_that_cannot_be_pooled_are_refused_before_any_work(
    model, data, prepared, second, tmp_path, capsys, monkeypatch, faces
):
    monkeypatch.setattr("fdetect_jax.inference.labelled.extract_faces", None)
    other = prepare(
        "folder", data.parent, tmp_path / "other", RECIPE, sampling=Sampling(count=4), faces="all", workers=1
    )
    twin = tmp_path / "second"
    (twin / "real").mkdir(parents=True)
    for folders, options, message in (
        ([second, twin], [], "found several folders named ['second']"),
        ([prepared, other], [], "found prepared folders sampled in several ways"),
        ([prepared, second], ["--suite", "robustness"], "suite: found prepared and other data sets"),
        ([second, prepared], ["--frames", "4"], "frames: found 4, wanted none"),
        ([second, prepared], ["--recipe", "paper"], "'scale': 1.3"),
        ([second, data], ["--split", "val"], "split: found 'val', wanted none"),
    ):
        assert main(["evaluate", "--model", str(model), "--data", *map(str, folders), *options]) == 2
        assert message in capsys.readouterr().err
