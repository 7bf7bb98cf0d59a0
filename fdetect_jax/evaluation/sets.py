"""The data sets of an evaluation: folders in, their labelled files and, after scoring, one list of all of them out.

Everything that could not be pooled at one threshold is refused before any file is read.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fdetect_jax.data.prepared import Prepared
from fdetect_jax.datasets.manifest import MANIFEST
from fdetect_jax.errors import UserError
from fdetect_jax.evaluation.degraded import score_degraded, score_degraded_prepared
from fdetect_jax.faces.crop import CropRecipe
from fdetect_jax.inference.labelled import (
    Cropped,
    Excluded,
    LabelledFile,
    ScoredFile,
    check_recipe,
    crop_files,
    crop_prepared,
    files_of,
    labelled_file,
    score_files,
    score_prepared,
)
from fdetect_jax.inference.protocol import Protocol
from fdetect_jax.inference.scorer import Scorer
from fdetect_jax.media.video import Sampling


@dataclass(frozen=True)
class DataSet:
    """One folder.

    name: tells it from the others. prepared: what ``fdetect prepare`` made of it, or None. files: in it.
    """

    name: str
    root: Path
    prepared: Prepared | None
    files: tuple[LabelledFile, ...]

    @property
    def split(self) -> str | None:
        """Of prepared data."""
        return self.prepared.split if self.prepared else None


def open_sets(roots: Sequence[Path], split: str | None = None) -> list[DataSet]:
    """Every folder, in order.

    roots: what ``fdetect prepare`` wrote, or folders with ``real/`` and ``fake/``. split: of the prepared ones; None:
    "test".

    Raises:
      UserError: a folder without files, two folders of one name, a split although nothing is prepared, or prepared data
        that was sampled in several ways.
    """
    names = [root.resolve().name for root in roots]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"data: found several folders named {twice}, wanted a name of its own for each data set")
    found = []
    for name, root in zip(names, roots, strict=True):
        prepared = Prepared(root, split or "test") if (root / MANIFEST).is_file() else None
        files = files_of(root) if prepared is None else [labelled_file(file)[0] for file in prepared.files()]
        found.append(DataSet(name, root, prepared, tuple(files)))
    if split is not None and not any(one.prepared for one in found):
        raise UserError(f"split: found {split!r}, wanted none: {', '.join(map(str, roots))} has no splits")
    how = {one.name: _sampled(one.prepared) for one in found if one.prepared}
    if len({str(value) for value in how.values()}) > 1:
        raise UserError(f"data: found prepared folders sampled in several ways, {how}, wanted one")
    return found


def protocol_of(sets: Sequence[DataSet], protocol: Protocol) -> Protocol:
    """The protocol, with the sampling and the faces that were fixed where data was prepared."""
    for one in sets:
        if one.prepared is not None:
            fixed = _sampled(one.prepared)
            return dataclasses.replace(protocol, sampling=Sampling.from_dict(fixed["sampling"]), faces=fixed["faces"])
    return protocol


def score_sets(
    sets: Sequence[DataSet],
    scorer: Scorer,
    protocol: Protocol,
    *,
    degraded: bool,
    seed: int,
    workers: int | None,
    seconds: float,
) -> Iterator[tuple[str, ScoredFile | Excluded]]:
    """(name of the set, what became of the file) of every file, in order.

    Of several sets a file's name begins with that of its set, and its source is the set's name, with the source behind
    it where the set holds several. degraded: with ``ScoredFile.degraded``; seed: of its noise. workers, seconds: as for
    ``extract_faces``.

    Raises:
      UserError: data was prepared by another crop recipe than the detector's, or the protocol wants several views of
        faces that are degraded or cropped already.
    """
    if protocol.views > 1 and (degraded or any(one.prepared for one in sets)):
        what = "degraded faces are" if degraded else "prepared crops are"
        raise UserError(f"views: found {protocol.views}, wanted 1: {what} seen once")
    for one in sets:
        if one.prepared is not None:
            check_recipe(one.prepared, scorer.recipe)
    return _scored(sets, scorer, protocol, degraded, seed, workers, seconds)


def _scored(sets, scorer, protocol, degraded, seed, workers, seconds) -> Iterator[tuple[str, ScoredFile | Excluded]]:
    for one in sets:
        several = len({file.source for file in one.files}) > 1
        if one.prepared is not None and degraded:
            results = score_degraded_prepared(one.prepared, scorer, seed, workers, seconds)
        elif one.prepared is not None:
            results = score_prepared(one.prepared, scorer)
        elif degraded:
            results = score_degraded(one.root, one.files, scorer, protocol, seed, workers, seconds)
        else:
            results = score_files(one.root, one.files, scorer, protocol, workers, seconds)
        for found in results:
            if len(sets) > 1:
                file = found.file
                source = f"{one.name}: {file.source}" if several else one.name
                file = dataclasses.replace(file, name=f"{one.name}/{file.name}", source=source)
                found = dataclasses.replace(found, file=file)
            yield one.name, found


def crop_set(
    one: DataSet, recipe: CropRecipe, protocol: Protocol, ahead: int, workers: int | None, seconds: float
) -> Cropped:
    """The faces of every file of a data set, in order. ahead: crops of prepared data that are read in advance.

    Raises UserError as ``score_sets`` does.
    """
    if one.prepared is None:
        return crop_files(one.root, one.files, recipe, protocol, workers, seconds)
    check_recipe(one.prepared, recipe)
    return crop_prepared(one.prepared, ahead)


def _sampled(prepared: Prepared) -> dict:
    return {name: prepared.manifest[name] for name in ("sampling", "faces")}
