"""What has to be done again and again: lost jobs are queued, results removed in time, webhooks called."""

import json
import logging
import threading
import time

from fdetect_jax.service.jobs import FINAL
from fdetect_jax.service.records import Document
from fdetect_jax.service.service import ALIVE, WORKERS, Service
from fdetect_jax.service.views import job_view
from fdetect_jax.service.webhooks import BACK_OFF, Undeliverable, deliver

_PAUSE, _HOUR = 2.0, 3600.0  # seconds
_log = logging.getLogger("fdetect.sweep")


class Sweeper:
    """Sweeps in threads of its own, in every server and worker; several do no harm.

    webhooks: whether it calls them; workers have no way to the network.
    """

    def __init__(self, service: Service, webhooks: bool = True):
        self._service, self._stop = service, threading.Event()
        functions = [(self.sweep, _PAUSE), (self.clear, _HOUR), *([(self.call, _PAUSE)] if webhooks else [])]
        self._threads = [
            threading.Thread(target=self._again, args=(function, pause), daemon=True) for function, pause in functions
        ]

    def start(self) -> "Sweeper":
        """Starts the threads. Returns itself."""
        for thread in self._threads:
            thread.start()
        return self

    def close(self) -> None:
        """Ends the threads; one that calls a webhook is not awaited."""
        self._stop.set()

    def _again(self, function, pause: float) -> None:
        while not self._stop.is_set():
            try:
                function()
            except Exception:
                _log.exception("a sweep failed; it is tried again")
            self._stop.wait(pause)

    def sweep(self, worker: str | None = None) -> None:
        """Queues lost jobs again, wakes a worker where jobs wait unheard, removes what has expired.

        worker: one that has ended; its jobs are lost, whatever their leases.
        """
        service = self._service
        waiting, failed = service.jobs.recover(worker)
        for one in failed:
            service.storage.remove(one["folder"])
            service.audit(one)
        if waiting and not service.queue.waiting():
            service.queue.wake()
        for one in service.jobs.expire():
            service.storage.remove(one["folder"])
        service.keys.sweep()
        for name, _ in service.records.names(WORKERS, high=time.time() - 20 * ALIVE):
            service.records.change(name, lambda _: None)

    def call(self) -> None:
        """Calls the webhooks that are due."""
        for one in self._service.jobs.hooks():
            self._service.jobs.called(one, self._called(one))

    def _called(self, document: Document) -> float | None:
        """Seconds until the next try, None where there is none."""
        secret = self._service.keys.secret_of(document["owner"])
        if secret is None:  # the loopback has none, or the key is revoked
            return None
        body = json.dumps(job_view(document, self._service)).encode()
        try:
            deliver(document["hook"], body, secret, document["id"])
        except Undeliverable as error:
            _log.warning("webhook of job %s: %s", document["id"], error)
            tried = document["tried"]
            return BACK_OFF[tried] if error.passing and tried < len(BACK_OFF) else None
        return None

    def clear(self) -> None:
        """Removes folders of uploads that never became a job, once they are an hour old."""
        service = self._service
        for name in list(service.storage.folders("jobs")):
            job, _, rest = name.partition("-")
            began = rest.partition("-")[0]
            try:
                old = time.time() - int(began, 16) > _HOUR
            except ValueError:
                continue
            if old:
                found = service.records.get(f"job/{job}")
                if found is None or found["folder"] != f"jobs/{name}" or found["state"] in set(FINAL) - {"done"}:
                    service.storage.remove(f"jobs/{name}")
