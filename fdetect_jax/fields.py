"""Checks of config fields, for whoever owns them: what was found, what was wanted, which field.

``config`` is a ConfigDict or a plain mapping; ``field`` may lead through several ("data.size"); ``path`` is where the
mapping itself lies in the run's config, for the message.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from fdetect_jax.errors import UserError


def refuse(field: str, found: Any, wanted: str) -> NoReturn:
    """Raises the UserError of a field that cannot be used."""
    raise UserError(f"{field}: found {found!r}, wanted {wanted}")


def get(config: Mapping[str, Any], field: str, path: str = "") -> Any:
    """The value of a field. Raises UserError where there is none."""
    value = config
    for name in field.split("."):
        if name not in value:
            raise UserError(f"{_full(field, path)}: found no such field, wanted one")
        value = value[name]
    return value


def one_of(config: Mapping[str, Any], field: str, allowed: Iterable[Any], path: str = "") -> None:
    """Raises UserError unless the field's value is among ``allowed``."""
    value, allowed = get(config, field, path), list(allowed)
    if value not in allowed:
        refuse(_full(field, path), value, f"one of {sorted(allowed)}")


def at_least(config: Mapping[str, Any], field: str, least: float, path: str = "") -> None:
    """Raises UserError unless the field's value is ``least`` or more."""
    if not get(config, field, path) >= least:
        refuse(_full(field, path), get(config, field), f"at least {least}")


def above(config: Mapping[str, Any], field: str, low: float, path: str = "") -> None:
    """Raises UserError unless the field's value is more than ``low``."""
    if not get(config, field, path) > low:
        refuse(_full(field, path), get(config, field), f"more than {low}")


def between(config: Mapping[str, Any], field: str, low: float, high: float, path: str = "") -> None:
    """Raises UserError unless the field's value lies in [low, high]."""
    if not low <= get(config, field, path) <= high:
        refuse(_full(field, path), get(config, field), f"a value in [{low}, {high}]")


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


def known(options: Mapping[str, Any], allowed: Iterable[str], path: str) -> None:
    """Raises UserError for a field that nothing reads."""
    allowed = list(allowed)
    for name in options:
        if name not in allowed:
            refuse(_full(name, path), options[name], f"no such field but one of {sorted(allowed)}")


def _full(field: str, path: str) -> str:
    return f"{path}.{field}" if path else field
