"""What a metric sees of a test: a table of scored units and a calibration in, columns of arrays out."""

from dataclasses import dataclass

import numpy as np

from fdetect_jax.evaluation.table import Test
from fdetect_jax.inference.calibration import Calibration
from fdetect_jax.types import FAKE, REAL


class Undefined(ValueError):
    """A metric that these units do not determine; the message is the reason. A report shows null in its place."""


@dataclass(frozen=True)
class View:
    """The N units of one test, as a metric gets them.

    labels: (N,) 0 = real, 1 = fake. margins: (N,) float64, finite, log P(fake) / P(real) as the detector gives it, not
    calibrated. scores: (N,) float64, calibrated P(fake) in [0, 1]; rounding makes large margins equal here, so take
    ranks from margins. threshold: a unit counts as fake from this score on. groups: (N,) integers, equal for units that
    belong together and are resampled whole. kinds: (N,) places in ``types.KINDS``, -1 where unknown. seed: of a
    metric's random draws.
    """

    labels: np.ndarray
    margins: np.ndarray
    scores: np.ndarray
    threshold: float
    groups: np.ndarray
    kinds: np.ndarray
    seed: int = 0

    def need_both(self) -> None:
        """Raises Undefined unless reals and fakes both occur."""
        counts = [int(np.sum(self.labels == label)) for label in (REAL, FAKE)]
        if not all(counts):
            raise Undefined(f"both classes are needed, found {counts[REAL]} real and {counts[FAKE]} fake")

    def need_units(self) -> None:
        """Raises Undefined where there is no unit at all."""
        if not len(self.labels):
            raise Undefined("found no unit")


def view_of(test: Test, calibration: Calibration, threshold: float, seed: int = 0) -> View:
    """A test's view.

    Raises:
      ValueError: labels other than 0 and 1, or margins that are not finite; names the test.
    """
    units = test.units
    if not np.isin(units.label, (REAL, FAKE)).all():
        raise ValueError(f"test {test.name!r}: found labels {np.unique(units.label)[:8].tolist()}, wanted 0 and 1")
    if bad := int(np.sum(~np.isfinite(units.margin))):
        raise ValueError(f"test {test.name!r}: found {bad} of {len(units)} margins that are not finite")
    groups = np.unique(units.group, return_inverse=True)[1]
    labels = units.label.astype(np.int64)
    return View(labels, units.margin, calibration.scores(units.margin), threshold, groups, units.kind, seed)
