"""Verdicts as a page beside the annotated copies: rows in, ``report.html`` out. Opens offline, runs no script."""

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from fdetect_jax.files import write_atomic
from fdetect_jax.inference.protocol import Protocol
from fdetect_jax.report.page import document, section

PAGE = "report.html"
_WORDS = {"fake": "fake", "real": "real", "not_applicable": "no face", "unable_to_evaluate": "not evaluated"}
_STYLE = """
.files{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,340px),1fr));gap:16px}
.files figure{background:var(--card);border:1px solid var(--grid);border-radius:12px;overflow:hidden}
.files :is(img,video){display:block;width:100%;max-height:420px;object-fit:contain;background:#000}
.files figcaption{padding:10px 14px;font-size:.9rem;overflow-wrap:anywhere}
.files small{display:block;color:var(--muted)}
.fake{--c:var(--fake)}.real{--c:var(--real)}.none{--c:var(--muted)}
"""


def write_page(output: Path, rows: Sequence[Mapping], detector: str, protocol: Protocol) -> None:
    """Writes ``report.html`` into ``output``.

    rows: as ``run.predict`` yields them. detector: a line that says which one judged.
    """
    counts = Counter(row["verdict"] for row in rows)
    facts = [f"{counts[word]:,} {shown}" for word, shown in _WORDS.items() if counts[word]]
    chips = "".join(f"<li>{escape(fact)}</li>" for fact in facts)
    rule = (
        f"In a frame: {protocol.multi_face} over its faces; over frames: {protocol.aggregation}; "
        f"fake from P(fake) = {protocol.threshold:.3f} on."
    )
    head = f"<header><h1>Verdicts</h1><p>{escape(detector)}</p><ul class=facts>{chips}</ul></header>"
    # The most suspicious first.
    order = sorted(rows, key=lambda row: (row["score"] is None, -(row["score"] or 0.0), row["file"]))
    judged = [_card(row) for row in order if row["annotated"]]
    others = [row for row in order if not row["annotated"]]
    sections = [head, section("Files", f"<p>{escape(rule)}</p><div class=files>{''.join(judged)}</div>")]
    if others:
        lines = "".join(
            f"<tr><th scope=row>{escape(row['file'])}</th><td>{_badge(row)}</td>"
            f"<td>{escape(row['note'] or row['reason'])}{_evidence(row)}</td></tr>"
            for row in others
        )
        sections.append(section("Without a picture", f"<div class=scroll><table>{lines}</table></div>"))
    write_atomic(output / PAGE, document("Verdicts", sections, _STYLE))


def _card(row: Mapping) -> str:
    source, name = quote(row["annotated"]), escape(row["file"])
    if row["kind"] == "video":
        shown = f'<video src="{source}" controls preload=metadata></video>'
    else:
        shown = f'<img src="{source}" alt="{name}" loading=lazy>'
    heat = f' · <a href="{quote(row["heat_map"])}">where it looked</a>' if row["heat_map"] else ""
    caption = f"{_badge(row)} {name}<small>{escape(row['reason'])}{heat}</small>{_evidence(row)}"
    return f"<figure>{shown}<figcaption>{caption}</figcaption></figure>"


def _evidence(row: Mapping) -> str:
    """That of the analyses; the detector's is the reason of the verdict."""
    others = [one for one in row["evidence"] if one["name"] != "detector"]
    return "".join(f"<small><b>{escape(one['title'])}</b> {escape(one['words'])}</small>" for one in others)


def _badge(row: Mapping) -> str:
    side = row["verdict"] if row["verdict"] in ("fake", "real") else "none"
    score = f" {row['score']:.2f}" if row["score"] is not None else ""
    return f'<b class="badge {side}">{_WORDS[row["verdict"]]}{score}</b>'
