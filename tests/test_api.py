"""What ``import fdetect_jax`` offers: a small, stated interface, imported when it is asked for."""

import pkgutil
import subprocess
import sys

import pytest

import fdetect_jax

REGISTRIES = ("DETECTORS", "TERMS", "TARGETS", "FORGERIES", "METRICS", "LAYOUTS", "ANALYSES")


def test_it_is_what_is_stated():
    assert sorted(fdetect_jax.__all__) == sorted(("load", "Predictor", *REGISTRIES))


@pytest.mark.parametrize("name", fdetect_jax.__all__)
def test_every_name_leads_somewhere(name):
    found = getattr(fdetect_jax, name)
    assert isinstance(found, dict) if name in REGISTRIES else callable(found)


def test_nothing_else_is_public():
    rooms = {module.name for module in pkgutil.iter_modules(fdetect_jax.__path__)}
    public = {name for name in dir(fdetect_jax) if not name.startswith("_")}
    assert set(fdetect_jax.__all__) <= public <= {*fdetect_jax.__all__, *rooms}
    with pytest.raises(AttributeError, match="no attribute 'Judge'"):
        _ = fdetect_jax.Judge


def test_a_registry_is_the_rooms_own():
    from fdetect_jax import ANALYSES, detectors
    from fdetect_jax.inference import analyses

    assert ANALYSES is analyses.ANALYSES
    assert fdetect_jax.DETECTORS is detectors.DETECTORS


_FRESH = """
import os, sys, fdetect_jax
assert not {"jax", "numpy", "cv2"} & set(sys.modules)
os.environ.pop("XLA_FLAGS", None)
fdetect_jax.ANALYSES
assert "prefer_vector_width" in os.environ.pop("XLA_FLAGS")
from fdetect_jax.predict.predictor import Predictor
assert "jax" not in sys.modules
Predictor()
assert "prefer_vector_width" in os.environ["XLA_FLAGS"]
assert "jax" in sys.modules
"""


def test_importing_it_is_fast_and_the_process_is_set_up_before_jax_comes():
    subprocess.run([sys.executable, "-c", _FRESH], check=True)
