"""The detectors, by name. A new one is a file here and a line in ``DETECTORS``."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from fdetect_jax.detectors import (
    attribution,
    capsule,
    classnseg,
    deepfd,
    efficientnet,
    experts,
    fakespotter,
    ffd,
    fingerprints,
    fwa,
    mesonet,
    multiresolution,
    probe,
    resnet,
    vgg,
    xception,
)
from fdetect_jax.errors import UserError

UNITS = ("face", "clip")


@dataclasses.dataclass(frozen=True)
class Detector:
    """The registry entry of a detector.

    build: (fields of its config that differ from its defaults, axis name of BatchNorm, compute dtype) -> a Linen module
    ``apply(variables, images, train=…) -> Outputs``. It raises UserError naming ``detector.<field>``.
    unit: content of a row: "face", images (B, H, W, 3), or "clip", (B, T, H, W, 3), T = ``data.frames`` faces of one
    person in order of time.
    labelled: whether the module takes ``label`` (B,), the true label of each row, while it trains. Its logits may not
    depend on it.
    wraps: it is made of another detector, its trunk, and cannot be one itself.
    """

    build: Callable[[Mapping[str, Any], str | None, jnp.dtype], nn.Module]
    unit: str = "face"
    labelled: bool = False
    wraps: bool = False

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise UserError(f"detector unit: found {self.unit!r}, wanted one of {UNITS}")


def _trunk(name: str, overrides: Mapping[str, Any], axis_name: str | None, dtype: jnp.dtype) -> nn.Module:
    """The detector that another one is made of. Raises UserError naming ``detector.trunk`` or its field."""
    allowed = sorted(one for one, entry in DETECTORS.items() if entry.unit == "face" and not entry.wraps)
    if name not in allowed:
        raise UserError(f"detector.trunk: found {name!r}, wanted one of {allowed}")
    try:
        return DETECTORS[name].build(overrides, axis_name, dtype)
    except UserError as error:
        raise UserError(str(error).replace("detector.", "detector.trunk_overrides.", 1)) from None


DETECTORS: dict[str, Detector] = {
    "classnseg": Detector(classnseg.build, labelled=True),
    "dsp_fwa": Detector(fwa.build_dsp),
    **{name: Detector(partial(capsule.build, name)) for name in capsule.VERSIONS},
    **{name: Detector(partial(deepfd.build, name)) for name in deepfd.VARIANTS},
    **{f"efficientnet_{name}": Detector(partial(efficientnet.build, name)) for name in efficientnet.VARIANTS},
    "attribution": Detector(attribution.build),
    "experts": Detector(experts.build),
    "fingerprints": Detector(fingerprints.build),
    "fwa": Detector(fwa.build),
    "ffd": Detector(ffd.build),
    "meso4": Detector(partial(mesonet.build, False)),
    "mesoinception4": Detector(partial(mesonet.build, True)),
    "multiresolution": Detector(multiresolution.build),
    **{name: Detector(partial(resnet.build, name)) for name in resnet.VARIANTS},
    **{name: Detector(partial(vgg.build, name)) for name in vgg.REPEATS},
    "xception": Detector(xception.build),
    "fakespotter": Detector(partial(fakespotter.build, _trunk), wraps=True),
    "neighbours": Detector(partial(probe.build_neighbours, _trunk), wraps=True),
    "probe": Detector(partial(probe.build, _trunk), wraps=True),
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
