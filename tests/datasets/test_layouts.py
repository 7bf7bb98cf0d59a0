"""Published layouts, in miniature: labels, splits and the pitfalls of each."""

import contextlib
import json
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from fdetect_jax.datasets.layouts import LAYOUTS, find_layout
from fdetect_jax.datasets.layouts.base import Item, connected, drawn_split, undivided
from fdetect_jax.datasets.layouts.faceforensics import METHODS, read_splits
from fdetect_jax.datasets.selection import Selection, select
from fdetect_jax.errors import UserError
from tests.datasets.trees import splits, touch

PAIRS = {"train": [["071", "054"], ["087", "081"]], "val": [["720", "672"]], "test": [["953", "974"]]}
NAMES = [name for pairs in PAIRS.values() for pair in pairs for name in pair]


def _items(name, root):
    return {item.file: item for item in LAYOUTS[name].items(root)}


def _methods(method, kind):
    folder = f"manipulated_sequences/{method}/{kind}/videos"
    return [
        f"{folder}/{one}_{other}.mp4" for pairs in PAIRS.values() for a, b in pairs for one, other in ((a, b), (b, a))
    ]


@pytest.fixture
def faceforensics(tmp_path):
    splits(tmp_path, **PAIRS)
    for kind in ("raw", "c23"):
        touch(tmp_path, *(f"original_sequences/youtube/{kind}/videos/{name}.mp4" for name in NAMES))
        touch(tmp_path, *(file for method in METHODS for file in _methods(method, kind)))
    touch(tmp_path, *_methods("Face2Face", "masks"))
    touch(tmp_path, "original_sequences/actors/c23/videos/01__walking.mp4")
    touch(tmp_path, "manipulated_sequences/DeepFakeDetection/c23/videos/01_02__walking__YVGY8LOK.mp4")
    return tmp_path


def test_faceforensics(faceforensics):
    items = _items("faceforensics", faceforensics)
    assert len(items) == 2 * (8 + 8 * len(METHODS)) + 2
    real = items["original_sequences/youtube/c23/videos/071.mp4"]
    assert (real.label, real.split, real.method, real.identity) == (0, "train", "real", "071")
    fake = items["manipulated_sequences/Face2Face/c23/videos/054_071.mp4"]
    assert (fake.label, fake.split, fake.method, fake.identity) == (1, "train", "Face2Face", "054")
    assert fake.original == "original_sequences/youtube/c23/videos/054.mp4"
    assert fake.mask == "manipulated_sequences/Face2Face/masks/videos/054_071.mp4"
    assert items["manipulated_sequences/FaceSwap/raw/videos/720_672.mp4"].mask is None
    assert {items[file].split for file in items if "974" in file} == {"test"}
    actor = items["original_sequences/actors/c23/videos/01__walking.mp4"]
    deepfake = items["manipulated_sequences/DeepFakeDetection/c23/videos/01_02__walking__YVGY8LOK.mp4"]
    assert (actor.split, deepfake.split, actor.label, deepfake.label) == ("test", "test", 0, 1)
    assert {actor.source, deepfake.source} == {"dfd"}


def test_the_two_of_a_pair_and_their_fakes_share_a_split(faceforensics):
    items = LAYOUTS["faceforensics"].items(faceforensics)
    for one, other in pairwise(sorted(items, key=lambda item: item.group)):
        assert one.group != other.group or one.split == other.split
    of = {item.file: item.group for item in items}
    folder = "original_sequences/youtube/raw/videos"
    assert (
        of[f"{folder}/953.mp4"]
        == of[f"{folder}/974.mp4"]
        == of["manipulated_sequences/FaceSwap/raw/videos/974_953.mp4"]
    )


def test_an_id_in_two_splits_is_refused(faceforensics):
    splits(faceforensics, **(PAIRS | {"test": [["953", "071"]]}))
    with pytest.raises(ValueError, match=r"test\.json: found 071 in test and before in train"):
        LAYOUTS["faceforensics"].items(faceforensics)


def test_what_is_no_pair_is_no_fake(faceforensics):
    touch(faceforensics, "manipulated_sequences/FaceSwap/c23/videos/071_720.mp4")
    touch(faceforensics, "manipulated_sequences/FaceSwap/c23/videos/071.mp4")
    assert len(_items("faceforensics", faceforensics)) == 2 * (8 + 8 * len(METHODS)) + 2


