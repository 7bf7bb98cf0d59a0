"""API keys: who may use the service, how often, and how long results are kept. Only hashes of keys are stored."""

import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from fdetect_jax.errors import UserError
from fdetect_jax.service.problems import Problem
from fdetect_jax.service.records import Document, Records

LOCAL = "local"  # the owner of what comes from the loopback without a key
_PREFIX, _PLACE, _COUNTERS = "fdk_", "keys", "counters"
_MINUTE, _DAY = 60, 86400  # seconds


@dataclass(frozen=True)
class Owner:
    """Who asks. name: of the owner in records. per_minute, per_day: jobs, 0: any number. retention: hours.

    secret: signs webhooks; None: the owner has none.
    """

    name: str
    per_minute: int
    per_day: int
    retention: float
    secret: str | None = None


@dataclass(frozen=True)
class Made:
    """A new key. key, secret: shown once. secret: signs webhooks."""

    key: str
    secret: str


class Keys:
    """The keys in the records."""

    def __init__(self, records: Records, clock: Callable[[], float] = time.time):
        self._records, self._clock = records, clock

    def add(self, name: str, per_minute: int = 30, per_day: int = 1000, retention: float = 24.0) -> Made:
        """A new key. Raises UserError where the name is in use or a number is out of range."""
        if not name or len(name) > 100 or not name.isprintable():
            raise UserError(f"name: found {name!r}, wanted 1 to 100 printable characters")
        if per_minute < 0 or per_day < 0 or not retention > 0:
            raise UserError("per_minute, per_day, retention: found a negative number, wanted 0 or more, and some hours")
        if any(one["name"] == name for one in self.all()):
            raise UserError(f"name: found {name!r}, which a key has already; revoke it first")
        made = Made(_PREFIX + secrets.token_urlsafe(32), "fdw_" + secrets.token_urlsafe(32))
        now = self._clock()
        document = {
            "name": name,
            "owner": f"k{secrets.token_hex(8)}",
            "created": now,
            "per_minute": per_minute,
            "per_day": per_day,
            "retention": retention,
            "secret": made.secret,
            "in": {_PLACE: now},
        }
        self._records.change(_record(made.key), lambda _: document)
        return made

    def all(self) -> list[Document]:
        """The records of all keys, by age, without secrets."""
        found = (self._records.get(name) for name, _ in self._records.names(_PLACE))
        return [{key: one[key] for key in one if key not in ("secret", "in")} for one in found if one]

    def revoke(self, name: str) -> None:
        """Raises UserError where no key has the name."""
        for record, _ in self._records.names(_PLACE):
            one = self._records.get(record)
            if one and one["name"] == name:
                self._records.change(record, lambda _: None)
                return
        raise UserError(f"name: found {name!r}, wanted that of a key: {[one['name'] for one in self.all()]}")

    def owner(self, key: str) -> Owner | None:
        """Whose key it is; None for an unknown one."""
        found = self._records.get(_record(key))
        if found is None:
            return None
        return Owner(found["owner"], found["per_minute"], found["per_day"], found["retention"], found["secret"])

    def secret_of(self, owner: str) -> str | None:
        """What signs the webhooks of an owner; None once the key is revoked."""
        found = (self._records.get(name) for name, _ in self._records.names(_PLACE))
        return next((one["secret"] for one in found if one and one["owner"] == owner), None)

    def count(self, owner: Owner) -> None:
        """Counts a job of an owner. Raises Problem (429) where it is one too many; it is not counted then."""
        windows = (
            (owner.per_minute, _MINUTE, "rate_limited", "jobs a minute"),
            (owner.per_day, _DAY, "quota_used", "jobs a day"),
        )
        for most, seconds, code, what in windows:
            if most:
                self._count(owner.name, most, seconds, code, what)

    def _count(self, owner: str, most: int, seconds: int, code: str, what: str) -> None:
        now = self._clock()
        ends = (int(now // seconds) + 1) * seconds

        def counted(before: Document | None) -> Document:
            number = (before or {}).get("number", 0) + 1
            if number > most:
                raise Problem(code, f"This key has used its {most} {what}.", retry_after=max(1, round(ends - now)))
            return {"number": number, "in": {_COUNTERS: ends}}

        self._records.change(f"counter/{owner}/{seconds}/{ends}", counted)

    def sweep(self) -> None:
        """Removes counters whose time is over."""
        for name, _ in self._records.names(_COUNTERS, high=self._clock()):
            self._records.change(name, lambda _: None)


def _record(key: str) -> str:
    return f"key/{hashlib.sha256(key.encode()).hexdigest()}"
