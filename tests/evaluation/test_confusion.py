"""What each kind of file is taken for: every file once, by its verdict and the fake class it is most like."""

import numpy as np

from fdetect_jax.evaluation.confusion import confusion, lines
from fdetect_jax.evaluation.evaluate import evaluate
from fdetect_jax.evaluation.units import units_of
from fdetect_jax.inference.calibration import Calibration
from fdetect_jax.inference.labelled import LabelledFile, ScoredFile
from fdetect_jax.inference.protocol import Protocol
from fdetect_jax.types import KINDS

# kind, margin, the class that the faces are most like
FILES = [(0, -3.0, 1), (0, 0.2, 1), (1, 2.0, 1), (1, 2.0, 5), (1, -2.0, 5), (5, 3.0, 5), (-1, 3.0, 2)]
PROTOCOL = Protocol(threshold=0.6, suspicious=0.5)


def _files():
    for number, (kind, margin, like) in enumerate(FILES):
        classes = np.full((2, len(KINDS)), 0.01)
        classes[:, 0] = 0.9  # real is the likeliest class of all, and is no kind of fake
        classes[:, like] = 0.05
        file = LabelledFile(str(number), int(kind != 0), "m" if kind else "real", "s", kind)
        margins = np.full(2, margin)
        yield ScoredFile(file, False, np.arange(2), np.arange(2) / 25, np.ones(2), margins, classes=classes)


def test_every_file_is_counted_once():
    files, same = list(_files()), Calibration()
    videos = units_of(files, same, PROTOCOL)["video"]
    found = confusion(files, videos, PROTOCOL, KINDS, same.margins(videos.margin))
    assert found["columns"] == ["real", "suspicious", *KINDS[1:]]
    assert list(found["rows"]) == ["real", "entire synthesis", KINDS[5], "unknown kind"]
    counts = {kind: {name: n for name, n in row.items() if n} for kind, row in found["rows"].items()}
    assert counts == {
        "real": {"real": 1, "suspicious": 1},
        "entire synthesis": {"real": 1, KINDS[1]: 1, KINDS[5]: 1},
        KINDS[5]: {KINDS[5]: 1},
        "unknown kind": {KINDS[2]: 1},
    }
    text = list(lines(found))
    assert len(text) == 2 + 4
    assert len({len(line) for line in text[1:]}) == 1  # columns stand below each other


def test_it_is_a_part_of_the_report():
    content = evaluate(list(_files()), [], Calibration(), PROTOCOL, classes=KINDS).content
    assert content["confusion"]["rows"]["real"]["suspicious"] == 1
    assert evaluate(list(_files()), [], Calibration(), PROTOCOL, classes=("real", "fake")).content["confusion"] is None
