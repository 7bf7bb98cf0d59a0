"""Checkpoint files: PyTorch's two formats, NVlabs' pickles and safetensors, whole and damaged."""

import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from fdetect_jax.convert import checkpoint
from fdetect_jax.convert.checkpoint import chosen_weights, module_at, module_state, read_checkpoint, state_dict
from fdetect_jax.convert.pickles import Persistent
from fdetect_jax.convert.tensors import CheckpointError

GOLDEN = Path(__file__).parents[1] / "golden"
READERS = json.loads((GOLDEN / "checkpoints.json").read_text())["readers"]


@pytest.mark.parametrize("name", ["tiny_zip.pt", "tiny_stream.pt"])
def test_both_formats_of_pytorch(name):
    found = read_checkpoint(GOLDEN / name)
    assert (found["epoch"], found["opts"]) == (3, {"rate": 0.1, "names": ["a"]})
    state = state_dict(chosen_weights(found, None)[0], "file")
    assert state.keys() == READERS.keys()
    for key, wanted in READERS.items():
        np.testing.assert_array_equal(state[key].array().astype(np.float32), np.float32(wanted), err_msg=key)


def test_safetensors(tmp_path):
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.float16([0.5]), "c": np.array(3)}
    save_file(arrays, tmp_path / "x.safetensors")
    state = state_dict(read_checkpoint(tmp_path / "x.safetensors"), "file")
    for key, wanted in arrays.items():
        np.testing.assert_array_equal(state[key].array(), wanted)


def test_modules_of_nvlabs_without_their_source():
    """The source in this file would end the process if it ran."""
    found = read_checkpoint(GOLDEN / "tiny_nvlabs.pkl")
    assert found["training_set_kwargs"] == {"resolution": 32}
    assert isinstance(found["G_ema"], Persistent)
    assert found["G_ema"].name == "Generator"
    state = module_state(found["G_ema"], "G_ema")
    assert state["synthesis.b32.conv0.weight"].array().shape == (12, 12, 3, 3)
    assert state["mapping.w_avg"].array().dtype == np.float32
    assert module_at(found["G_ema"], "synthesis.b4.conv1")["conv_clamp"] == 0.7
    assert module_at(found["G_ema"], "synthesis.b5.conv1") == {}


@pytest.mark.parametrize("name", ["tiny_zip.pt", "tiny_stream.pt", "tiny_nvlabs.pkl"])
@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.99])
def test_truncated(name, share, tmp_path):
    data = (GOLDEN / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(data[: max(1, int(share * len(data)))])
    with pytest.raises(CheckpointError, match=rf"{path}: .*(truncated|not a whole pickle|begins with)"):
        read_checkpoint(path)


def test_truncated_inside_the_last_storage(tmp_path):
    path = tmp_path / "x.pt"
    path.write_bytes((GOLDEN / "tiny_stream.pt").read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="truncated: the file ends within storage"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (b"", "an empty file"),
        (b"\x89PNG\r\n\x1a\n0000", "begins with b'.*PNG"),
        (b"\xff\xd8\xff\xe0 JFIF", "begins with"),
        (b"hello, this is text", "begins with b'hello, t'"),
        (b"PK\x03\x04 and nothing else", "truncated or damaged zip file"),
        (b"\x10\x00\x00\x00\x00\x00\x00\x00{ no json at all", "truncated or damaged safetensors"),
        (b"\x80\x02}q\x00.", None),
    ],
)
def test_other_files(data, wanted, tmp_path):
    path = tmp_path / "x.pt"
    path.write_bytes(data)
    if wanted is None:
        assert read_checkpoint(path) == {}
        return
    with pytest.raises(CheckpointError, match=rf"{path}: {wanted}"):
        read_checkpoint(path)


