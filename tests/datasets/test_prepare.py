"""From a tree of videos to shards and back; killed, continued, and on Apache Beam."""

import hashlib
import importlib.util
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from configs.baseline import get_config
from fdetect_jax.cli import main
from fdetect_jax.config import check
from fdetect_jax.data.pipeline import train_batches
from fdetect_jax.data.prepared import Prepared
from fdetect_jax.data.sources import make_source
from fdetect_jax.datasets import prepare as module
from fdetect_jax.datasets import records
from fdetect_jax.datasets.layouts import LAYOUTS, Item, Layout
from fdetect_jax.datasets.prepare import MANIFEST, QUARANTINE, prepare
from fdetect_jax.datasets.progress import watched
from fdetect_jax.datasets.selection import Selection
from fdetect_jax.errors import UserError
from fdetect_jax.faces.crop import crop, make_recipe
from fdetect_jax.media.limits import Rejected
from fdetect_jax.media.video import Sampling, read_frames
from fdetect_jax.types import KINDS
from tests.datasets import trees

RECIPE = make_recipe("paper", 64)
THREE = Sampling(count=3)
ALTERED = (slice(40, 90), slice(30, 80))


@pytest.fixture(scope="module")
def tree(faces, tmp_path_factory):
    """FaceForensics++ with one method, masks, a broken video, one without a face, and a mask of another size."""
    root = trees.splits(
        tmp_path_factory.mktemp("ff"), train=[["071", "054"], ["087", "081"]], test=[["953", "974"]], val=[]
    )
    originals, fakes = "original_sequences/youtube/c23/videos", "manipulated_sequences/Deepfakes/c23/videos"
    for number, name in enumerate(("071", "054", "087", "953")):
        trees.write_person(root / originals / f"{name}.mp4", number)
    (root / originals / "081.mp4").write_bytes(b"broken")
    trees.write_video(root / originals / "974.mp4", np.full((4, 96, 96, 3), 90, np.uint8))
    mask = np.zeros((5, trees.SIZE, trees.SIZE, 3), np.uint8)
    mask[:, ALTERED[0], ALTERED[1]] = 255
    for number, (a, b) in enumerate((("071", "054"), ("054", "071"), ("953", "974"))):
        trees.write_person(root / fakes / f"{a}_{b}.mp4", number)
        masks = root / fakes.replace("c23", "masks") / f"{a}_{b}.mp4"
        trees.write_video(masks, mask if number < 2 else mask[:, :64, :64])
    return root


@pytest.fixture(scope="module")
def done(tree, tmp_path_factory):
    return prepare("faceforensics", tree, tmp_path_factory.mktemp("done"), RECIPE, THREE, workers=2)


def _hashes(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.is_file()}


