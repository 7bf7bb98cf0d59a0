"""Checks of config fields, for whoever owns them: what was found, what was wanted, which field.

``config`` is a ConfigDict or a plain mapping; ``field`` may lead through several ("data.size"); ``path`` is where the
mapping itself lies in the run's config, for the message.
"""

import dataclasses
import json
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from fdetect_jax.errors import UserError

Made = TypeVar("Made")
_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
_SHOWN = 200  # characters of a value in a message


def from_json(text: str | bytes) -> Any:
    """What JSON text holds. Raises ValueError, with a short reason, for whatever Python cannot make a value of."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it nests too deeply") from None


def json_file(path: Path, wanted: str) -> Any:
    """What a JSON file holds. Raises UserError, naming what was ``wanted``, where it holds no JSON."""
    try:
        return from_json(path.read_bytes())
    except ValueError as error:
        raise UserError(f"{path}: found no JSON ({error}), wanted {wanted}") from None


def from_fields(cls: type[Made], values: Any, path: str) -> Made:
    """The dataclass with the fields of a file or of a command line.

    Numbers, text, truth values and tuples of them must be of their field's type, and a dataclass among them is made
    likewise; finer checks are those of ``cls``.

    Raises:
      UserError: no mapping, a field that ``cls`` lacks, one that is missing, or a value of another type.
    """
    hints = typing.get_type_hints(cls)
    if not isinstance(values, Mapping):
        refuse(path, values, f"the fields {sorted(hints)}")
    known(values, hints, path)
    made = {}
    for field in dataclasses.fields(cls):
        name, hint = field.name, hints[field.name]
        if name in values:
            value = values[name]
            if dataclasses.is_dataclass(hint):
                value = from_fields(hint, value, _full(name, path))
            elif not _fits(value, hint):
                refuse(_full(name, path), value, _words(hint))
            made[name] = _frozen(value)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise UserError(f"{_full(name, path)}: found no such field, wanted one")
    return cls(**made)


def from_text(cls: type[Made], text: str, path: str) -> Made:
    """``from_fields`` of JSON text, such as a note in a weights file. Raises UserError where it is none, too."""
    try:
        values = from_json(text)
    except ValueError:
        refuse(path, text, f"the fields {[field.name for field in dataclasses.fields(cls)]}")
    return from_fields(cls, values, path)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value may be that of a field with this type; also True for types that are not known here."""
    inner = typing.get_args(hint)
    if isinstance(hint, types.UnionType):
        return any(_fits(value, one) for one in inner)
    if hint in (int, float):
        return isinstance(value, int | hint) and not isinstance(value, bool) and abs(value) < 2**63  # NaN is not
    if hint in (bool, str, types.NoneType):
        return isinstance(value, hint)
    if typing.get_origin(hint) is Mapping:
        return isinstance(value, Mapping)
    if typing.get_origin(hint) is tuple:
        inner = inner[:1] * len(value) if isinstance(value, list | tuple) and inner[1:] == (...,) else inner
    elif isinstance(hint, type) and issubclass(hint, tuple):
        inner = tuple(typing.get_type_hints(hint).values())
    else:
        return True
    return isinstance(value, list | tuple) and len(value) == len(inner) and all(map(_fits, value, inner))


def _words(hint: Any) -> str:
    (first, *_) = typing.get_args(hint) or (None,)
    if isinstance(first, type) and issubclass(first, tuple):
        return f"rows of {tuple(typing.get_type_hints(first))}"
    return _WORDS.get(hint, f"{hint}")


def _frozen(value: Any) -> Any:
    """Lists as tuples: JSON has only lists."""
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value


def refuse(field: str, found: Any, wanted: str) -> NoReturn:
    """Raises the UserError of a field that cannot be used."""
    text = repr(found)
    text = text if len(text) <= _SHOWN else f"{text[:_SHOWN]} …"
    raise UserError(f"{field}: found {text}, wanted {wanted}")


def get(config: Mapping[str, Any], field: str, path: str = "") -> Any:
    """The value of a field. Raises UserError where there is none."""
    value = config
    for name in field.split("."):
        if not hasattr(value, "keys") or name not in value:
            raise UserError(f"{_full(field, path)}: found no such field, wanted one")
        value = value[name]
    return value


def one_of(config: Mapping[str, Any], field: str, allowed: Iterable[Any], path: str = "") -> None:
    """Raises UserError unless the field's value is among ``allowed``."""
    value, allowed = get(config, field, path), list(allowed)
    if value not in allowed:
        refuse(_full(field, path), value, f"one of {sorted(allowed)}")


def whole(config: Mapping[str, Any], field: str, least: int) -> None:
    """Raises UserError unless the field's value is a whole number, ``least`` or more, that fits into 64 bits."""
    if not _fits(value := get(config, field), int) or value < least:
        refuse(field, value, f"a whole number of at least {least}")


def _number(config: Mapping[str, Any], field: str, path: str) -> int | float:
    """The field's value. Raises UserError where it is no number."""
    if not isinstance(value := get(config, field, path), int | float):
        refuse(_full(field, path), value, "a number")
    return value


def at_least(config: Mapping[str, Any], field: str, least: float, path: str = "") -> None:
    """Raises UserError unless the field's value is ``least`` or more."""
    if not (value := _number(config, field, path)) >= least:
        refuse(_full(field, path), value, f"at least {least}")


def above(config: Mapping[str, Any], field: str, low: float, path: str = "") -> None:
    """Raises UserError unless the field's value is more than ``low``."""
    if not (value := _number(config, field, path)) > low:
        refuse(_full(field, path), value, f"more than {low}")


def between(config: Mapping[str, Any], field: str, low: float, high: float, path: str = "") -> None:
    """Raises UserError unless the field's value lies in [low, high]."""
    if not low <= (value := _number(config, field, path)) <= high:
        refuse(_full(field, path), value, f"a value in [{low}, {high}]")


def decay_rate(config: Mapping[str, Any], field: str) -> None:
    """Refuses a value outside [0, 1): the share that a moving average keeps of its past."""
    if not 0 <= (value := _number(config, field, "")) < 1:
        refuse(field, value, "a value in [0, 1)")


def rows(config: Mapping[str, Any], field: str) -> None:
    """Refuses a batch size that is no positive multiple of the number of devices."""
    from fdetect_jax import parallel

    whole(config, field, 1)
    if (value := get(config, field)) % parallel.devices():
        refuse(field, value, f"a multiple of {parallel.devices()}, the number of devices")


def known(options: Mapping[str, Any], allowed: Iterable[str], path: str) -> None:
    """Raises UserError for a field that nothing reads."""
    allowed = list(allowed)
    for name in options:
        if name not in allowed:
            refuse(_full(name, path), options[name], f"no such field but one of {sorted(allowed)}")


def _full(field: str, path: str) -> str:
    return f"{path}.{field}" if path else field