def test_the_official_splits(shared):
    root = shared / "data" / "ffpp_splits"
    found = read_splits(root)
    assert {split: len(pairs) for split, pairs in found.items()} == {"train": 360, "val": 70, "test": 70}
    assert (found["train"][0], found["val"][0], found["test"][0]) == (("071", "054"), ("720", "672"), ("953", "974"))


def test_the_papers_ten_per_cent_of_the_official_training_set(shared, tmp_path):
    lists = {split: json.loads((shared / "data/ffpp_splits" / f"{split}.json").read_text()) for split in PAIRS}
    names = [name for pairs in lists.values() for pair in pairs for name in pair]
    splits(tmp_path, **lists)
    touch(tmp_path, *(f"original_sequences/youtube/c23/videos/{name}.mp4" for name in names))
    items = LAYOUTS["faceforensics"].items(tmp_path)
    assert Counter(item.split for item in items) == {"train": 720, "val": 140, "test": 140}
    tenth = select(items, Selection(train_fraction=0.1))
    assert Counter(item.split for item in tenth) == {"train": 72, "val": 140, "test": 140}
    assert len({item.group for item in tenth if item.split == "train"}) == 36


def test_ten_per_cent_are_whole_pairs_and_the_same_every_time():
    item = Item("", 0, "train", "real", "faceforensics", "", "")
    items = [
        replace(item, file=f"{name}.mp4", identity=name, group=f"{pair}")
        for pair in range(360)
        for name in (f"{pair}a", f"{pair}b")
    ] + [replace(item, file="held.mp4", group="held", split="test")]
    tenth = select(items, Selection(train_fraction=0.1))
    train = [one.file for one in tenth if one.split == "train"]
    assert len(train) == 72
    assert len({one.group for one in tenth if one.split == "train"}) == 36
    assert [one.file for one in tenth if one.split == "test"] == ["held.mp4"]
    assert tenth == select(list(reversed(items)), Selection(train_fraction=0.1))
    more = [one.file for one in select(items, Selection(train_fraction=0.2))]
    assert set(train) < set(more)


def test_compression_has_to_be_chosen(faceforensics):
    items = LAYOUTS["faceforensics"].items(faceforensics)
    with pytest.raises(ValueError, match="compression: found c23, raw, wanted one of them chosen"):
        select(items, Selection())
    chosen = select(items, Selection(compression="raw"))
    assert {item.compression for item in chosen} == {"raw"}
    with pytest.raises(ValueError, match="compression: found 'c40', wanted one of c23, raw"):
        select(items, Selection(compression="c40"))


def test_methods_bring_the_real_videos_of_their_data_set(faceforensics):
    items = LAYOUTS["faceforensics"].items(faceforensics)
    swaps = select(items, Selection(compression="c23", methods=("FaceSwap",)))
    assert {(item.method, item.source) for item in swaps} == {("FaceSwap", "faceforensics"), ("real", "faceforensics")}
    actors = select(items, Selection(compression="c23", methods=("DeepFakeDetection",)))
    assert {(item.method, item.source) for item in actors} == {("DeepFakeDetection", "dfd"), ("real", "dfd")}
    real = select(items, Selection(compression="c23", methods=("real",), splits=("train",)))
    assert {item.label for item in real} == {0}
    assert len(real) == 4
    with pytest.raises(ValueError, match="methods: found 'Faceswap', wanted one of"):
        select(items, Selection(compression="c23", methods=("Faceswap",)))
    with pytest.raises(ValueError, match="split: found"):
        Selection(splits=("training",))


CELEB = ("Celeb-real/id0_0001.mp4", "Celeb-real/id1_0001.mp4", "YouTube-real/00170.mp4", "YouTube-real/00171.mp4")
CELEB_FAKE = ("Celeb-synthesis/id0_id1_0001.mp4", "Celeb-synthesis/id1_id0_0001.mp4")
CELEB_LIST = "1 YouTube-real/00170.mp4\n1 Celeb-real/id1_0001.mp4\n0 Celeb-synthesis/id1_id0_0001.mp4\n"


def _celeb(root, level="", youtube="YouTube-real", text=CELEB_LIST):
    for file in CELEB + CELEB_FAKE:
        folder, name = file.replace("YouTube-real", youtube).split("/")
        touch(root, f"{folder}/{level}{name}")
    (root / "List_of_testing_videos.txt").write_text(text)
    return root