def test_nothing_is_left_in_the_temporary_folder(tree, tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    prepare("faceforensics", tree, tmp_path / "out", RECIPE, Sampling(count=1), workers=1)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_what_is_written(tree, done):
    manifest = json.loads((done / MANIFEST).read_text())
    assert manifest["recipe"] == RECIPE.to_dict()
    assert manifest["sampling"] == {"count": 3}
    assert manifest["counts"] == {
        "train": {
            "Deepfakes": {"files": 2, "crops": 6, "quarantined": 0},
            "real": {"files": 4, "crops": 9, "quarantined": 1},
        },
        "test": {
            "Deepfakes": {"files": 1, "crops": 3, "quarantined": 0},
            "real": {"files": 2, "crops": 3, "quarantined": 1},
        },
    }
    for name, digest in manifest["shards"].items():
        assert hashlib.sha256((done / name).read_bytes()).hexdigest() == digest
    assert sum("array_record" in name for name in manifest["shards"]) == 2
    for row in manifest["files"]:
        assert row["sha256"] == hashlib.sha256((tree / row["file"]).read_bytes()).hexdigest()
    assert sorted(path.name for path in done.iterdir() if path.is_dir()) == []


def test_the_quarantine_says_why(done):
    reasons = {row["file"].rsplit("/", 1)[-1]: row["reason"] for row in json.loads((done / QUARANTINE).read_text())}
    assert set(reasons) == {"081.mp4", "974.mp4", "953_974.mp4"}
    assert reasons["081.mp4"].startswith("no image or video")
    assert reasons["974.mp4"] == "no face"
    assert reasons["953_974.mp4"] == "mask not used: 64x64 pixels, wanted the video's 128x128"


def test_crops_are_the_ones_the_recipe_cuts(tree, done, faces):
    source = Prepared(done, "train", labels=(0,))
    file = next(one for one in source.files() if one.file.endswith("054.mp4"))
    assert len(file.indices) == 3
    found = [source[index] for index in file.indices]
    assert [int(one["frame"]) for one in found] == [0, 2, 4]  # evenly spaced, to the last one
    for example, frame in zip(found, read_frames(tree / file.file, THREE), strict=True):
        face = faces.detect(frame.pixels)[0]
        wanted = crop(frame.pixels, face, RECIPE)
        np.testing.assert_array_equal(example["image"], wanted["image"])
        np.testing.assert_array_equal(example["mask"], wanted["mask"])
        np.testing.assert_allclose(example["landmarks"], wanted["landmarks"], atol=1e-4)
        np.testing.assert_allclose(example["face"], face.box, atol=1e-4)
        assert example["time"] == pytest.approx(frame.time)
        assert not example["altered"].any()
        assert (example["label"], example["method"], example["source"]) == (0, "real", "faceforensics")
        assert example["video"] == file.video == "faceforensics/original_sequences/youtube/c23/videos/054.mp4"


def test_masks_are_cut_as_the_faces_are(tree, done, faces):
    source = Prepared(done, "train", labels=(1,))
    file = next(source.files())
    frame = next(read_frames(tree / file.file, THREE))
    white = np.zeros_like(frame.pixels)
    white[ALTERED] = 255
    wanted = crop(white, faces.detect(frame.pixels)[0], RECIPE)["image"][..., 0] > 127
    found = source[file.indices[0]]["altered"]
    assert found.shape == (64, 64)
    assert set(np.unique(found)) == {0, 1}
    assert np.mean(found == wanted) > 0.97  # the mask video is compressed
    held = Prepared(done, "test", labels=(1,))
    assert "altered" not in held[0]


def test_identities_and_labels(done):
    source = Prepared(done, "train")
    of = {}
    for index in range(len(source)):
        example = source[index]
        of.setdefault(int(example["identity"]), set()).add(Path(example["video"]).name)
    assert sorted(map(sorted, of.values())) == [["054.mp4", "054_071.mp4"], ["071.mp4", "071_054.mp4"], ["087.mp4"]]
    others = {int(one["identity"]) for one in map(Prepared(done, "test").__getitem__, range(6))}
    assert not others & set(of)
    assert {int(Prepared(done, "train", methods=("Deepfakes",))[k]["label"]) for k in range(6)} == {1}
    assert len({source.fingerprint, Prepared(done, "test").fingerprint, Prepared(done, "train", (0,)).fingerprint}) == 3


def test_file_by_file(done):
    files = list(Prepared(done, "train").files())
    assert [(Path(one.file).name, one.label, len(one.indices), one.frames) for one in files] == [
        ("054_071.mp4", 1, 3, 3),
        ("071_054.mp4", 1, 3, 3),
        ("054.mp4", 0, 3, 3),
        ("071.mp4", 0, 3, 3),
        ("081.mp4", 0, 0, 0),
        ("087.mp4", 0, 3, 3),
    ]
    real = Prepared(done, "train", labels=(0,))
    assert [index for one in real.files() for index in one.indices] == list(range(9))


def test_kinds_and_methods(tree, done, tmp_path):
    source = Prepared(done, "train")
    found = {(example["method"], int(example["kind"])) for example in map(source.__getitem__, range(len(source)))}
    assert found == {("real", KINDS.index("real")), ("Deepfakes", KINDS.index("swap"))}
    assert source[0]["kind"].dtype == np.int32
    assert {(one.method, one.kind) for one in source.files()} == found
    copy = shutil.copytree(done, tmp_path / "copy")  # as an earlier version wrote it
    manifest = json.loads((copy / MANIFEST).read_text())
    for row in manifest["files"]:
        del row["kind"]
    (copy / MANIFEST).write_text(json.dumps(manifest))
    old = Prepared(copy, "train")
    assert {(one.method, one.kind) for one in old.files()} == {("real", 0), ("Deepfakes", -1)}
    assert {int(old[index]["kind"]) for index in range(len(old))} == {0, -1}
    assert old.fingerprint == source.fingerprint
    assert prepare("faceforensics", tree, copy, RECIPE, THREE) == copy  # it is done


def test_a_layout_from_outside(tmp_path, faces, monkeypatch, capsys):
    def items(root):
        label = {"true": 0, "drawn": 1}
        return [
            Item(
                path.name,
                label[path.stem.split("-")[0]],
                "train",
                path.stem,
                "mine",
                path.stem,
                path.stem,
                kind="attribute",
            )
            for path in sorted(root.glob("*-*.png"))
        ]

    layout = Layout("mine", items, lambda root: [], "true and drawn pictures", "", marks=("drawn-*.png",))
    monkeypatch.setitem(LAYOUTS, "mine", layout)
    for number, name in enumerate(("true-a", "drawn-b")):
        trees.write_photo(tmp_path / "in" / f"{name}.png", number)
    assert main(["doctor", str(tmp_path / "in")]) == 0
    assert "true and drawn pictures (mine)" in capsys.readouterr().out
    folder = prepare("mine", tmp_path / "in", tmp_path / "out", RECIPE, workers=1)
    source = Prepared(folder, "train")
    found = [(row["source"], int(row["label"]), KINDS[int(row["kind"])]) for row in (source[0], source[1])]
    assert found == [("mine", 1, "attribute"), ("mine", 0, "real")]


def test_it_travels_to_workers(done):
    source = Prepared(done, "train")
    wanted = source[3]
    again = pickle.loads(pickle.dumps(source))
    assert len(pickle.dumps(source)) < 2000
    np.testing.assert_array_equal(again[3]["image"], wanted["image"])
    assert again == source
    with pytest.raises(IndexError):
        again[len(again)]
    batch = next(train_batches(Prepared(done, "train", labels=(0,)), 4, seed=0))
    assert batch["image"].shape == (4, 64, 64, 3)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"split": "val"}, "split: found 'val', wanted one of train, test"),
        ({"split": "test", "methods": ("FaceSwap",)}, r"methods: found \['FaceSwap'\]"),
        ({"split": "test", "labels": ()}, "found no crop"),
    ],
)
def test_what_is_not_there_is_refused(done, options, wanted):
    with pytest.raises(ValueError, match=wanted):
        Prepared(done, **options)
    with pytest.raises(ValueError, match=r"found no manifest\.json"):
        Prepared(done.parent, "train")


