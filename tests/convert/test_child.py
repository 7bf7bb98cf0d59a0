"""Conversions whose process dies, hangs or fails: one error for each, and no file left behind."""

import hashlib
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from fdetect_jax import weights
from fdetect_jax.cli import main
from fdetect_jax.convert import kinds
from fdetect_jax.convert.conversion import convert, export
from fdetect_jax.convert.kinds import CONVERTERS, Converter
from fdetect_jax.convert.tensors import CheckpointError

sys.path.insert(0, str(Path(__file__).parent))
from strange_converter import DEEDS

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A checkpoint in a folder of its own, of a kind that does as `deed` says."""
    monkeypatch.setitem(CONVERTERS, "strange", Converter("strange_converter", choices={"deed": DEEDS}))
    save_file({"w": np.arange(6, dtype=np.float32).reshape(2, 3)}, tmp_path / "in.safetensors")
    return tmp_path / "in.safetensors"


def test_a_kind_from_outside(source, tmp_path):
    assert "strange" in kinds.names()
    convert("strange", source, tmp_path / "out.safetensors", licence="made up", deed="convert")
    config, variables, metadata = weights.read(tmp_path / "out.safetensors", "strange")
    assert (config, metadata["layout"], metadata["licence"]) == ({"width": 1}, "theirs", "made up")
    assert variables["params"]["w"].shape == (3, 2)
    export(tmp_path / "out.safetensors", tmp_path / "back.safetensors")
    np.testing.assert_array_equal(load_file(tmp_path / "back.safetensors")["w"], load_file(source)["w"])


@pytest.mark.parametrize(
    ("deed", "error", "wanted"),
    [
        ("refuse", CheckpointError, r"in\.safetensors: not what it should be$"),
        ("abort", CheckpointError, r"in\.safetensors: cannot be converted: its process died \(SIGABRT\)$"),
        ("recurse", CheckpointError, r"in\.safetensors: cannot be converted: nests too deeply$"),
        ("half", CheckpointError, r"in\.safetensors: cannot be converted: its process died \(exit status 1\)$"),
        ("fail", RuntimeError, r"(?s)in\.safetensors: the conversion failed.*in convert.*KeyError: 'a bug'"),
    ],
)
def test_a_failure_is_one_error_and_leaves_no_file(deed, error, wanted, source, tmp_path):
    (tmp_path / "out.safetensors").write_bytes(b"old")
    with pytest.raises(error, match=wanted) as caught:
        convert("strange", source, tmp_path / "out.safetensors", deed=deed)
    assert isinstance(caught.value, CheckpointError) == (error is CheckpointError)
    assert (tmp_path / "out.safetensors").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_conversion_that_takes_too_long(source, tmp_path):
    with pytest.raises(CheckpointError, match=r"in\.safetensors: cannot be converted: took over 1 seconds"):
        convert("strange", source, tmp_path / "out.safetensors", seconds=1.0, deed="hang")
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux alone")
def test_a_conversion_that_fills_the_memory(source, tmp_path):
    """2^40 bytes of zeros, which Linux hands out without a limit as long as they are not touched."""
    with pytest.raises(CheckpointError, match="cannot be converted: needs more memory than it may have"):
        convert("strange", source, tmp_path / "out.safetensors", deed="fill")
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"deed": "sing"}, "deed: found 'sing', wanted one of"),
        ({"tune": "a"}, "tune: found 'a', wanted none for kind 'strange'"),
        ({"seconds": 0.0}, "seconds: found .*, wanted at least 1 and more than 0"),
    ],
)
def test_wrong_options(options, wanted, source, tmp_path):
    with pytest.raises(ValueError, match=wanted):
        convert("strange", source, tmp_path / "out.safetensors", **options)
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize("key", [b")" + b"\x85" * 200_000, b"N" + b"2\x86" * 60], ids=["deep", "doubled"])
def test_the_command_refuses_a_bomb_in_one_line(key, tmp_path, capsys):
    """Before: a segmentation fault, and no end."""
    bomb = tmp_path / "bomb.pt"
    bomb.write_bytes(b"\x80\x02}" + key + b"Ns.")
    assert main(["convert", "efficientnet", "--input", str(bomb), "--output", str(tmp_path / "o.safetensors")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {bomb}: refused: the key of a dict is or has a tuple")
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == [bomb]


def test_the_bytes_of_a_conversion_stay_the_same(tmp_path):
    convert("stylegan2", GOLDEN / "tiny_nvlabs.pkl", tmp_path / "g.safetensors")
    digest = hashlib.sha256((tmp_path / "g.safetensors").read_bytes()).hexdigest()
    assert digest == "335c22cc6dfe34b61d2762b2e3fbe408945cf0a112c40d4e967388747c658bca"


CALL = 'convert("stylegan2", SOURCE, "g.safetensors")'


def test_a_script_without_a_guard_converts(tmp_path):
    """The child does not run the script again."""
    call = CALL.replace("SOURCE", repr(str(GOLDEN / "tiny_nvlabs.pkl")))
    (tmp_path / "script.py").write_text(
        f"from fdetect_jax.convert.conversion import convert\n\nprint('once')\n{call}\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stdout) == (0, "once\n"), done.stderr
    assert (tmp_path / "g.safetensors").exists()


def test_errors_survive_the_way_back():
    error = pickle.loads(pickle.dumps(CheckpointError("x.pt: refused")))
    assert (type(error), str(error)) == (CheckpointError, "x.pt: refused")
