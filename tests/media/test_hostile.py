"""Damaged, mislabelled and forged files: each ends in pixels or in a reason, and none takes the others along."""

import numpy as np
import pytest

from fdetect_jax.media.container import kind_of
from fdetect_jax.media.isolated import run_isolated
from fdetect_jax.media.limits import Rejected, UnreadableMedia
from fdetect_jax.media.photos import read_photo
from fdetect_jax.media.transcode import transcode
from fdetect_jax.media.video import Sampling, probe, read_frames
from tests.media.mutants import mutants, seeds

FILES = 160
SAMPLINGS = (Sampling(count=4), Sampling(per_second=4))


def read(path):
    """(kind, shapes of the pictures), or the reason. Whatever else is raised is a fault, and ends in a Rejected."""
    try:
        kind = kind_of(path)
        if kind == "image":
            return kind, [read_photo(path).shape]
        probe(path)
        transcode(path, path.with_suffix(".copy"), lambda pixels, time: pixels)
        some = [frame.pixels.shape for sampling in SAMPLINGS for frame in read_frames(path, sampling)]
        return kind, some
    except UnreadableMedia as error:
        return error.reason


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return seeds(tmp_path_factory.mktemp("seeds"))


def _read_all(folder, files):
    paths = []
    for name, content in files:
        paths.append(folder / name)
        paths[-1].write_bytes(content)
    return dict(zip([path.name for path in paths], run_isolated(read, paths, workers=2, seconds=60.0), strict=True))


def test_every_mutant_ends_in_pixels_or_a_reason(tmp_path, whole):
    found = _read_all(tmp_path, mutants(np.random.default_rng(7), whole, FILES))
    assert len(found) == FILES
    faults = {name: result for name, result in found.items() if isinstance(result, Rejected)}
    assert faults == {}
    reasons = [result for result in found.values() if isinstance(result, str)]
    shown = [result for result in found.values() if not isinstance(result, str)]
    assert all(reasons)
    assert all(shapes and all(shape[2] == 3 for shape in shapes) for _, shapes in shown)
    assert min(len(reasons), len(shown)) > FILES / 5  # else the mutants are too mild, or too wild


def test_whole_files_give_pixels(tmp_path, whole):
    found = _read_all(tmp_path, whole.items())
    for name, result in found.items():
        assert result[0] == ("video" if name[1] == "." else "image"), name
        assert len(result[1]) >= (5 if result[0] == "video" else 1)