def test_context_crops_and_the_face_crops_in_them(tree, tmp_path):
    recipe = make_recipe("sbi", 64)
    chosen = Selection(splits=("train",), methods=("Deepfakes",))
    folder = prepare("faceforensics", tree, tmp_path / "out", recipe, Sampling(count=1), selection=chosen, workers=1)
    context, face = (Prepared(folder, "train", labels=(1,), context=wide)[0] for wide in (True, False))
    assert context["image"].shape[:2] == context["altered"].shape != (64, 64)
    assert context["box"].shape == (4,)
    assert face["image"].shape == (64, 64, 3)
    assert face["altered"].shape == face["mask"].shape == (64, 64)
    assert 0.1 < face["altered"].mean() < 0.9


def test_doctor_holds_shards_to_their_hashes(done, tmp_path, capsys):
    copy = shutil.copytree(done, tmp_path / "copy")
    assert main(["doctor", str(copy)]) == 0
    shard = next(copy.glob("prepared_faces-train*"))
    content = bytearray(shard.read_bytes())
    content[1000] ^= 1
    shard.write_bytes(content)
    (copy / "rows-test.npy").unlink()
    assert main(["doctor", str(copy)]) == 1
    out = capsys.readouterr().out
    assert f"corrupt   {shard.name}: SHA-256 " in out
    assert "missing   rows-test.npy" in out


