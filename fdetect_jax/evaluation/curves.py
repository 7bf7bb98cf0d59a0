"""What charts of a test are drawn from: its view in, curves and histograms for ``report.plots`` out."""

import numpy as np

from fdetect_jax.evaluation.metrics import reliability, roc
from fdetect_jax.evaluation.view import View
from fdetect_jax.report.plots import Histogram, ReliabilityCurve, RocCurve
from fdetect_jax.types import FAKE, REAL

_BINS = 25


def roc_curve(title: str, auc: float, view: View) -> RocCurve:
    """auc: of the view, for the legend. Raises Undefined for one class alone."""
    fpr, tpr = roc(view)
    return RocCurve(f"{title} · AUC {auc:.4f}", fpr, tpr, int(np.sum(view.labels == REAL)))


def histogram(title: str, view: View) -> Histogram:
    """P(fake) by class; a class without units has shares of 0."""
    edges = np.linspace(0, 1, _BINS + 1)
    real, fake = (_shares(view.scores[view.labels == label], edges) for label in (REAL, FAKE))
    return Histogram(title, edges, real, fake, view.threshold)


def reliability_curve(title: str, view: View) -> ReliabilityCurve:
    """Of ``metrics.reliability``; which says what is raised."""
    return ReliabilityCurve(title, *reliability(view))


def _shares(scores: np.ndarray, edges: np.ndarray) -> np.ndarray:
    return np.histogram(scores, edges)[0] / max(1, len(scores))
