"""Records of jobs as the API shows them."""

import json
from datetime import UTC, datetime
from typing import Any

from fdetect_jax.service.records import Document
from fdetect_jax.service.service import Service

ROWS, REPORT = "rows.json", "report.html"  # in the folder of results
_PATHS = {"annotated": "annotated", "heat_map": "heatmap", "poster": "poster"}


def job_view(document: Document, service: Service) -> dict[str, Any]:
    """A job without its rows."""
    base = f"/v1/jobs/{document['id']}"
    kept = {name: document[name] for name in ("id", "state", "options", "files", "problem")}
    times = {name: _time(document[name]) for name in ("created", "started", "finished", "expires")}
    done = document["state"] == "done"
    links = {
        "self": base,
        "events": f"{base}/events",
        "result": f"{base}/result.json",
        "report": f"{base}/report.html",
    }
    far = {"progress": 1.0 if done else round(document["progress"], 4), "ahead": service.jobs.ahead(document)}
    return kept | times | far | {"links": links}


def rows_of(document: Document, service: Service) -> list[dict[str, Any]] | None:
    """The rows of a job that is done, their pictures as paths of the API; None before, or once they are gone."""
    if document["state"] != "done":
        return None
    try:
        rows = json.loads(service.storage.read(f"{document['out']}/{ROWS}"))
    except FileNotFoundError:
        return None
    base = f"/v1/jobs/{document['id']}"
    for number, row in enumerate(rows):
        for name, path in _PATHS.items():
            row[name] = row[name] and f"{base}/{path}/{number}"
        for one in row["evidence"]:
            one["picture"] = one["picture"] and f"{base}/evidence/{number}/{one['name']}"
        for track in row["tracks"]:
            of = f"{base}/faces/{number}/{track['track']}"
            track["crop"] = track["crop"] and of
            track["heat"] = track["heat"] and f"{of}/heat"
    return rows


def _time(seconds: float | None) -> str | None:
    return seconds and datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