@pytest.mark.parametrize(
    ("file", "change", "wanted"),
    [
        ("manifest.json", lambda _: b"[" * 100_000, "found no JSON"),
        ("manifest.json", lambda _: b"\xff", "found no JSON"),
        ("manifest.json", lambda _: b"[]", "an object, what `fdetect prepare` wrote"),
        ("manifest.json", lambda text: text.replace(b'"shards"', b'"shard"'), r"\.shards: found None"),
        ("manifest.json", lambda text: text.replace(b'"label": 1', b'"label": 2'), r"files\[0\]\.label: found 2"),
        ("manifest.json", lambda text: text.replace(b'"source"', b'"sauce"'), r"files\[0\]\.source: found None"),
        ("rows-train.npy", lambda content: content[:90], "found no array"),
        ("rows-train.npy", lambda content: content[:-4] + b"\xff\xff\xff\xff", ""),
        ("rows-train.npy", lambda content: content[:-20] + b"\x77" * 20, "found no rows of"),
        ("features.json", lambda _: b"{}", "its shards cannot be opened"),
        ("dataset_info.json", lambda _: b"[", "its shards cannot be opened"),
    ],
)
def test_damaged_notes_are_refused_by_name(done, file, change, wanted, tmp_path):
    copy = shutil.copytree(done, tmp_path / "copy")
    (copy / file).write_bytes(change((copy / file).read_bytes()))
    if not wanted:
        assert len(Prepared(copy, "train")) == 15
        return
    with pytest.raises(UserError, match=rf"{tmp_path}/copy.*{wanted}"):
        _ = Prepared(copy, "train")[0]
    if file == MANIFEST:
        assert main(["doctor", str(copy)]) == 2


def test_done_is_done_and_something_else_needs_another_folder(tree, done, capsys, monkeypatch):
    monkeypatch.setattr(records, "finish", lambda *_: pytest.fail("cropped again"))
    prepare("faceforensics", tree, done, RECIPE, THREE)
    assert "prepared before" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"found another preparation \(sampling differ\), wanted a new folder"):
        prepare("faceforensics", tree, done, RECIPE, Sampling(count=2))
    with pytest.raises(ValueError, match=r"\(selection, files differ\)"):
        prepare("faceforensics", tree, done, RECIPE, THREE, selection=Selection(splits=("train",)))


def test_a_folder_of_other_things_is_left_alone(tree, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"found thesis\.txt, wanted an empty folder"):
        prepare("faceforensics", tree, tmp_path, RECIPE, THREE)


def test_nothing_but_broken_files(tmp_path, faces):
    trees.touch(tmp_path / "in", "real/a.mp4", "fake/b.mp4")
    with pytest.raises(ValueError, match=r"found no face in 2 files \(no image or video"):
        prepare("folder", tmp_path / "in", tmp_path / "out", RECIPE, workers=1)
    assert not (tmp_path / "out" / MANIFEST).exists()


def test_photographs_and_a_video_in_small_shards(tmp_path, faces, monkeypatch):
    monkeypatch.setattr(module, "_CROPS_A_SHARD", 2)
    for number in range(3):
        path = tmp_path / "in" / "train" / "real" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), trees.frames(number)[0][..., ::-1])
    trees.write_person(tmp_path / "in" / "train" / "fake" / "3.mp4", 3)
    folder = prepare("folder", tmp_path / "in", tmp_path / "out", RECIPE, THREE, workers=1)
    assert len(list(folder.glob("*.array_record-*"))) == 3
    source = Prepared(folder, "train")
    videos = [source[index]["video"] for index in range(len(source))]
    assert videos == ["folder/train/fake/3.mp4"] * 3 + [f"folder/train/real/{number}.png" for number in range(3)]
    assert [int(source[index]["frame"]) for index in range(6)] == [0, 2, 4, 0, 0, 0]


def test_two_people_of_a_video_are_two_tracks(tmp_path, faces):
    both = np.concatenate([trees.frames(0), trees.frames(1)], axis=2)
    trees.write_video(tmp_path / "in" / "train" / "real" / "both.mp4", both)
    folder = prepare("folder", tmp_path / "in", tmp_path / "out", RECIPE, Sampling(count=2), faces="all", workers=1)
    source = Prepared(folder, "train")
    rows = [source[index] for index in range(len(source))]
    assert [(int(row["frame"]), int(row["track"])) for row in rows] in (
        [(0, 0), (0, 1), (4, 0), (4, 1)],
        [(0, 0), (0, 1), (4, 1), (4, 0)],
    )
    left = {int(row["track"]): row["face"][0] < trees.SIZE / 2 for row in rows}
    assert sorted(left.values()) == [False, True]


