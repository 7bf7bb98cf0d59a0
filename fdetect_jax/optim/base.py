"""Optimisers that SAM can wrap, by name: (learning rate or schedule, momentum) -> an optax transform."""

from collections.abc import Callable

import optax

OPTIMIZERS: dict[str, Callable[[optax.ScalarOrSchedule, float], optax.GradientTransformation]] = {
    "sgd": lambda rate, momentum: optax.sgd(rate, momentum=momentum),
    "adam": lambda rate, momentum: optax.adam(rate, b1=momentum, b2=0.99),
}
