"""Confined processes do the whole work of ``fdetect predict``, and come to the same verdicts."""

import json
import shutil
import tempfile
from pathlib import Path

import pytest

from fdetect_jax.inference.protocol import Protocol
from fdetect_jax.inference.scorer import Scorer
from fdetect_jax.media import isolated
from fdetect_jax.media.confine import Confinement
from fdetect_jax.media.files import written_for
from fdetect_jax.media.video import Sampling
from fdetect_jax.predict.run import predict

PROTOCOL = Protocol(sampling=Sampling(per_second=5), threshold=0.0)


@pytest.fixture
def open_folder():
    """Unlike ``tmp_path``, other users may enter it."""
    made = Path(tempfile.mkdtemp())
    made.chmod(0o711)
    yield made
    isolated.confine(None)
    shutil.rmtree(made)


def test_verdicts_and_copies_are_the_same(model, media, open_folder):
    scorer, rows = Scorer(model, batch_size=4), {}
    confinement = Confinement(folder=open_folder / "temporary")
    confinement.folder.mkdir()
    for name in ("free", "confined"):
        isolated.confine(confinement if name == "confined" else None)
        given, output = open_folder / "given", open_folder / name
        shutil.copytree(media, given, dirs_exist_ok=True)
        output.mkdir()
        (output / "folder").mkdir()
        confinement.give(given, *given.rglob("*"), output, output / "folder")
        rows[name] = list(predict([given], scorer, PROTOCOL, output, heat_map=True, workers=1))
    assert json.dumps(rows["confined"], sort_keys=True) == json.dumps(rows["free"], sort_keys=True)
    assert sum(row["score"] is not None for row in rows["free"]) == 3
    written = [path for row in rows["free"] for path in written_for(row)]
    assert written
    assert all((open_folder / "confined" / path).is_file() for path in written)
    assert list(confinement.folder.iterdir()) == []


def test_a_file_that_breaks_a_limit_has_a_verdict_that_says_so(model, media, open_folder):
    isolated.confine(Confinement(memory=1 << 20, user=False))
    files = [media / "face.png", media / "notes.txt"]
    broken, other = predict(files, Scorer(model, batch_size=4), PROTOCOL, workers=1)
    assert broken["verdict"] == other["verdict"] == "unable_to_evaluate"
    assert "needs more than 1 MiB of memory" in broken["reason"]
    assert "no image or video" in other["reason"]
