"""Optimisers by name, and the optimiser of a run: the fields ``optimizer.*`` of a config in, an optax transform out.

Fields that the optimisers share:

- ``momentum``: SGD's momentum; β₁ of Adam's three kinds, the decay of the mean gradient. In [0, 1).
- ``b2``: β₂ of Adam's three kinds, the decay of the mean squared gradient. In [0, 1). The shipped configs set 0.99,
  not the usual 0.999, because their runs are short. SGD ignores it.
- ``weight_decay``: applies to kernels only (``decayed``). SGD adds weight_decay·w to the gradient, as PyTorch's SGD
  does. AdamW subtracts learning_rate·weight_decay·w from the weights (arXiv 1711.05101), so a schedule of the learning
  rate scales the decay as well. "adam_l2" adds weight_decay·w to the gradient before the moments, as PyTorch's Adam
  does, for trainings that are published so. Adam refuses it, because it divides an L2 term by the gradient's scale.
- ``warmup``, ``decay_after``: shares of the steps over which the learning rate rises, and after which it falls.
- ``staircase``: {every, factor, times}: after every so many steps the learning rate is multiplied by a factor in
  (0, 1], at most so many times; every 0: never.
- ``average``: decay of the moving average of the weights and batch statistics, which then replace them in tests and in
  the exported file. In [0, 1); 0: none. Early steps count more: step t decays by (1 + t) / (10 + t) at most.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from fdetect_jax.errors import UserError
from fdetect_jax.fields import above, at_least, between, decay_rate, one_of, whole
from fdetect_jax.optim.sam import sam

Options = Mapping[str, Any]
BATCH_STATS = ("first", "both")  # the pass or passes of SAM whose batch statistics are kept


def decayed(params: Any) -> Any:
    """The parameters that weight decay applies to: a tree of bools like ``params``, True for arrays of 2 or more axes.

    These are the kernels of convolutions and dense layers. Biases and the scales of norms have one axis: no decay.
    """
    return jax.tree.map(lambda x: jnp.ndim(x) >= 2, params)


def _sgd(rate: optax.ScalarOrSchedule, options: Options) -> optax.GradientTransformation:
    step = optax.sgd(rate, momentum=options["momentum"])
    decay = options["weight_decay"]
    return optax.chain(optax.add_decayed_weights(decay, mask=decayed), step) if decay else step


def _adam(rate: optax.ScalarOrSchedule, options: Options) -> optax.GradientTransformation:
    if options["weight_decay"]:
        found = options["weight_decay"]
        raise UserError(f"optimizer.weight_decay: found {found!r}, wanted 0 with adam; adamw decays its weights")
    return optax.adam(rate, b1=options["momentum"], b2=options["b2"])


def _adam_l2(rate: optax.ScalarOrSchedule, options: Options) -> optax.GradientTransformation:
    step = optax.adam(rate, b1=options["momentum"], b2=options["b2"])
    return optax.chain(optax.add_decayed_weights(options["weight_decay"], mask=decayed), step)


def _adamw(rate: optax.ScalarOrSchedule, options: Options) -> optax.GradientTransformation:
    decay = options["weight_decay"]
    return optax.adamw(rate, b1=options["momentum"], b2=options["b2"], weight_decay=decay, mask=decayed)


# Name -> (learning rate or schedule, fields of ``optimizer``) -> an optax transform, which SAM may wrap.
OPTIMIZERS: dict[str, Callable[[optax.ScalarOrSchedule, Options], optax.GradientTransformation]] = {
    "sgd": _sgd,
    "adam": _adam,
    "adam_l2": _adam_l2,
    "adamw": _adamw,
}


def make_optimizer(
    options: Options, learning_rate: optax.ScalarOrSchedule = 1.0
) -> optax.GradientTransformationExtraArgs:
    """Builds the optimiser of a config, wrapped in SAM if ``sam.rho`` is above 0.

    Args:
      options: ``config.optimizer``: name, momentum, b2, weight_decay, and sam with rho and adaptive.
      learning_rate: 1 by default: the caller then multiplies the updates by its own schedule, decay included.

    Returns:
      A transform for ``update(gradient, state, params, grad_fn=…)``, see ``sam``.

    Raises:
      UserError: names the field of ``optimizer`` that cannot be used.
    """
    one_of({"optimizer": options}, "optimizer.name", OPTIMIZERS)
    base = OPTIMIZERS[options["name"]](learning_rate, options)
    return sam(base, options["sam"]["rho"], options["sam"]["adaptive"])


def check_optimizer(config: Mapping[str, Any]) -> None:
    """Checks the fields ``optimizer.*`` of a run's config.

    Raises:
      UserError: names the first invalid field, the value found and the values wanted.
    """
    one_of(config, "optimizer.name", OPTIMIZERS)
    above(config, "optimizer.learning_rate", 0)
    decay_rate(config, "optimizer.momentum")
    decay_rate(config, "optimizer.b2")
    between(config, "optimizer.decay_after", 0, 1)
    between(config, "optimizer.warmup", 0, config["optimizer"]["decay_after"])
    whole(config, "optimizer.staircase.every", 0)
    whole(config, "optimizer.staircase.times", 1)
    above(config["optimizer"]["staircase"], "factor", 0, "optimizer.staircase")
    between(config, "optimizer.staircase.factor", 0, 1)
    decay_rate(config, "optimizer.average")
    at_least(config, "optimizer.weight_decay", 0)
    at_least(config, "optimizer.sam.rho", 0)
    one_of(config, "optimizer.sam.adaptive", (False, True))
    one_of(config, "optimizer.sam.batch_stats", BATCH_STATS)
    make_optimizer(config["optimizer"])


def averaged(average: Any, new: Any, decay: float, step: jax.Array) -> Any:
    """The moving average of a tree of float arrays after ``step`` (from 0): see ``average`` above."""
    keep = jnp.minimum(decay, (1 + step) / (10 + step))
    return jax.tree.map(lambda old, now: (keep * old + (1 - keep) * now).astype(now.dtype), average, new)
