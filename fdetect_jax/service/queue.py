"""The queue that wakes workers: huey on SQLite, PostgreSQL or Redis, with messages that are JSON and never a pickle.

A message says that a job waits, not which: a worker takes the oldest one from the records. So a lost message delays a
job until the next sweep, and one too many does nothing.
"""

import json
from collections.abc import Callable
from typing import Any

from huey import Huey, PostgresHuey, RedisHuey, SqliteHuey
from huey.consumer import Consumer
from huey.registry import Message
from huey.serializer import Serializer

from fdetect_jax.service.records import scheme_of, sqlite_file

_NAME = "fdetect"
_PLAIN = ("id", "name", "eta", "retries", "retry_delay", "priority", "args", "kwargs", "expires")  # of a message


class JsonMessages(Serializer):
    """Messages as JSON objects. Raises ValueError for bytes that are none, a pickle for example."""

    def _serialize(self, data: Any) -> bytes:
        return json.dumps({name: getattr(data, name) for name in _PLAIN}).encode()

    def _deserialize(self, data: bytes) -> Message:
        found = json.loads(bytes(data))
        if not isinstance(found, dict) or set(found) != set(_PLAIN):
            raise ValueError("a message of the queue is no JSON object of this service")
        return Message(**(found | {"args": tuple(found["args"])}))


class Queue:
    """One queue. url: as for ``records.open_records``."""

    def __init__(self, url: str):
        self._huey = _opened(url)
        self._judge: Callable[[], None] = _nobody
        self._task = self._huey.task(name="judge")(lambda: self._judge())

    def wake(self) -> None:
        """Wakes one worker that waits."""
        self._task()

    def consume(self, function: Callable[[], None]) -> Consumer:
        """Starts a thread that calls ``function`` at each message; ``stop`` the consumer to end it."""
        self._judge = function
        consumer = Consumer(
            self._huey, workers=1, periodic=False, initial_delay=0.05, max_delay=0.5, check_worker_health=True
        )
        consumer.start()
        return consumer

    def waiting(self) -> int:
        """Messages that no worker has taken."""
        return self._huey.pending_count()

    def close(self) -> None:
        """Closes the connections."""
        self._huey.storage.close()


def _opened(url: str) -> Huey:
    how = {"name": _NAME, "results": False, "serializer": JsonMessages()}
    kind = scheme_of(url)
    if kind == "redis":
        return RedisHuey(url=url, **how)
    if kind == "postgresql":
        return PostgresHuey(dsn=url, **how)
    file = sqlite_file(url)
    return SqliteHuey(filename=str(file.with_name(f"{file.stem}-queue{file.suffix}")), timeout=30, **how)


def _nobody() -> None:
    raise RuntimeError("this process judges no jobs")
