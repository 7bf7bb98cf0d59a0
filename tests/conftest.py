"""Fixtures for the whole suite."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fdetect_jax.media.faces import Faces, ModelsUnavailable


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real test material beside a checkout; tests that need it skip where it is absent."""
    path = Path(os.environ.get("FDETECT_SHARED") or Path(__file__).parents[2] / "shared")
    if not path.is_dir():
        pytest.skip("no real test material: set FDETECT_SHARED to its folder")
    return path


@pytest.fixture(scope="session")
def faces() -> Iterator[Faces]:
    """The face models; tests that need them skip where they cannot be had."""
    try:
        opened = Faces()
    except ModelsUnavailable as error:
        pytest.skip(f"no face models: {error}")
    with opened:
        yield opened
