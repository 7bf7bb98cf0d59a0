"""What is missing, misnamed or corrupt in a download, and in the installation."""

import csv
import json
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest

from fdetect_jax.cli import main
from fdetect_jax.datasets import installation
from fdetect_jax.datasets.doctor import examine, guess
from fdetect_jax.datasets.layouts import LAYOUTS
from fdetect_jax.faces.models import ModelsUnavailable
from fdetect_jax.media.limits import UnreadableMedia
from fdetect_jax.media.whole import check_whole
from tests.datasets import trees

PAIRS = {"train": [["000", "001"]], "val": [["002", "003"]], "test": [["004", "005"]]}
REAL, SWAP = "original_sequences/youtube/c23/videos", "manipulated_sequences/FaceSwap/c23/videos"


@pytest.fixture
def published(monkeypatch):
    """Published counts as small as the trees here."""

    def shrink(layout):
        return lambda root: [
            replace(one, count=min(one.count, 6) if one.count else None) for one in layout.expected(root)
        ]

    for name, layout in LAYOUTS.items():
        monkeypatch.setitem(LAYOUTS, name, replace(layout, expected=shrink(layout)))


@pytest.fixture
def whole(tmp_path):
    trees.splits(tmp_path, **PAIRS)
    pairs = [pair for of_split in PAIRS.values() for pair in of_split]
    trees.touch(tmp_path, *(f"{REAL}/{name}.mp4" for pair in pairs for name in pair))
    trees.touch(tmp_path, *(f"{SWAP}/{one}_{other}.mp4" for a, b in pairs for one, other in ((a, b), (b, a))))
    return tmp_path


def _kinds(root, **options):
    lines, sound = examine(root, open_files=False, **options)
    kinds = ("missing", "misnamed", "corrupt", "unusable", "leftover")
    found = [line.split(maxsplit=1) for line in lines if line.split()[0] in kinds]
    assert sound == (not found)
    return found, lines


def test_a_whole_download(whole, published):
    found, lines = _kinds(whole)
    assert found == []
    assert "FaceForensics++" in lines[0]
    assert "  train: 2 real, 2 FaceSwap" in lines


def test_a_whole_download_of_the_published_size(shared, tmp_path, capsys):
    lists = {split: json.loads((shared / "data/ffpp_splits" / f"{split}.json").read_text()) for split in PAIRS}
    trees.splits(tmp_path, **lists)
    for a, b in (pair for pairs in lists.values() for pair in pairs):
        trees.touch(tmp_path, f"{REAL}/{a}.mp4", f"{REAL}/{b}.mp4", f"{SWAP}/{a}_{b}.mp4", f"{SWAP}/{b}_{a}.mp4")
    assert main(["doctor", str(tmp_path), "--quick"]) == 0
    assert "train: 720 real, 720 FaceSwap" in capsys.readouterr().out
    (tmp_path / SWAP / "071_054.mp4").unlink()
    assert main(["doctor", str(tmp_path), "--quick"]) == 1
    assert f"missing   {SWAP}/: 1 of 1000 files: 071_054" in capsys.readouterr().out


def test_the_published_counts_are_asked_for(whole):
    found, _ = _kinds(whole)
    assert any(text.startswith(f"{REAL}/") for kind, text in found if kind == "missing")


def test_every_fault_is_listed(whole, published):
    (whole / REAL / "003.mp4").unlink()
    (whole / SWAP / "004_005.mp4").rename(whole / SWAP / "004-005.mp4")
    trees.touch(whole, "more.zip", f"{REAL}/006.mp4.part", f"{REAL}/abc.mp4.crdownload")
    (whole / REAL / "002.mp4").write_bytes(b"")
    found, lines = _kinds(whole)
    texts = {kind: [text for other, text in found if other == kind] for kind, _ in found}
    assert f"{REAL}/: 1 of 6 files: 003" in texts["missing"]
    assert any("004_005" in text for text in texts["missing"])
    assert any("004-005" in text and "no list names" in text for text in texts["misnamed"])
    assert any("2 files that did not finish downloading" in text for text in texts["leftover"])
    assert any("1 file to unpack" in text and "more.zip" in text for text in texts["leftover"])
    assert texts["corrupt"] == [f"1 file of no bytes: {REAL}/002.mp4"]
    assert lines[-1].startswith("where it comes from: ask its authors")


