"""What the copies are called."""

import os
from pathlib import Path

from fdetect_jax.predict.copies import distinct


def test_names_that_would_overwrite_one_another():
    names = [Path("a.png"), Path("A.png"), Path("b/a.png"), Path("a.png")]
    assert [str(name) for name in distinct(names)] == ["a.png", "A (2).png", "b/a.png", "a (3).png"]


def test_long_names_leave_room_for_what_is_added():
    ends = ["a.mp4", "b.mp4", "." + 40 * "x"]
    names = [Path("folder") / (letter * (230 // len(os.fsencode(letter))) + end) for letter in "aé語😀" for end in ends]
    names.append(Path(os.fsdecode(b"\xff" * 240 + b".mov")))
    short = distinct([*names, *names])
    assert len(set(short)) == 2 * len(names)
    for before, after in zip(names, short, strict=False):
        assert before.parent == after.parent
        assert len(os.fsencode(after.name)) <= 200
        assert before.name.startswith(after.name.split("~")[0])
        assert after.name.endswith(".mp4") == before.name.endswith(".mp4")
    assert all(len(os.fsencode(one.name)) <= 210 for one in short)
    assert distinct(names) == short[: len(names)]
    just = Path("a" * 196 + ".mp4")
    assert distinct([just]) == [just]
