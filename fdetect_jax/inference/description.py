"""What the metadata of a detector's weights says of its input and its classes. In: a loaded file. Out: checked values.

Every function raises UserError naming the note, what was found and what was wanted.
"""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fdetect_jax import assets
from fdetect_jax.errors import UserError
from fdetect_jax.faces.crop import RECIPES, CropRecipe
from fdetect_jax.fields import from_json, refuse
from fdetect_jax.inference.lead import KEY as LEAD
from fdetect_jax.loading import Loaded
from fdetect_jax.remote import here
from fdetect_jax.types import KINDS

_TWO = ("real", "fake")
_DIGITS = 9  # of a count, at most
_WEIGHTS = "detector.safetensors"


def weights_file(path: str | os.PathLike | None) -> Path:
    """The file of a detector: of a training's folder the one that it wrote; None: the bundled detector's."""
    found = Path(assets.detector() if path is None else here(path))
    if not found.is_dir():
        return found
    if not (found / _WEIGHTS).is_file():
        raise UserError(
            f"{found}: found no {_WEIGHTS}, wanted weights or the workdir of a finished training; of one that was "
            "stopped, its own command with --config.evaluate_only=True writes them from the last checkpoint"
        )
    return found / _WEIGHTS


def crop_recipe(loaded: Loaded, name: str | None) -> CropRecipe:
    """How crops for this detector are cut: its own recipe, or a named one at its size."""
    if name is not None and name not in RECIPES:
        raise UserError(f"recipe: found {name!r}, wanted one of {sorted(RECIPES)}")
    if loaded.kind in ("efficientnet", "efficientnet_lite"):
        own, size = None, loaded.module.config.resolution
        name = name or ("sbi" if loaded.metadata.get("layout") == "sbi" else "paper")
    else:
        own, size = _json(loaded.metadata, "recipe", "null"), _count(loaded.metadata, "size")
    if name is not None:
        return dataclasses.replace(RECIPES[name], size=size)
    if own is None:
        raise UserError(
            "recipe: found none, for it was not trained on photographs; wanted --recipe with one of "
            f"{', '.join(sorted(RECIPES))}"
        )
    if not isinstance(own, dict):
        raise UserError(f"recipe: found {own!r}, wanted the fields of a crop recipe")
    recipe = CropRecipe.from_dict(own)
    if recipe.size != size:
        raise UserError(f"size: found {size}, wanted {recipe.size}, its recipe's")
    return recipe


def clip_frames(loaded: Loaded) -> int:
    """T, how many frames a clip has: the note "frames"; 1 for a detector of faces."""
    return 1 if loaded.unit == "face" else _count(loaded.metadata, "frames")


def class_names(metadata: Mapping[str, str], count: int) -> tuple[str, ...]:
    """The names of ``count`` classes, the first is real: the note "classes", else real and fake, or ``types.KINDS``."""
    if "classes" not in metadata:
        for names in (_TWO, KINDS):
            if count == len(names):
                return names
        raise UserError(f"found {count} logits, wanted 2, or {len(KINDS)}, one for each kind, or the note classes")
    names = _json(metadata, "classes")
    if not isinstance(names, list) or len(names) != count or not all(isinstance(name, str) for name in names):
        raise UserError(f"classes: found {names}, wanted a list of {count} names")
    return tuple(names)


def least_lead(metadata: Mapping[str, str]) -> float | None:
    """Below which lead a face is like none of the classes: the note "lead"; None where there is none."""
    limit = _json(metadata, LEAD, "null")
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int | float) or not limit >= 0):
        refuse(LEAD, limit, "a number of 0 or more")
    return limit


def _json(metadata: Mapping[str, str], name: str, default: str | None = None) -> Any:
    text = metadata.get(name, default)
    try:
        return from_json(text)
    except ValueError:
        refuse(name, text, "JSON")


def _count(metadata: Mapping[str, str], name: str) -> int:
    text = metadata.get(name, "")
    if not text.isdecimal() or len(text) > _DIGITS or int(text) < 1:
        refuse(name, text or None, "a whole number of at least 1")
    return int(text)