@pytest.mark.parametrize(("level", "youtube"), [("", "YouTube-real"), ("videos/", "Youtube-real")])
def test_celeb_df(tmp_path, level, youtube):
    items = LAYOUTS["celeb_df"].items(_celeb(tmp_path, level, youtube))
    found = {(item.file.replace("/videos/", "/").lower(), item.label, item.split) for item in items}
    assert found == {
        ("celeb-real/id0_0001.mp4", 0, "train"),
        ("celeb-real/id1_0001.mp4", 0, "test"),
        ("youtube-real/00170.mp4", 0, "test"),
        ("youtube-real/00171.mp4", 0, "train"),
        ("celeb-synthesis/id0_id1_0001.mp4", 1, "train"),
        ("celeb-synthesis/id1_id0_0001.mp4", 1, "test"),
    }
    fake = next(item for item in items if "id0_id1" in item.file)
    assert (fake.identity, fake.original) == ("id0", f"Celeb-real/{level}id0_0001.mp4")
    assert (tmp_path / fake.original).is_file()
    assert all((tmp_path / item.file).is_file() for item in items)
    assert {(item.label, item.kind) for item in items} == {(0, "real"), (1, "swap")}


def test_celeb_df_with_flipped_labels_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"line 1: found label 0 for YouTube-real, wanted 1, for here 1 means real"):
        LAYOUTS["celeb_df"].items(_celeb(tmp_path, text="0 YouTube-real/00170.mp4\n"))


def test_celeb_df_without_its_list_is_refused(tmp_path):
    _celeb(tmp_path)
    (tmp_path / "List_of_testing_videos.txt").unlink()
    with pytest.raises(ValueError, match="wanted List_of_testing_videos"):
        LAYOUTS["celeb_df"].items(tmp_path)


def test_celeb_df_lists_what_is_not_there(tmp_path):
    _celeb(tmp_path, text=CELEB_LIST + "1 Celeb-real/id9_0009.mp4\n")
    assert _items("celeb_df", tmp_path)["Celeb-real/id9_0009.mp4"].split == "test"


def test_dfdc(tmp_path):
    rows = {"aaa.mp4": {"label": "REAL", "split": "train"}, "bbb.mp4": {"label": "FAKE", "original": "aaa.mp4"}}
    for part in (0, 12):
        touch(tmp_path, f"dfdc_train_part_{part}/aaa.mp4", f"dfdc_train_part_{part}/bbb.mp4")
        (tmp_path / f"dfdc_train_part_{part}" / "metadata.json").write_text(json.dumps(rows))
    touch(tmp_path, "videos/aaa.mp4", "videos/xyz.mp4")
    (tmp_path / "labels.csv").write_text("filename,label\naaa.mp4,0\nxyz.mp4,1\n")
    items = _items("dfdc", tmp_path)
    assert len(items) == 6
    fake = items["dfdc_train_part_12/bbb.mp4"]
    assert (fake.label, fake.split, fake.original) == (1, "train", "dfdc_train_part_12/aaa.mp4")
    assert fake.kind == "unknown"
    assert fake.identity == items["dfdc_train_part_12/aaa.mp4"].identity
    assert (items["videos/xyz.mp4"].label, items["videos/xyz.mp4"].split) == (1, "test")
    assert items["videos/aaa.mp4"].group != fake.group
    # One name in three folders is three videos.
    assert len({item.video for item in items.values()}) == 6


def test_dfdc_as_it_is_unpacked(tmp_path):
    touch(tmp_path, "test/videos/a.mp4", "validation/b.mp4")
    (tmp_path / "test" / "labels.csv").write_text("filename,label\na.mp4,1\n")
    (tmp_path / "validation" / "labels.csv").write_text("filename,label\nb.mp4,0\nc.mp4,1\n")
    assert {(item.file, item.split, item.label) for item in LAYOUTS["dfdc"].items(tmp_path)} == {
        ("test/videos/a.mp4", "test", 1),
        ("validation/b.mp4", "val", 0),
        ("validation/c.mp4", "val", 1),
    }
    (tmp_path / "test" / "labels.csv").write_text("filename,label\na.mp4,fake\n")
    with pytest.raises(ValueError, match="line 2"):
        LAYOUTS["dfdc"].items(tmp_path)


