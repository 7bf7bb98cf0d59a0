"""A worker: takes jobs that wait, judges their files together, and stores the results.

Jobs of the same options that wait at the same time are one batch, whose faces fill the detector's batches together. The
files meet only the processes of ``media.isolated``; this process reads no byte of them.
"""

import contextlib
import logging
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fdetect_jax.faces.extract import start_readers
from fdetect_jax.media.confine import Confinement
from fdetect_jax.media.isolated import Workers
from fdetect_jax.predict.engine import check, verdicts
from fdetect_jax.predict.rows import rows_of, start_drawers
from fdetect_jax.service.jobs import LEASE, Claim, NotHeld, known_as
from fdetect_jax.service.models import Loaded, Models, protocol_of
from fdetect_jax.service.results import Results
from fdetect_jax.service.service import MODELS, WORKERS, Service, new_name

_TOGETHER = 8  # jobs in one batch
_PAUSE = 1.0  # seconds after a fault, before its jobs are tried again
_log = logging.getLogger("fdetect.worker")


class Stopping(Exception):
    """The worker is to end."""


@dataclass
class _Held:
    """A job at work. rows: of its files, by number. parts: of its progress that are done, of ``2 * files``."""

    claim: Claim
    results: Results
    inputs: dict[int, Path] = field(default_factory=dict)
    rows: dict[int, dict] = field(default_factory=dict)
    known: dict[int, str] = field(default_factory=dict)
    parts: int = 0
    lost: bool = False
    began: float = field(default_factory=time.monotonic)

    @property
    def progress(self) -> float:
        return min(0.99, self.parts / max(1, 2 * len(self.claim.document["files"])))


