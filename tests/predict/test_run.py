"""``fdetect predict`` on a folder of everything: verdicts, copies, exit status, one compilation, resuming."""

import json
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from fdetect_jax import cli
from fdetect_jax.inference.protocol import Protocol
from fdetect_jax.inference.scorer import Scorer
from fdetect_jax.media.video import Sampling, probe
from fdetect_jax.predict.engine import verdicts
from fdetect_jax.predict.rows import row_of, rows_of
from fdetect_jax.predict.run import predict
from fdetect_jax.predict.verdict import Verdict
from fdetect_jax.predict.work import show
from tests.small import compilations

FILES = ("clip.mp4", "empty.jpg", "face.png", "folder/face.jpg", "notes.txt", "wall.png")
VERDICTS = ("fake", "unable_to_evaluate", "fake", "fake", "unable_to_evaluate", "not_applicable")


PROTOCOL = Protocol(sampling=Sampling(per_second=5), threshold=0.0)


@pytest.fixture(scope="module")
def predicted(model, media, tmp_path_factory):
    output = tmp_path_factory.mktemp("output")
    with compilations() as names:
        rows = list(predict([media], Scorer(model, batch_size=4), PROTOCOL, output, heat_map=True, workers=1))
    return output, rows, names


def test_every_file_has_a_verdict_with_its_reason(predicted, media):
    _, rows, _ = predicted
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


def test_readable_files_have_copies(predicted):
    output, rows, _ = predicted
    for row in rows:
        assert bool(row["annotated"]) == (row["verdict"] != "unable_to_evaluate")
        assert bool(row["heat_map"]) == (row["score"] is not None)
        assert row["note"] == ""
    clip = rows[0]
    info = probe(output / clip["annotated"])
    assert info.duration == pytest.approx(clip["duration"]) == pytest.approx(1.5)
    assert (info.width, info.codec) == (312, "h264")
    assert info.height > 272
    poster = cv2.imread(str(output / clip["poster"]))
    assert poster.shape == (info.height, info.width, 3)
    assert all(row["poster"] is None for row in rows[1:])
    assert f'poster="{clip["poster"]}"' in (output / "report.html").read_text()
    picture = cv2.imread(str(output / "folder/face.jpg.annotated.png"))
    assert picture.shape[0] > 272
    assert cv2.imread(str(output / "face.png.heat.png")) is not None


def test_a_copy_without_its_sound_says_so(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as sink:
        stream = sink.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        sound = sink.add_stream("tta", rate=16000, layout="mono")
        sink.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 96, 3), np.uint8), format="rgb24")))
        sink.mux(stream.encode(None))
        hum = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.int16), format="s16", layout="mono")
        hum.sample_rate = 16000
        sink.mux(sound.encode(hum))
        sink.mux(sound.encode(None))
    verdict = Verdict("a.mkv", "not_applicable", None, "no face", 0.5, kind="video", notes=("before",))
    shown = show((tmp_path / "a.mkv", tmp_path / "out", Path("a.mkv"), verdict, None, False, False))
    assert (tmp_path / "out" / shown.annotated).is_file()
    assert row_of(verdict, shown)["note"] == "before; sound left out: codec tta is not read"


def test_each_person_has_a_portrait(model, media, tmp_path):
    scorer = Scorer(model, batch_size=4)
    how = {"heat_map": True, "portraits": True, "workers": 1, "seconds": 60}
    (found,) = verdicts([media / "clip.mp4"], scorer, PROTOCOL, **how)
    ((row, lasting),) = rows_of([(Path("a"), found)], tmp_path, **how)
    (track,) = row["tracks"]
    crop, heat = (cv2.imread(str(tmp_path / track[name])) for name in ("crop", "heat"))
    assert crop.shape == heat.shape == (64, 64, 3)
    assert lasting
    highest = max(range(len(found[1].scores)), key=found[1].scores.__getitem__)
    assert np.abs(crop[..., ::-1].astype(int) - found[1].images[highest]).mean() < 4  # JPEG