@pytest.mark.parametrize("level", ["", "videos/"])
def test_dfdc_preview(tmp_path, level):
    rows = {
        "method_A/1088/1088_A/1088_1034_A_000.mp4": {"label": "fake", "set": "test", "target_id": 1088},
        "method_B/77/77_B/77_12_B_000.mp4": {"label": "fake", "set": "train"},
        "original_videos/1088/1088_A_000.mp4": {"label": "real", "set": "test"},
    }
    for key in rows:
        folder, _, rest = key.partition("/")
        touch(tmp_path, f"{folder}/{level}{rest}")
    (tmp_path / "dataset.json").write_text(json.dumps(rows))
    items = LAYOUTS["dfdc_preview"].items(tmp_path)
    assert all((tmp_path / item.file).is_file() for item in items)
    assert [(item.label, item.split, item.method, item.kind, item.identity) for item in items] == [
        (1, "test", "method_A", "swap", "1088"),
        (1, "train", "method_B", "swap", "77"),
        (0, "test", "real", "real", "1088"),
    ]


@pytest.mark.parametrize(("top", "level"), [("", ""), ("FFIW10K-v1-release/", "videos/")])
def test_ffiw(tmp_path, top, level):
    for part in ("train", "val"):
        for kind in ("source", "target", "target_mask"):
            touch(tmp_path, f"{top}{kind}/{part}/{level}v0.mp4")
    items = _items("ffiw", tmp_path)
    assert len(items) == 4
    fake = items[f"{top}target/val/{level}v0.mp4"]
    assert (fake.label, fake.split, fake.mask) == (1, "test", f"{top}target_mask/val/{level}v0.mp4")
    assert fake.kind == "swap"
    assert items[f"{top}source/train/{level}v0.mp4"].split == "train"
    assert fake.group != items[f"{top}target/train/{level}v0.mp4"].group
    assert LAYOUTS["ffiw"].faces == "all"


def test_deeperforensics(tmp_path):
    for variant in ("end_to_end", "end_to_end_level_3"):
        touch(tmp_path, *(f"manipulated_videos/{variant}/{name}.mp4" for name in ("000_M101", "001_W003", "002_W009")))
    touch(tmp_path, "target_videos/000.mp4", "target_videos/001.mp4", "source_videos/M101/x.mp4")
    (tmp_path / "lists" / "splits").mkdir(parents=True)
    for split, name in (("train", "000_M101.mp4"), ("val", "001_W003.mp4"), ("test", "002_W009.mp4")):
        (tmp_path / "lists" / "splits" / f"{split}.txt").write_text(f"{name}\n")
    items = _items("deeperforensics", tmp_path)
    assert len(items) == 8
    fake = items["manipulated_videos/end_to_end_level_3/001_W003.mp4"]
    assert (fake.label, fake.split, fake.method, fake.kind) == (1, "val", "end_to_end_level_3", "swap")
    assert fake.original == "target_videos/001.mp4"
    assert items["target_videos/000.mp4"].split == "train"
    assert not any("source_videos" in file for file in items)
    (tmp_path / "lists" / "splits" / "test.txt").write_text("002_M101.mp4\n")
    touch(tmp_path, "manipulated_videos/end_to_end/002_M101.mp4")
    with pytest.raises(ValueError, match="wanted splits that share no actor"):
        LAYOUTS["deeperforensics"].items(tmp_path)
    (tmp_path / "lists" / "splits" / "test.txt").write_text("000_W009.mp4\n")
    with pytest.raises(ValueError, match=r"test\.txt, line 1: found 000_W009, whose target is in train as well"):
        LAYOUTS["deeperforensics"].items(tmp_path)


def test_folders_of_ones_own(tmp_path):
    touch(tmp_path, "Real/ann/1.mp4", "Real/ann/2.jpg", "Real/3.png", "fake/mine/4.MP4", "fake/5.mov", "Real/notes.txt")
    items = _items("folder", tmp_path)
    assert {file: (item.label, item.method) for file, item in items.items()} == {
        "Real/ann/1.mp4": (0, "real"),
        "Real/ann/2.jpg": (0, "real"),
        "Real/3.png": (0, "real"),
        "fake/mine/4.MP4": (1, "mine"),
        "fake/5.mov": (1, "fake"),
    }
    assert items["Real/ann/1.mp4"].identity == items["Real/ann/2.jpg"].identity
    assert items["Real/ann/1.mp4"].split == items["Real/ann/2.jpg"].split


def test_folders_with_splits(tmp_path):
    touch(tmp_path, "train/real/ann/1.mp4", "test/real/ann/1.mp4", "test/fake/2.mp4")
    items = _items("folder", tmp_path)
    assert [item.split for item in items.values()] == ["train", "test", "test"]
    assert len({item.identity for item in items.values()}) == 3


