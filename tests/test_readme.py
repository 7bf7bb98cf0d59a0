"""What the README shows must work."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from configs import baseline
from fdetect_jax import forgery
from fdetect_jax.config import check
from fdetect_jax.data.targets import TARGETS
from fdetect_jax.forgery import Scene, make_forgery

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_forgery_of_the_readme_forges(monkeypatch):
    (code,) = (one for one in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "FORGERIES[" in one)
    monkeypatch.setitem(forgery.FORGERIES, "half_mirror", None)  # to be taken away again
    exec(compile(code, "README.md", "exec"), {})
    made = make_forgery("half_mirror", {}, None, "train", None, True)
    images = np.random.default_rng(0).random((2, 8, 8, 3), np.float32)
    scene = Scene(None, jnp.asarray(images), made.frozen, jnp.int32(0), False)
    forged = made.forge(jax.random.split(jax.random.key(0), 2), scene)
    np.testing.assert_array_equal(forged.image[:, :, :4], images[:, :, :4])
    np.testing.assert_array_equal(forged.image, forged.image[:, :, ::-1])
    assert set(forged.targets) <= set(TARGETS)
    config = baseline.get_config()
    config.forgery.mix.half_mirror = 1.0
    check(config)


def test_every_file_the_readme_links_exists():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target
