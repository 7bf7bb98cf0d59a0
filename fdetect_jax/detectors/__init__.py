"""The detectors, by name. A new one is a file here and a line in ``DETECTORS``."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from fdetect_jax.detectors import efficientnet, experts, ffd, mesonet, multiresolution, vgg, xception
from fdetect_jax.errors import UserError

UNITS = ("face", "clip")


@dataclasses.dataclass(frozen=True)
class Detector:
    """The registry entry of a detector.

    build: (fields of its config that differ from its defaults, axis name of BatchNorm, compute dtype) -> a Linen module
    ``apply(variables, images, train=…) -> Outputs``. It raises UserError naming ``detector.<field>``.
    unit: content of a row: "face", images (B, H, W, 3), or "clip", (B, T, H, W, 3), T = ``data.frames`` faces of one
    person in order of time.
    """

    build: Callable[[Mapping[str, Any], str | None, jnp.dtype], nn.Module]
    unit: str = "face"

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise UserError(f"detector unit: found {self.unit!r}, wanted one of {UNITS}")


DETECTORS: dict[str, Detector] = {
    **{f"efficientnet_{name}": Detector(partial(efficientnet.build, name)) for name in efficientnet.VARIANTS},
    "experts": Detector(experts.build),
    "ffd": Detector(ffd.build),
    "meso4": Detector(partial(mesonet.build, False)),
    "mesoinception4": Detector(partial(mesonet.build, True)),
    "multiresolution": Detector(multiresolution.build),
    **{name: Detector(partial(vgg.build, name)) for name in vgg.REPEATS},
    "xception": Detector(xception.build),
}


def find_detector(name: str) -> Detector:
    """The registered detector ``name``.

    Raises:
      UserError: no such detector.
    """
    if name not in DETECTORS:
        raise UserError(f"detector.name: found {name!r}, wanted one of {sorted(DETECTORS)}")
    return DETECTORS[name]


def make_detector(
    name: str,
    overrides: Mapping[str, Any] | None = None,
    axis_name: str | None = None,
    dtype: jnp.dtype = jnp.float32,
) -> nn.Module:
    """Builds a detector: ``module.apply(variables, images, train=…) -> Outputs``, on images (B, H, W, 3) in [0, 1] or
    clips.

    Args:
      name: a key of ``DETECTORS``.
      overrides: fields of the detector's config that differ from its defaults.
      axis_name: mapped axis over which BatchNorm averages; None: per device.
      dtype: of the computation; parameters and logits stay float32.

    Raises:
      UserError: names ``detector.name`` or ``detector.<field>``, the value found and the values wanted.
    """
    return find_detector(name).build(overrides or {}, axis_name, dtype)
