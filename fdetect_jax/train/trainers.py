"""Trainers by name: ``config.task`` -> the task that the loop runs."""

from ml_collections import ConfigDict

from fdetect_jax.train.task import Task


def make_task(config: ConfigDict) -> Task:
    """Builds the trainer; its networks, data and frozen pair are checked here, before any step."""
    if config.task == "gan":
        from fdetect_jax.train.gan import GanTask

        return GanTask(config)
    if config.task == "inversion":
        from fdetect_jax.train.inversion import InversionTask

        return InversionTask(config)
    from fdetect_jax.train.detector import DetectorTask

    return DetectorTask(config)
