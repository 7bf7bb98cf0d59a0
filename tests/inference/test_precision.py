"""In which type of numbers a platform scores."""

from types import SimpleNamespace

import jax.numpy as jnp
import pytest

from fdetect_jax.inference.precision import native_dtype


def device(platform, **facts):
    return SimpleNamespace(platform=platform, **facts)


@pytest.mark.parametrize(
    ("devices", "wanted"),
    [
        ([device("cpu")], "float32"),
        ([device("tpu")] * 2, "bfloat16"),
        ([device("gpu", compute_capability="7.5")], "float32"),
        ([device("gpu", compute_capability="8.0")], "bfloat16"),
        ([device("cuda", compute_capability="10.0")], "bfloat16"),
        ([device("gpu", compute_capability="9.0"), device("gpu", compute_capability="7.0")], "float32"),
        ([device("gpu", compute_capability="gfx90a")], "float32"),
        ([device("metal")], "float32"),
    ],
)
def test_bfloat16_only_where_every_device_has_it(devices, wanted):
    assert native_dtype(devices) == jnp.dtype(wanted)
