"""The processes of a service: a server, and workers that it starts again when they end."""

import json
import logging
import multiprocessing
import os
import shutil
import signal
import socket
import threading
from collections.abc import Callable
from multiprocessing.process import BaseProcess

from fdetect_jax import interrupts
from fdetect_jax.errors import UserError
from fdetect_jax.host import end_with_parent, hidden_main, set_up
from fdetect_jax.service.service import Service, new_name
from fdetect_jax.service.settings import Settings

_PAUSE, _LONGEST = 1.0, 60.0  # seconds before a worker is started again, doubled each time it ends early
_log = logging.getLogger("fdetect.service")


def work(settings: Settings, processes: int | None = None, name: str | None = None) -> None:
    """Is a worker, until SIGTERM or Ctrl-C. processes: that read and draw files; None: one per core. name: of the
    worker, in the records.

    Raises UserError where weights, face models, records or storage cannot be used.
    """
    set_up()
    from fdetect_jax.media import isolated
    from fdetect_jax.media.confine import TITLES, Confinement
    from fdetect_jax.service.sweep import Sweeper
    from fdetect_jax.service.worker import Worker

    service = Service.open(settings)
    folder = settings.data / "confined" / str(os.getpid())
    folder.mkdir(parents=True, exist_ok=True)
    confinement = Confinement(cpu_seconds=settings.seconds * (os.cpu_count() or 1), folder=folder)
    isolated.confine(confinement)
    for name, held in isolated.examine(confinement).items():
        if held is not True:
            print(f"worker: processes that read files have not: {TITLES[name]} ({held})", flush=True)
    worker = Worker(service, processes, confinement, name)
    try:
        with interrupts.stoppable() as stop:
            worker.prepare()
            consumer, sweeper = service.queue.consume(worker.judge), Sweeper(service, webhooks=False).start()
            while not stop.wait(10.0):
                worker.speak()
            worker.stop()
            sweeper.close()
            consumer.stop(graceful=True)
    finally:
        worker.close()
        service.close()
        shutil.rmtree(folder, ignore_errors=True)


def serve(settings: Settings, host: str, port: int, workers: int) -> None:
    """Is a server with ``workers`` workers, until SIGTERM or Ctrl-C. Raises UserError as ``work`` does."""
    import uvicorn

    from fdetect_jax.service.api import create_app
    from fdetect_jax.service.sweep import Sweeper

    listening = _listening(host, port)
    service = Service.open(settings)
    sweeper = Sweeper(service).start()
    started = Workers(settings, workers, sweeper.sweep)
    try:
        shown = f"[{host}]" if ":" in host else host
        print(f"http://{shown}:{port}  ({workers} workers; files in {settings.data})", flush=True)
        with interrupts.stoppable():  # uvicorn ends at a signal, and raises it again
            config = uvicorn.Config(
                create_app(service),
                proxy_headers=False,  # the client's address is the peer's, whatever a header says
                server_header=False,
                access_log=False,
                log_level="warning",
                timeout_keep_alive=30,
                timeout_graceful_shutdown=5,
            )
            uvicorn.Server(config).run([listening])
    finally:
        sweeper.close()
        started.close()
        service.close()
        listening.close()


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises UserError where the address cannot be had."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        made = socket.create_server(address[:2], family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"host, port: found {host}, {port}, which cannot be listened on ({reason})") from None
    return made


class Workers:
    """Worker processes that are started again when one ends. They end with this process, however it ends.

    ended: is told the name of a worker that has ended, before the next one starts.
    """

    def __init__(self, settings: Settings, number: int, ended: Callable[[str], None]):
        self._ended = ended
        self._settings = json.dumps(settings.to_json())
        self._processes = max(1, (os.cpu_count() or 1) // max(1, number))
        self._stop = threading.Event()
        self._running: dict[int, BaseProcess] = {}
        self._threads = [threading.Thread(target=self._keep, args=(index,), daemon=True) for index in range(number)]
        for thread in self._threads:
            thread.start()

    def pids(self) -> list[int]:
        """Of the processes that run."""
        return [process.pid for process in self._running.values() if process.is_alive()]

    def close(self) -> None:
        """Stops them; their unfinished jobs are queued again."""
        self._stop.set()
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            process.join(15)
            if process.is_alive():
                process.kill()

    def _keep(self, index: int) -> None:
        context, pause = multiprocessing.get_context("spawn"), _PAUSE
        while not self._stop.is_set():
            name = new_name()
            process = context.Process(target=_run, args=(self._settings, self._processes, name))
            with hidden_main():
                process.start()
            self._running[index] = process
            process.join()
            if self._stop.is_set():
                return
            _log.warning("worker %d ended with status %s; it is started again", index, process.exitcode)
            try:
                self._ended(name)
            except Exception:  # its leases will run out
                _log.exception("the jobs of a worker that ended could not be queued again")
            self._stop.wait(pause)
            pause = min(_LONGEST, 2 * pause) if process.exitcode and process.exitcode > 0 else _PAUSE


def _run(settings: str, processes: int, name: str) -> None:
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the server ends its workers
    try:
        work(Settings.from_text(settings), processes, name)
    except UserError as error:
        print(f"worker: error: {error}", flush=True)
        raise SystemExit(2) from None
