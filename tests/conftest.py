"""Settings and fixtures of the whole suite: four devices (one CPU poses as several), strict JAX, one cache of programs.

Environment variables are set before JAX is imported; the processes of pytest-xdist and of the tests inherit them.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# Tests spend their time in the compiler. An unknown flag ends the process, and not every version knows all of them.
_QUICK = (
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
    "--xla_cpu_use_fusion_emitters=false",
    "--xla_cpu_parallel_codegen_split_count=1",
)


def _known(flags: str) -> bool:
    command = [sys.executable, "-c", "import jax; jax.devices()"]
    return subprocess.run(command, env=os.environ | {"XLA_FLAGS": flags}, capture_output=True).returncode == 0


_FLAGS = os.environ.get("XLA_FLAGS", "")
if "host_platform_device_count" not in _FLAGS:
    _FLAGS += " --xla_force_host_platform_device_count=4"
    quick = _QUICK if _known(" ".join(_QUICK)) else [flag for flag in _QUICK if _known(flag)]
    os.environ["FDETECT_TESTS_XLA_FLAGS"] = " ".join(quick)  # for child processes that have one device
    os.environ["XLA_FLAGS"] = " ".join([_FLAGS, *quick]).strip()

# What one process of this run has compiled no other compiles again. The run begins with nothing and leaves nothing.
_CACHE = "JAX_COMPILATION_CACHE_DIR"
_OWN_CACHE = None
if _CACHE not in os.environ:
    _OWN_CACHE = os.environ[_CACHE] = tempfile.mkdtemp(prefix="fdetect-tests-")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
# An array is never broadcast to more axes silently.
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"

from fdetect_jax.faces.finder import Faces, ModelsUnavailable  # noqa: E402

_RUNS = ("experiments", "notebooks", "train")  # rooms whose tests are whole runs, compiled anew


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what takes ten seconds or more, which `pytest --durations=40` lists, and puts it first.

    Files go to the processes in this order; a long one at the end would keep one process working alone.
    """
    for item in items:
        if item.path.parent.name in _RUNS:
            item.add_marker("slow")
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_unconfigure() -> None:
    """Removes the cache, in the process that made it."""
    if _OWN_CACHE is not None:
        shutil.rmtree(_OWN_CACHE, ignore_errors=True)


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
