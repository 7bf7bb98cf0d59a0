"""How clearly a face belongs to a class, and which notes say how clearly it must."""

import numpy as np
import pytest

from fdetect_jax.errors import UserError
from fdetect_jax.inference.description import least_lead
from fdetect_jax.inference.lead import leads, leads_of, limit_of


def test_the_lead_of_the_largest_logit():
    logits = np.array([[3, 1, 2], [0, 0, 0], [-5, -1, -9]], np.float32)
    np.testing.assert_allclose(leads(logits), [1, 0, 4])
    np.testing.assert_allclose(leads_of(np.exp(logits) / np.exp(logits).sum(1, keepdims=True)), [1, 0, 4], atol=1e-5)
    assert leads_of(np.array([[1.0, 0.0, 0.0]]))[0] > 600  # a softmax that is saturated


def test_one_known_face_in_twenty_is_below_the_limit():
    known = np.stack([np.arange(1, 101), np.zeros(100), np.zeros(100)], axis=1)
    assert limit_of(known) == pytest.approx(5.95)  # five of a hundred are below


def test_the_note_in_a_weights_file():
    assert least_lead({}) is None
    assert least_lead({"lead": "1.5"}) == 1.5
    for wrong in ("-1", "true", '"a"'):
        with pytest.raises(UserError, match=r"^lead: found .*, wanted a number of 0 or more"):
            least_lead({"lead": wrong})