class Worker:
    """One worker of a service. name: in the records."""

    def __init__(
        self,
        service: Service,
        processes: int | None = None,
        confinement: Confinement | None = None,
        name: str | None = None,
    ):
        """processes: that read and draw files; None: one per core. confinement: theirs, which this process has set.
        name: None: a new one."""
        self._confinement = confinement
        self.name = name or new_name()
        self._service, self._models = service, Models(service.settings.models)
        seconds = service.settings.seconds
        self._readers: Workers = start_readers(processes, seconds, keep=True)
        self._drawers: Workers = start_drawers(processes, seconds)
        self._stop = threading.Event()

    def prepare(self) -> None:
        """Loads and compiles every model, and tells the records of them.

        Raises UserError where weights or face models cannot be used.
        """
        for name in self._service.settings.models:
            scorer = self._models.get(name).scorer
            check(scorer)
            scorer.compile()
            self._tell_of(name)
        self.speak()

    def speak(self) -> None:
        """Tells the records that this worker is there."""
        now = time.time()
        self._service.records.change(f"worker/{self.name}", lambda _: {"in": {WORKERS: now}})

    def stop(self) -> None:
        """Ends the work at the next file; what is not finished is queued again."""
        self._stop.set()

    def close(self) -> None:
        """Ends the processes, and takes this worker out of the records."""
        self._readers.close()
        self._drawers.close()
        self._service.records.change(f"worker/{self.name}", lambda _: None)

    def judge(self) -> None:
        """Judges all jobs that wait, until none does."""
        while not self._stop.is_set() and (claims := self._service.jobs.claim(self.name, _TOGETHER)):
            above = self._service.settings.data / "work"
            above.mkdir(exist_ok=True)
            with tempfile.TemporaryDirectory(dir=above) as folder:
                Path(folder).chmod(0o711)
                self._batch(claims, Path(folder))

    def _tell_of(self, name: str) -> None:
        model, now = self._models.described(name), time.time()
        self._service.records.change(f"model/{name}", lambda _: {"model": model, "in": {MODELS: now}})

    def _batch(self, claims: Sequence[Claim], folder: Path) -> None:
        held = [_Held(claim, Results(self._service.storage, claim)) for claim in claims]
        ended = threading.Event()
        beat = threading.Thread(target=self._beat, args=(held, ended), daemon=True)
        beat.start()
        try:
            loaded = self._models.get(claims[0].document["options"]["model"])
            self._judge(held, loaded, folder)
        except Stopping:
            for one in self._open(held):
                with contextlib.suppress(NotHeld):
                    self._service.jobs.release(one.claim)
        except Exception:
            _log.exception("a batch of %d jobs failed", len(held))
            for one in self._open(held):
                if one.claim.attempt >= self._service.settings.tries:
                    self._fail(one)
                    continue
                with contextlib.suppress(NotHeld):
                    self._service.jobs.release(one.claim, counted=True)
            self._stop.wait(_PAUSE)
        finally:
            ended.set()
            beat.join()

    def _open(self, held: Sequence[_Held]) -> list[_Held]:
        """The jobs that have not ended here, and are still this worker's."""
        return [one for one in held if not one.lost and len(one.rows) < len(one.claim.document["files"])]

    def _judge(self, held: Sequence[_Held], loaded: Loaded, folder: Path) -> None:
        options = held[0].claim.document["options"]
        (folder / "in").mkdir()
        (folder / "out").mkdir()
        todo: list[tuple[_Held, int]] = []
        for number, one in enumerate(held):
            todo += [(one, n) for n in self._gather(one, number, loaded, folder / "in")]
        for one in held:  # every file was known already
            self._finish_if_whole(one)
        if not todo:
            return
        if self._confinement is not None:
            self._confinement.give(folder / "in", folder / "out")
            for one, n in todo:
                with contextlib.suppress(FileNotFoundError):  # of a job that was removed in the meantime
                    self._confinement.give(one.inputs[n])
        how = {"seconds": self._service.settings.seconds}
        made = verdicts(
            [one.inputs[n] for one, n in todo],
            loaded.scorer,
            protocol_of(loaded.scorer, options),
            heat_map=options["heat_map"],
            portraits=True,
            readers=self._readers,
            **how,
        )
        with contextlib.closing(made):
            heard = (self._heard(one, n, found) for (one, n), found in zip(todo, made, strict=True))
            drawn = rows_of(heard, folder / "out", options["heat_map"], True, drawers=self._drawers, **how)
            with contextlib.closing(drawn):
                for (one, n), (row, _) in zip(todo, drawn, strict=True):
                    self._take(one, n, row, folder / "out")
                    if self._stop.is_set():
                        raise Stopping

    def _heard(self, one: _Held, n: int, found: tuple) -> tuple[Path, tuple]:
        """A verdict is there; the name of its copies is that of its input."""
        one.parts += 1
        return Path(one.inputs[n].name), found

    def _gather(self, one: _Held, number: int, loaded: Loaded, folder: Path) -> Iterator[int]:
        """Copies what was judged already; yields the files that are to be judged, which it fetches."""
        document = one.claim.document
        for file in document["files"]:
            n, known = file["n"], known_as(file["sha256"], document["options"], loaded.key)
            one.known[n] = known
            earlier = None if document["options"]["again"] else self._service.jobs.again(document["owner"], known)
            if earlier is not None and (row := one.results.copied(earlier, file)) is not None:
                one.rows[n] = row
                one.parts += 2
                continue
            one.inputs[n] = folder / f"{number}-{n}"
            try:
                self._service.storage.fetch(f"{one.claim.folder}/in/{n}", one.inputs[n])
            except FileNotFoundError:  # the job was removed; its file cannot be read, as the verdict will say
                one.inputs[n].touch()
            yield n

    def _take(self, one: _Held, n: int, row: dict[str, Any], folder: Path) -> None:
        """Stores one row with its pictures; with the last one the job is done."""
        one.parts += 1
        self._renew(one)
        if one.lost:
            return
        try:
            one.rows[n] = one.results.kept(n, row | {"file": one.claim.document["files"][n]["name"]}, folder)
            one.inputs[n].unlink(missing_ok=True)
            self._finish_if_whole(one)
        except FileNotFoundError:  # removed in the meantime, files and all
            self._renew(one)
            if not one.lost:
                raise

    def _finish_if_whole(self, one: _Held) -> None:
        document = one.claim.document
        if one.lost or len(one.rows) < len(document["files"]):
            return
        rows = [one.rows[n] for n in sorted(one.rows)]
        scorer = self._models.get(document["options"]["model"]).scorer
        one.results.write(rows, scorer.description, protocol_of(scorer, document["options"]))
        unable = sum(row["verdict"] == "unable_to_evaluate" for row in rows)
        try:
            ended = self._service.jobs.finish(one.claim, sorted(set(one.known.values())), unable)
        except NotHeld:
            self._lose(one)
            return
        if not document["options"]["keep"]:
            self._service.storage.remove(f"{one.claim.folder}/in")
        self._service.audit(ended, round(time.monotonic() - one.began, 3))

    def _fail(self, one: _Held) -> None:
        try:
            detail = f"This is a fault of the service; it was tried {one.claim.attempt} times."
            ended = self._service.jobs.fail(one.claim, "failed", detail)
        except NotHeld:
            return
        self._service.storage.remove(one.claim.folder)
        self._service.audit(ended, round(time.monotonic() - one.began, 3))

    def _beat(self, held: Sequence[_Held], ended: threading.Event) -> None:
        """Renews the leases; the copies of a job that is no longer this worker's go at once."""
        shown: dict[str, float] = {}
        while not ended.wait(0.5):
            for one in self._open(held):
                due = shown.get(one.claim.id, 0.0) + LEASE / 3 < time.monotonic()
                if not due and shown.get(f"{one.claim.id}/far") == one.progress:
                    continue
                shown |= {one.claim.id: time.monotonic(), f"{one.claim.id}/far": one.progress}
                try:
                    self._renew(one)
                except Exception:
                    _log.exception("a lease could not be renewed")

    def _renew(self, one: _Held) -> None:
        try:
            self._service.jobs.renew(one.claim, one.progress)
        except NotHeld:
            self._lose(one)

    def _lose(self, one: _Held) -> None:
        """The job is no longer this worker's: what it stored and copied of it goes."""
        one.lost = True
        for path in one.inputs.values():
            path.unlink(missing_ok=True)
        found = self._service.records.get(f"job/{one.claim.id}")
        removed = found is None or found["folder"] != one.claim.folder or found["state"] in ("cancelled", "expired")
        self._service.storage.remove(one.claim.folder if removed else one.claim.out)
