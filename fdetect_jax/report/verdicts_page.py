"""Verdicts as a page beside the annotated copies: rows in, ``report.html`` out. Opens offline, runs no script."""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

from fdetect_jax.files import write_atomic
from fdetect_jax.inference.evidence import DETECTOR
from fdetect_jax.inference.protocol import Protocol
from fdetect_jax.report.pages import render

PAGE = "report.html"
_WORDS = {"fake": "fake", "suspicious": "suspicious", "real": "real"}
_WORDS |= {"not_applicable": "no face", "unable_to_evaluate": "not evaluated"}


def write_page(output: Path, rows: Sequence[Mapping], detector: str, protocol: Protocol) -> None:
    """Writes ``report.html`` into ``output``.

    rows: as ``run.predict`` yields them. detector: a line that describes it.
    """
    write_atomic(output / PAGE, page_of(rows, detector, protocol))


def page_of(
    rows: Sequence[Mapping], detector: str, protocol: Protocol, address: Callable[[str], str] | None = None
) -> str:
    """The page. address: the address of what a row names by its path; None: relative to the output folder."""
    counts = Counter(row["verdict"] for row in rows)
    # The highest score first.
    order = sorted(rows, key=lambda row: (row["score"] is None, -(row["score"] or 0.0), row["file"]))
    address = address or _relative
    return render(
        "verdicts.html",
        title="Verdicts",
        description=detector,
        facts=tuple(f"{counts[word]:,} {shown}" for word, shown in _WORDS.items() if counts[word]),
        rule=f"In a frame: {protocol.multi_face} over its faces; over frames: {protocol.aggregation}; "
        f"fake from P(fake) = {protocol.threshold:.3f} on"
        f"{'' if protocol.suspicious is None else f', suspicious from {protocol.suspicious:.3f} on'}.",
        shown=[_row(row, address) for row in order if row["annotated"]],
        others=[_row(row, address) for row in order if not row["annotated"]],
    )


def _row(row: Mapping, address: Callable[[str], str]) -> dict[str, Any]:
    score = f" {row['score']:.2f}" if row["score"] is not None else ""
    return {
        "name": row["file"],
        "word": f"{_WORDS[row['verdict']]}{score}",
        "side": _side(row["verdict"]),
        "reason": row["reason"] if row["annotated"] else row["note"] or row["reason"],
        "note": row["note"] if row["annotated"] else "",
        "video": row["kind"] == "video",
        "source": address(row["annotated"] or ""),
        "heat": address(row["heat_map"] or ""),
        "poster": address(row["poster"] or ""),
        "classes": [(name, f"{100 * share:.0f} %") for name, share in row["classes"].items()],
        "evidence": [_evidence(one, address) for one in row["evidence"] if one["name"] != DETECTOR],
    }


def _evidence(one: Mapping, address: Callable[[str], str]) -> dict[str, Any]:
    """The detector's own stands in the badge and the reason already."""
    strength = f" {100 * one['strength']:.0f} %" if one["strength"] else ""
    return {
        "title": one["title"],
        "words": one["words"],
        "side": _side(one["speaks_for"]),
        "speaks": "" if one["speaks_for"] == "neither" else f"for {one['speaks_for']}{strength}",
        "picture": address(one["picture"] or ""),
    }


def _relative(path: str) -> str:
    return quote_from_bytes(os.fsencode(path))


def _side(word: str) -> str:
    return word if word in ("fake", "suspicious", "real") else "none"
