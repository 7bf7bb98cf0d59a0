"""fdetect_jax: detectors of forged faces that learn from their own adversaries."""

from typing import Any


def load(path: Any) -> Any:
    """A network with its weights from a safetensors file; see `fdetect_jax.loading.load`."""
    from fdetect_jax.loading import load

    return load(path)
