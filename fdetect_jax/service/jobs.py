"""Jobs and their states. In: what was uploaded, what workers report. Out: records that survive every process.

queued -> running -> done, failed or cancelled -> expired -> gone. A worker holds a running job by a lease that it
renews; when the lease runs out, the job is queued again. What it reports counts only while it holds the lease, so each
job ends once.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fdetect_jax.files import digest
from fdetect_jax.service.problems import Problem
from fdetect_jax.service.records import Document, Records

FINAL = ("done", "failed", "cancelled", "expired")
QUEUED, RUNNING, ENDED, HOOKS = "queued", "running", "ended", "hooks"  # places
LEASE = 30.0  # seconds
_STUB = 7 * 86400.0  # seconds that a cancelled or expired job can still be asked about


@dataclasses.dataclass(frozen=True)
class Claim:
    """A job that a worker holds. attempt: of how many it is; document: the job's record."""

    id: str
    worker: str
    attempt: int
    document: Document

    @property
    def folder(self) -> str:
        """Of the job, in the storage."""
        return self.document["folder"]

    @property
    def out(self) -> str:
        """The folder of this attempt's results, in the storage."""
        return f"{self.folder}/out-{self.attempt}"


class NotHeld(Exception):
    """The job is no longer this worker's: it was cancelled, or its lease ran out."""


