"""Forgeries made on the device, by name. A new one is a file here and a line in ``FORGERIES``."""

from typing import Any

import jax.numpy as jnp
from ml_collections import ConfigDict

from fdetect_jax import assets
from fdetect_jax.errors import UserError
from fdetect_jax.forgery.base import Classify, Forged, Forgery
from fdetect_jax.forgery.latent import LatentAdversary, Reconstruction
from fdetect_jax.forgery.pgd import Attack
from fdetect_jax.gan import inversion

__all__ = ["FORGERIES", "Classify", "Forged", "Forgery", "make_forgery"]


def _load(config: ConfigDict) -> tuple[inversion.Inverter, Any]:
    return inversion.load(assets.inverter(config.inverter), jnp.dtype(config.dtype), config.remat)


def _latent(config: ConfigDict) -> Forgery:
    inverter, frozen = _load(config)
    return LatentAdversary(inverter, Attack(**config.attack.to_dict()), config.space, config.render, frozen)


def _reconstruction(config: ConfigDict) -> Forgery:
    inverter, frozen = _load(config)
    return Reconstruction(inverter, frozen)


FORGERIES: dict[str, Any] = {"latent": _latent, "reconstruction": _reconstruction}


def make_forgery(config: ConfigDict) -> Forgery:
    """The forgery ``config.kind``, with its frozen variables.

    Raises:
      ValueError: an unknown kind, or a field that cannot be used; names it.
    """
    if config.kind not in FORGERIES:
        raise UserError(f"forgery.kind: found {config.kind!r}, wanted one of {sorted(FORGERIES)}")
    return FORGERIES[config.kind](config)
