"""Weights at rest: what is written comes back, and what cannot be used is refused with a reason."""

import json
import os
import re

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from fdetect_jax import weights

VARIABLES = {
    "params": {
        "layer": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3).T / 7, "strength": np.float32(0.3)},
        "count": np.array(2**40 + 1),
        "rows": np.array([3, -4], np.int32),
    },
    "buffers": {"mean": np.zeros((0, 4), np.float32), "mask": np.array([True, False])},
}


def save(path, **options):
    weights.save(path, "generator", {"resolution": 64, "layers": (1, 2)}, VARIABLES, **options)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_there_and_back(tmp_path, dtype):
    save(tmp_path / "new" / "g.safetensors", dtype=dtype, licence="Apache-2.0")
    config, found, metadata = weights.read(tmp_path / "new" / "g.safetensors", "generator")
    assert config == {"resolution": 64, "layers": [1, 2]}
    assert metadata["kind"] == "generator"
    assert metadata["licence"] == "Apache-2.0"
    assert metadata["dtype"] == np.dtype(dtype).name
    assert found.keys() == VARIABLES.keys()
    kernel, wanted = found["params"]["layer"]["kernel"], VARIABLES["params"]["layer"]["kernel"]
    assert kernel.dtype == np.float32
    np.testing.assert_array_equal(kernel, wanted.astype(dtype).astype(np.float32))
    strength = found["params"]["layer"]["strength"]
    assert strength.shape == ()
    assert strength == np.float32(dtype(0.3))
    count = found["params"]["count"]
    assert count.shape == ()
    assert count.dtype == np.int64
    assert count == 2**40 + 1
    assert found["params"]["rows"].dtype == np.int32
    np.testing.assert_array_equal(found["params"]["rows"], [3, -4])
    assert found["buffers"]["mean"].shape == (0, 4)
    np.testing.assert_array_equal(found["buffers"]["mask"], [True, False])


def test_arrays_of_jax(tmp_path):
    path = tmp_path / "w.safetensors"
    weights.save(path, "detector", {}, {"a": jnp.ones((2, 2), jnp.bfloat16), "b": jnp.zeros(())})
    _, found, _ = weights.read(path)
    assert found["a"].dtype == np.float32
    assert found["b"].shape == ()
    np.testing.assert_array_equal(found["a"], 1)


def test_no_such_file(tmp_path):
    with pytest.raises(weights.WeightsError, match=r"g\.safetensors: no such file, wanted .* of kind 'generator'"):
        weights.read(tmp_path / "g.safetensors", "generator")
    with pytest.raises(weights.WeightsError, match="no such file"):
        weights.read(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a tensor", b"\x80\x04pickle" * 100])
def test_not_safetensors(tmp_path, content):
    path = tmp_path / "g.safetensors"
    path.write_bytes(content)
    with pytest.raises(weights.WeightsError, match=r"g\.safetensors: not a safetensors file"):
        weights.read(path)


def test_torn_file(tmp_path):
    path = tmp_path / "g.safetensors"
    save(path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(weights.WeightsError, match=r"g\.safetensors: not a safetensors file"):
        weights.read(path)


def test_another_kind(tmp_path):
    save(tmp_path / "g.safetensors")
    with pytest.raises(weights.WeightsError, match="found weights of kind 'generator', wanted 'encoder'"):
        weights.read(tmp_path / "g.safetensors", "encoder")


@pytest.mark.parametrize("metadata", [None, {"kind": "generator"}, {"config": json.dumps({})}])
def test_no_description(tmp_path, metadata):
    save_file({"a": np.zeros(2, np.float32)}, tmp_path / "g.safetensors", metadata=metadata)
    with pytest.raises(weights.WeightsError, match=r"found no description \(kind, config\)"):
        weights.read(tmp_path / "g.safetensors")


def test_a_description_that_is_no_json(tmp_path):
    save_file({"a": np.zeros(2, np.float32)}, tmp_path / "g.safetensors", metadata={"kind": "a", "config": "{1"})
    with pytest.raises(weights.WeightsError, match=r"found the config '{1' in its metadata, wanted JSON"):
        weights.describe(tmp_path / "g.safetensors")


@pytest.mark.parametrize("config", ['{"a":' * 5000 + "1" + "}" * 5000, "1" * 5000], ids=["deep", "long"])
def test_a_description_that_json_cannot_read(tmp_path, config):
    save_file({"a": np.zeros(2, np.float32)}, tmp_path / "g.safetensors", metadata={"kind": "a", "config": config})
    with pytest.raises(weights.WeightsError, match=r"found the config .* wanted JSON") as error:
        weights.describe(tmp_path / "g.safetensors")
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize("name", ["params/fc", "/", "params/fc/kernel/", "params//bias"])
def test_names_that_are_no_places(tmp_path, name):
    arrays = {"params/fc/kernel": np.zeros(2, np.float32), name: np.zeros(2, np.float32)}
    save_file(arrays, tmp_path / "g.safetensors", metadata={"kind": "a", "config": "{}"})
    with pytest.raises(weights.WeightsError, match="found an array called"):
        weights.read(tmp_path / "g.safetensors")


def test_values_that_are_no_numbers_of_ours(tmp_path):
    save_file({"a/b": np.zeros(2, np.complex64)}, tmp_path / "g.safetensors", metadata={"kind": "a", "config": "{}"})
    with pytest.raises(weights.WeightsError, match="a/b: found values of type C64"):
        weights.read(tmp_path / "g.safetensors")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "g.safetensors"
    save(path)
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        save(path)
    assert path.read_bytes() == before


def test_a_write_leaves_nothing_beside(tmp_path):
    save(tmp_path / "g.safetensors")
    save(tmp_path / "g.safetensors", dtype=np.float16)
    assert [path.name for path in tmp_path.iterdir()] == ["g.safetensors"]
    assert weights.read(tmp_path / "g.safetensors")[2]["dtype"] == "float16"


def test_equal_variables_give_equal_bytes_that_others_may_read(tmp_path):
    notes = {f"note{i}": str(i) for i in range(20)}
    for name in "abcd":
        save(tmp_path / name, **notes)
    assert len({(tmp_path / name).read_bytes() for name in "abcd"}) == 1
    assert (tmp_path / "a").stat().st_mode & 0o444 == 0o444 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_checkpoint_of_another_program_names_the_command(tmp_path):
    (tmp_path / "best.pth.tar").write_bytes(b"PK\x03\x04 and more")
    command = f"fdetect convert KIND --input {tmp_path}/best.pth.tar --output {tmp_path}/best.safetensors"
    with pytest.raises(weights.WeightsError, match=re.escape(command)):
        weights.read(tmp_path / "best.pth.tar")
