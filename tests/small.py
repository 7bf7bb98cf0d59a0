"""The shipped configs, shrunk until a whole run takes seconds."""

import contextlib
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chex
import jax
import numpy as np
from ml_collections import ConfigDict

from configs import adv, arcface, baseline, classnseg, gan, inversion, sbi, table1
from fdetect_jax.config import check
from fdetect_jax.train.loop import train_and_evaluate
from fdetect_jax.train.trainers import make_task

GENERATOR = {
    "resolution": 32,
    "z_dim": 8,
    "w_dim": 8,
    "mapping_layers": 2,
    "channel_base": 256,
    "channel_max": 16,
}
TRUNK = {"stem": 4, "stages": ((8, 1), (8, 1), (8, 1)), "se_reduction": 4}
ENCODER = {"trunk": TRUNK, "input_size": 32, "w_dim": 8, "pool": "flatten"}
HYPER = {"trunk": TRUNK, "input_size": 32, "width": 8, "regressor": 8, "hidden": 4}
DATA = {
    "source": "facesim",
    "size": 32,
    "identities": {"train": 8, "val": 2, "test": 4},
    "per_identity": 2,
    "seed": 0,
    "workers": 0,
    "frames": 0,
    "max_unusable": 0.01,
}
DETECTOR = {
    "stages": ((1, 3, 1, 1, 8), (1, 3, 2, 2, 8)),
    "stem": 8,
    "head": 16,
    "dropout": 0.0,
    "drop_connect": 0.0,
}


def run(config: ConfigDict, workdir: Path) -> dict:
    """Trains and evaluates. The step is traced once, or this fails."""
    check(config)
    task = make_task(config)
    chex.clear_trace_counter()
    task.step = chex.assert_max_traces(task.step, n=1)
    return train_and_evaluate(config, workdir, task)


@contextlib.contextmanager
def compilations() -> Iterator[list[str]]:
    """The names of the functions that are compiled inside, one entry each time."""
    names: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if found := re.match(r"Finished XLA compilation of (\S+)", record.getMessage()):
                names.append(found[1])

    handler, logger = Keep(), logging.getLogger("jax")
    logger.addHandler(handler)
    try:
        with jax.log_compiles():
            yield names
    finally:
        logger.removeHandler(handler)


def moved(before: Any, after: Any) -> bool:
    """Whether any array of two like trees differs."""
    return any(not np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (before, after)), strict=True))


def small_gan() -> ConfigDict:
    config = gan.get_config()
    config.update(generator=GENERATOR, encoder=ENCODER, data=DATA, steps=4, batch_size=4, adversarial_interval=2)
    config.update(eval_batch_size=4, eval_limit=4, log_every=2, checkpoint_every=2)
    config.path_length.update(weight=2.0, interval=1)
    config.r1.interval = 1
    return config


def small_inversion(inverter: str) -> ConfigDict:
    config = inversion.get_config()
    config.update(hyper=HYPER, data=DATA, inverter=inverter, steps=4, batch_size=4, encoder_learning_rate=0.001)
    config.update(eval_batch_size=4, eval_limit=4, log_every=2, checkpoint_every=2)
    return config


def small_adv(inverter: str) -> ConfigDict:
    return _detector(adv.get_config(), inverter)


def small_baseline(inverter: str) -> ConfigDict:
    return _detector(baseline.get_config(), inverter)


def small_sbi() -> ConfigDict:
    return _detector(sbi.get_config(), "")


def small_arcface() -> ConfigDict:
    config = _detector(arcface.get_config(), "")
    config.detector.overrides = {"trunk": "small64", "trunk_overrides": DETECTOR, "attention": 4}
    return config


def small_classnseg() -> ConfigDict:
    config = without_generator(_detector(classnseg.get_config(), ""))
    config.detector.overrides = {"widths": (4, 4, 8)}
    return config


def small_table(inverter: str, *variants: str, variant: str = "facesim") -> ConfigDict:
    """With the named variants alone."""
    config = _detector(table1.get_config(variant), inverter)
    config.seeds = 2
    for variant in set(config.variants) - set(variants):
        del config.variants[variant]
    config.rows = variants
    config.comparisons = tuple(both for both in config.comparisons if set(both) <= set(variants))
    for variant in config.variants.values():
        if "steps" in variant:
            variant.steps = 4
    return config


def attacks(config: ConfigDict) -> list[ConfigDict]:
    """The fields of every device forgery that a detector's config holds, of the training and of the tests."""
    trained = [fields for fields in config.forgery.values() if "inverter" in fields]
    return trained + list(config.evaluation.forgeries.values())


def without_generator(config: ConfigDict) -> ConfigDict:
    """The same without tests that need an inverter."""
    config.evaluation.forgeries = {}
    return config


def _detector(config: ConfigDict, inverter: str) -> ConfigDict:
    config.update(data=DATA, steps=6, batch_size=4, log_every=1, checkpoint_every=2)
    config.detector.overrides = DETECTOR
    config.evaluation.update(batch_size=4, limit=6)
    for forgery in attacks(config):
        forgery.inverter = inverter
        if "attack" in forgery:
            # From the reconstruction itself: networks this raw do not make up for a random start.
            forgery.attack.update(steps=5, random_start=False)
    return config