def test_people_of_a_fake_who_are_unaltered_can_be_left_out(tmp_path, faces):
    both = np.concatenate([trees.frames(0), trees.frames(1)], axis=2)
    mask = np.zeros_like(both)
    mask[:, ALTERED[0], ALTERED[1]] = 255  # on the left
    trees.write_video(tmp_path / "in" / "source" / "val" / "a.mp4", both)
    trees.write_video(tmp_path / "in" / "target" / "val" / "a.mp4", both)
    trees.write_video(tmp_path / "in" / "target_mask" / "val" / "a.mp4", mask)
    folder = prepare("ffiw", tmp_path / "in", tmp_path / "out", RECIPE, Sampling(count=1), workers=1)
    assert len(Prepared(folder, "test")) == 4
    assert len(Prepared(folder, "test", labels=(0,), altered=True)) == 2
    fake = Prepared(folder, "test", labels=(1,), altered=True)
    assert len(fake) == 1
    assert fake[0]["face"][2] < 1.2 * trees.SIZE
    assert fake[0]["altered"].any()
    other = prepare("ffiw", tmp_path / "in", tmp_path / "context", make_recipe("sbi", 64), Sampling(count=1), workers=1)
    assert len(Prepared(other, "test", labels=(1,), altered=True)) == 1


_KILLED = """
import os, signal, sys
from fdetect_jax.datasets import prepare
from fdetect_jax.cli import main

def watched(results, *_, **__):
    for number, result in enumerate(results):
        if number == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        yield result

prepare.watched = watched
main(sys.argv[1:])
"""


def test_killed_and_started_again_it_ends_in_the_same_bytes(tree, done, tmp_path):
    command = ["prepare", "faceforensics", "--root", str(tree), "--output", str(tmp_path / "out")]
    command += ["--size", "64", "--frames", "3", "--workers", "1"]
    assert subprocess.run([sys.executable, "-c", _KILLED, *command]).returncode == -signal.SIGKILL
    made = tmp_path / "out" / ".work" / "records"
    before = {path: path.stat().st_mtime_ns for path in made.glob("*/*.npz")}
    assert 3 < len(before) < 9
    again = []
    original = records.finish

    def finish(tasks, *arguments):
        again.extend(task for task in tasks if not task.record.is_file())
        if arguments[2:]:  # the call that works, not a shard's
            assert {path: path.stat().st_mtime_ns for path in made.glob("*/*.npz")} == before
        original(tasks, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "finish", finish)
        patch.setattr(module, "_account", _interrupted)  # when the shards are there, and the manifest is not
        with pytest.raises(KeyboardInterrupt):
            prepare("faceforensics", tree, tmp_path / "out", RECIPE, THREE, workers=2)
    assert len(again) == 9 - len(before)
    (tmp_path / "out" / "prepared_faces-val.array_record-00000-of-00001").write_bytes(b"of other options")
    prepare("faceforensics", tree, tmp_path / "out", RECIPE, THREE, workers=2)
    assert _hashes(tmp_path / "out") == _hashes(done)


def _interrupted(*_):
    raise KeyboardInterrupt


@pytest.mark.skipif(importlib.util.find_spec("apache_beam") is None, reason="the extra beam is not installed")
def test_apache_beam_writes_the_same_bytes(tree, done, tmp_path):
    options = ["--direct_num_workers=2", "--direct_running_mode=multi_processing"]
    prepare("faceforensics", tree, tmp_path / "out", RECIPE, THREE, beam=options)
    assert _hashes(tmp_path / "out") == _hashes(done)


