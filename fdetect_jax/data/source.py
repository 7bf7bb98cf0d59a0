"""What a source of face crops is, to everything that reads from one."""

from typing import Protocol

from fdetect_jax.media.crop import CropRecipe
from fdetect_jax.types import Example


class Source(Protocol):
    """Random access to face crops of one size; ``recipe`` says how they were cut, None where nothing was."""

    @property
    def size(self) -> int: ...
    @property
    def recipe(self) -> CropRecipe | None: ...
    @property
    def fingerprint(self) -> str: ...
    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Example: ...


def describe(error: Exception) -> str:
    """An error in words; of those that do not speak in sentences, with the type."""
    return str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