def test_a_folder_in_the_wrong_case(whole, published):
    (whole / "manipulated_sequences/FaceSwap").rename(whole / "manipulated_sequences/faceswap")
    found, lines = _kinds(whole)
    assert ["misnamed", f"{SWAP.replace('FaceSwap', 'faceswap')}/, wanted {SWAP}/"] in found
    assert any(line.startswith("note") and "media that no list" in line for line in lines)


def test_missing_lists(whole, published):
    (whole / "splits" / "val.json").unlink()
    found, _ = _kinds(whole)
    assert any(kind == "missing" and "splits/val.json" in text for kind, text in found)


def test_lists_that_cannot_be_used(whole, published):
    (whole / "splits" / "val.json").write_text("[[")
    found, _ = _kinds(whole)
    assert [kind for kind, text in found if "val.json: found no list of pairs" in text] == ["unusable"]


def test_celeb_df(tmp_path, published):
    trees.touch(tmp_path, *(f"Celeb-real/id{k}_0000.mp4" for k in range(6)))
    trees.touch(tmp_path, *(f"Youtube-real/0000{k}.mp4" for k in range(5)))
    found, _ = _kinds(tmp_path)
    text = " ".join(text for _, text in found)
    assert "List_of_testing_videos.txt" in text
    assert "Youtube-real/*.mp4: 5 files, wanted 6" in text
    assert "Celeb-synthesis/ with 6 files" in text
    (tmp_path / "List_of_testing_videos.txt").write_text("1 Celeb-real/id0_0000.mp4\n" * 17)
    found, _ = _kinds(tmp_path)
    assert ["corrupt", "List_of_testing_videos.txt: 17 lines, published were 518"] in found


def test_dfdc(tmp_path, published):
    part = tmp_path / "dfdc_train_part_3"
    trees.touch(part, "a.mp4")
    (part / "metadata.json").write_text(json.dumps({"a.mp4": {"label": "REAL"}, "b.mp4": {"label": "REAL"}}))
    found, lines = _kinds(tmp_path)
    assert ["missing", "dfdc_train_part_3/: 1 of 2 files: b"] in found
    assert "(dfdc)" in lines[0]


def test_a_part_of_dfdc_without_its_metadata(tmp_path, published):
    for part in (0, 1):
        trees.touch(tmp_path, f"dfdc_train_part_{part}/a.mp4")
    (tmp_path / "dfdc_train_part_0" / "metadata.json").write_text(json.dumps({"a.mp4": {"label": "REAL"}}))
    found, lines = _kinds(tmp_path)
    assert ["missing", "dfdc_train_part_1/metadata.json: 0 files, wanted 1"] in found
    assert any("names: 1 (dfdc_train_part_1/a.mp4)" in line for line in lines)
    (tmp_path / "dfdc_train_part_1" / "metadata.json").write_text("{}")
    found, _ = _kinds(tmp_path)
    assert ["misnamed", "dfdc_train_part_1/: 1 file that no list names: a"] in found


def test_kaggle_s_sample_of_dfdc(tmp_path, published):
    trees.touch(tmp_path, "train_sample_videos/a.mp4")
    (tmp_path / "train_sample_videos" / "metadata.json").write_text(json.dumps({"a.mp4": {"label": "FAKE"}}))
    found, lines = _kinds(tmp_path)
    assert found == []
    assert "  train: 1 dfdc" in lines


