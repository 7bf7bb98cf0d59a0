"""What the copies are called."""

from pathlib import Path

from fdetect_jax.predict.copies import distinct


def test_names_that_would_overwrite_one_another():
    names = [Path("a.png"), Path("A.png"), Path("b/a.png"), Path("a.png")]
    assert [str(name) for name in distinct(names)] == ["a.png", "A (2).png", "b/a.png", "a (3).png"]