def test_portraits_need_no_heat_map(model, media, tmp_path):
    how = {"portraits": True, "workers": 1, "seconds": 60}
    (found,) = verdicts([media / "face.png"], Scorer(model, batch_size=4), PROTOCOL, **how)
    assert found[1].attention is None
    ((row, _),) = rows_of([(Path("a"), found)], tmp_path, **how)
    assert row["heat_map"] is None
    assert row["tracks"][0]["heat"] is None
    assert (tmp_path / row["tracks"][0]["crop"]).is_file()


def test_the_page_shows_them_all(predicted):
    output, rows, _ = predicted
    page = (output / "report.html").read_text()
    assert all(row["annotated"] in page for row in rows if row["annotated"])
    assert page.count("not evaluated") >= 2


def test_one_compilation_for_all_files(predicted):
    _, _, names = predicted
    assert names.count("jit(_predict)") == names.count("jit(_attend)") == 1


def test_scores_are_those_of_each_file_alone(predicted, model, media):
    _, rows, _ = predicted
    scorer = Scorer(model, batch_size=4)
    for row in (rows[0], rows[2]):
        (alone,) = predict([row["file"]], scorer, PROTOCOL, workers=1)
        assert alone["score"] == pytest.approx(row["score"], abs=1e-5)
        assert alone["annotated"] is None


def test_it_goes_on_where_it_was_stopped(model, media, tmp_path):
    scorer = Scorer(model, batch_size=4)
    whole = list(predict([media], scorer, PROTOCOL, tmp_path / "whole", workers=1))
    running = predict([media], scorer, PROTOCOL, tmp_path / "cut", workers=1)
    first = [next(running) for _ in range(3)]
    running.close()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cut").glob("*.annotated.*")}
    with open(tmp_path / "cut" / "verdicts.jsonl", "a") as diary:
        diary.write('{"key": "0123", "ro')  # a kill in the middle of a line
    again = list(predict([media], scorer, PROTOCOL, tmp_path / "cut", workers=1))
    assert again[:3] == first
    assert again == whole
    done = [tmp_path / "cut" / row["annotated"] for row in first if row["annotated"]]
    assert all(path.stat().st_mtime_ns == before[path] for path in done)


@pytest.mark.parametrize(
    "change",
    [
        lambda line: line.replace('"verdict": "fake"', '"verdict": 3'),
        lambda line: line.replace('"annotated": "', '"annotated": "../'),
        lambda line: json.dumps(json.loads(line) | {"row": {"annotated": 1, "heat_map": None, "evidence": []}}),
        lambda line: "[" * 100_000,
        lambda line: "[]",
        lambda line: "3",
    ],
)
def test_a_changed_line_is_judged_again(change, model, media, tmp_path):
    scorer = Scorer(model, batch_size=4)
    (first,) = predict([media / "face.png"], scorer, PROTOCOL, tmp_path, workers=1)
    diary = tmp_path / "verdicts.jsonl"
    diary.write_text(change(diary.read_text()) + "\n")
    (again,) = predict([media / "face.png"], scorer, PROTOCOL, tmp_path, workers=1)
    assert again == first


def test_another_protocol_starts_anew(model, media, tmp_path):
    scorer = Scorer(model, batch_size=4)
    (fake,) = predict([media / "face.png"], scorer, PROTOCOL, tmp_path, workers=1)
    (real,) = predict([media / "face.png"], scorer, Protocol(threshold=1.0), tmp_path, workers=1)
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


def test_without_a_model_the_bundled_one_is_used_and_named(media, capsys):
    assert cli.main(["predict", str(media / "face.png"), "--workers", "1"]) in (0, 1)
    shown = capsys.readouterr()
    assert "no --model given: using the bundled detector" in shown.err
    assert "self-blended" in shown.err
    assert len(shown.out.splitlines()) == 1
