"""Records of the service, JSON documents with sorted places, in SQLite, PostgreSQL or Redis. In: a URL. Out: Records.

A document's field ``in`` names the places that it stands in, each with a number: ``{"queued": 1732700000.5}``. Whoever
changes a document changes its places with it, in one step that no other process sees half of.
"""

import abc
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fdetect_jax.errors import UserError

PLACES = "in"
Document = dict[str, Any]
URLS = "sqlite:///FILE, postgresql://USER:PASSWORD@HOST/NAME or redis://HOST:PORT/NUMBER"
_SCHEMES = ("sqlite", "postgresql", "redis", "rediss")


class Records(abc.ABC):
    """Documents by name. All methods may be called from any thread and any process."""

    @abc.abstractmethod
    def get(self, name: str) -> Document | None:
        """The document; None where there is none."""

    @abc.abstractmethod
    def change(self, name: str, function: Callable[[Document | None], Document | None]) -> Document | None:
        """Replaces a document by ``function`` of it, and returns the new one; None deletes it.

        ``function`` may be called several times, until no other process changed the document in between; what it
        raises leaves the document as it was. It must not change its argument.
        """

    @abc.abstractmethod
    def names(
        self, place: str, low: float | None = None, high: float | None = None, limit: int = 1000, newest: bool = False
    ) -> list[tuple[str, float]]:
        """(name, number) of the documents in a place, by number; those from ``low`` to ``high``, both included."""

    @abc.abstractmethod
    def count(self, place: str, *, high: float | None = None) -> int:
        """How many documents stand in a place, up to a number."""

    @abc.abstractmethod
    def close(self) -> None:
        """Closes the connections."""


def scheme_of(url: str) -> str:
    """ "sqlite", "postgresql" or "redis". Raises UserError for another URL; passwords are not quoted."""
    found = re.match(r"([a-z]+)(?:\+[a-z0-9]+)?://", url)
    if found is None or found[1] not in _SCHEMES:
        shown = found[0] + "…" if found else "no scheme"
        raise UserError(f"queue: found {shown}, wanted {URLS}")
    return found[1].removesuffix("s") if found[1] == "rediss" else found[1]


def sqlite_file(url: str) -> Path:
    """The file of a URL sqlite:///FILE; four slashes for an absolute path."""
    path = url.partition("///")[2]
    if not path:
        raise UserError(f"queue: found {url!r}, wanted sqlite:///FILE")
    return Path(path)


def open_records(url: str) -> Records:
    """Opens the records, and makes their tables where there are none.

    Raises UserError where the URL is of another kind or nothing can be reached there.
    """
    kind = scheme_of(url)
    if kind == "redis":
        from fdetect_jax.service.records_redis import RedisRecords

        return RedisRecords(url)
    from fdetect_jax.service.records_sql import SqlRecords

    return SqlRecords(url)


def encoded(document: Document) -> str:
    """As JSON, in one line."""
    return json.dumps(document, separators=(",", ":"), allow_nan=False)


def decoded(text: str | bytes | None) -> Document | None:
    """Inverse of ``encoded``."""
    return None if text is None else json.loads(text)


def places_of(document: Document | None) -> dict[str, float]:
    """The places that a document stands in."""
    return (document or {}).get(PLACES, {})


def moved(before: Document | None, after: Document | None) -> Iterator[tuple[str, float | None]]:
    """(place, number) of each place that differs; None for those that are left."""
    old, new = places_of(before), places_of(after)
    for place in sorted(old.keys() | new.keys()):
        if old.get(place) != new.get(place):
            yield place, new.get(place)
