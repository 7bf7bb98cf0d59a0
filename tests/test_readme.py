"""What the README shows must work."""

import re
import sys
import types
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from fdetect_jax import forgery

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_the_forgery_of_the_readme_forges(monkeypatch):
    monkeypatch.setattr(forgery, "FORGERIES", dict(forgery.FORGERIES))
    code = re.search(r"```python\n(# fdetect_jax/forgery/.*?)```", README, re.DOTALL)[1]
    new, registry = re.split(r"# fdetect_jax/forgery/__init__\.py\n", code)
    mirror = types.ModuleType("fdetect_jax.forgery.mirror")
    monkeypatch.setitem(sys.modules, mirror.__name__, mirror)
    exec(compile(new, "mirror.py", "exec"), mirror.__dict__)
    exec(compile(registry, "__init__.py", "exec"), {"FORGERIES": forgery.FORGERIES})
    made = forgery.make_forgery(ConfigDict({"kind": "half_mirror"}))
    images = np.random.default_rng(0).random((2, 8, 8, 3), np.float32)
    fake = made.forge(jax.random.split(jax.random.key(0), 2), None, images, made.frozen).image
    np.testing.assert_array_equal(fake[:, :, :4], images[:, :, :4])
    np.testing.assert_array_equal(fake, fake[:, :, ::-1])


def test_every_file_the_readme_links_exists():
    root = Path(__file__).parents[1]
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (root / target).exists(), target
