"""The prepared run for a GPU, on a CPU with tiny sizes: every part ends in a figure or a reason, and in time."""

import json
import subprocess
import sys
import time

import pytest

from fdetect_jax.bench import gpu
from fdetect_jax.errors import UserError


def test_a_part_is_measured_or_left_out_with_a_reason(tmp_path, monkeypatch):
    """One benchmark stands for the others, which ``test_bench`` runs."""
    every = gpu.parts
    broken = gpu.Part("broken", "b4_forward", {"dtype": "float16"})
    monkeypatch.setattr(
        gpu, "parts", lambda *how: [one for one in every(*how)[:3] if one.name != "b4_sam_step"] + [broken]
    )
    found = gpu.run(20, tmp_path, tiny=True, torch=False)
    assert [row["title"] for row in found["rows"]] == ["B4, inference"]
    assert found["left_out"] == [{"title": "broken", "reason": "--dtype: found 'float16', wanted float32 or bfloat16"}]
    assert all(row["seconds"] > 0 and row["roofline"] > 0 and row["ratio"] is None for row in found["rows"])
    assert len(found["depthwise"]) == len(gpu._DEPTHWISE)
    assert all(row[form] > 0 for row in found["depthwise"] for form in ("shifted", "grouped gradient"))
    assert json.loads((tmp_path / "gpu.json").read_text()) == found
    text = (tmp_path / "gpu.md").read_text()
    assert text == gpu.table(found)
    assert text.count("| B4, ") == 1
    assert "Left out: broken: --dtype" in text


def test_what_time_does_not_allow_is_named(tmp_path):
    began = time.monotonic()
    found = gpu.run(0.02, tmp_path, tiny=True, torch=True)
    assert time.monotonic() - began < 60
    assert {one["title"] for one in found["left_out"]} == {part.title for part in gpu.parts(True, True)}
    assert "Left out: B4, inference: " in (tmp_path / "gpu.md").read_text()


def test_the_peer_is_part_of_the_plan_where_it_is_installed():
    alone, beside = gpu.parts(False, False), gpu.parts(False, True)
    assert not any(part.peer for part in alone)
    assert {part.peer for part in beside if part.name == "b4_sam_step"} == set(gpu._PEERS)
    assert {part.setting["dtype"] for part in beside} == {"bfloat16"}
    paper = next(part for part in beside if part.name == "adv_step").setting
    assert (paper["batch"], paper["resolution"], paper["remat"]) == (16, 1024, True)


def test_mistakes_are_one_line(tmp_path):
    with pytest.raises(UserError, match=r"^--minutes: found 0, wanted more than 0$"):
        gpu.run(0, tmp_path)
    command = [sys.executable, "-m", "fdetect_jax.bench.gpu", "--minutes", "-1", "--output", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "error: --minutes: found -1.0, wanted more than 0\n"
