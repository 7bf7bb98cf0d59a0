"""What owners say of wrong verdicts: kept in the storage, and exported as a data set of labelled face crops."""

import csv
import io
import json
import secrets
from pathlib import Path

from fdetect_jax.files import write_atomic
from fdetect_jax.service.records import Document
from fdetect_jax.service.service import Service
from fdetect_jax.service.views import ROWS

_FOLDER, _SAID = "feedback", "said.json"
_COLUMNS = ("path", "label", "type", "generator", "source", "group")


def keep_feedback(service: Service, document: Document, n: int, verdict: str, comment: str) -> None:
    """Stores what a file really is, beside copies of its faces; they stay when the job goes."""
    row = json.loads(service.storage.read(f"{document['out']}/{ROWS}"))[n]
    folder = f"{_FOLDER}/{document['id']}-{n}-{secrets.token_hex(4)}"
    crops = [track["crop"] for track in row["tracks"] if track["crop"]]
    for crop in crops:
        service.storage.copy(f"{document['out']}/{crop}", f"{folder}/{crop}")
    said = {
        "said": verdict,
        "comment": comment,
        "verdict": row["verdict"],
        "score": row["score"],
        "model": document["options"]["model"],
        "sha256": document["files"][n]["sha256"],
        "crops": crops,
    }
    service.storage.write(f"{folder}/{_SAID}", json.dumps(said).encode())


def export_feedback(service: Service, output: Path) -> int:
    """Writes all feedback as a folder that ``fdetect prepare folder`` reads: crops and ``manifest.csv``; returns how
    many crops. ``feedback.jsonl`` there holds what was said, with the comments."""
    rows, lines = [], []
    for name in sorted(service.storage.folders(_FOLDER)):
        folder = f"{_FOLDER}/{name}"
        said = json.loads(service.storage.read(f"{folder}/{_SAID}"))
        lines.append(json.dumps(said | {"folder": name}, ensure_ascii=False))
        for crop in said["crops"]:
            path = f"{said['said']}/{name}/{crop}"
            write_atomic(output / path, service.storage.read(f"{folder}/{crop}"))
            rows.append((path, said["said"], "", "", "feedback", said["sha256"]))
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([_COLUMNS, *rows])
    write_atomic(output / "manifest.csv", text.getvalue())
    write_atomic(output / "feedback.jsonl", "".join(f"{line}\n" for line in lines))
    return len(rows)
