"""What a trainer is: the pure step and the few things that differ between detector, GAN and inversion."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from fdetect_jax.data.pipeline import Batches
from fdetect_jax.data.source import Source
from fdetect_jax.evaluation.metrics import Test
from fdetect_jax.report.gallery import Gallery
from fdetect_jax.types import TrainState

Metrics = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class EvaluationResult:
    """What an evaluation found: detection tests, single figures, pictures, and notes to keep with the weights.

    embeddings: (N, D) by the kind of face, reals under "real"; empty where the detector has none.
    """

    tests: tuple[Test, ...] = ()
    figures: dict[str, float] = dataclasses.field(default_factory=dict)
    gallery: Gallery | None = None
    notes: dict[str, str] = dataclasses.field(default_factory=dict)
    embeddings: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)


class Task(Protocol):
    """A trainer, as the loop sees it. Built from a config by ``train.trainers``."""

    title: str
    source: Source  # the faces it trains on
    frozen: Any  # networks that no step changes; an argument of the compiled step

    def init(self, seed: int) -> TrainState:
        """The state before the first step."""

    def step(self, state: TrainState, batch: dict, frozen: Any) -> tuple[TrainState, Metrics]:
        """One update, pure, on one device's share; metrics are scalars, terms of the loss begin with ``loss``."""

    def batches(self) -> Batches:
        """Endless training batches."""

    def evaluate(self, state: TrainState, compile_eval: Callable, show: Callable[[str], None]) -> EvaluationResult:
        """Runs the held-out protocol; ``compile_eval`` makes ``function(variables, batch) -> rows`` parallel."""

    def export(self, state: TrainState, folder: Path, result: EvaluationResult) -> None:
        """Writes what users take away, weights with their card."""
