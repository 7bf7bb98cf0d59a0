"""Fixtures for the whole suite, on four devices: one CPU poses as several."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

_DEVICES = "--xla_force_host_platform_device_count"
if _DEVICES not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_DEVICES}=4".strip()  # before JAX is imported

from fdetect_jax.media.faces import Faces, ModelsUnavailable  # noqa: E402


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
