"""What a detector's classes are taken for: counts, recall, and the faces that are like none of them."""

import json

import numpy as np
import pytest

from fdetect_jax.evaluation.classes import Faces, classes_part, lines
from fdetect_jax.evaluation.schema import plain

NAMES = ("real", "one", "two")


def logits(*rows):
    return np.asarray(rows, np.float32)


def test_counts_recall_and_rejection():
    groups = [
        Faces("real", 0, logits([9, 0, 0], [0, 9, 0])),
        Faces("one", 1, logits([0, 9, 0], [0, 8, 0], [0, 0, 7], [0, 0.5, 0])),
        Faces("Never trained on", None, logits([0, 0.2, 0], [0, 0, 9], [0, 0.3, 0])),
    ]
    found = classes_part(NAMES, groups, limit=1.0)
    assert found["rows"]["one"] == {
        "class": "one",
        "counts": {"real": 0, "one": 3, "two": 1},
        "recall": 0.75,
        "rejected": 0.25,
        "auc": None,
    }
    assert found["recall"] == pytest.approx((0.5 + 0.75) / 2)  # the mean over classes, not over faces
    assert found["rejected"] == pytest.approx(1 / 6)  # of the known faces
    other = found["rows"]["Never trained on"]
    assert (other["class"], other["recall"], other["rejected"]) == (None, None, pytest.approx(2 / 3))
    # Known leads 9 9 9 8 7 0.5 against 0.2 9 0.3: 6 + 6 pairs are won, and of the third face three are ties.
    assert other["auc"] == pytest.approx((6 + 6 + 1.5) / 18)
    text = "\n".join(lines(found))
    assert "75.0 %" in text
    assert "0.750" in text
    assert json.loads(json.dumps(plain(found))) == found


def test_without_a_limit_nothing_is_rejected():
    found = classes_part(NAMES, [Faces("real", 0, logits([1, 0, 0]))], None)
    assert found["rows"]["real"]["rejected"] is found["limit"] is found["rejected"] is None
    alone = classes_part(NAMES, [Faces("other", None, logits([1, 0, 0]))], 0.5)
    assert alone["recall"] is alone["rejected"] is alone["rows"]["other"]["auc"] is None
    assert alone["rows"]["other"]["rejected"] == 0
