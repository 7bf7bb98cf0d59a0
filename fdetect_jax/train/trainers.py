"""Trainers by name: ``config.task`` -> the task for the loop, and the checks of its config."""

import dataclasses
import importlib
from types import ModuleType

from ml_collections import ConfigDict

from fdetect_jax.train.task import Task


@dataclasses.dataclass(frozen=True)
class Trainer:
    """module: holds ``check(config)`` and the class ``task``; it is imported on first use."""

    module: str
    task: str

    def load(self) -> ModuleType:
        return importlib.import_module(self.module)


TRAINERS: dict[str, Trainer] = {
    "detector": Trainer("fdetect_jax.train.detector", "DetectorTask"),
    "gan": Trainer("fdetect_jax.train.gan", "GanTask"),
    "inversion": Trainer("fdetect_jax.train.inversion", "InversionTask"),
}


def make_task(config: ConfigDict) -> Task:
    """Builds the trainer and checks its networks, data and frozen networks before any step."""
    trainer = TRAINERS[config.task]
    return getattr(trainer.load(), trainer.task)(config)
