"""A stand-in for the service: its API by the contract, with invented verdicts, for tests of the page alone.

The verdict is in the file's name (``real``, ``suspicious``, ``fake``, ``noface``, ``broken``; else fake). Run it with
``python -m tests.service.fake_api FOLDER [PORT] [KEY]``; jobs live in FOLDER.
"""

import asyncio
import hashlib
import json
import math
import secrets
import shutil
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse

import fdetect_jax
from fdetect_jax.media.limits import UnreadableMedia
from fdetect_jax.media.transcode import transcode
from fdetect_jax.media.video import probe
from fdetect_jax.predict.draw import Painter
from fdetect_jax.predict.verdict import Sighting, TrackVerdict, Verdict

PAGE = Path(fdetect_jax.__file__).parent / "service/page"
FINAL = ("done", "failed", "cancelled", "expired")
SCORES = {"real": 0.08, "suspicious": 0.44, "fake": 0.93}
CLASSES = ("real", "entire synthesis", "attribute", "reenactment", "speaking", "swap")
MODEL = {
    "name": "bundled",
    "default": True,
    "description": "Two EfficientNet-Lite0, 192 px",
    "threshold": 0.6,
    "suspicious": 0.3,
    "classes": list(CLASSES),
    "trained_on": "Photographs of real people and pictures of 14 generators; forgeries made of drawn faces.",
    "misses": "Most face swaps and talking heads: of 86 swaps it calls 4 fake. Faces smaller than 98 pixels.",
}
LIMITS = {
    "file_bytes": 50_000_000,
    "files": 10,
    "job_bytes": 200_000_000,
    "upload_seconds": 600,
    "seconds_per_file": 600,
    "retention_hours": 24,
    "queue": 100,
    "per_minute": None,
    "per_day": None,
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def now(hours: float = 0) -> str:
    return (datetime.now(UTC) + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")


class Problem(Exception):
    """An error that the client is told. args: status, code, title, detail, and the field or None."""

    def response(self) -> Response:
        status, code, title, detail, field = (*self.args, None)[:5]
        content = {"type": "about:blank", "title": title, "status": status, "code": code, "detail": detail}
        if field:
            content["field"] = field
        return JSONResponse(content, status, media_type="application/problem+json")


def _faces(name: str, picture: np.ndarray, times: list[float]) -> tuple[TrackVerdict, ...]:
    """One face, or two in a wide picture, whose scores wander around that of the verdict."""
    height, width = picture.shape[:2]
    many = max(1, round(width / height / 1.15))
    level = next((score for word, score in SCORES.items() if word in name), SCORES["fake"])
    tracks = []
    for track in range(many):
        left, right = width * track / many, width * (track + 1) / many
        box = (left + (right - left) * 0.25, height * 0.18, right - (right - left) * 0.25, height * 0.86)
        own = level if track == 0 else 0.12
        scores = [min(max(own + 0.09 * math.sin(2.1 * t + track) + 0.05 * math.sin(9 * t), 0.01), 0.99) for t in times]
        faces = tuple(Sighting(t, p, box) for t, p in zip(times, scores, strict=True))
        tracks.append(TrackVerdict(track, float(np.median(scores)), faces))
    return tuple(tracks)


def judge(source: Path, name: str, folder: Path, number: int, heat: bool, base: str) -> dict:
    """The row of one file; its pictures are written to ``folder``."""
    picture = cv2.imread(str(source))
    kind = "video" if picture is None else "image"
    if kind == "video":
        picture = cv2.VideoCapture(str(source)).read()[1]
    known = {"file": name, "threshold": MODEL["threshold"], "suspicious": MODEL["suspicious"], "kind": kind}
    extra = {"annotated": None, "heat_map": None, "poster": None, "note": ""}
    if "broken" in name:
        verdict = Verdict(verdict="unable_to_evaluate", score=None, reason="the stream ends early", **known)
        return verdict.to_row() | extra | {"kind": None}
    duration = probe(source).duration if kind == "video" else 0.0
    times = [duration * i / 16 for i in range(16)] if kind == "video" else [0.0]
    if "noface" in name:
        frames = tuple((t, None) for t in times)
        reason = f"no face in any of the {len(times)} sampled frames"
        verdict = Verdict(
            verdict="not_applicable", score=None, reason=reason, duration=duration, frames=frames, **known
        )
    else:
        tracks = _faces(name, picture, times)
        frames = tuple((t, max(one.sightings[i].score for one in tracks)) for i, t in enumerate(times))
        score = float(np.median([value for _, value in frames]))
        word = "fake" if score >= 0.6 else "suspicious" if score >= 0.3 else "real"
        reason = f"P(fake) {score:.3f}, median over {len(times)} of {len(times)} frames, with the threshold 0.600"
        shares = (1 - score, 0.55 * score, 0.05 * score, 0.1 * score, 0.05 * score, 0.25 * score)
        verdict = Verdict(
            verdict=word,
            score=score,
            reason=reason,
            duration=duration,
            frames=frames,
            tracks=tracks,
            classes=dict(zip(CLASSES, shares, strict=True)),
            **known,
        )
    painter = Painter(verdict, (picture.shape[1], picture.shape[0]))
    if kind == "video":
        transcode(source, folder / f"annotated-{number}.mp4", painter)
        cv2.imwrite(str(folder / f"poster-{number}.jpg"), painter(picture[..., ::-1].copy(), 0.0)[..., ::-1])
        extra["poster"] = f"{base}/poster/{number}"
    else:
        cv2.imwrite(str(folder / f"annotated-{number}.png"), painter(picture[..., ::-1].copy(), 0.0)[..., ::-1])
    extra["annotated"] = f"{base}/annotated/{number}"
    row = verdict.to_row() | extra
    for track in row["tracks"]:
        _face_pictures(track, picture, folder, number, heat, base)
    if row["tracks"]:
        row["evidence"] = _evidence(row, picture, folder, number, base)
        if heat:
            cv2.imwrite(str(folder / f"heatmap-{number}.png"), picture)
            row["heat_map"] = f"{base}/heatmap/{number}"
        row["note"] = "the faces are blurred, where scores mean little (sharpness 5.1, below 8)"
    return row


def _face_pictures(track: dict, picture: np.ndarray, folder: Path, number: int, heat: bool, base: str) -> None:
    x0, y0, x1, y1 = (round(value) for value in track["faces"][0]["box"])
    face = cv2.resize(picture[y0:y1, x0:x1], (192, 192))
    cv2.imwrite(str(folder / f"face-{number}-{track['track']}.jpg"), face)
    track["crop"], track["heat"] = f"{base}/faces/{number}/{track['track']}", None
    if heat:
        down, across = np.mgrid[-1:1:192j, -1:1:192j]
        value = np.exp(-4 * ((down - 0.3) ** 2 + across**2))
        colours = cv2.applyColorMap((value * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
        alpha = (value * 200).astype(np.uint8)[..., None]
        cv2.imwrite(str(folder / f"heat-{number}-{track['track']}.png"), np.concatenate([colours, alpha], axis=2))
        track["heat"] = track["crop"] + "/heat"


def _evidence(row: dict, picture: np.ndarray, folder: Path, number: int, base: str) -> list[dict]:
    word, strength = row["verdict"], round(abs(row["score"] - 0.6), 3)
    side = "neither" if word == "suspicious" else word
    cv2.imwrite(str(folder / f"evidence-{number}-mask.png"), picture)
    rows = (
        ("detector", "Detector", row["score"], side, strength, row["reason"], None),
        ("mask", "Altered area", 0.21, "fake", 0.4, "21 % of the face is marked as altered, mostly the mouth", "mask"),
        ("blinking", "Blinking", 3, "neither", 0.0, "3 blinks in 4 seconds, as often as people blink", None),
    )
    names = ("name", "title", "value", "speaks_for", "strength", "words", "picture")
    found = [dict(zip(names, one, strict=True)) for one in rows]
    for one in found:
        one["picture"] = one["picture"] and f"{base}/evidence/{number}/{one['picture']}"
    return found


class Jobs:
    """The jobs of one server. folder: where their files are. pace: seconds between two steps of progress."""

    def __init__(self, folder: Path, pace: float):
        self.folder, self.pace = folder, pace
        self.all: dict[str, dict] = {}
        self.keys: dict[str, tuple[str, str]] = {}  # idempotency key -> digest of the content, job
        self.feedback: list[dict] = []

    def get(self, name: str) -> dict:
        if name not in self.all:
            raise Problem(404, "not_found", "Not found", "There is no such job, or it was deleted.")
        return self.all[name]

    def add(self, files: list[tuple[str, bytes]], options: dict) -> dict:
        name = "j" + secrets.token_hex(8)
        base, folder = f"/v1/jobs/{name}", self.folder / name
        folder.mkdir(parents=True)
        listed = []
        for number, (title, content) in enumerate(files):
            (folder / f"source-{number}").write_bytes(content)
            digest = hashlib.sha256(content).hexdigest()
            listed.append({"n": number, "name": title, "bytes": len(content), "sha256": digest})
        links = {"self": base, "events": f"{base}/events", "result": f"{base}/result.json"}
        job = {"id": name, "state": "queued", "created": now(), "started": None, "finished": None, "expires": None}
        job |= {"progress": 0.0, "ahead": 2, "options": options, "files": listed, "rows": None, "problem": None}
        job["links"] = links | {"report": f"{base}/report.html"}
        self.all[name] = job
        threading.Thread(target=self._work, args=(job, folder), daemon=True).start()
        return job

    def _work(self, job: dict, folder: Path) -> None:
        for ahead in (2, 1, 0):
            job["ahead"] = ahead
            time.sleep(self.pace)
        rows, many = [], len(job["files"])
        for one in job["files"]:
            for step in range(4):
                if job["state"] == "cancelled":
                    return
                job |= {"state": "running", "started": job["started"] or now(), "ahead": None}
                job["progress"] = (one["n"] + step / 4) / many
                time.sleep(self.pace)
            heat, source = job["options"]["heat_map"], folder / f"source-{one['n']}"
            rows.append(judge(source, one["name"], folder, one["n"], heat, job["links"]["self"]))
        if job["state"] != "cancelled":
            job |= {"rows": rows, "progress": 1.0, "finished": now(), "expires": now(24), "state": "done"}


def without_rows(job: dict) -> dict:
    return {key: value for key, value in job.items() if key != "rows"}


def make_app(folder: Path, key: str | None = None, pace: float = 0.15) -> FastAPI:
    """The stand-in. folder: for its files. key: the one that it wants, None: none. pace: seconds between steps."""
    app, jobs = FastAPI(), Jobs(folder, pace)
    app.state.jobs = jobs

    @app.middleware("http")
    async def guard(request: Request, call_next):
        given = request.headers.get("authorization")
        if key and request.url.path.startswith("/v1/") and given != f"Bearer {key}":
            code = "key_unknown" if given else "key_wanted"
            response = Problem(401, code, "Key wanted", "This service wants an API key.").response()
        else:
            response = await call_next(request)
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

    @app.exception_handler(Problem)
    async def told(request: Request, error: Problem):
        return error.response()

    @app.get("/")
    def page():
        return FileResponse(PAGE / "index.html")

    @app.get("/page/{name}")
    def part(name: str):
        if name not in {path.name for path in PAGE.iterdir()}:
            raise HTTPException(404)
        return FileResponse(PAGE / name)

    @app.get("/v1/limits")
    def limits():
        return LIMITS

    @app.get("/v1/models")
    def models():
        return {"models": [MODEL]}

    @app.post("/v1/jobs", status_code=202)
    async def submit(request: Request, response: Response):
        form = await request.form()
        files = [(part.filename, await part.read()) for part in form.getlist("files")]
        for number, (name, content) in enumerate(files):
            await asyncio.to_thread(_check_media, name, content, folder, number)
        options = {"model": form.get("model", "bundled"), "faces": form.get("faces", "all"), "webhook": None}
        options |= {name: form.get(name) == "true" for name in ("heat_map", "keep", "again")}
        rate = form.get("per_second")
        options |= {"frames": int(form.get("frames", 32)), "per_second": float(rate) if rate else None}
        digest = hashlib.sha256(repr((files, options)).encode()).hexdigest()
        idempotency = request.headers.get("idempotency-key", secrets.token_hex(8))
        before = jobs.keys.get(idempotency)
        if before and before[0] != digest:
            raise Problem(409, "conflict", "Conflict", "This idempotency key was used with another content.")
        job = jobs.get(before[1]) if before else jobs.add(files, options)
        jobs.keys[idempotency] = (digest, job["id"])
        response.headers["Location"] = job["links"]["self"]
        return job

    @app.get("/v1/jobs")
    def listed(limit: int = 20):
        newest = sorted(jobs.all.values(), key=lambda job: job["created"], reverse=True)
        return {"jobs": [without_rows(job) for job in newest[:limit]], "next": None}

    @app.get("/v1/jobs/{name}")
    def one_job(name: str):
        return jobs.get(name)

    @app.get("/v1/jobs/{name}/events")
    async def events(name: str):
        job = jobs.get(name)

        async def changes():
            last = None
            while True:
                text = json.dumps(without_rows(job))
                if text != last:
                    yield f"event: job\ndata: {text}\n\n"
                    last = text
                if job["state"] in FINAL:
                    return
                yield ": keep-alive\n\n"
                await asyncio.sleep(0.05)

        return StreamingResponse(changes(), media_type="text/event-stream")

    @app.delete("/v1/jobs/{name}", status_code=204)
    def delete(name: str):
        job = jobs.get(name)
        if job["state"] in FINAL:
            del jobs.all[name]
            shutil.rmtree(folder / name, ignore_errors=True)
        else:
            job |= {"state": "cancelled", "finished": now()}

    @app.post("/v1/jobs/{name}/feedback", status_code=204)
    async def feedback(name: str, request: Request):
        jobs.feedback.append(await request.json() | {"job": jobs.get(name)["id"]})

    @app.get("/v1/jobs/{name}/result.json")
    def result(name: str):
        job = jobs.get(name)
        if job["state"] != "done":
            raise Problem(409, "not_ready", "Not ready", "The job is not done.")
        return {"job": without_rows(job), "rows": job["rows"]}

    @app.get("/v1/jobs/{name}/report.html")
    def report(name: str):
        header = {"Content-Disposition": 'attachment; filename="report.html"'}
        return Response(f"<!doctype html><title>{jobs.get(name)['id']}</title>", headers=header, media_type="text/html")

    @app.get("/v1/jobs/{name}/{what}/{rest:path}")
    def picture(name: str, what: str, rest: str):
        jobs.get(name)
        parts = rest.split("/")
        stem = {"faces": "heat" if parts[-1] == "heat" else "face"}.get(what, what)
        found = list((folder / name).glob("-".join([stem, *(part for part in parts if part != "heat")]) + ".*"))
        if not found:
            raise Problem(404, "not_found", "Not found", "There is no such picture.")
        return FileResponse(found[0])

    return app


def _check_media(name: str, content: bytes, folder: Path, number: int) -> None:
    """Raises Problem for what is neither a picture nor a video."""
    if cv2.imdecode(np.frombuffer(content or b"0", np.uint8), cv2.IMREAD_COLOR) is not None:
        return
    path = folder / f"probe-{secrets.token_hex(4)}"
    path.write_bytes(content)
    try:
        probe(path)
    except UnreadableMedia as error:
        detail = f"{name} is neither a picture nor a video that can be read."
        raise Problem(415, "unsupported_media", "Not a picture or a video", detail, f"files[{number}]") from error
    finally:
        path.unlink()


if __name__ == "__main__":
    import uvicorn

    root = Path(sys.argv[1])
    root.mkdir(parents=True, exist_ok=True)
    port, wanted = int(sys.argv[2]) if len(sys.argv) > 2 else 8000, sys.argv[3] if len(sys.argv) > 3 else None
    uvicorn.run(make_app(root, wanted, 0.5), port=port, log_level="warning")
