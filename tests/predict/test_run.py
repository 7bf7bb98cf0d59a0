"""``fdetect predict`` on a folder of everything: verdicts, copies, exit status, one compilation, resuming."""

import json

import av
import cv2
import jax
import numpy as np
import pytest

from fdetect_jax import cli, weights
from fdetect_jax.detectors import make_detector
from fdetect_jax.facesim.faces import FaceSim
from fdetect_jax.inference.predictor import Predictor
from fdetect_jax.inference.protocol import Protocol
from fdetect_jax.media.crop import RECIPES
from fdetect_jax.media.video import Sampling, probe
from fdetect_jax.nn.once import jit_once
from fdetect_jax.predict.run import predict
from tests.small import DETECTOR, compilations

FILES = ("clip.mp4", "empty.jpg", "face.png", "folder/face.jpg", "notes.txt", "wall.png")
VERDICTS = ("fake", "unable_to_evaluate", "fake", "fake", "unable_to_evaluate", "not_applicable")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """An untrained detector; its scores differ from crop to crop, and that is enough here."""
    module = make_detector("efficientnet_small64", DETECTOR)
    variables = jit_once(module.init)(jax.random.key(0), np.zeros((1, 64, 64, 3), np.float32))
    path = tmp_path_factory.mktemp("model") / "detector.safetensors"
    recipe = json.dumps(RECIPES["aligned64"].to_dict())
    config = {"name": "efficientnet_small64", "overrides": DETECTOR}
    weights.save(path, "detector", config, variables, recipe=recipe, size="64", source="none")
    return path


@pytest.fixture(scope="module")
def media(tmp_path_factory, faces):
    root = tmp_path_factory.mktemp("media")
    (root / "folder").mkdir()
    drawn = FaceSim(split="test", size=192, identities=3, per_identity=1)
    pictures = [cv2.copyMakeBorder(drawn[i]["image"], 40, 40, 60, 60, cv2.BORDER_REPLICATE) for i in range(3)]
    cv2.imwrite(str(root / "face.png"), pictures[0][..., ::-1])
    cv2.imwrite(str(root / "folder/face.jpg"), pictures[1][..., ::-1])
    cv2.imwrite(str(root / "wall.png"), np.full((90, 121, 3), 170, np.uint8))
    (root / "empty.jpg").write_bytes(b"")
    (root / "notes.txt").write_text("nothing to see here")
    with av.open(str(root / "clip.mp4"), "w") as sink:
        stream = sink.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 312, 272, "yuv420p"
        for _ in range(15):
            sink.mux(stream.encode(av.VideoFrame.from_ndarray(pictures[2], format="rgb24")))
        sink.mux(stream.encode(None))
    return root


PROTOCOL = Protocol(sampling=Sampling(per_second=5), threshold=0.0)


@pytest.fixture(scope="module")
def judged(model, media, tmp_path_factory):
    output = tmp_path_factory.mktemp("output")
    with compilations() as names:
        rows = list(predict([media], Predictor(model, batch_size=4), PROTOCOL, output, heat_map=True, workers=1))
    return output, rows, names


def test_every_file_has_a_verdict_with_its_reason(judged, media):
    _, rows, _ = judged
    assert [row["file"] for row in rows] == [str(media / name) for name in sorted(FILES, key=lambda n: ("/" in n, n))]
    by_name = {row["file"].removeprefix(f"{media}/"): row for row in rows}
    assert tuple(by_name[name]["verdict"] for name in FILES) == VERDICTS
    assert by_name["empty.jpg"]["reason"] == "empty"
    assert "no image or video" in by_name["notes.txt"]["reason"]
    assert by_name["wall.png"]["reason"] == "no face in the image"
    assert all((row["score"] is None) == (row["verdict"] not in ("real", "fake")) for row in rows)
    clip = by_name["clip.mp4"]
    assert len(clip["frames"]) == len(clip["tracks"][0]["faces"]) == 8
    assert clip["score"] == pytest.approx(np.mean([score for _, score in clip["frames"]]), abs=1e-5)


