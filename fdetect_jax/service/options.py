"""The fields of an upload as the options of a job. In: text. Out: plain values, checked."""

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, NoReturn

from fdetect_jax.errors import UserError
from fdetect_jax.service.problems import Problem
from fdetect_jax.service.webhooks import check_url

_FRAMES, _MOST_FRAMES, _MOST_A_SECOND = 32, 1000, 60.0


def options_of(fields: Mapping[str, str], models: Collection[str]) -> dict[str, Any]:
    """Every option, with its default where it is not given.

    Raises Problem (422), which names the field.
    """
    if others := sorted(set(fields) - set(_READERS) - {"model"}):
        _refuse(others[0], f"There is no field of this name; known are {', '.join(('files', 'model', *_READERS))}.")
    found = {name: read(fields[name], name) if name in fields else None for name, read in _READERS.items()}
    if found["frames"] is not None and found["per_second"] is not None:
        _refuse("per_second", "Give frames or per_second, not both.")
    if found["frames"] is None and found["per_second"] is None:
        found["frames"] = _FRAMES
    model = fields.get("model", next(iter(models)))
    if model not in models:
        _refuse("model", f"There is no such model; known are {', '.join(models)}.")
    switches = {name: bool(found[name]) for name in ("heat_map", "keep", "again")}
    return {"model": model} | found | {"faces": found["faces"] or "all"} | switches


def _refuse(field: str, detail: str) -> NoReturn:
    raise Problem("invalid", detail, field=field[:100])


def _faces(text: str, name: str) -> str:
    return text if text in ("all", "largest") else _refuse(name, "Wanted all or largest.")


def _frames(text: str, name: str) -> int:
    whole = text.isascii() and text.isdigit() and len(text) < 6
    return int(text) if whole and 1 <= int(text) <= _MOST_FRAMES else _refuse(name, f"Wanted 1 to {_MOST_FRAMES}.")


def _per_second(text: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    return value if 0 < value <= _MOST_A_SECOND else _refuse(name, f"Wanted more than 0, at most {_MOST_A_SECOND:g}.")


def _switch(text: str, name: str) -> bool:
    return text == "true" if text in ("true", "false") else _refuse(name, "Wanted true or false.")


def _webhook(text: str, name: str) -> str:
    try:
        check_url(text)
    except UserError as error:
        _refuse(name, f"{error}.")
    return text


_READERS: dict[str, Callable[[str, str], Any]] = {
    "faces": _faces,
    "frames": _frames,
    "per_second": _per_second,
    "heat_map": _switch,
    "keep": _switch,
    "again": _switch,
    "webhook": _webhook,
}
