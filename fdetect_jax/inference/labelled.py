"""Labelled files in, the detector's margins on their faces out: what an evaluation starts from.

Files come from a folder with ``real/`` and ``fake/``, or from what ``fdetect prepare`` wrote.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import grain
import numpy as np

from fdetect_jax.data.prepared import Prepared, PreparedExample, PreparedFile
from fdetect_jax.datasets.layouts.base import child
from fdetect_jax.datasets.manifest import read_quarantine
from fdetect_jax.errors import UserError
from fdetect_jax.faces.boxes import area
from fdetect_jax.faces.clips import MediaFaces
from fdetect_jax.faces.crop import CropRecipe
from fdetect_jax.faces.extract import extract_faces
from fdetect_jax.inference.protocol import Protocol
from fdetect_jax.inference.scorer import Scorer
from fdetect_jax.inference.views import predictions_of_faces, views_of
from fdetect_jax.media.files import find_files
from fdetect_jax.media.limits import Rejected
from fdetect_jax.media.photos import SUFFIXES as PHOTO_SUFFIXES
from fdetect_jax.types import FAKE, REAL, UNKNOWN, kind_number

_THREADS = 8  # that read and decode crops
CLASSES = {"real": REAL, "fake": FAKE}


@dataclass(frozen=True)
class LabelledFile:
    """An image or a video with what is known of it.

    name: tells it from every other. label: 0 = real, 1 = fake. method: of forgery, or "real". source: the data set it
    is from. kind: a place in ``types.KINDS``, -1 where unknown.
    """

    name: str
    label: int
    method: str
    source: str
    kind: int = UNKNOWN


@dataclass(frozen=True)
class CroppedFile:
    """A file with its faces.

    image: not a video. frames, times, areas: (K,) of each face, its frame, that frame's second, its box's area; K > 0.
    crops: of each face (V, S, S, 3) uint8, as it is, or its views. tracks: (K,) the number of its person.
    """

    file: LabelledFile
    image: bool
    frames: np.ndarray
    times: np.ndarray
    areas: np.ndarray
    crops: Sequence[np.ndarray]
    tracks: Sequence[int]


@dataclass(frozen=True)
class ScoredFile:
    """A file with the detector's margins on its faces.

    image: not a video. frames, times, areas, margins: (K,) of each face, its frame, that frame's second, its box's
    area, and logit(fake) - logit(real), not calibrated; K > 0.
    degraded: (C, K) margins under each of ``degrade.CONDITIONS``, where they were asked for.
    classes: (K, C) of each face the probabilities of ``Scorer.classes``.
    crops: of each face (V, S, S, 3) uint8, as it is and, with ``degraded``, under each condition. Large: drop them
    once what is to be shown is chosen (``without_crops``).
    """

    file: LabelledFile
    image: bool
    frames: np.ndarray
    times: np.ndarray
    areas: np.ndarray
    margins: np.ndarray
    degraded: np.ndarray | None = None
    classes: np.ndarray | None = None
    crops: Sequence[np.ndarray] = ()

    def without_crops(self) -> "ScoredFile":
        """The same, light."""
        return dataclasses.replace(self, crops=())


@dataclass(frozen=True)
class Excluded:
    """A file that gave no face, and why."""

    file: LabelledFile
    reason: str


class Cropped:
    """An iterator of ``CroppedFile`` and ``Excluded``; close it to end the processes that read the files."""

    def __init__(self, found: Iterator[CroppedFile | Excluded], processes: Iterator | None = None):
        self._found, self._processes = found, processes

    def __iter__(self) -> Iterator[CroppedFile | Excluded]:
        return self._found

    def close(self) -> None:
        """Ends them."""
        if self._processes is not None:
            self._processes.close()


def files_of(root: Path) -> list[LabelledFile]:
    """The files below ``real/`` and ``fake/`` of a folder, as ``find_files`` finds them.

    A folder right below ``fake/`` is the name of a method; files beside it are of the method "fake".

    Raises:
      ValueError: names the folder that is missing or empty.
    """
    found = []
    for name_, label in CLASSES.items():
        folder = child(root, name_)
        if not folder.is_dir():
            raise UserError(f"{root}: found no folder {name_!r}, wanted real/ and fake/, or what prepare wrote")
        for _, name in find_files([folder]).files:
            method = name.parts[0] if label == FAKE and len(name.parts) > 1 else name_
            kind = UNKNOWN if label == FAKE else kind_number("real")
            found.append(LabelledFile(f"{folder.name}/{name.as_posix()}", label, method, root.resolve().name, kind))
    return found


def score_files(
    root: Path,
    files: Sequence[LabelledFile],
    scorer: Scorer,
    protocol: Protocol,
    workers: int | None = None,
    seconds: float = 600.0,
) -> Iterator[ScoredFile | Excluded]:
    """Scores files below ``root``, in order; they are read in processes that may die.

    workers, seconds: as for ``extract_faces``, which says what is raised.
    """
    return _scored(crop_files(root, files, scorer.recipe, protocol, workers, seconds), scorer, protocol)


def crop_files(
    root: Path,
    files: Sequence[LabelledFile],
    recipe: CropRecipe,
    protocol: Protocol,
    workers: int | None = None,
    seconds: float = 600.0,
) -> Cropped:
    """The faces of files below ``root``, in order. Their processes start now; raises as ``score_files`` does."""
    paths, how = [root / file.name for file in files], (protocol.sampling, protocol.faces, protocol.views)
    seen_files = extract_faces(paths, recipe, *how, workers=workers, seconds=seconds)
    return Cropped(_cropped(files, seen_files, protocol.views), seen_files)


def _cropped(
    files: Sequence[LabelledFile], seen_files: Iterator[MediaFaces | Rejected], count: int
) -> Iterator[CroppedFile | Excluded]:
    for file, seen in zip(files, seen_files, strict=True):
        if (excluded := without_face(file, seen)) is not None:
            yield excluded
        else:
            yield CroppedFile(file, seen.kind == "image", *face_columns(seen), *views_of(seen.crops, count))


def _scored(found: Cropped, scorer: Scorer, protocol: Protocol) -> Iterator[ScoredFile | Excluded]:
    with closing(found):
        scorer.compile()  # while the processes start
        groups = ((one, (), ()) if isinstance(one, Excluded) else (one, one.crops, one.tracks) for one in found)
        for one, made in predictions_of_faces(scorer, protocol, groups):
            if isinstance(one, Excluded):
                yield one
            else:
                known = one.file, one.image, one.frames, one.times, one.areas, made.margins
                yield ScoredFile(*known, classes=made.classes, crops=[crop[:1] for crop in one.crops])


def without_face(file: LabelledFile, seen: MediaFaces | Rejected) -> Excluded | None:
    """Why a file that was read is left out, if it is."""
    if isinstance(seen, Rejected):
        return Excluded(file, seen.reason)
    return None if seen.crops else Excluded(file, "no face")


def face_columns(seen: MediaFaces) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """frames, times, areas of ``ScoredFile``."""
    columns = zip(*((one.frame, one.time, area(one.box)) for one in seen.crops), strict=True)
    return tuple(np.array(column) for column in columns)


def score_prepared(prepared: Prepared, scorer: Scorer) -> Iterator[ScoredFile | Excluded]:
    """Scores what ``fdetect prepare`` made of each file, in order.

    Raises:
      ValueError: it was cropped by another recipe than the detector's.
    """
    check_recipe(prepared, scorer.recipe)
    return _scored(crop_prepared(prepared, 2 * scorer.batch_size), scorer, Protocol())


def check_recipe(prepared: Prepared, recipe: CropRecipe) -> None:
    """Raises ValueError where crops were cut by another recipe than the detector's."""
    ours, theirs = recipe.to_dict(), prepared.recipe.to_dict()
    if differ := [name for name in ours if ours[name] != theirs[name]]:
        found, wanted = ({name: values[name] for name in differ} for values in (theirs, ours))
        raise UserError(f"{prepared.folder}: found crops of the recipe {found}, wanted {wanted}, the detector's")


