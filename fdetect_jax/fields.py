"""Checks of single fields of a config: a config and a dotted field name in; nothing out, or a ``UserError``.

The error names the field, what was found and what was wanted. A room's own checks are written with these.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from fdetect_jax.errors import UserError


def get(config: Mapping[str, Any], field: str) -> Any:
    """The value of a field such as ``optimizer.sam.rho``; ``UserError`` where the config has no such field."""
    value = config
    for name in field.split("."):
        if name not in value:
            raise UserError(f"{field}: found no such field, wanted one")
        value = value[name]
    return value


def refuse(field: str, found: Any, wanted: str) -> NoReturn:
    """Raises the ``UserError`` of a field."""
    raise UserError(f"{field}: found {found!r}, wanted {wanted}")


def one_of(config: Mapping[str, Any], field: str, allowed: Iterable[Any]) -> None:
    """Refuses a value that is not among ``allowed``."""
    allowed = sorted(allowed)
    if (value := get(config, field)) not in allowed:
        refuse(field, value, f"one of {allowed}")


def at_least(config: Mapping[str, Any], field: str, least: float) -> None:
    """Refuses a value below ``least``."""
    if not (value := get(config, field)) >= least:
        refuse(field, value, f"at least {least}")


def above(config: Mapping[str, Any], field: str, low: float) -> None:
    """Refuses ``low`` and what is below it."""
    if not (value := get(config, field)) > low:
        refuse(field, value, f"more than {low}")


def between(config: Mapping[str, Any], field: str, low: float, high: float) -> None:
    """Refuses a value outside [low, high]."""
    if not low <= (value := get(config, field)) <= high:
        refuse(field, value, f"a value in [{low}, {high}]")


def decay_rate(config: Mapping[str, Any], field: str) -> None:
    """Refuses a value outside [0, 1): the share that a moving average keeps of its past."""
    if not 0 <= (value := get(config, field)) < 1:
        refuse(field, value, "a value in [0, 1)")


def rows(config: Mapping[str, Any], field: str) -> None:
    """Refuses a batch size that is no positive multiple of the number of devices."""
    import jax

    at_least(config, field, 1)
    if (value := get(config, field)) % jax.device_count():
        refuse(field, value, f"a multiple of {jax.device_count()}, the number of devices")