def _table(root, text):
    (root / "manifest.csv").write_text(text)
    return LAYOUTS["folder"].items(root)


def test_a_table(tmp_path):
    items = _table(
        tmp_path,
        "file,label,split,method,identity,mask,original\n"
        "a/1.mp4,real,train,,ann,,\n"
        "b/2.mp4,1,train,swap,ann,b/2_mask.mp4,a/1.mp4\n"
        "c.mp4,fake,test,,,,\n",
    )
    assert [(item.label, item.split, item.method, item.identity) for item in items] == [
        (0, "train", "real", "ann"),
        (1, "train", "swap", "ann"),
        (1, "test", "fake", "c.mp4"),
    ]
    assert (items[1].mask, items[1].original) == ("b/2_mask.mp4", "a/1.mp4")


def test_in_a_table_without_splits_a_fake_falls_where_its_original_does(tmp_path):
    rows = [f"r{k}.mp4,real,p{k}," for k in range(40)] + [f"f{k}.mp4,fake,,r{k}.mp4" for k in range(40)]
    items = _table(tmp_path, "file,label,identity,original\n" + "\n".join(rows))
    split = {item.file: item.split for item in items}
    assert all(split[f"r{k}.mp4"] == split[f"f{k}.mp4"] for k in range(40))
    assert len(set(split.values())) > 1


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("file,truth\na,1", r"found columns \['file', 'truth'\], wanted file, label"),
        ("file,label\na,maybe", "line 2: found label 'maybe'"),
        ("file,label,split\na,1,training", "found split 'training'"),
        ("file,label\n/etc/passwd,1", "found file '/etc/passwd'"),
        ("file,label\na.mp4,1\na.mp4,0", r"line 3: found a\.mp4 again"),
        ("file,label\n../a.mp4,1", r"found file '\.\./a\.mp4'"),
        ("file,label,split,identity\na,0,train,ann\nb,0,test,ann", "wanted each group in one split"),
    ],
)
def test_a_table_that_cannot_be_used(tmp_path, text, wanted):
    with pytest.raises(ValueError, match=wanted):
        _table(tmp_path, text)


@pytest.mark.parametrize(
    "text", ["[]", '["a"]', '{"a.mp4": 1}', '{"a/b.mp4": []}', "{", '{"/etc/a.mp4": {}}', "[" * 100_000]
)
def test_lists_that_are_none_are_refused(tmp_path, text):
    for name, file in (("dfdc_preview", "dataset.json"), ("dfdc", "dfdc_train_part_0/metadata.json")):
        touch(tmp_path, file)
        (tmp_path / file).write_text(text)
        with pytest.raises(ValueError, match="wanted"):
            LAYOUTS[name].items(tmp_path)
    (tmp_path / "labels.csv").write_text("filename,label\na.mp4\n")
    (tmp_path / "dfdc_train_part_0" / "metadata.json").unlink()
    with pytest.raises(ValueError, match="line 2: found"):
        LAYOUTS["dfdc"].items(tmp_path)


def test_lists_cannot_lead_out_of_the_root(tmp_path):
    (tmp_path / "labels.csv").write_text("filename,label\n../../etc/passwd,1\n")
    with pytest.raises(ValueError, match="wanted a path below the root"):
        LAYOUTS["dfdc"].items(tmp_path)


def test_a_table_with_kinds(tmp_path):
    rows = ("a.mp4,real,", "b.mp4,fake,reenactment", "c.mp4,fake,", "d.mp4,fake,unknown", "e.mp4,real,unknown")
    items = _table(tmp_path, "file,label,kind\n" + "\n".join(rows))
    assert [item.kind for item in items] == ["real", "reenactment", "unknown", "unknown", "real"]
    for row in ("b.mp4,fake,morph", "b.mp4,fake,real", "b.mp4,real,swap"):
        with pytest.raises(UserError, match=r"line 2: found kind '(morph|real|swap)'"):
            _table(tmp_path, f"file,label,kind\n{row}\n")


def test_every_method_states_its_kind(faceforensics):
    kinds = {item.method: item.kind for item in LAYOUTS["faceforensics"].items(faceforensics)}
    assert kinds == {
        "real": "real",
        "Deepfakes": "swap",
        "FaceSwap": "swap",
        "FaceShifter": "swap",
        "DeepFakeDetection": "swap",
        "Face2Face": "reenactment",
        "NeuralTextures": "reenactment",
    }