def test_readable_files_have_copies(judged):
    output, rows, _ = judged
    for row in rows:
        assert bool(row["annotated"]) == (row["verdict"] != "unable_to_evaluate")
        assert bool(row["heat_map"]) == (row["score"] is not None)
        assert row["note"] == ""
    clip = rows[0]
    info = probe(output / clip["annotated"])
    assert info.duration == pytest.approx(clip["duration"]) == pytest.approx(1.5)
    assert (info.width, info.codec) == (312, "h264")
    assert info.height > 272
    picture = cv2.imread(str(output / "folder/face.jpg.annotated.png"))
    assert picture.shape[0] > 272
    assert cv2.imread(str(output / "face.png.heat.png")) is not None


def test_the_page_shows_them_all(judged):
    output, rows, _ = judged
    page = (output / "report.html").read_text()
    assert all(row["annotated"] in page for row in rows if row["annotated"])
    assert page.count("not evaluated") >= 2


def test_one_compilation_for_all_files(judged):
    _, _, names = judged
    assert names.count("jit(predictor)") == names.count("jit(attend)") == 1


def test_scores_are_those_of_each_file_alone(judged, model, media):
    _, rows, _ = judged
    predictor = Predictor(model, batch_size=4)
    for row in (rows[0], rows[2]):
        (alone,) = predict([row["file"]], predictor, PROTOCOL, workers=1)
        assert alone["score"] == pytest.approx(row["score"], abs=1e-5)
        assert alone["annotated"] is None


def test_it_goes_on_where_it_was_stopped(model, media, tmp_path):
    predictor = Predictor(model, batch_size=4)
    whole = list(predict([media], predictor, PROTOCOL, tmp_path / "whole", workers=1))
    running = predict([media], predictor, PROTOCOL, tmp_path / "cut", workers=1)
    first = [next(running) for _ in range(3)]
    running.close()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cut").glob("*.annotated.*")}
    with open(tmp_path / "cut" / "verdicts.jsonl", "a") as diary:
        diary.write('{"key": "0123", "ro')  # a kill in the middle of a line
    again = list(predict([media], predictor, PROTOCOL, tmp_path / "cut", workers=1))
    assert again[:3] == first
    assert again == whole
    done = [tmp_path / "cut" / row["annotated"] for row in first if row["annotated"]]
    assert all(path.stat().st_mtime_ns == before[path] for path in done)


def test_another_protocol_judges_anew(model, media, tmp_path):
    predictor = Predictor(model, batch_size=4)
    (fake,) = predict([media / "face.png"], predictor, PROTOCOL, tmp_path, workers=1)
    (real,) = predict([media / "face.png"], predictor, Protocol(threshold=1.0), tmp_path, workers=1)
    assert (fake["verdict"], real["verdict"]) == ("fake", "real")


@pytest.mark.parametrize(
    ("names", "threshold", "status"),
    [
        (["face.png", "wall.png"], "1", 0),
        (["face.png", "empty.jpg"], "0", 1),
        (["wall.png", "empty.jpg"], "1", 3),
        (["absent.png"], "1", 2),
    ],
)
def test_the_exit_status_serves_scripts(model, media, tmp_path, capsys, names, threshold, status):
    out = tmp_path / "rows.json"
    files = [str(media / name) for name in names]
    command = ["predict", *files, "--model", str(model), "--threshold", threshold, "--json", str(out), "--workers", "1"]
    assert cli.main(command) == status
    if status == 2:
        assert "absent.png" in capsys.readouterr().err
    else:
        rows = json.loads(out.read_text())
        assert [row["file"] for row in rows] == files
        assert len(capsys.readouterr().out.splitlines()) == len(files)


def test_without_a_model_the_bundled_one_judges_and_says_so(media, capsys):
    assert cli.main(["predict", str(media / "face.png"), "--workers", "1"]) in (0, 1)
    said = capsys.readouterr()
    assert "no --model given: the bundled demo detector judges" in said.err
    assert "self-blended" in said.err
    assert len(said.out.splitlines()) == 1
