"""Labelled files in, the detector's margins on their faces out, as they are and under every degradation.

Faces are those found in the files as they are. Processes of their own degrade and crop, a file of crops each; the
detector reads those a few at a time.
"""

import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np

from fdetect_jax.data.prepared import Prepared, PreparedFile
from fdetect_jax.evaluation.degraded_crops import DegradedCrops, extract_degraded_faces, read_degraded
from fdetect_jax.inference.labelled import (
    Excluded,
    LabelledFile,
    ScoredFile,
    check_recipe,
    face_columns,
    labelled_file,
    prepared_columns,
    quarantined,
    without_face,
)
from fdetect_jax.inference.protocol import Protocol
from fdetect_jax.inference.scorer import Scorer
from fdetect_jax.media.isolated import run_isolated
from fdetect_jax.media.limits import Rejected

_prepared: Prepared | None = None  # of this process
# A file yet without margins; of each face its row in the file of crops, and its person's track.
Seen = tuple[ScoredFile, Sequence[int], Sequence[int]]


def score_degraded(
    root: Path,
    files: Sequence[LabelledFile],
    scorer: Scorer,
    protocol: Protocol,
    seed: int = 0,
    workers: int | None = None,
    seconds: float = 600.0,
) -> Iterator[ScoredFile | Excluded]:
    """As ``labelled.score_files``, with ``ScoredFile.degraded``: frames are degraded whole, then cropped.

    seed: of the noise. The crops of the files at work lie in a folder for temporary files meanwhile: 41 of each face.
    """
    with tempfile.TemporaryDirectory(prefix="fdetect-") as folder:
        paths = [(root / file.name, file.name) for file in files]
        how = (scorer.recipe, protocol.sampling, protocol.faces)
        seen_files = extract_degraded_faces(paths, Path(folder), *how, seed=seed, workers=workers, seconds=seconds)

        def seen() -> Iterator[Seen | Excluded]:
            for file, one in zip(files, seen_files, strict=True):
                if (excluded := without_face(file, one)) is not None:
                    yield excluded
                else:
                    rows, tracks = zip(*((int(crop.example["row"]), crop.track) for crop in one.crops), strict=True)
                    yield ScoredFile(file, one.kind == "image", *face_columns(one), np.empty(0)), rows, tracks

        with closing(seen_files):
            yield from _scored(seen(), Path(folder), scorer)


def score_degraded_prepared(
    prepared: Prepared, scorer: Scorer, seed: int = 0, workers: int | None = None, seconds: float = 600.0
) -> Iterator[ScoredFile | Excluded]:
    """As ``labelled.score_prepared``, with ``ScoredFile.degraded``: crops are degraded, one person's as a clip.

    seed, and where the crops lie: as in ``score_degraded``.
    """
    check_recipe(prepared, scorer.recipe)
    return _of_prepared(prepared, scorer, seed, workers, seconds)


def _of_prepared(
    prepared: Prepared, scorer: Scorer, seed: int, workers: int | None, seconds: float
) -> Iterator[ScoredFile | Excluded]:
    reasons, files = quarantined(prepared), list(prepared.files())
    with tempfile.TemporaryDirectory(prefix="fdetect-") as folder:
        tasks = ((file, Path(folder) / str(number), seed) for number, file in enumerate(files))
        options = {"workers": workers, "seconds": seconds, "initializer": _open_prepared, "initargs": (prepared,)}
        seen_files = run_isolated(_look, tasks, ahead=1, **options)

        def seen() -> Iterator[Seen | Excluded]:
            for file, one in zip(files, seen_files, strict=True):
                labelled, image = labelled_file(file)
                if isinstance(one, Rejected) or not one:
                    reason = one.reason if isinstance(one, Rejected) else reasons.get(file.file, "no face")
                    yield Excluded(labelled, reason)
                else:
                    *columns, tracks = one
                    yield ScoredFile(labelled, image, *columns, np.empty(0)), range(len(tracks)), tracks

        with closing(seen_files):
            yield from _scored(seen(), Path(folder), scorer)


def _scored(seen: Iterator[Seen | Excluded], folder: Path, scorer: Scorer) -> Iterator[ScoredFile | Excluded]:
    """seen: of each file; its crops lie in ``folder`` under its number, and go once they are scored."""

    def groups() -> Iterator[tuple[tuple, Sequence[np.ndarray], Sequence[int]]]:
        for number, one in enumerate(seen):
            path = folder / str(number)
            if isinstance(one, Excluded):
                path.unlink(missing_ok=True)
                yield (one, None, None), (), ()
                continue
            known, rows, tracks = one
            crops = read_degraded(path, scorer.size)
            faces = [crops[row] for row in rows]  # (V, S, S, 3) each, every view of a face
            # View by view; a person seen in two views is two, so that no clip mixes views.
            views = [face[view] for view in range(len(faces[0])) for face in faces]
            persons = 1 + max(tracks)
            apart = [view * persons + track for view in range(len(faces[0])) for track in tracks]
            yield (known, path, faces), views, apart

    for (known, path, faces), made in scorer.predictions_of_each(groups()):
        if isinstance(known, Excluded):
            yield known
            continue
        clean, *others = made.margins.reshape(-1, len(faces))
        own = {"margins": clean, "classes": made.classes[: len(faces)], "degraded": np.stack(others)}
        yield dataclasses.replace(known, **own, crops=faces)
        path.unlink()


def _open_prepared(prepared: Prepared) -> None:
    global _prepared
    cv2.setNumThreads(1)
    _prepared = prepared


def _look(task: tuple[PreparedFile, Path, int]) -> tuple[np.ndarray, ...] | None:
    """Frames, times, areas and tracks of the faces in the order of their rows; None where there is no face."""
    file, path, seed = task
    examples = sorted((_prepared[index] for index in file.indices), key=lambda one: (one["track"], one["frame"]))
    if not examples:
        return None
    crops, track = DegradedCrops[None](path, lambda image, _: image, seed, file.file), None
    for one in examples:
        if one["track"] != track:
            crops.end_clip()
            track = one["track"]
        crops.add(one["image"], None)
    crops.end_clip()
    return *prepared_columns(examples), np.array([int(one["track"]) for one in examples])