class Jobs:
    """All jobs. waiting: how many may be queued. tries: of a job whose worker ends without a word."""

    def __init__(self, records: Records, waiting: int, tries: int, clock: Callable[[], float] = time.time):
        self._records, self._waiting, self._tries, self._clock = records, waiting, tries, clock

    def refuse_if_full(self) -> None:
        """Raises Problem (503) where no further job may wait."""
        if self._records.count(QUEUED) >= self._waiting:
            detail = f"{self._waiting} jobs wait already. Nothing of this upload was kept; send it again later."
            raise Problem("too_busy", detail, retry_after=30)

    def add(self, document: Mapping[str, Any], content: str | None = None) -> tuple[Document, bool]:
        """A new job; a job of the same id is returned instead, where its content is the same.

        document: id, owner, folder, options, files, retention (hours), hook (URL or None). content: a digest of files
        and options, of a job with an idempotency key.

        Returns:
          The record, and whether it is new.

        Raises:
          Problem: 409, another content; 503, the queue is full.
        """
        self.refuse_if_full()
        now, fresh = self._clock(), []

        def added(before: Document | None) -> Document:
            fresh[:] = []
            if before is not None and before["state"] not in ("cancelled", "expired"):
                if before["content"] != content:
                    raise Problem("conflict", "A job of this idempotency key has other files or options.")
                return before
            made = {
                **document,
                "content": content,
                "state": "queued",
                "created": now,
                "started": None,
                "finished": None,
                "expires": None,
                "progress": 0.0,
                "attempt": 0,
                "worker": None,
                "out": None,
                "problem": None,
                "tried": 0,  # deliveries of the webhook
                "in": {_of(document["owner"]): now, QUEUED: now},
            }
            fresh.append(made)
            return made

        found = self._records.change(_name(document["id"]), added)
        return found, bool(fresh)

    def get(self, job: str, owner: str | None = None) -> Document:
        """The record. Raises Problem (404) where there is none, or it is another owner's."""
        found = self._records.get(_name(job))
        if found is None or (owner is not None and found["owner"] != owner):
            raise Problem("not_found", "There is no such job.")
        return found

    def of(self, owner: str, limit: int, before: float | None = None) -> tuple[list[Document], float | None]:
        """Jobs of an owner, newest first, and where the next page begins; None at the end."""
        named = self._records.names(_of(owner), high=before, limit=limit + 1, newest=True)
        found = [self._records.get(name) for name, _ in named[:limit]]
        return [one for one in found if one], named[limit][1] if len(named) > limit else None

    def ahead(self, document: Document) -> int | None:
        """How many jobs wait before this one; None if it does not wait."""
        if document["state"] != "queued":
            return None
        return max(0, self._records.count(QUEUED, high=document["created"]) - 1)

    def counts(self) -> dict[str, int]:
        """Jobs that wait, run, and have ended and are still kept."""
        return {place: self._records.count(place) for place in (QUEUED, RUNNING, ENDED)}

    def claim(self, worker: str, most: int) -> list[Claim]:
        """Takes the oldest jobs that wait: those of the first one's options, at most ``most``.

        A job that was tried before is taken alone: it may be what ended its worker.
        """
        found: list[Claim] = []
        for name, _ in self._records.names(QUEUED, limit=4 * most):
            now = self._clock()

            def taken(before: Document | None, now: float = now) -> Document | None:
                if before is None or before["state"] != "queued":
                    return before
                if found and (before["attempt"] > 0 or before["options"] != found[0].document["options"]):
                    return before
                places = {place: at for place, at in before["in"].items() if place != QUEUED}
                held = {"state": "running", "worker": worker, "attempt": before["attempt"] + 1}
                return before | held | {"started": before["started"] or now, "in": places | {RUNNING: now + LEASE}}

            after = self._records.change(name, taken)
            if after is not None and after["state"] == "running" and after["worker"] == worker:
                found.append(Claim(after["id"], worker, after["attempt"], after))
            if len(found) == most or (found and found[0].attempt > 1):
                break
        return found

    def renew(self, claim: Claim, progress: float | None = None) -> None:
        """Keeps a job for another lease, and says how far it is. Raises NotHeld."""

        def renewed(now: float, held: Document) -> Document:
            far = held["progress"] if progress is None else max(held["progress"], progress)
            return held | {"progress": far, "in": held["in"] | {RUNNING: now + LEASE}}

        self._change(claim, renewed)

    def finish(self, claim: Claim, known: Sequence[str], unable: int) -> Document:
        """The job is done, with its results in ``claim.out``. Raises NotHeld.

        known: digests under which its files are found again, see ``again``. unable: files that could not be judged.
        """

        def finished(now: float, held: Document) -> Document:
            places = {f"known/{held['owner']}/{one}": now for one in known}
            return self._ended(held, "done", now, places) | {"progress": 1.0, "out": claim.out, "unable": unable}

        return self._change(claim, finished)

    def fail(self, claim: Claim, code: str, detail: str) -> Document:
        """The job failed, for a reason that another try would meet again. Raises NotHeld."""
        problem = {"code": code, "detail": detail}
        return self._change(claim, lambda now, held: self._ended(held, "failed", now) | {"problem": problem})

    def release(self, claim: Claim, counted: bool = False) -> None:
        """Queues the job again. counted: as one more try; else as if it had not been taken. Raises NotHeld."""

        self._change(claim, lambda _, held: _queued(held) | {"attempt": held["attempt"] - (not counted)})

    def again(self, owner: str, known: str) -> Document | None:
        """The newest done job of an owner in which a file of this digest was judged."""
        for name, _ in self._records.names(f"known/{owner}/{known}", limit=3, newest=True):
            found = self._records.get(name)
            if found is not None and found["state"] == "done":
                return found
        return None

    def remove(self, job: str, owner: str) -> Document:
        """Cancels a job that has not ended, else removes it; returns what it was. Raises Problem (404)."""
        was: list[Document] = []

        def removed(before: Document | None) -> Document | None:
            if before is None or before["owner"] != owner:
                raise Problem("not_found", "There is no such job.")
            was[:] = [before]
            return None if before["state"] in FINAL else self._stub(before, "cancelled")

        self._records.change(_name(job), removed)
        return was[0]

    def expire(self) -> list[Document]:
        """Ends the time of jobs whose results are to go; returns those whose files are to be removed now."""
        return self._due(
            ENDED, lambda one: None if one["state"] in ("cancelled", "expired") else self._stub(one, "expired")
        )

    def recover(self, worker: str | None = None) -> tuple[int, list[Document]]:
        """Queues jobs again whose lease ran out, and those of a worker that has ended; returns how many wait now, and
        those that failed for good."""
        failed: list[Document] = []
        for name, _ in self._records.names(RUNNING, high=self._clock() if worker is None else None):
            ended: list[Document] = []

            def recovered(before: Document | None, ended: list[Document] = ended) -> Document | None:
                now, ended[:] = self._clock(), []
                if before is None or before["state"] != "running":
                    return before
                if before["in"][RUNNING] > now and before["worker"] != worker:
                    return before
                if before["attempt"] >= self._tries:
                    detail = f"The processes that judged it ended {before['attempt']} times."
                    problem = {"code": "failed", "detail": detail}
                    ended[:] = [self._ended(before, "failed", now) | {"problem": problem}]
                    return ended[0]
                return _queued(before)

            self._records.change(name, recovered)
            failed += ended
        return self._records.count(QUEUED), failed

    def hooks(self) -> list[Document]:
        """Takes the jobs whose webhook is to be called now; one that is not ``called`` in a minute is taken again."""
        return self._due(HOOKS, lambda one: one | {"in": one["in"] | {HOOKS: self._clock() + 60.0}}, limit=20)

    def called(self, document: Document, later: float | None) -> None:
        """A webhook was called. later: seconds until the next try; None: it is over."""

        def told(before: Document | None) -> Document | None:
            if before is None:
                return None
            places = {place: at for place, at in before["in"].items() if place != HOOKS}
            places |= {} if later is None else {HOOKS: self._clock() + later}
            return before | {"tried": before["tried"] + 1, "in": places}

        self._records.change(_name(document["id"]), told)

    def _due(self, place: str, function: Callable[[Document], Document | None], limit: int = 1000) -> list[Document]:
        """Replaces the jobs whose time in a place has come by ``function`` of them; returns what they were."""
        found: list[Document] = []
        for name, _ in self._records.names(place, high=self._clock(), limit=limit):
            was: list[Document] = []

            def changed(before: Document | None, was: list[Document] = was) -> Document | None:
                due = before is not None and before["in"].get(place, float("inf")) <= self._clock()
                was[:] = [before] if due else []
                return function(before) if due else before

            self._records.change(name, changed)
            found += was
        return found

    def _change(self, claim: Claim, function: Callable[[float, Document], Document]) -> Document:
        def changed(before: Document | None) -> Document:
            mine = before is not None and before["worker"] == claim.worker and before["attempt"] == claim.attempt
            if not mine or before["state"] != "running":
                raise NotHeld(claim.id)
            return function(self._clock(), before)

        return self._records.change(_name(claim.id), changed)

    def _ended(self, held: Document, state: str, now: float, places: Mapping[str, float] | None = None) -> Document:
        expires = now + held["retention"] * 3600.0
        kept = {_of(held["owner"]): held["created"], ENDED: expires} | dict(places or {})
        kept |= {HOOKS: now} if held["hook"] else {}
        return held | {"state": state, "finished": now, "expires": expires, "worker": None, "in": kept}

    def _stub(self, before: Document, state: str) -> Document:
        """What remains of a job: no name, no file, no row."""
        now = self._clock()
        bare = {"files": [], "problem": None, "out": None, "worker": None, "hook": None, "content": None}
        ended = {"state": state, "finished": before["finished"] or now}
        return before | bare | ended | {"in": {_of(before["owner"]): before["created"], ENDED: now + _STUB}}


def known_as(sha256: str, options: Mapping[str, Any], model: str) -> str:
    """A digest of what decides a verdict: a file's content, the options, and the digest of the model."""
    decisive = {name: options[name] for name in ("faces", "frames", "per_second", "heat_map")}
    return digest([sha256, decisive, model])


def _queued(held: Document) -> Document:
    """A running job that waits again, in its old place."""
    places = {place: at for place, at in held["in"].items() if place != RUNNING}
    return held | {"state": "queued", "worker": None, "in": places | {QUEUED: held["created"]}}


def _name(job: str) -> str:
    return f"job/{job}"


def _of(owner: str) -> str:
    return f"owner/{owner}"
