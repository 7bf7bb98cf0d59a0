"""Learning-rate schedules over the steps of a run."""

from collections.abc import Callable

import optax


def constant_then_linear(rate: float, steps: int, decay_after: float, warmup: float = 0.0) -> optax.Schedule:
    """``rate`` for the first ``decay_after`` (a fraction) of ``steps``, then linearly to zero at ``steps``.

    warmup: a fraction of the steps, over which the rate rises linearly from zero first; at most ``decay_after``.
    """
    begin, rise = round(decay_after * steps), round(min(warmup, decay_after) * steps)
    parts = [optax.constant_schedule(rate), optax.linear_schedule(rate, 0.0, max(1, steps - begin))]
    if not rise:
        return optax.join_schedules(parts, [begin])
    return optax.join_schedules([optax.linear_schedule(0.0, rate, rise), *parts], [rise, begin])


def stepwise(rate: optax.Schedule, every: int, by: float = 0.1) -> optax.Schedule:
    """``rate``, times ``by`` after every ``every`` steps, a thousandth of it at least; unchanged for 0 steps."""
    if not every:
        return rate
    factor = optax.exponential_decay(1.0, every, by, staircase=True, end_value=1e-3)
    return lambda step: rate(step) * factor(step)


def cosine(rate: float, steps: int) -> optax.Schedule:
    """From ``rate`` to zero along half a cosine."""
    return optax.cosine_decay_schedule(rate, steps)


SCHEDULES: dict[str, Callable[[float, int], optax.Schedule]] = {
    "constant": lambda rate, steps: optax.constant_schedule(rate),
    "cosine": cosine,
}
