"""Verdicts in, rows out: plain values for JSON, with the paths of what worker processes drew for each file."""

import collections
import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from fdetect_jax.inference.analyses import ANALYSES
from fdetect_jax.inference.evidence import TITLES
from fdetect_jax.media.isolated import Workers
from fdetect_jax.media.limits import Rejected
from fdetect_jax.predict.verdict import Verdict
from fdetect_jax.predict.work import Heat, Shown, show

Made = Iterable[tuple[Path, tuple[Verdict, Heat | None]]]


def rows_of(
    made: Made,
    output: Path | None,
    heat_map: bool = False,
    portraits: bool = False,
    *,
    workers: int | None = None,
    seconds: float,
    drawers: Workers | None = None,
) -> Iterator[tuple[dict[str, Any], bool]]:
    """The row of each verdict, in order, and whether it would be the same the next time.

    Args:
      made: the name of a file's copies, relative to ``output``, and what ``engine.verdicts`` yields for it.
      output: the folder of the copies; None: nothing is drawn.
      heat_map, portraits: whether heat maps, and a picture of each person's most suspicious face, are written.
      workers, seconds: of the processes that draw, for ``Workers``. drawers: processes of ``start_drawers`` instead.

    Yields:
      ``Verdict.to_row`` with what ``run.predict`` says of its rows; with portraits each track has ``crop`` and
      ``heat``, paths below ``output``, or None.
    """
    if output is None:
        yield from ((row_of(verdict, Shown(), portraits), True) for _, (verdict, _) in made)
        return
    waiting: collections.deque[Verdict] = collections.deque()

    def tasks() -> Iterator[tuple]:
        for name, (verdict, heat) in made:
            waiting.append(verdict)
            yield Path(verdict.file), output, name, verdict, heat, heat_map, portraits

    drawn = (drawers or Workers(show, workers=workers, seconds=seconds)).run(tasks())
    with contextlib.closing(drawn):
        for shown in drawn:
            verdict = waiting.popleft()
            passing = verdict.passing or (isinstance(shown, Rejected) and shown.passing)
            yield row_of(verdict, shown, portraits), not passing


def start_drawers(workers: int | None, seconds: float) -> Workers:
    """Processes for ``rows_of`` that wait for further files; close them."""
    return Workers(show, workers=workers, seconds=seconds, keep=True)


def row_of(verdict: Verdict, shown: Shown | Rejected, portraits: bool = False) -> dict[str, Any]:
    notes = verdict.notes
    if isinstance(shown, Rejected):
        notes, shown = (*notes, shown.reason), Shown()
    elif shown.note:
        notes = (*notes, shown.note)
    row = verdict.to_row()
    for one in row["evidence"]:
        title = TITLES.get(one["name"]) or ANALYSES[one["name"]].title
        one |= {"title": title, "picture": shown.pictures.get(one["name"])}
    if portraits:
        for track in row["tracks"]:
            track["crop"], track["heat"] = shown.portraits.get(track["track"], (None, None))
    written = {"annotated": shown.annotated, "heat_map": shown.heat_map, "poster": shown.poster}
    return row | written | {"note": "; ".join(notes)}
