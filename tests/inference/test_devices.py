"""In which type of numbers a platform scores, and how a batch is split."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fdetect_jax.inference.devices import Placement, native_dtype


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


def test_each_device_runs_on_its_share():
    placement = Placement(jax.local_devices())
    shares = []

    def double(scale, rows):
        shares.append(rows.shape)
        return (rows * scale,)

    rows = np.arange(8.0, dtype=np.float32).reshape(8, 1)
    (found,) = placement.compile(double)(placement.replicate(jnp.float32(2)), placement.split(rows))
    assert shares == [(2, 1)]
    np.testing.assert_array_equal(found, 2 * rows)
