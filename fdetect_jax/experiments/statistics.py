"""Statistics over seeds. In: values by seed. Out: means with standard errors, paired differences with intervals."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from fdetect_jax.errors import UserError


@dataclass(frozen=True)
class Estimate:
    """mean: over seeds, and its standard error s / sqrt(n); values: by seed."""

    mean: float
    error: float
    values: tuple[float, ...]


@dataclass(frozen=True)
class Difference:
    """The mean of a - b over seeds, for two variants that share seeds, and so data, order and initial weights.

    low, high: the 95 % interval, Student's t with n - 1 degrees of freedom.
    """

    mean: float
    low: float
    high: float
    values: tuple[float, ...]

    @property
    def verdict(self) -> str:
        """ "higher" or "lower" if the interval excludes zero, else "no clear difference"."""
        return "higher" if self.low > 0 else "lower" if self.high < 0 else "no clear difference"


def estimate(by_seed: Mapping[int, float]) -> Estimate:
    """seed -> value, at least two."""
    values = np.array([by_seed[seed] for seed in sorted(by_seed)])
    error = values.std(ddof=1) / math.sqrt(len(values))
    return Estimate(float(values.mean()), float(error), tuple(values.tolist()))


def difference(a: Mapping[int, float], b: Mapping[int, float], confidence: float = 0.95) -> Difference:
    """seed -> value of two variants, paired by the seeds that both have.

    Raises:
      UserError: fewer than two of those.
    """
    shared = sorted(a.keys() & b.keys())
    if len(shared) < 2:
        raise UserError(f"a paired difference needs two seeds that both variants have, found {shared}")
    found = estimate({seed: a[seed] - b[seed] for seed in shared})
    reach = float(student.ppf((1 + confidence) / 2, len(shared) - 1)) * found.error
    return Difference(found.mean, found.mean - reach, found.mean + reach, found.values)
