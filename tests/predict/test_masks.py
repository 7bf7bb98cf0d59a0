"""Of a detector with a mask, a file's row says what is altered, and the heat map is an outline of it."""

import json

import cv2
import jax
import numpy as np
import pytest

from fdetect_jax import cli, weights
from fdetect_jax.detectors import make_detector
from fdetect_jax.faces.crop import RECIPES
from fdetect_jax.inference.scorer import Scorer
from fdetect_jax.nn.once import jit_once
from fdetect_jax.predict.draw import COLOURS, heat_sheet


@pytest.fixture(scope="module")
def masking(tmp_path_factory):
    """An untrained detector that takes the whole crop for altered."""
    overrides = {"widths": (4, 4, 4)}
    module = make_detector("classnseg", overrides)
    variables = jit_once(module.init)(jax.random.key(0), np.zeros((1, 64, 64, 3), np.float32))
    variables["params"]["segmenter_end"]["bias"] = np.array([0, 9], np.float32)
    path = tmp_path_factory.mktemp("masking") / "detector.safetensors"
    recipe = json.dumps(RECIPES["aligned64"].to_dict())
    weights.save(path, "detector", {"name": "classnseg", "overrides": overrides}, variables, recipe=recipe, size="64")
    return path


def test_a_row_says_what_is_altered(masking, media, tmp_path, capsys):
    out, output = tmp_path / "rows.json", tmp_path / "out"
    files = [str(media / name) for name in ("face.png", "wall.png")]
    options = ["--model", str(masking), "--json", str(out), "--output", str(output), "--workers", "1", "--heat-map"]
    assert cli.main(["predict", *files, *options]) in (0, 1)
    face, wall = json.loads(out.read_text())
    assert [one["name"] for one in face["evidence"]] == ["detector", "mask"]
    assert wall["evidence"] == []
    found = face["evidence"][1]
    assert (found["title"], found["value"], found["speaks_for"], found["strength"]) == ("Altered area", 1, "neither", 0)
    assert "marks 100% of the crop of the face as altered. It fills 100% of a rectangle" in found["words"]
    assert f"Altered area: {found['words']}" in capsys.readouterr().out
    assert found["words"] in (output / "report.html").read_text()
    assert cv2.imread(str(output / face["heat_map"])).shape[0] > 192
    # Without a heat map the row says the same.
    assert cli.main(["predict", files[0], "--model", str(masking), "--json", str(out), "--workers", "1"]) in (0, 1)
    assert json.loads(out.read_text())[0]["evidence"][1] == found | {"picture": None}


def test_who_has_a_mask(masking, model):
    assert Scorer(masking, batch_size=2).finds_masks
    assert not Scorer(model, batch_size=2).finds_masks


def test_the_mask_is_tinted_and_outlined_and_the_rest_is_left_alone():
    grey = np.full((1, 192, 192, 3), 100, np.uint8)
    mask = np.zeros((1, 192, 192))
    mask[:, 48:144, 48:144] = 0.7
    sheet = heat_sheet(grey, mask, np.array([0.9]), masks=True)
    left, right = sheet[:192, :192], sheet[:192, 192:384]
    np.testing.assert_array_equal(left, grey[0])
    assert (right[96, 96] == (0.7 * 100 + 0.3 * np.array(COLOURS["fake"])).astype(np.uint8)).all()
    assert (right[48, 96] == COLOURS["fake"]).all()
    np.testing.assert_array_equal(right[:40], grey[0, :40])
    np.testing.assert_array_equal(right[152:], grey[0, 152:])
    other = heat_sheet(grey, mask, np.array([0.9]))
    assert not (other[192:, :384] == sheet[192:, :384]).all()  # the share stands below the mask alone
