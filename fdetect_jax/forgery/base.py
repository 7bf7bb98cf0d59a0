"""What a forgery made on the device is: ``forge(keys, classify, images, frozen) -> Forged``."""

from collections.abc import Callable
from typing import Any, Protocol

import flax.struct
import jax

Classify = Callable[[jax.Array], jax.Array]  # images (B, S, S, 3) in [0, 1] -> logits (B, 2), in eval mode


@flax.struct.dataclass
class Forged:
    """Fakes of a batch of real faces.

    image: (B, S, S, 3) in [0, 1], the fake. reconstruction: like it, the fake before any attack.
    radius: (B,) size of the attack's offset; on_surface: (B,) 1 where it lies on the ball's surface.
    """

    image: jax.Array
    reconstruction: jax.Array
    radius: jax.Array
    on_surface: jax.Array


class Forgery(Protocol):
    """A forgery. ``frozen`` holds the variables of its networks and is an argument of the compiled step."""

    frozen: Any

    def forge(self, keys: jax.Array, classify: Classify, images: jax.Array, frozen: Any) -> Forged:
        """keys: (B,) one per row. classify: the detector as it is now. images: (B, S, S, 3) real faces in [0, 1]."""
