"""One service: its records, queue, storage, jobs and keys, opened from its settings."""

import json
import secrets
import socket
import time
from dataclasses import dataclass
from typing import Any

from fdetect_jax.service.jobs import Jobs
from fdetect_jax.service.keys import Keys
from fdetect_jax.service.queue import Queue
from fdetect_jax.service.records import Document, Records, open_records
from fdetect_jax.service.settings import Settings
from fdetect_jax.service.storage import Storage

WORKERS, MODELS = "workers", "models"  # places
ALIVE = 45.0  # seconds after its last word that a worker counts as there
_AUDIT = "audit.jsonl"


def new_name() -> str:
    """Of a worker, like no other's on any machine."""
    return f"{socket.gethostname()}-{secrets.token_hex(8)}"


@dataclass(frozen=True)
class Service:
    """What server and workers share."""

    settings: Settings
    records: Records
    queue: Queue
    storage: Storage
    jobs: Jobs
    keys: Keys

    @classmethod
    def open(cls, settings: Settings) -> "Service":
        """Raises UserError where records, queue or storage cannot be used."""
        settings.data.mkdir(parents=True, exist_ok=True)
        records = open_records(settings.queue_url)
        jobs = Jobs(records, settings.waiting, settings.tries)
        storage = Storage(settings.storage_url)
        return cls(settings, records, Queue(settings.queue_url), storage, jobs, Keys(records))

    def close(self) -> None:
        """Closes the connections."""
        self.queue.close()
        self.records.close()

    def alive(self) -> list[str]:
        """The workers that gave word in the last seconds."""
        return [name for name, _ in self.records.names(WORKERS, low=time.time() - ALIVE)]

    def models(self) -> list[Document]:
        """What the workers say of the models, in the order of the settings of the one that spoke last."""
        found = [self.records.get(name) for name, _ in self.records.names(MODELS)]
        return [one["model"] for one in found if one is not None]

    def audit(self, document: Document, seconds: float | None = None) -> None:
        """Adds a line about a job that ended: no name, no content, no address, no verdict."""
        line: dict[str, Any] = {name: document[name] for name in ("id", "owner", "state", "created", "finished")}
        line |= {"files": len(document["files"]), "bytes": sum(one["bytes"] for one in document["files"])}
        line |= {"attempt": document["attempt"], "seconds": seconds, "unable": document.get("unable")}
        line |= {"problem": (document["problem"] or {}).get("code")}
        with open(self.settings.data / _AUDIT, "a") as file:
            file.write(json.dumps(line) + "\n")