def crop_prepared(prepared: Prepared, ahead: int) -> Cropped:
    """The faces of what ``fdetect prepare`` made of each file, in order. ahead: crops that are read in advance."""
    return Cropped(_of_prepared(prepared, ahead))


def _of_prepared(prepared: Prepared, ahead: int) -> Iterator[CroppedFile | Excluded]:
    reasons, files = quarantined(prepared), list(prepared.files())
    order = [index for file in files for index in file.indices]
    options = grain.ReadOptions(num_threads=_THREADS, prefetch_buffer_size=ahead)
    examples = iter(grain.MapDataset.range(len(order)).map(lambda n: prepared[order[n]]).to_iter_dataset(options))
    for file in files:
        labelled, image = labelled_file(file)
        if not file.indices:
            yield Excluded(labelled, reasons.get(file.file, "no face"))
        else:
            own = [next(examples) for _ in file.indices]
            crops, tracks = [one["image"][None] for one in own], [int(one["track"]) for one in own]
            yield CroppedFile(labelled, image, *prepared_columns(own), crops, tracks)


def quarantined(prepared: Prepared) -> dict[str, str]:
    """file -> why preparing left it out."""
    rows = read_quarantine(prepared.folder)
    return {row["file"]: row["reason"] for row in rows if row["split"] == prepared.split}


def labelled_file(file: PreparedFile) -> tuple[LabelledFile, bool]:
    """A prepared file, and whether it is an image."""
    image = Path(file.file).suffix.lower() in PHOTO_SUFFIXES  # the file itself may lie elsewhere by now
    return LabelledFile(file.file, file.label, file.method, file.source, file.kind), image


def prepared_columns(crops: Sequence[PreparedExample]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """frames, times, areas of ``ScoredFile``."""
    columns = zip(*((one["frame"], one["time"], area(one["face"])) for one in crops), strict=True)
    return tuple(np.array(column) for column in columns)