def test_a_kind_is_of_the_label():
    item = Item("a.mp4", 1, "train", "m", "s", "ann", "ann")
    assert item.kind == "unknown"
    assert replace(item, kind="speaking").kind == "speaking"
    assert replace(item, label=0, kind="swap").kind == "real"
    for kind in ("real", "morph", ""):
        with pytest.raises(UserError, match=rf"a\.mp4: found the kind '{kind}', wanted one of entire synthesis, "):
            replace(item, kind=kind)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
@pytest.mark.parametrize(
    "table",
    [
        "file,label\nM\u00fcller\\a.mp4,1\n",
        "File; Label\r\nM\u00fcller/a.mp4;fake\r\n",
        "file\tlabel\r\nM\u00fcller/a.mp4\t1.0\r\n",
        '\n"file", "label"\n"M\u00fcller/a.mp4", "fake"\n',
    ],
)
def test_a_list_of_another_program_is_read(tmp_path, encoding, table):
    """Excel's and PowerShell's encodings and delimiters, and the paths of Windows."""
    (tmp_path / "manifest.csv").write_bytes(table.encode(encoding))
    (item,) = LAYOUTS["folder"].items(tmp_path)
    assert (item.file, item.label) == ("M\u00fcller/a.mp4", 1)


def test_a_list_that_is_no_text_is_named(tmp_path):
    (tmp_path / "manifest.csv").write_bytes(b"file,label\n\x00\x81\xff.mp4,1\n")
    with pytest.raises(UserError, match=r"manifest\.csv: found bytes that are no text, wanted UTF-8, UTF-16 or cp1252"):
        LAYOUTS["folder"].items(tmp_path)


@pytest.mark.parametrize("name", LAYOUTS)
def test_an_empty_folder_is_refused_by_name(tmp_path, name):
    with pytest.raises(ValueError, match=f"{tmp_path}: found an empty folder, wanted "):
        LAYOUTS[name].items(tmp_path)


def test_unknown_names():
    with pytest.raises(ValueError, match="data set: found 'ff', wanted one of faceforensics"):
        find_layout("ff")


def test_what_hangs_together():
    assert connected([["b", "a"], ["c"], ["d", "b"]]) == {"a": "a", "b": "a", "d": "a", "c": "c"}


def test_the_drawn_splits_have_their_shares():
    drawn = [drawn_split(str(number)) for number in range(4000)]
    assert [round(drawn.count(split) / 4000, 2) for split in ("train", "val", "test")] == pytest.approx(
        [0.9, 0.05, 0.05], abs=0.015
    )


def test_a_divided_group_is_refused():
    item = Item("a.mp4", 0, "train", "real", "folder", "ann", "ann")
    with pytest.raises(ValueError, match=r"b\.mp4 is in test and a\.mp4 in train, and both are of 'ann'"):
        undivided([item, replace(item, file="b.mp4", split="test")], "one")


LISTS = {
    "folder": ("manifest.csv", "file,label,method,original,group\nr/a.mp4,real,,,g\nf/b.mp4,1,m,r/a.mp4,g\n"),
    "dfdc": (
        "dfdc_train_part_0/metadata.json",
        '{"a.mp4": {"label": "REAL"}, "b.mp4": {"label": "FAKE", "original": "a.mp4"}}',
    ),
    "dfdc_preview": ("dataset.json", '{"method_A/1/1_A/1_2_A.mp4": {"label": "fake", "set": "test", "target_id": 1}}'),
}
PIECES = (b'"', b"\n", b"\r", b",", b";", b"../", b"/", b"\\", b"\0", b"null", b"[", b"1e999", b"\xff")


@pytest.mark.parametrize("name", LISTS)
def test_every_mutant_of_a_list_gives_items_or_a_reason(tmp_path, name):
    file, text = LISTS[name]
    (tmp_path / file).parent.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for _ in range(300):
        content = text.encode()
        for _ in range(rng.integers(1, 5)):
            at, length = rng.integers(len(content) + 1), rng.integers(8)
            piece = PIECES[rng.integers(len(PIECES))] if rng.integers(2) else rng.bytes(3)
            content = content[:at] + piece + content[at + length :]
        (tmp_path / file).write_bytes(content)
        with contextlib.suppress(UserError):
            LAYOUTS[name].items(tmp_path)
