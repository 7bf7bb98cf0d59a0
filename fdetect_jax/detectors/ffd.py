"""FFD: a map of where a face was altered, by which a network weighs its own features. In: images. Out: Outputs.

Source: Dang et al. 2020, "On the Detection of Digital Face Manipulation" (arXiv 1910.01717), and the authors' code. The
map M stands in the middle of a trunk, whose features x become x · M.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from fdetect_jax.assets import ROOT
from fdetect_jax.detectors import vgg, xception
from fdetect_jax.detectors.layers import check_number, named, normalized
from fdetect_jax.detectors.xception import Block, Separable, XceptionConfig
from fdetect_jax.errors import UserError
from fdetect_jax.fields import from_fields
from fdetect_jax.nn.initial import drawn
from fdetect_jax.remote import here
from fdetect_jax.types import Outputs

TRUNKS = {"xception": XceptionConfig, "vgg16": vgg.VGGConfig}
ATTENTION = ("reg", "templates")
OWN = ROOT / "ffd" / "templates.safetensors"
_VGG_LAYER = "pool4"  # of the stride at which Xception's middle lies, 16
_EDGE = 1e-6  # of a map in [0, 1], for its logits


@dataclasses.dataclass(frozen=True)
class FFDConfig:
    """Defines the detector; a wrong value raises UserError naming ``detector.<field>``.

    trunk: "xception", with the map after block 7, between the halves of the middle blocks; or "vgg16", with the map
    after the fourth pooling: the authors' file of that network is empty, and this place is ours.
    trunk_overrides: fields of the trunk's config that differ, without num_classes.
    attention: "reg", M is the logistic function of a separable convolution; or "templates" (the manipulation appearance
    model; "tmp" in the code), M = Σ vₖ Tₖ, where v comes from a block, pooling and a dense layer.
    templates: where T comes from when weights are drawn; afterwards it is kept with them. A folder with PNGs, in the
    order of the numbers in their names and divided by 255, as the authors have them ("MCT"); a safetensors file with
    the array "maps" (K, h, w); or "", the maps that this project made itself (``assets/ffd``): the mean of masks of
    parts of drawn faces and nine principal components.
    mean: the paper's form, M = T₀ + Σ vₖ Tₖ over the other templates; False is the code's, all are weighed. In either
    form M has no bounds.
    """

    trunk: str = "xception"
    trunk_overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    attention: str = "reg"
    templates: str = ""
    mean: bool = False
    num_classes: int = 2

    def __post_init__(self) -> None:
        for name, allowed in (("trunk", TRUNKS), ("attention", ATTENTION)):
            if getattr(self, name) not in allowed:
                raise UserError(f"detector.{name}: found {getattr(self, name)!r}, wanted one of {sorted(allowed)}")
        check_number("num_classes", self.num_classes, int, 2, "a whole number of at least 2")
        for name, off in (("templates", ""), ("mean", False)):
            if self.attention == "reg" and getattr(self, name) != off:
                found = getattr(self, name)
                raise UserError(f"detector.{name}: found {found!r} with attention 'reg', wanted {off!r}")
        if "num_classes" in self.trunk_overrides:
            raise UserError("detector.trunk_overrides.num_classes: found it there, wanted detector.num_classes")
        _ = self.network  # its fields are checked

    @property
    def network(self) -> XceptionConfig | vgg.VGGConfig:
        """The trunk's config."""
        fields = dict(self.trunk_overrides) | {"num_classes": self.num_classes}
        return from_fields(TRUNKS[self.trunk], fields, "detector.trunk_overrides")


def build(overrides: Mapping[str, Any], axis_name: str | None, dtype: jnp.dtype) -> "FFD":
    """The detector with fields of its config replaced; UserError for a field that is unknown or out of range."""
    return FFD(from_fields(FFDConfig, overrides, "detector"), axis_name, dtype)


