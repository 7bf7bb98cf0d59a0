"""How clearly a face belongs to one of a detector's classes. In: logits, or probabilities. Out: one number a face.

The lead is how much the largest logit exceeds the second one. Where it is below a limit, the face is like none of the
classes: its generator may be one that the detector was not trained on. The limit is fitted on validation faces of all
classes, so that one of 20 is below it, and stands in the weights.
"""

import numpy as np

KEY = "lead"  # of the metadata of a weights file
SHARE = 0.05  # of the known faces that are below the limit
_LEAST = 1e-300  # in place of a probability of 0


def leads(logits: np.ndarray) -> np.ndarray:
    """(N, K) logits -> (N,) float64, from 0."""
    ordered = np.sort(np.asarray(logits, np.float64), axis=-1)
    return ordered[:, -1] - ordered[:, -2]


def leads_of(probabilities: np.ndarray) -> np.ndarray:
    """The same from the softmax of the logits, (N, K)."""
    return leads(np.log(np.maximum(np.asarray(probabilities, np.float64), _LEAST)))


def limit_of(logits: np.ndarray) -> float:
    """The lead that a share of 1 − ``SHARE`` of known faces reaches. logits: theirs, (N, K)."""
    return float(np.quantile(leads(logits), SHARE))
