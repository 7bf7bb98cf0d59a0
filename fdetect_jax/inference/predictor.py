"""A detector at work: a weights file in, then crops in and P(fake) out, compiled once."""

import dataclasses
import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from fdetect_jax import assets
from fdetect_jax.errors import UserError
from fdetect_jax.inference.attention import heat
from fdetect_jax.inference.calibration import Calibration
from fdetect_jax.loading import Loaded, load
from fdetect_jax.media.crop import RECIPES, CropRecipe
from fdetect_jax.types import margin

_WEIGHTS = "detector.safetensors"
Key = TypeVar("Key")


class Predictor:
    """Scores face crops with one detector.

    path: the file. recipe: how its crops are cut, ``CropRecipe``. size: pixels of a crop's side. calibration: of its
    margins. threshold: a file counts as fake from this calibrated score on. metadata: the file's notes.
    batch_size: rows of its one compilation.
    """

    def __init__(self, path: str | os.PathLike | None = None, batch_size: int = 32, recipe: str | None = None):
        """Loads a detector.

        Args:
          path: weights that a training or ``fdetect convert efficientnet`` wrote, or the workdir of a finished
            training; None: the bundled demo detector.
          batch_size: rows of the one compilation; fewer are padded.
          recipe: a name of ``media.crop.RECIPES`` in place of the file's own, at the detector's size. A converted
            EfficientNet carries none: without a name it is "sbi" for SBI's weights, else "paper".

        Raises:
          ValueError: no such file, not a detector of real and fake, no recipe, or notes that do not hold.
        """
        if batch_size < 1:
            raise UserError(f"batch_size: found {batch_size}, wanted at least 1")
        self.path = Path(assets.detector() if path is None else path)
        if self.path.is_dir():
            self.path = _exported(self.path)
        loaded = load(self.path)
        try:
            self.recipe = _recipe(loaded, recipe)
            self.calibration = Calibration.from_metadata(loaded.metadata)
        except ValueError as error:
            raise UserError(f"{self.path}: {error}") from None
        self.size, self.threshold = self.recipe.size, self.calibration.threshold
        self.metadata, self._kind, self._config = loaded.metadata, loaded.kind, loaded.config
        self.batch_size = batch_size
        self._check(loaded)
        self._variables = jax.device_put(loaded.variables)

        def judge(variables, images):
            return margin(loaded.run(variables, images).logits)

        def attend(variables, images):
            return heat(loaded.run, variables, images)

        self._judge, self._attend = jax.jit(judge), jax.jit(attend)

    @property
    def description(self) -> str:
        """One line: what the detector is, what it was trained on, and what its scores were calibrated on."""
        notes = self.metadata
        name = self._config.get("name", self._kind)
        trained = notes.get("description") or f"source {notes.get('source') or 'not stated'}"
        calibrated = f"calibrated on {self.calibration.data}" if self.calibration.data else "not calibrated"
        return f"{name}, {self.size} px; {trained}; {calibrated}"

    def scores(self, images: np.ndarray) -> np.ndarray:
        """Calibrated P(fake).

        Args:
          images: (N, S, S, 3) uint8 RGB, cut by ``recipe``; N may be 0.

        Returns:
          (N,) float64 in [0, 1].

        Raises:
          ValueError: another shape or type, or weights that give what is not finite.
        """
        return self.calibration.scores(self.margins(images))

    def margins(self, images: np.ndarray) -> np.ndarray:
        """(N,) float32 logit(fake) - logit(real), not calibrated. Takes and raises what ``scores`` does."""
        found = self._in_batches(self._judge, images, (0,))
        if not np.isfinite(found).all():
            raise UserError(f"{self.path}: found logits that are not finite, wanted weights that judge")
        return found

    def margins_of_each(self, groups: Iterable[tuple[Key, Sequence[np.ndarray]]]) -> Iterator[tuple[Key, np.ndarray]]:
        """Margins of one group of crops after another, in full batches across their borders.

        groups: (key, K crops (S, S, 3) uint8), K may be 0. Yields (key, (K,) margins), in order. Raises as ``scores``.
        """
        waiting: deque[tuple[Key, int]] = deque()
        crops: list[np.ndarray] = []  # not yet judged
        margins = np.zeros(0, np.float32)  # of the crops before them, back to the first that waits

        def judged(count: int) -> Iterator[tuple[Key, np.ndarray]]:
            nonlocal margins
            if count:
                margins = np.concatenate([margins, self.margins(np.stack(crops[:count]))])
                del crops[:count]
            while waiting and waiting[0][1] <= len(margins):
                key, own = waiting.popleft()
                yield key, margins[:own]
                margins = margins[own:]

        for key, images in groups:
            waiting.append((key, len(images)))
            crops.extend(images)
            if len(crops) >= self.batch_size:
                yield from judged(len(crops) // self.batch_size * self.batch_size)
        yield from judged(len(crops))

    def attention(self, images: np.ndarray) -> np.ndarray:
        """Where the detector looks: its own attention, or what speaks for fake by Grad-CAM at its last feature map.

        Returns:
          (N, h, w) float32 in [0, 1], coarser than the images. Takes and raises what ``scores`` does.
        """
        return self._in_batches(self._attend, images, (0, 1, 1))

    def _in_batches(self, function: Callable, images: np.ndarray, empty: tuple[int, ...]) -> np.ndarray:
        images = np.asarray(images)
        if images.shape[1:] != (self.size, self.size, 3) or images.dtype != np.uint8:
            wanted = f"(N, {self.size}, {self.size}, 3) uint8"
            raise UserError(f"images: found {images.shape} {images.dtype}, wanted {wanted}")
        rows, parts = self.batch_size, [np.zeros(empty, np.float32)] if not len(images) else []
        for start in range(0, len(images), rows):
            batch = images[start : start + rows]
            padded = np.zeros((rows, *images.shape[1:]), np.uint8)
            padded[: len(batch)] = batch
            parts.append(np.asarray(function(self._variables, padded))[: len(batch)])
        return np.concatenate(parts)

    def _check(self, loaded: Loaded) -> None:
        """Refuses a network that has no two logits for such crops, before anything is compiled."""
        images = jax.ShapeDtypeStruct((1, self.size, self.size, 3), jnp.uint8)
        try:
            logits = jax.eval_shape(loaded.run, loaded.variables, images).logits
        except (ValueError, TypeError) as error:
            raise UserError(f"{self.path}: takes no images of {self.size} px ({error})") from None
        if logits is None or logits.shape[-1] != 2:
            found = "none" if logits is None else logits.shape[-1]
            raise UserError(f"{self.path}: {loaded.kind}: found {found} logits, wanted 2, real and fake")


def _exported(workdir: Path) -> Path:
    if not (workdir / _WEIGHTS).is_file():
        raise UserError(
            f"{workdir}: found no {_WEIGHTS}, wanted weights or the workdir of a finished training; of one that was "
            "stopped, its own command with --config.evaluate_only=True writes them from the last checkpoint"
        )
    return workdir / _WEIGHTS


def _recipe(loaded: Loaded, name: str | None) -> CropRecipe:
    if name is not None and name not in RECIPES:
        raise UserError(f"recipe: found {name!r}, wanted one of {sorted(RECIPES)}")
    if loaded.kind == "efficientnet":
        own, size = None, loaded.config["resolution"]
        name = name or ("sbi" if loaded.metadata.get("layout") == "sbi" else "paper")
    elif loaded.kind == "detector":
        own, size = json.loads(loaded.metadata.get("recipe", "null")), int(loaded.metadata["size"])
    else:
        raise UserError(f"found weights of kind {loaded.kind!r}, wanted a detector")
    if name is not None:
        return dataclasses.replace(RECIPES[name], size=size)
    if own is None:
        raise UserError("found no recipe, for it was not trained on photographs; wanted the name of one")
    recipe = CropRecipe.from_dict(own)
    if recipe.size != size:
        raise UserError(f"size: found {size}, wanted {recipe.size}, its recipe's")
    return recipe