def read_templates(given: str) -> np.ndarray:
    """(K, h, w) float32 of a folder of PNGs, of a file, or our own for "": see ``FFDConfig``.

    Raises:
      UserError: names detector.templates; there is no such file, or it holds no maps of one size.
    """
    path = Path(here(given)) if given else OWN
    try:
        if path.is_dir():
            files = sorted(path.glob("*.png"), key=lambda file: [int(one) for one in re.findall(r"\d+", file.stem)])
            maps = np.stack([cv2.imread(str(file), cv2.IMREAD_GRAYSCALE).astype(np.float32) / 255 for file in files])
        else:
            maps = load_file(path)["maps"].astype(np.float32)
    except (OSError, SafetensorError, KeyError, ValueError, AttributeError) as error:
        wanted = "a folder of PNGs of one size, or a safetensors file with the array maps"
        raise UserError(f"detector.templates: found {given!r} ({error}), wanted {wanted}") from None
    if maps.ndim != 3 or len(maps) < 2 or not np.isfinite(maps).all():
        raise UserError(f"detector.templates: found {given!r} of shape {maps.shape}, wanted (K, h, w), K at least 2")
    return maps


class RegressionMap(nn.Module):
    """A separable convolution to one channel."""

    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(B, h, w, C) -> M in (0, 1) and its logits, (B, h, w, 1) float32."""
        logits = Separable(1, self.dtype, name="conv")(x).astype(jnp.float32)
        return nn.sigmoid(logits), logits


class TemplateMap(nn.Module):
    """A weighted sum of templates, which are kept in the collection "templates"."""

    config: FFDConfig
    network: XceptionConfig
    axis_name: str | None
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """(B, h, w, C) -> M without bounds, and the logits of M cut to [0, 1], (B, h, w, 1) float32."""
        kept = self.variable("templates", "maps", lambda: jnp.asarray(read_templates(self.config.templates)))
        maps = jax.image.resize(kept.value, (len(kept.value), *x.shape[1:3]), "linear")
        channels = x.shape[-1]
        block = Block(self.network, (channels, channels // 2), 2, True, self.axis_name, self.dtype, name="block")
        pooled = nn.relu(block(x, train)).mean(axis=(1, 2), dtype=jnp.float32)
        fixed = 1 if self.config.mean else 0
        init = drawn(self, nn.initializers.normal(0.01))
        weights = nn.Dense(len(maps) - fixed, kernel_init=init, name="weights")(pooled)
        weights = jnp.pad(weights, ((0, 0), (fixed, 0)), constant_values=1.0)
        found = jnp.einsum("bk,khw->bhw", weights, maps)[..., None]
        inside = jnp.clip(found, _EDGE, 1 - _EDGE)
        return found, jnp.log(inside) - jnp.log1p(-inside)


class FFD(nn.Module):
    """The detector. Parameters, statistics, map, embedding and logits are float32 for every ``dtype``."""

    config: FFDConfig
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> Outputs:
        """Classifies images.

        Args:
          images: (B, H, W, 3) RGB, uint8 or float in [0, 1]; made for 299 px.
          train: batch statistics ("batch_stats" mutable) and dropout (rng "dropout").

        Returns:
          Outputs with logits (B, classes) and heads: embedding (B, D); map (B, h, w, 1), M as it weighs the features;
          attention, M cut to [0, 1]; mask, the logits of that; features/… of the trunk.
        """
        heads: dict[str, jax.Array] = {}

        def attend(x: jax.Array) -> jax.Array:
            if self.config.attention == "reg":
                found, logits = RegressionMap(self.dtype, name="attention")(x)
            else:
                norms = network if isinstance(network, XceptionConfig) else XceptionConfig()
                attention = TemplateMap(self.config, norms, self.axis_name, self.dtype, name="attention")
                found, logits = attention(x, train)
            heads.update(map=found, attention=jnp.clip(found, 0.0, 1.0), mask=logits)
            return x * found.astype(x.dtype)

        network = self.config.network
        logits, embedding, features = _TRUNKS[self.config.trunk](self, network, images, train, attend)
        return Outputs(logits, {"embedding": embedding} | heads | named(features))


Trunk = tuple[jax.Array, jax.Array, dict[str, jax.Array]]


def _xception(module: FFD, network: XceptionConfig, images: jax.Array, train: bool, attend: Callable) -> Trunk:
    features = xception.trunk(network, images, train, module.axis_name, module.dtype, attend)
    return *xception.classified(module, network, features["head"], train), features


def _vgg16(module: FFD, network: vgg.VGGConfig, images: jax.Array, train: bool, attend: Callable) -> Trunk:
    x = normalized(images, "imagenet", module.dtype)
    features = vgg.trunk("vgg16", x, "pool5", network.width, module.dtype, {_VGG_LAYER: attend})
    return *vgg.classified(module, "vgg16", network, features["pool5"], train), features


_TRUNKS: dict[str, Callable[..., Trunk]] = {"xception": _xception, "vgg16": _vgg16}