def test_no_file(tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        read_checkpoint(tmp_path / "none.pt")


def rezip(path: Path, change: dict[str, bytes | None], compression=zipfile.ZIP_STORED) -> Path:
    """tiny_zip.pt with entries replaced, added, or (None) left out."""
    with zipfile.ZipFile(GOLDEN / "tiny_zip.pt") as source, zipfile.ZipFile(path, "w", compression) as target:
        entries = {name.split("/", 1)[1]: source.read(name) for name in source.namelist()} | change
        for name, data in entries.items():
            if data is not None:
                target.writestr(f"tiny_zip/{name}", data)
    return path


def storage_pickle(name: bytes, count: bytes = b"K\x01") -> bytes:
    """A pickle that points to a storage of this name and count, both as instructions."""
    return b"\x80\x02(U\x07storagectorch\nFloatStorage\n" + name + b"U\x03cpu" + count + b"tQ."


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"data/0": None}, "holds no tiny_zip/data/0"),
        ({"data/0": b"short"}, "truncated: a storage holds 5 bytes, wanted 96"),
        ({"data/0": b"\0" * 100}, "of 100 bytes, wanted 96 at most"),
        ({"data.pkl": None}, "0 data.pkl"),
        ({"byteorder": b"big"}, "big-endian"),
        ({"data.pkl": b"\x80\x02N" + b"2\x86" * 60 + b"Q."}, "points to a tuple, wanted a storage"),
        ({"data.pkl": storage_pickle(b"N" + b"2\x86" * 60)}, "a storage is called a tuple"),
        ({"data.pkl": storage_pickle(b"U\x010", b"]")}, "a storage of a list values"),
        ({"data.pkl": storage_pickle(b"U\x010", pickle.dumps(2**70, 2)[2:-1])}, "a storage of 1180591620717411303424"),
        ({"data.pkl": pickle.dumps({"state_dict": pickle.Unpickler}, 2)}, r"names '_?pickle\.Unpickler'"),
    ],
)
def test_damaged_zip(change, wanted, tmp_path):
    path = rezip(tmp_path / "x.pt", change)
    with pytest.raises(CheckpointError, match=wanted):
        [value.array() for value in read_checkpoint(path)["state_dict"].values()]


def test_compressed_entries_are_refused(tmp_path):
    path = rezip(tmp_path / "x.pt", {"data.pkl": b"\x80\x02]" + b"N" * 10_000}, zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match="compressed or of"):
        read_checkpoint(path)


def test_a_flipped_bit_is_found(tmp_path):
    data = bytearray((GOLDEN / "tiny_zip.pt").read_bytes())
    with zipfile.ZipFile(GOLDEN / "tiny_zip.pt") as archive:
        info = archive.getinfo("tiny_zip/data/0")
        data[data.index(archive.read(info)) + 10] ^= 1
    path = tmp_path / "x.pt"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="truncated or damaged"):
        read_checkpoint(path)["state_dict"]["whole"].array()


def test_the_pickle_inside_a_zip_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "MAX_PICKLE", 100)
    with pytest.raises(CheckpointError, match="wanted 100 at most"):
        read_checkpoint(GOLDEN / "tiny_zip.pt")


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        ([1], "found list"),
        ({"epoch": 1}, "found no tensors but 'epoch'"),
        ({"state_dict": {"x": "text"}}, "found no tensors but 'x'"),
    ],
)
def test_what_is_no_state_dict(found, wanted):
    with pytest.raises(CheckpointError, match=f"weights: {wanted}"):
        state_dict(chosen_weights(found, None)[0], "weights")


def test_a_state_dict_with_other_things_inside():
    found = read_checkpoint(GOLDEN / "tiny_zip.pt")["state_dict"]
    with pytest.raises(CheckpointError, match="found 'step' among the tensors"):
        state_dict(found | {"step": 3}, "weights")


def test_module_trees_are_bounded():
    """A tree that holds itself."""
    module = Persistent("Loop", {"_modules": {}})
    module.state["_modules"]["again"] = module
    with pytest.raises(CheckpointError, match="more modules than a network has"):
        module_state(module, "G_ema")
