"""Shared by the GAN and inversion trainers: checks of common fields, batches, and one network's update."""

from typing import Any

import jax
import optax
from ml_collections import ConfigDict

from fdetect_jax import parallel
from fdetect_jax.data import pipeline
from fdetect_jax.data.augment import FLIP
from fdetect_jax.data.check import check_data
from fdetect_jax.data.source import Source
from fdetect_jax.fields import above, at_least, rows
from fdetect_jax.gan.lazy import lazy_select

SHOWN = 8  # rows of a report's gallery


def check_common(config: ConfigDict, *splits: str) -> None:
    """Checks the fields of both trainers. splits: the splits of the data that the run reads.

    Raises:
      UserError: names the field.
    """
    check_data(config, splits)
    rows(config, "batch_size")
    above(config, "learning_rate", 0)
    rows(config, "eval_batch_size")
    at_least(config, "eval_limit", 1)


def batches(config: ConfigDict, source: Source) -> pipeline.Batches:
    """Endless batches of real faces, half of them mirrored; this process's share of ``batch_size``."""
    share = config.batch_size // parallel.processes()
    return pipeline.train_batches(source, share, config.seed, augment=FLIP, workers=config.data.workers)


def updated(
    optimizer: optax.GradientTransformation, gradient: Any, params: Any, state: Any, due: jax.Array | None = None
) -> tuple[Any, Any]:
    """One step of an optimiser: (parameters, its state) after it. Both are unchanged where ``due`` is False."""
    changes, changed = optimizer.update(gradient, state, params)
    after = optax.apply_updates(params, changes), changed
    return after if due is None else lazy_select(due, after, (params, state))