def test_beam_that_is_not_installed_is_named(tree, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam.options.pipeline_options", None)
    with pytest.raises(ValueError, match=r"found no apache_beam, wanted `pip install fdetect-jax\[beam\]`"):
        prepare("faceforensics", tree, tmp_path / "out", RECIPE, THREE, workers=1, beam=[])


def _config(root, **data):
    config = get_config("folder")
    config.data.source, config.data.root = "prepared", str(root)
    config.data.update(data)
    return config


def test_training_reads_the_real_faces(tree, tmp_path):
    chosen = Selection(methods=("Deepfakes",))
    one = Sampling(count=1)
    folder = prepare(
        "faceforensics", tree, tmp_path / "out", make_recipe("aligned64"), one, selection=chosen, workers=1
    )
    config = _config(folder)
    check(config)
    source = make_source(config.data, "train")
    assert {source[index]["method"] for index in range(len(source))} == {"real"}
    assert source.recipe == make_recipe("aligned64")
    config.evaluation.split = "val"
    with pytest.raises(UserError, match=r"^data\.root: split: found 'val', wanted one of train, test"):
        check(config)


def test_shards_of_another_recipe_or_of_nothing_are_refused(done, tmp_path):
    with pytest.raises(
        UserError, match=r"^data\.root: found .*wanted the output of `fdetect prepare --recipe aligned64 --size 64`"
    ):
        check(_config(done))
    with pytest.raises(
        UserError, match=r"^data\.root: .*found no manifest\.json, wanted a folder that `fdetect prepare`"
    ):
        check(_config(tmp_path))


def test_the_command(tree, tmp_path, capsys):
    command = ["prepare", "faceforensics", "--root", str(tree), "--output", str(tmp_path / "out"), "--size", "64"]
    assert main([*command, "--split", "test", "--frames", "1", "--methods", "real", "--workers", "1"]) == 0
    out = capsys.readouterr().out
    assert "1 quarantined (no face: 1)" in out
    manifest = json.loads((tmp_path / "out" / MANIFEST).read_text())
    assert manifest["counts"] == {"test": {"real": {"files": 2, "crops": 1, "quarantined": 1}}}
    assert main([*command, "--recipe", "narrow"]) == 2
    assert "recipe: found 'narrow', wanted one of" in capsys.readouterr().err


def test_a_file_that_hangs_or_kills_its_process_is_a_record(tree, tmp_path, monkeypatch):
    tasks = [_task(tree, tmp_path, name) for name in ("071", "054")]
    monkeypatch.setattr(records, "run_isolated", lambda *_, **__: (records.Rejected(one) for one in ("slow", "died")))
    records.finish(tasks, 1, 3.0)
    assert [records.read(task.record).reason for task in tasks] == ["slow", "died"]
    assert records.read(tasks[0].record).sha256 == hashlib.sha256(tasks[0].file.read_bytes()).hexdigest()
    monkeypatch.setattr(records, "run_isolated", lambda *_, **__: pytest.fail("tried again"))
    records.finish(tasks, 1, 3.0)


def test_what_may_pass_is_tried_again(tmp_path, faces, monkeypatch, capsys):
    """After a time limit that was too short, a second run makes what the first one should have made."""
    for number, label in enumerate(("real", "fake", "real")):
        trees.write_photo(tmp_path / "root" / label / f"{number}.png", number)
    how = {"workers": 1, "sampling": THREE}
    whole = prepare("folder", tmp_path / "root", tmp_path / "whole", RECIPE, **how)
    run = records.run_isolated

    def too_slow(function, items, **options):
        for task, result in zip(items, run(function, items, **options), strict=True):
            slow = task.file.name == "1.png"
            if slow:
                task.record.unlink()
            yield Rejected("took over 1 seconds", passing=True) if slow else result

    with monkeypatch.context() as patched:
        patched.setattr(records, "run_isolated", too_slow)
        prepare("folder", tmp_path / "root", tmp_path / "out", RECIPE, **how)
        (left,) = json.loads((tmp_path / "out" / QUARANTINE).read_text())
        assert (left["file"], left["passing"]) == ("fake/1.png", True)
        prepare("folder", tmp_path / "root", tmp_path / "out", RECIPE, **how)
        assert "nothing new" in capsys.readouterr().out
    prepare("folder", tmp_path / "root", tmp_path / "out", RECIPE, **how)
    assert json.loads((tmp_path / "out" / QUARANTINE).read_text()) == []
    assert _hashes(tmp_path / "out") == _hashes(whole)
    assert not (tmp_path / "out" / ".work").exists()


def test_links_suffixes_and_letters_case(tmp_path, faces, capsys):
    """What ``predict`` reads is prepared too, and what is left out is named."""
    trees.write_photo(tmp_path / "elsewhere" / "0.png", 0)
    trees.write_photo(tmp_path / "root" / "FAKE" / "m" / "1.png", 1)
    (tmp_path / "root" / "FAKE" / "m" / "1.png").rename(tmp_path / "root" / "FAKE" / "m" / "1.jpg_large")
    (tmp_path / "root" / "Real").mkdir()
    (tmp_path / "root" / "Real" / "linked").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "root" / "Real" / "broken.png").symlink_to(tmp_path / "nothing")
    odd = os.fsdecode(b"m\xfcde/J\xf6rg.png")  # no UTF-8
    trees.write_photo(tmp_path / "root" / "FAKE" / "2.png", 2)
    (tmp_path / "root" / "FAKE" / odd).parent.mkdir()
    (tmp_path / "root" / "FAKE" / "2.png").rename(tmp_path / "root" / "FAKE" / odd)
    prepare("folder", tmp_path / "root", tmp_path / "out", RECIPE, workers=1)
    manifest = json.loads((tmp_path / "out" / MANIFEST).read_text())
    assert {row["file"]: row["crops"] for row in manifest["files"]} == {
        "Real/linked/0.png": 1,
        "FAKE/m/1.jpg_large": 1,
        f"FAKE/{odd}": 1,
    }
    assert sum(len(Prepared(tmp_path / "out", split)) for split in manifest["counts"]) == 3
    assert "left out, a link to nothing: 1 (Real/broken.png)" in capsys.readouterr().err
    assert main(["doctor", str(tmp_path / "root"), "--workers", "1"]) == 1
    assert "unusable  left out, a link to nothing: 1 (Real/broken.png)" in capsys.readouterr().out


