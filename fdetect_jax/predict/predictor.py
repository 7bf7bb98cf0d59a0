"""The public predictor: files or crops in, verdicts or scores out."""

import contextlib
import os
import sys
import threading
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fdetect_jax import host
from fdetect_jax.inference.protocol import Protocol
from fdetect_jax.media.files import find_files
from fdetect_jax.predict.verdict import Verdict

if TYPE_CHECKING:
    from fdetect_jax.media.isolated import Workers


class Predictor:
    """A detector at work on files: ``for verdict in Predictor().predict("folder"): print(verdict.score)``.

    The processes that read the files start with the first ones and wait for further ones until the predictor is closed
    or collected: ``with Predictor() as predictor``.

    scorer: the detector. protocol: how scores of faces become one of a file.
    """

    def __init__(
        self,
        model: str | os.PathLike | None = None,
        *,
        recipe: str | None = None,
        protocol: Protocol | None = None,
        dtype: Any = None,
        workers: int | None = None,
    ):
        """Loads a detector, and where JAX is not imported yet, sets the process up for it (``host.set_up``).

        Args:
          model: weights, or the workdir of a finished training; None: the bundled detector.
          recipe: the name of a crop recipe, for weights that carry none, see ``Scorer``.
          protocol: None: that of SBI with the model's own thresholds. dtype: what the detector computes in; None:
            bfloat16 on devices that have it natively, else float32. workers: processes that read files; None: one per
            core.

        Raises:
          UserError: the weights cannot be used.
        """
        if "jax" not in sys.modules:
            host.set_up()
        from fdetect_jax.inference.scorer import Scorer

        self.scorer = Scorer(model, recipe=recipe, dtype=dtype)
        own = self.scorer.calibration
        self.protocol = Protocol(threshold=own.threshold, suspicious=own.suspicious) if protocol is None else protocol
        self._workers, self._one = workers, threading.Lock()
        self._readers: Workers | None = None

    def __enter__(self) -> "Predictor":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the processes that read files; ``predict`` starts others."""
        if self._readers is not None:
            self._readers.close()

    def predict(self, paths: str | os.PathLike | Sequence[str | os.PathLike]) -> Iterator[Verdict]:
        """The verdict on every file, in order; files that cannot be read have one too.

        Args:
          paths: one or several images, videos and folders of them.

        Raises:
          UserError: no such path, no file, or an analysis that cannot be used. ModelsUnavailable: the face models
            cannot be had.
        """
        from fdetect_jax.predict import engine

        named = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
        files = [file for file, _ in find_files([Path(path) for path in named]).files]
        engine.check(self.scorer)

        def verdicts() -> Iterator[Verdict]:
            with self._reading() as readers:
                how = {"workers": self._workers, "readers": readers}
                made = engine.verdicts(files, self.scorer, self.protocol, **how)
                with contextlib.closing(made):
                    yield from (verdict for verdict, _ in made)

        return verdicts()

    @contextlib.contextmanager
    def _reading(self) -> "Iterator[Workers | None]":
        """The processes that read files; None while another ``predict`` uses them, which then starts its own."""
        if not self._one.acquire(blocking=False):
            yield None
            return
        try:
            if self._readers is None:
                from fdetect_jax.faces.extract import start_readers

                self._readers = start_readers(self._workers, keep=True)
                weakref.finalize(self, self._readers.close)
            yield self._readers
        finally:
            self._one.release()

    def scores(self, crops: np.ndarray) -> np.ndarray:
        """(N, S, S, 3) uint8 RGB crops, cut by ``scorer.recipe``, or clips (N, T, S, S, 3) -> (N,) calibrated P(fake).

        Raises:
          UserError: another shape or type.
        """
        return self.scorer.scores(crops)
