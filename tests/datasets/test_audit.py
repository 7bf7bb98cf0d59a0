"""Shortcuts are found, with their AUC, over all files and within a source; a clean set has none."""

import cv2
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fdetect_jax.cli import main
from fdetect_jax.datasets import audit
from fdetect_jax.facesim.faces import FaceSim


def test_aucs_by_hand():
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 2
    sources = np.where(np.arange(200) < 100, "one", "two")
    size = rng.normal(labels * (sources == "two"))  # gives the class away in one source alone
    rows = [{"size": float(size[n]), "container": "PNG" if labels[n] else "JPEG"} for n in range(200)]
    del rows[7]["size"]
    found = {(one.property, one.source): one for one in audit.shortcuts(labels, sources, rows)}
    assert found.keys() == {(name, source) for name in ("size", "container") for source in ("", "one", "two")}
    two = sources == "two"
    assert found["size", "two"].auc == pytest.approx(roc_auc_score(labels[two], size[two]))
    assert found["size", "two"].higher == "fakes"
    assert (found["size", ""].real, found["size", ""].fake) == (100, 99)
    assert found["size", "one"].auc < audit.WARN
    assert all(found["container", source].auc == 1 for source in ("", "one", "two"))
    said = list(audit.lines(found.values()))
    assert said[0] == "container tells real from fake over all files: AUC 1.00 (100 real, 100 fake)"
    assert not any("size" in line and "in one" in line for line in said)


def test_the_lower_class_is_named_too():
    labels = np.arange(40) % 2
    (found,) = audit.shortcuts(labels, ["a"] * 40, [{"brightness": float(-label)} for label in labels])
    assert (found.auc, found.higher) == (1.0, "real ones")


def test_few_files_say_nothing():
    labels = np.arange(2 * audit.LEAST - 2) % 2
    assert audit.shortcuts(labels, ["a"] * len(labels), [{"size": float(label)} for label in labels]) == []


@pytest.fixture(scope="module")
def tree(tmp_path_factory, faces):
    """Real faces as JPEG of quality 90, 4:4:4, fakes of the same kind as JPEG of quality 60, 4:2:0."""
    root = tmp_path_factory.mktemp("tree")
    source = FaceSim("test", 64, 24, 1, 0)
    for label, quality, chroma in (("real", 90, 0x111111), ("fake/made", 60, 0x221111)):
        (root / label).mkdir(parents=True)
        for number in range(12):
            image = source[number + 12 * (label != "real")]["image"]
            options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, chroma]
            cv2.imwrite(str(root / label / f"{number:02d}.jpg"), image[..., ::-1], options)
    return root


def test_properties_of_a_file(tree, faces, monkeypatch):
    monkeypatch.setattr(audit, "own_faces", lambda: faces)
    real, fake = audit.look(tree / "real" / "00.jpg"), audit.look(tree / "fake" / "made" / "00.jpg")
    assert (real["JPEG quality"], fake["JPEG quality"]) == (pytest.approx(90, abs=1), pytest.approx(60, abs=1))
    assert (real["colour subsampling"], fake["colour subsampling"]) == ("4:4:4", "4:2:0")
    assert (real["size"], real["aspect"], real["container"]) == (64 * 64, 1.0, "JPEG")
    assert 0.3 < real["share of the face"] < 1.2


def test_doctor_says_what_gives_the_class_away(tree, capsys):
    assert main(["doctor", str(tree), "--workers", "1"]) == 0
    out = capsys.readouterr().out
    assert "shortcut  JPEG quality tells real from fake over all files: AUC 1.00, higher for real ones" in out
    assert "shortcut  colour subsampling tells real from fake" in out
    assert "shortcut  size" not in out
    assert main(["doctor", str(tree), "--quick"]) == 0
    assert "shortcut" not in capsys.readouterr().out