def _task(tree, folder, name):
    file = tree / "original_sequences/youtube/c23/videos" / f"{name}.mp4"
    return records.Task(file, True, None, RECIPE, THREE, "largest", folder / f"{name}.npz")


def test_records_come_back_as_they_were_written(tree, tmp_path):
    task = _task(tree, tmp_path, "071")
    record = records.Record("", False, "", "ab", 4, images=[b"one", b"", b"three"], altered=[b"", b"x", b""])
    records._write(task.record, record)
    found = records.read(task.record)
    assert (found.images, found.altered, found.sha256, found.looked) == (record.images, record.altered, "ab", 4)
    assert records.read(task.record, crops=False).images == ()


def test_a_damaged_record_is_made_again(tree, tmp_path):
    task = _task(tree, tmp_path, "071")
    records.finish([task], 1, 60)
    whole = task.record.read_bytes()
    task.record.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"071\.npz: found a damaged record"):
        records.read(task.record)
    records.finish([task], 1, 60)
    assert task.record.read_bytes() == whole


def test_progress_without_a_terminal_is_a_line_now_and_then(capsys, monkeypatch):
    monkeypatch.setattr("fdetect_jax.datasets.progress._EVERY", 0.05)
    seen = [(time.sleep(0.02), item)[1] for item in watched(range(8), 2, 10, "data", "file")]
    lines = capsys.readouterr().err.splitlines()
    assert seen == list(range(8))
    assert 1 <= len(lines) < 8
    assert "data" in lines[-1]
    assert "/10 [" in lines[-1]
    assert "file/s" in lines[-1] or "s/file" in lines[-1]


def test_progress_on_a_terminal_is_a_bar(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert list(watched(range(3), 7, 10, "data", "file")) == [0, 1, 2]
    assert "100%" in capsys.readouterr().err


def test_source_files_that_change_are_made_again(tree, tmp_path):
    root = tmp_path / "ff"
    shutil.copytree(tree, root)
    keys = lambda: [entry.task.record.name for entry in module._entries(plan, items)]  # noqa: E731
    plan = module.Plan("faceforensics", root, tmp_path, RECIPE, THREE, "largest", Selection())
    items = module.find_layout("faceforensics").items(root)
    before = keys()
    os.utime(root / items[0].file, ns=(1, 1))
    changed = [one != other for one, other in zip(before, keys(), strict=True)]
    assert changed == [True] + [False] * (len(items) - 1)
