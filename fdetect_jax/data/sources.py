"""Sources by name: from ``config.data`` and a split to random access over face crops."""

import contextlib
from collections.abc import Callable
from functools import lru_cache

from fdetect_jax.data.cached import Cached
from fdetect_jax.data.clips import Clips
from fdetect_jax.data.mixture import Mixture, Part
from fdetect_jax.data.source import Source
from fdetect_jax.facesim.faces import FaceSim
from fdetect_jax.remote import here
from fdetect_jax.types import REAL

LEAVE_OUT = {"generator": "method", "source": "source"}  # fields of data.leave_out, and what they are in a manifest
CACHED_BYTES = 2**29  # bytes of rendered faces that a process keeps; larger sources are rendered again on each pass


def make_source(data, split: str, context: bool = False, label: int = REAL, frames: int = 0) -> Source:
    """The faces of ``split`` ("train", "val" or "test").

    Args:
      data: ``config.data``. context: context crops if the recipe has them. label: the real faces, or the fakes that
        prepared data hold. frames: above 0, clips of this many faces.

    Raises:
      UserError: names the field of ``config.data`` that cannot be used.
    """
    if data.source == "mixture":
        parts = sorted(data.parts.items())
        return Mixture(
            tuple(Part(name, make_source(part, split, context, label, frames), part.weight) for name, part in parts)
        )
    faces = SOURCES[data.source](data, split, context, label)
    return Clips(faces, frames) if frames else faces


def _facesim(data, split: str, context: bool, label: int) -> Source:
    return _drawn(split, data.size, data.identities[split], data.per_identity, data.seed)


def _prepared(data, split: str, context: bool, label: int) -> Source:
    from fdetect_jax.data.prepared import NoCrops, Prepared

    # Forgeries start from real faces and their landmarks; a fake video may show people unaltered.
    real, root = label == REAL, here(data.root)
    names = data.get("leave_out", {})
    without = tuple((column, tuple(names.get(field, ()))) for field, column in LEAVE_OUT.items() if names.get(field))

    def part(split: str, without: tuple = without, only_those: bool = False) -> Source:
        return Prepared(
            root,
            split,
            labels=(label,),
            context=context,
            landmarks=real,
            altered=not real,
            without=without,
            only_those=only_those,
            balance=data.get("balance", 1.0),
        )

    if split != "test" or not without:
        return part(split)
    # What was left out is tested, in whatever split it lies: it was neither trained nor chosen on.
    held = []
    for other in ("train", "val", "test"):
        with contextlib.suppress(NoCrops):
            held.append(Part(other, part(other, without, True), 1.0))
    if not held:  # of this label nothing was left out
        return part(split, ())
    return Mixture(tuple(held))


def _folder(data, split: str, context: bool, label: int) -> Source:
    from fdetect_jax.data.folder import FaceFolder  # MediaPipe loads only when photographs are read
    from fdetect_jax.faces.crop import make_recipe

    return FaceFolder(here(data.root), split, make_recipe(data.recipe, data.size), context=context)


# name -> (config.data, split, context, label) -> its faces; a mixture of them is "mixture"
SOURCES: dict[str, Callable[..., Source]] = {"facesim": _facesim, "folder": _folder, "prepared": _prepared}
MIXTURE = "mixture"


@lru_cache(maxsize=8)
def _drawn(split: str, size: int, identities: int, per_identity: int, seed: int) -> Source:
    """Returns the same object for the same arguments: the runs of a table render each face once."""
    made = FaceSim(split, size, identities, per_identity, seed)
    return Cached(made) if len(made) * made.size**2 * 4 <= CACHED_BYTES else made
