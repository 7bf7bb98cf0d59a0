"""Sources by name: from ``config.data`` and a split to random access over face crops."""

from functools import lru_cache

from fdetect_jax.data.cached import Cached
from fdetect_jax.data.mixture import Mixture, Part
from fdetect_jax.data.source import Source
from fdetect_jax.facesim.faces import FaceSim
from fdetect_jax.types import REAL

CACHED_BYTES = 2**29  # bytes of rendered faces that a process keeps; larger sources are rendered again


def make_source(data, split: str, context: bool = False, label: int = REAL) -> Source:
    """The faces of ``split`` ("train", "val" or "test"); context crops where the recipe has them and ``context`` asks.

    label: real faces, or the fakes that prepared data hold.

    Raises:
      ValueError: naming the field of ``config.data`` that cannot be used.
    """
    if data.source == "mixture":
        parts = sorted(data.parts.items())
        return Mixture(tuple(Part(name, make_source(part, split, context, label), part.weight) for name, part in parts))
    if data.source == "facesim":
        return _drawn(split, data.size, data.identities[split], data.per_identity, data.seed)
    if data.source == "prepared":
        from fdetect_jax.data.prepared import Prepared

        # Forgeries are made of real faces, by their landmarks; a fake video may show people as they were filmed.
        return Prepared(
            data.root, split, labels=(label,), context=context, landmarks=label == REAL, altered=label != REAL
        )
    from fdetect_jax.data.folder import FaceFolder  # MediaPipe loads only when photographs are read
    from fdetect_jax.media.crop import make_recipe

    return FaceFolder(data.root, split, make_recipe(data.recipe, data.size), context=context)


@lru_cache(maxsize=8)
def _drawn(split: str, size: int, identities: int, per_identity: int, seed: int) -> Source:
    """One object for all who ask alike: the runs of a table draw each face once."""
    made = FaceSim(split, size, identities, per_identity, seed)
    return Cached(made) if len(made) * made.size**2 * 4 <= CACHED_BYTES else made
