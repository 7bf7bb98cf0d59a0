"""The command line of a training: files, variants and fields by name, from any folder."""

import os
import subprocess
import sys

import cv2
import pytest

from fdetect_jax import main, overrides
from fdetect_jax.errors import UserError
from fdetect_jax.facesim.faces import FaceSim


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", ["main"])


@pytest.mark.parametrize("named", ["adv", "configs/adv.py", str(overrides.SHIPPED / "adv.py"), "adv:folder"])
def test_a_shipped_config_is_found_from_any_folder(named):
    arguments, loaded, late = overrides.read([f"--config={named}", "--config.steps=3"])
    variant = ":folder" if ":" in named else ""
    assert arguments == [f"--config={overrides.SHIPPED / 'adv.py'}{variant}", "--config.steps=3"]
    assert loaded.name == ("adv_folder" if variant else "adv")
    assert late == []


def test_a_file_of_ones_own(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from ml_collections import ConfigDict\n\n\ndef get_config():\n    return ConfigDict()\n"
    )
    assert overrides.read(["--config", "mine.py"])[1].name == "mine"
    (tmp_path / "broken.py").write_text("import absent\n")
    with pytest.raises(UserError, match=r"broken\.py, line 1: ModuleNotFoundError: No module named 'absent'"):
        overrides.read(["--config=broken.py"])
    (tmp_path / "divides.py").write_text("def get_config():\n    return 1 / 0\n")
    with pytest.raises(UserError, match=r"divides\.py, line 2: ZeroDivisionError: division by zero$"):
        overrides.read(["--config=divides.py"])
    (tmp_path / "plain.py").write_text("def get_config():\n    return {'task': 'detector'}\n")
    with pytest.raises(UserError, match=r"plain\.py: found a dict from get_config, wanted a ConfigDict"):
        overrides.read(["--config=plain.py"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--config: found none, wanted a file or one of adv, "),
        (["--config=advv"], "--config: found no file 'advv'; the nearest is adv"),
        (["--config=ADV"], "--config: found no file 'ADV'; the nearest is adv"),
        (["--config=adv:photos"], "found variant 'photos', wanted facesim, folder, mixture or paper"),
        (["--config=adv", "--config.stepz=3"], "config.stepz: found no such field; the nearest is config.steps"),
        (["--config=adv", "--config.optimizer.rho=1"], "config.optimizer.rho: found no such field; "),
        (["--config=adv", "--config.learning_rate=1"], "the nearest is config.optimizer.learning_rate"),
        (["--config=adv", "--config.steps.more=1"], "config.steps.more: found steps = 64, which has no fields"),
        (["--config=adv", "--config.steps=many"], "--config.steps=many"),
        (["--config=adv", "stray"], "found the stray argument 'stray'"),
        (["--config=adv", f"--workdir={__file__}"], "--workdir: found a file at"),
        (["--config=adv", "--workdir="], "--workdir: found nothing, wanted a folder"),
    ],
)
def test_a_mistake_is_one_line(arguments, message, capsys):
    try:
        assert main.main(["main", *arguments]) == 2
    finally:
        main.flags.FLAGS.unparse_flags()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line


def test_fields_that_a_config_leaves_open():
    fields = {"dropout": "0.3", "kind": "plain", "trunk.width": "2"}
    given = [f"--config.detector.overrides.{name}={value}" for name, value in fields.items()]
    arguments, loaded, late = overrides.read(["--config=adv", *given])
    assert len(arguments) == 1
    loaded.fields.lock()
    overrides.apply(loaded.fields, late)
    found = loaded.fields.detector.overrides.to_dict()
    assert found == {"dropout": 0.3, "kind": "plain", "trunk": {"width": 2}}


def test_help_lists_variants_and_fields(capsys):
    assert main.main(["main", "--help"]) == 0
    assert main.main(["main", "--config=adv", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "one of adv, arcface" in shown
    assert "variants: folder, mixture, paper" in shown
    assert "  optimizer.sam.rho = 0.05" in shown


def test_a_script_without_a_guard_uses_processes(tmp_path, faces):
    """Its processes do not run it again."""
    (tmp_path / "photos").mkdir()
    drawn = FaceSim(split="test", size=192, identities=3, per_identity=1)
    for number in range(3):
        cv2.imwrite(str(tmp_path / "photos" / f"{number}.png"), drawn[number]["image"][..., ::-1])
    script = tmp_path / "script.py"
    script.write_text(
        "print('once')\n"
        "from fdetect_jax import Predictor\n"
        "for verdict in Predictor(workers=1).predict('photos'):\n    print(verdict.verdict)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.split()
    assert lines.count("once") == 1
    assert len(lines) == 4
