"""Forgeries made on the host, by name: ``(rng, face, stranger) -> (fake, mask)``.

A new one is a file in this room and a line here.
"""

from fdetect_jax.data.pipeline import HostForgery
from fdetect_jax.data.swap import blended_swap

HOST_FORGERIES: dict[str, HostForgery] = {"swap": blended_swap}
