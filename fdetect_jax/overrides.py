"""The command line of a training. In: its arguments. Out: the config's file and the fields to change, or what is wrong.

ml_collections sets the fields; here the file is found, names are checked, and fields that a config leaves open are set.
"""

import ast
import difflib
import importlib.util
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from ml_collections import ConfigDict

from fdetect_jax.errors import UserError

SHIPPED = Path(__file__).resolve().parents[1] / "configs"
_COMMON = "common"  # no config of its own
Late = list[tuple[str, str]]


@dataclass(frozen=True)
class Loaded:
    """A config file. name: of its runs' folder. fields: the config before it is changed."""

    module: ModuleType
    name: str
    fields: ConfigDict


def read(arguments: Sequence[str]) -> tuple[list[str], Loaded | None, Late]:
    """Finds the config's file and checks the fields that are to be changed.

    Returns:
      the arguments for absl, with the file's path; the loaded file, or None where only help is asked for; and (field,
      value) of those that the config does not have and leaves open, see ``apply``.

    Raises:
      UserError: no such file, variant or field; names the nearest.
    """
    plain = list(arguments)
    place = next((k for k, text in enumerate(plain) if text == "--config" or text.startswith("--config=")), None)
    if place is None:
        if {"--help", "-h"} & set(plain):
            return plain, None, []
        raise UserError(f"--config: found none, wanted a file or one of {', '.join(names())}")
    if plain[place] == "--config":
        plain[place : place + 2] = [f"--config={(plain[place + 1 : place + 2] or [''])[0]}"]
    file, _, variant = plain[place].removeprefix("--config=").partition(":")
    path = _find(file)
    loaded = _load(path, variant)
    plain[place] = f"--config={path}" + (f":{variant}" if variant else "")
    late = [found for text in plain if (found := _late(loaded.fields, text)) is not None]
    taken = {f"--config.{name}={value}" for name, value in late}
    return [text for text in plain if text not in taken], loaded, late


def apply(config: ConfigDict, late: Late) -> None:
    """Sets fields below those that a config leaves open; a value is a Python literal, or else text."""
    for name, text in late:
        *above, last = name.split(".")
        where = config
        for one in above:
            if one not in where:
                with where.unlocked():
                    where[one] = ConfigDict()
            where = where[one]
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            value = text
        with where.unlocked():
            where[last] = value


def lacks_field(error: AttributeError) -> bool:
    """Whether the error is that of a config without a field that was read."""
    return traceback.extract_tb(error.__traceback__)[-1].filename == sys.modules[ConfigDict.__module__].__file__


def names() -> list[str]:
    """The shipped configs."""
    return sorted(path.stem for path in SHIPPED.glob("[!_]*.py") if path.stem != _COMMON)


def usage(loaded: Loaded | None) -> str:
    """The help: of the command, or of a config with its variants and fields."""
    line = "python -m fdetect_jax.main --config=CONFIG[:VARIANT] [--config.FIELD=VALUE …] [--workdir=DIR]"
    if loaded is None:
        return f"{line}\n\nCONFIG: a file, or one of {', '.join(names())}. --help with a config lists its fields."
    text = loaded.module.__doc__ or ""
    variants = sorted(set(re.findall(r"(?:\.py|[`( ]):(\w+)", text)))
    shown = [line, "", text.strip(), "", f"variants: {', '.join(variants) or 'none'}", "", "fields:"]
    return "\n".join([*shown, *(f"  {name} = {value!r}" for name, value in _flat(loaded.fields))])


def _find(file: str) -> Path:
    path, shipped = Path(file), SHIPPED / f"{Path(file).stem}.py"
    if path.is_file():
        return path.absolute()
    if path.parent.name in ("", SHIPPED.name) and shipped.is_file():
        return shipped
    near = difflib.get_close_matches(path.stem.lower(), names(), 1)
    hint = f"; the nearest is {near[0]}" if near else ""
    raise UserError(f"--config: found no file {file!r}{hint}, wanted a file or one of {', '.join(names())}")


def _load(path: Path, variant: str) -> Loaded:
    if path.parent.name == SHIPPED.name:
        sys.path.insert(0, str(path.parents[1]))  # its files import each other as ``configs``
    spec = importlib.util.spec_from_file_location("fdetect_config", path)
    if spec is None or spec.loader is None:
        raise UserError(f"--config: found {path}, wanted a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        fields = module.get_config(variant) if variant else module.get_config()
    except Exception as error:  # the file is a program of its own
        raise UserError(f"--config: {path}{_line(error, path)}: {type(error).__name__}: {error}") from error
    if not isinstance(fields, ConfigDict):
        raise UserError(f"--config: {path}: found a {type(fields).__name__} from get_config, wanted a ConfigDict")
    return Loaded(module, path.stem + (f"_{variant}" if variant else ""), fields)


def _line(error: Exception, path: Path) -> str:
    """The last line of a config file that an error passed, for the message; "" where it passed none."""
    numbers = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    if isinstance(error, SyntaxError) and error.filename == str(path):
        numbers.append(error.lineno)
    return f", line {numbers[-1]}" if numbers else ""


def _late(fields: ConfigDict, text: str) -> tuple[str, str] | None:
    """The field that an argument changes, if the config does not have it and leaves it open.

    Raises UserError where the config neither has the field nor leaves it open.
    """
    match = re.match(r"--(?:no)?config\.([^=]+)(?:=(.*))?$", text, re.DOTALL)
    if match is None:
        return None
    where, passed = fields, []
    for one in match[1].split("."):
        bare = one.partition("[")[0]
        if not isinstance(where, ConfigDict):
            raise UserError(f"config.{match[1]}: found {'.'.join(passed)} = {where!r}, which has no fields")
        if bare not in where:
            if (not where or passed[-1:] == ["overrides"]) and passed:
                return match[1], match[2] or ""
            raise UserError(_unknown(fields, match[1], where, passed, bare))
        where = where[bare]
        passed.append(bare)
    return None


def _unknown(fields: ConfigDict, name: str, where: ConfigDict, passed: list[str], bare: str) -> str:
    near = difflib.get_close_matches(bare, list(where), 1)
    nearest = ".".join([*passed, near[0]]) if near else None
    if nearest is None:
        near = difflib.get_close_matches(name, [full for full, _ in _flat(fields)], 1)
        nearest = near[0] if near else None
    below = f"config.{'.'.join(passed)}" if passed else "config"
    hint = f"the nearest is config.{nearest}" if nearest else f"{below} has {', '.join(sorted(where))}"
    return f"config.{name}: found no such field; {hint}"


def _flat(fields: ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in fields.items():
        if isinstance(value, ConfigDict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value.to_dict() if isinstance(value, ConfigDict) else value
