"""The interface of a trainer: the pure step, and the parts that differ between detector, GAN and inversion."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np

from fdetect_jax.data.pipeline import Batches
from fdetect_jax.data.source import Source
from fdetect_jax.evaluation.localisation import Localisation
from fdetect_jax.evaluation.table import Test
from fdetect_jax.inference.calibration import Calibration
from fdetect_jax.parallel import Devices
from fdetect_jax.report.gallery import Gallery
from fdetect_jax.types import TrainState

Metrics = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class EvaluationResult:
    """The results of an evaluation: detection tests, single figures, pictures, and the detector's calibration.

    calibration: fitted on validation; None if nothing was fitted. embeddings: (N, D) by kind of face, real faces under
    "real"; empty if the detector has none. classes: ``evaluation.classes.classes_part``, None for real and fake alone.
    fingerprints: pictures of a detector's model fingerprints, see ``classed.fingerprint_gallery``. localisation: by the
    name of a forgery, how well the detector's mask finds it; empty if it has none. masks: pictures of such masks.
    """

    tests: tuple[Test, ...] = ()
    figures: dict[str, float] = dataclasses.field(default_factory=dict)
    gallery: Gallery | None = None
    calibration: Calibration | None = None
    embeddings: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    classes: dict[str, Any] | None = None
    fingerprints: Gallery | None = None
    localisation: dict[str, Localisation] = dataclasses.field(default_factory=dict)
    masks: Gallery | None = None


class Task(Protocol):
    """A trainer, as seen by the loop. Built from a config by ``train.trainers``."""

    title: str
    source: Source  # the faces it trains on
    frozen: dict[str, Any]  # networks that no step changes, by name; placed once, an argument of the compiled step
    start: dict[str, Any]  # host arrays that training starts from

    def init(self, seed: jax.Array, start: dict[str, Any]) -> TrainState:
        """The state before the first step, pure; see ``parallel.compile_init``."""

    def step(self, state: TrainState, batch: dict, frozen: Any) -> tuple[TrainState, Metrics]:
        """One update, pure, on one device's share; metrics are scalars, terms of the loss start with ``loss``."""

    def batches(self, devices: Devices) -> Batches:
        """Endless training batches of this process."""

    def evaluate(self, state: TrainState, devices: Devices, show: Callable[[str], None]) -> EvaluationResult:
        """Runs the held-out protocol; ``show`` prints a line."""

    def export(self, state: TrainState, folder: Path, result: EvaluationResult) -> None:
        """Writes the outputs for users: weights with their card."""
