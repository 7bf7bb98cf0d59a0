"""Where a detector finds what it decides by: (variables, images) -> a heat map of each image.

The mask of what it takes for altered where it has one, else its attention, else Grad-CAM.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from fdetect_jax.errors import UserError
from fdetect_jax.types import Outputs, feature_maps, margin

Run = Callable[[Any, jax.Array], Outputs]

# Heads that are maps already, in order of preference, and how each becomes values in [0, 1].
_MAPS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "mask": jax.nn.sigmoid,
    "attention": lambda x: jnp.clip(x, 0.0, 1.0),
}


def heat(run: Run, variables: Any, images: jax.Array) -> jax.Array:
    """The heat map of each image, or of each frame of a clip.

    It is the logistic function of the head ``mask``, else the head ``attention``, else ``grad_cam``.

    Args:
      run: a Linen module's application. images: (B, H, W, 3), or clips (B, T, H, W, 3).

    Returns:
      (B, h, w) in [0, 1], or (B, T, h, w) for clips.

    Raises:
      UserError: the detector has no such head and no feature map; a detector of clips needs a head (B, T, h, w, 1).
    """
    if (name := map_head(run, variables, images)) is not None:
        return _MAPS[name](run(variables, images).heads[name][..., 0].astype(jnp.float32))
    if images.ndim == 5:
        raise UserError("heat map: this detector of clips has no head attention or mask (B, T, h, w, 1) to show")
    return grad_cam(run, variables, images)


def map_head(run: Run, variables: Any, images: Any) -> str | None:
    """The head that ``heat`` shows, "mask" or "attention"; None where it takes Grad-CAM. Takes shapes for arrays."""
    heads = jax.eval_shape(run, variables, images).heads
    return next((name for name in _MAPS if name in heads and heads[name].ndim == images.ndim), None)


def grad_cam(run: Run, variables: Any, images: jax.Array) -> jax.Array:
    """Grad-CAM of the margin towards fake (Selvaraju et al. 2017, equations 1 and 2) at the last feature map.

    Its channels are weighed by their gradient's mean over positions, summed, cut off below 0, and divided by the
    maximum, image by image: what speaks for fake, not how much. All 0 where nothing does.

    Args:
      run: a Linen module's application. images: (B, H, W, 3).

    Returns:
      (B, h, w) in [0, 1], h and w of the last of the feature maps.

    Raises:
      UserError: there is no feature map that a layer of the detector returns.
    """
    number, shape = _last_map(run, variables, images)

    def moved(delta: jax.Array) -> tuple[jax.Array, jax.Array]:
        calls = _Calls(number, delta)
        with nn.intercept_methods(calls):
            outputs = run(variables, images)
        return margin(outputs.logits).sum(), calls.found

    gradient, features = jax.grad(moved, has_aux=True)(jnp.zeros(shape.shape, shape.dtype))
    weight = gradient.astype(jnp.float32).mean(axis=(1, 2), keepdims=True)
    heat = nn.relu(jnp.sum(weight * features.astype(jnp.float32), axis=-1))
    most = heat.max(axis=(1, 2), keepdims=True)
    return heat / jnp.where(most > 0, most, 1.0)


class _Calls:
    """Counts the calls of layers; adds ``delta`` to what one of them returns, and keeps it."""

    def __init__(self, number: int | None = None, delta: jax.Array | None = None):
        self.number, self.delta = number, delta
        self.returned: list[Any] = []
        self.found: Any = None

    def __call__(self, function: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        value = function(*args, **kwargs)
        if len(self.returned) == self.number:
            value = self.found = value + self.delta
        self.returned.append(value)
        return value


def _last_map(run: Run, variables: Any, images: jax.Array) -> tuple[int, jax.ShapeDtypeStruct]:
    """Which call of a layer returns the last feature map, and its shape."""
    found: list[int] = []

    def trace(variables: Any, images: jax.Array) -> jax.Array:
        calls = _Calls()
        with nn.intercept_methods(calls):
            features = feature_maps(run(variables, images))
        last = list((features or {"": None}).values())[-1]
        found.extend(number for number, value in enumerate(calls.returned) if value is last)
        return jnp.zeros(()) if last is None else last

    shape = jax.eval_shape(trace, variables, images)
    if not found or len(shape.shape) != 4:
        raise UserError("heat map: found no feature map that a layer returns, wanted a head features/…")
    return found[0], shape
