"""The detectors, by name. A new one is a file here and a line in ``DETECTORS``."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from fdetect_jax.detectors import efficientnet, multiresolution
from fdetect_jax.errors import UserError

# (overrides of config fields, axis name of BatchNorm, compute dtype) -> module
Factory = Callable[[Mapping[str, Any], str | None, jnp.dtype], nn.Module]

DETECTORS: dict[str, Factory] = {
    "efficientnet_b0": partial(efficientnet.build, "b0"),
    "efficientnet_b1": partial(efficientnet.build, "b1"),
    "efficientnet_b2": partial(efficientnet.build, "b2"),
    "efficientnet_b3": partial(efficientnet.build, "b3"),
    "efficientnet_b4": partial(efficientnet.build, "b4"),
    "efficientnet_b5": partial(efficientnet.build, "b5"),
    "efficientnet_b6": partial(efficientnet.build, "b6"),
    "efficientnet_b7": partial(efficientnet.build, "b7"),
    "efficientnet_small64": partial(efficientnet.build, "small64"),
    "multiresolution": multiresolution.build,
}


def make_detector(
    name: str,
    overrides: Mapping[str, Any] | None = None,
    axis_name: str | None = None,
    dtype: jnp.dtype = jnp.float32,
) -> nn.Module:
    """A detector: ``module.apply(variables, images, train=…) -> Outputs``, images (B, H, W, 3) in [0, 1].

    Args:
      name: a key of ``DETECTORS``.
      overrides: fields of the detector's config that differ from its defaults.
      axis_name: mapped axis over which BatchNorm averages; None: each device for itself.
      dtype: what it computes in; parameters and logits stay float32.

    Raises:
      ValueError: names ``detector.name`` or ``detector.<field>``, what was found and what was wanted.
    """
    if name not in DETECTORS:
        raise UserError(f"detector.name: found {name!r}, wanted one of {sorted(DETECTORS)}")
    return DETECTORS[name](overrides or {}, axis_name, dtype)
