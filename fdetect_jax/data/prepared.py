"""Reads the output of ``fdetect prepare``. In: its folder and a split. Out: Examples by index, or file by file."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fdetect_jax.datasets.manifest import read_manifest
from fdetect_jax.datasets.prepare import rows_file
from fdetect_jax.datasets.shards import Shards
from fdetect_jax.errors import UserError
from fdetect_jax.faces.crop import CropRecipe, face_area, face_crop, stretched
from fdetect_jax.faces.landmarks import face_mask
from fdetect_jax.files import digest
from fdetect_jax.types import KINDS, REAL, Example, kind_number


class PreparedExample(Example, total=False):
    """A crop with its origin.

    altered: (S, S) uint8 in {0, 1}, 1 where the data set marks an alteration; absent if the data set has no mask.
    label: 0 real, 1 fake, of the video: if it shows several people, some of them may be unaltered. method: of forgery,
    or "real". kind: of that forgery, an index into ``types.KINDS``, -1 if unknown. source: the data set. video: its
    name, unique over all data sets; ``identity`` is its main person's. frame: index in the video. time: seconds. track:
    equal for one person of a video. face: (4,) float32, the face's box in the frame, (x0, y0, x1, y1) in pixels.
    """

    altered: np.ndarray
    label: np.int32
    method: str
    kind: np.int32
    source: str
    video: str
    frame: np.int32
    time: np.float32
    track: np.int32
    face: np.ndarray


@dataclass(frozen=True)
class PreparedFile:
    """A video or image.

    file: path below the root that was prepared. kind: of the forgery, an index into ``types.KINDS``, -1 if unknown.
    frames: the frames that were examined. indices: of its crops in the source, in order of time; empty if quarantined.
    """

    file: str
    video: str
    label: int
    method: str
    kind: int
    source: str
    frames: int
    indices: tuple[int, ...]


class NoCrops(UserError):
    """No crop of a prepared folder is chosen."""


@dataclass(frozen=True)
class Prepared:
    """The crops of one split; random access, cheap to send to a worker process.

    folder: output of ``prepare``. split: "train", "val" or "test". labels, methods: keep only these; None: all.
    context: yield context crops instead of face crops if the recipe has ``training_margins``. landmarks: skip crops
    without landmarks. altered: skip faces of fakes that the data set's masks show as unaltered.

    Raises UserError for a folder that was not prepared, a split or method that it does not hold, or if no crop is left.
    """

    folder: str | Path
    split: str
    labels: tuple[int, ...] | None = None
    methods: tuple[str, ...] | None = None
    context: bool = False
    landmarks: bool = False
    altered: bool = False
    without: tuple[tuple[str, tuple[str, ...]], ...] = ()
    only_those: bool = False
    balance: float = 1.0

    def __post_init__(self):
        counts = self.manifest["counts"]
        if self.split not in counts:
            raise UserError(
                f"split: found {self.split!r}, wanted one of {', '.join(counts)} (the splits of {self.folder})"
            )
        unknown = sorted(set(self.methods or ()) - set(counts[self.split]))
        if unknown:
            raise UserError(f"methods: found {unknown}, wanted some of {sorted(counts[self.split])}")
        for column, names in self.without:
            known = {row[column] for row in self.manifest["files"]}
            if unknown := sorted(set(names) - known):
                raise UserError(f"{column}: found {unknown}, wanted some of {sorted(known)}")
        if not len(self._kinds):  # read here: worker processes then do not need the manifest
            raise NoCrops(f"{self.folder}: found no crop of {self}, wanted at least one")

    @cached_property
    def recipe(self) -> CropRecipe:
        """The recipe of the crops."""
        return CropRecipe.from_dict(self.manifest["recipe"])

    @property
    def size(self) -> int:
        """Side of the crops in pixels."""
        return self.recipe.size

    @property
    def fingerprint(self) -> str:
        """16 hex digits, equal for equal crops in equal order."""
        chosen = [
            self.manifest["shards"],
            self.split,
            self.labels,
            self.methods,
            self.context,
            self.landmarks,
            self.altered,
        ]
        if self.without or self.balance != 1:  # the fingerprints of others stay as they were
            chosen += [self.without, self.only_those, self.balance]
        return digest(chosen)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> PreparedExample:
        """The crop ``index``; IndexError past the end."""
        record = self._records[int(self._rows[index])]
        example = PreparedExample(image=record["image"])
        if not np.isnan(record["landmarks"][0, 0]):
            example["landmarks"] = record["landmarks"]
        altered = record["altered"][..., 0] if record["altered_known"] else None
        if self.recipe.training_margins is not None:
            example["box"] = record["box"]
            if not self.context:
                if altered is not None:
                    altered, _ = stretched(altered, face_area(example, self.recipe), self.recipe)
                example |= face_crop(example, self.recipe)
                del example["box"]
        elif "landmarks" in example:
            example["mask"] = face_mask(example["landmarks"], (self.size, self.size))
        if altered is not None:
            example["altered"] = altered
        for name in ("label", "identity", "frame", "track"):
            example[name] = np.int32(record[name])
        for name in ("method", "source", "video"):
            example[name] = record[name].decode()
        example["kind"] = self._kinds[index]
        example["time"], example["face"] = np.float32(record["time"]), record["face"]
        return example

    @cached_property
    def origins(self) -> np.ndarray:
        """(N, 3) int32 per crop: the identity, the number of its file, and the frame in it."""
        files = self.manifest["files"]
        people = sorted({(row["source"], row["identity"]) for row in files})
        number = {person: index for index, person in enumerate(people)}
        identities = np.array([number[row["source"], row["identity"]] for row in files], np.int32)
        table = self._table[self._rows]
        return np.c_[identities[table[:, 0]], table[:, :2]]

    @cached_property
    def shares(self) -> np.ndarray:
        """(N,) float: how often training draws each crop, 1 on average.

        The crops of a method (of real faces: of a source) together are drawn in proportion to n^``balance``, n their
        number. 1: every crop as often; 0: every method as often.
        """
        files = [(row["method"] if row["label"] else row["source"]) for row in self.manifest["files"]]
        _, number = np.unique(files, return_inverse=True)
        own = number[self._table[self._rows, 0]]
        share = np.bincount(own)[own] ** (self.balance - 1.0)
        return share / share.mean()

    @cached_property
    def methods_of(self) -> np.ndarray:
        """(N,) str: of each crop its method, "real" for real faces."""
        return self._names("method")

    @cached_property
    def sources_of(self) -> np.ndarray:
        """(N,) str: of each crop its source."""
        return self._names("source")

    def _names(self, column: str) -> np.ndarray:
        return np.array([row[column] for row in self.manifest["files"]])[self._table[self._rows, 0]]

    @property
    def video(self) -> bool:
        """Always true: a group is one person of one video, or of one image."""
        return True

    @cached_property
    def groups(self) -> np.ndarray:
        """(N,) int: equal for the crops of one person in one file."""
        table = self._table[self._rows]
        return np.unique(table[:, [0, 2]], axis=0, return_inverse=True)[1].reshape(-1)

    def files(self) -> Iterator[PreparedFile]:
        """The selected files one by one, including those without a crop, for scores of whole videos."""
        owner = self._table[self._rows, 0]
        order = np.argsort(owner, kind="stable")
        ends = np.searchsorted(owner[order], np.arange(len(self.manifest["files"]) + 1))
        for number, row in enumerate(self.manifest["files"]):
            if self._chosen(row):
                own = tuple(int(one) for one in order[ends[number] : ends[number + 1]])
                file, video, label, method = (row[key] for key in ("file", "video", "label", "method"))
                yield PreparedFile(file, video, label, method, _kind(row), row["source"], row["frames"], own)

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The manifest that ``prepare`` wrote."""
        return read_manifest(self.folder)

    @cached_property
    def _table(self) -> np.ndarray:
        path, files = Path(self.folder) / rows_file(self.split), len(self.manifest["files"])
        try:
            table = np.load(path, allow_pickle=False)
        except (ValueError, EOFError, MemoryError) as error:  # of NumPy, for what is no array
            raise UserError(f"{path}: found no array ({error}), wanted what `fdetect prepare` wrote") from None
        rows = isinstance(table, np.ndarray) and table.ndim == 2 and table.shape[1] == 5 and table.dtype == np.int32
        if not rows or not ((table[:, 0] >= 0) & (table[:, 0] < files)).all():
            raise UserError(f"{path}: found no rows of {files} files, wanted what `fdetect prepare` wrote")
        return table

    @cached_property
    def _rows(self) -> np.ndarray:
        chosen = np.array([self._chosen(row) for row in self.manifest["files"]], bool)
        file, _, _, landmarks, untouched = self._table.T
        keep = chosen[file]
        if self.landmarks:
            keep &= landmarks == 1
        if self.altered:
            keep &= untouched == 0
        return np.flatnonzero(keep)

    @cached_property
    def _kinds(self) -> np.ndarray:
        kinds = np.array([_kind(row) for row in self.manifest["files"]], np.int32)
        return kinds[self._table[self._rows, 0]]

    @cached_property
    def _records(self) -> Shards:
        found, last = Shards(self.folder, self.split), int(self._rows[-1])
        if len(found) <= last:
            raise UserError(f"{self.folder}: found {len(found)} crops in its shards, wanted at least {last + 1}")
        return found

    def _chosen(self, row: dict[str, Any]) -> bool:
        left_out = any(row[column] in names for column, names in self.without)
        return (
            row["split"] == self.split
            and left_out == self.only_those
            and (self.labels is None or row["label"] in self.labels)
            and (self.methods is None or row["method"] in self.methods)
        )

    def __getstate__(self) -> dict:
        return {name: value for name, value in self.__dict__.items() if name not in ("manifest", "_table", "_records")}


def _kind(row: dict[str, Any]) -> int:
    """The kind in a manifest's row; manifests of earlier versions do not state the kinds of fakes."""
    return kind_number(row.get("kind", KINDS[REAL] if row["label"] == REAL else "unknown"))
