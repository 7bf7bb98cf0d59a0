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


def staircase(rate: optax.Schedule, every: int, factor: float, times: int) -> optax.Schedule:
    """``rate`` times ``factor`` after every ``every`` steps, at most ``times`` times; unchanged for 0 steps."""
    if not every:
        return rate
    fall = optax.exponential_decay(1.0, every, factor, staircase=True, end_value=factor**times)
    return lambda step: rate(step) * fall(step)


def cosine(rate: float, steps: int) -> optax.Schedule:
    """From ``rate`` to zero along half a cosine."""
    return optax.cosine_decay_schedule(rate, steps)


SCHEDULES: dict[str, Callable[[float, int], optax.Schedule]] = {
    "constant": lambda rate, steps: optax.constant_schedule(rate),
    "cosine": cosine,
}