def test_a_table_that_names_what_is_not_there(tmp_path):
    with open(tmp_path / "manifest.csv", "w", newline="") as file:
        csv.writer(file).writerows([("file", "label"), ("a.mp4", "real"), ("b.mp4", "fake")])
    trees.touch(tmp_path, "a.mp4", "c.mp4")
    found, lines = _kinds(tmp_path)
    assert found == [["missing", "1 file that a list names: b.mp4"]]
    assert any("left out, media that no list or folder of the data set names: 1 (c.mp4)" in line for line in lines)


@pytest.mark.parametrize(
    ("files", "name"),
    [
        (["original_sequences/youtube/c23/videos/000.mp4"], "faceforensics"),
        (["Celeb-real/a.mp4"], "celeb_df"),
        (["dfdc_train_part_00/metadata.json"], "dfdc"),
        (["method_A/x.mp4", "dataset.json"], "dfdc_preview"),
        (["FFIW10K-v1-release/source/val/a.mp4"], "ffiw"),
        (
            ["manipulated_videos/end_to_end/a.mp4", "original_sequences/youtube/c23/videos/000.mp4", "lists/a"],
            "deeperforensics",
        ),
        (["real/a.mp4"], "folder"),
    ],
)
def test_the_layout_is_guessed(tmp_path, files, name):
    assert guess(trees.touch(tmp_path, *files)).name == name


def test_what_is_no_download(tmp_path, capsys):
    assert main(["doctor", str(tmp_path)]) == 2
    assert "found no known layout" in capsys.readouterr().err
    assert main(["doctor", str(tmp_path / "nowhere")]) == 2
    assert main(["doctor", str(tmp_path), "--name", "dfdc"]) == 1
    assert "dfdc_train_part_N/metadata.json" in capsys.readouterr().out


def test_real_files_alone_are_enough(tmp_path):
    assert _kinds(trees.touch(tmp_path, "real/a.mp4"))[0] == []
    trees.touch(tmp_path / "other", "fake/a.mp4")
    assert _kinds(tmp_path / "other")[0] == [["missing", "real/ with files **/*"]]


def test_files_are_opened(tmp_path, capsys):
    trees.write_person(tmp_path / "real" / "a.mp4", 0)
    content = trees.write_video(tmp_path / "real" / "b.mp4", trees.frames(1)).read_bytes()
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "cut.mp4").write_bytes(content[: len(content) // 2])
    assert main(["doctor", str(tmp_path), "--workers", "1"]) == 1
    out = capsys.readouterr().out
    assert "corrupt   1 file: fake/cut.mp4 (" in out
    (tmp_path / "fake" / "cut.mp4").write_bytes(content)
    assert main(["doctor", str(tmp_path), "--quick"]) == 0


def test_a_video_that_ends_before_its_header_says_so(tmp_path):
    path = trees.write_video(tmp_path / "a.mp4", trees.frames(0, 30), faststart=True)
    check_whole(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(0.7 * len(content))])
    with pytest.raises(UnreadableMedia, match="truncated: "):
        check_whole(path)


def test_pictures_that_begin_late_are_whole(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as sink:
        stream = sink.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 90, np.uint8), format="rgb24")
            frame.pts, frame.time_base = 125 + number, Fraction(1, 25)
            sink.mux(stream.encode(frame))
        sink.mux(stream.encode(None))
    check_whole(tmp_path / "a.mkv")


def test_the_installation(monkeypatch, faces, capsys):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "face models: face_detection_full_range_sparse.tflite, face_detection_short_range.tflite" in out
    assert "verified" in out
    assert "devices: cpu" in out
    assert "processes that read uploads: " in out

    def gone():
        raise ModelsUnavailable("no network")

    monkeypatch.setattr(installation, "load_models", gone)
    monkeypatch.setattr(installation.isolated, "examine", lambda _: {"memory": True, "network": "no filters here"})
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "face models: no network" in out
    assert "processes that read uploads: a limit on memory\n" in out
    assert "processes that read uploads: no network, does not hold: no filters here\n" in out
