"""A folder of photographs as a source of face crops. In: a folder and a recipe. Out: Examples by index.

The crops are made once and cached; the cache's name is a hash of the recipe and of every photo's path, size
and time.
"""

import contextlib
import hashlib
import itertools
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from tqdm import tqdm

from fdetect_jax.datasets.crop_store import CropReader, write_crops
from fdetect_jax.datasets.photo_crops import Crop, crop_photos, find_photos
from fdetect_jax.datasets.progress import reasons
from fdetect_jax.errors import UserError
from fdetect_jax.files import write_atomic
from fdetect_jax.media.crop import RECIPES, CropRecipe, face_crop
from fdetect_jax.media.limits import Rejected
from fdetect_jax.media.models import cache_folder
from fdetect_jax.types import Example

SPLITS = ("train", "val", "test")
_FORMAT = 3  # part of the cache's name; raise it when what is written changes
_CARD, _QUARANTINE, _IDENTITIES, _PEOPLE = "card.json", "quarantine.json", "identities.npy", "people.json"
_UNFINISHED, _DAY = ".unfinished-", 86400.0  # seconds


def prepare_folder(root: str | Path, recipe: CropRecipe, cache: str | Path | None = None) -> Path:
    """Crops the largest face of every photo under ``root``, unless that has been done before.

    Beside the shards lie ``card.json`` (recipe, counts, fingerprint), ``quarantine.json`` ([{file, reason}]
    for every photo that gave no crop), ``identities.npy`` (one int32 per crop) and ``people.json`` (what each of
    these numbers is called). The folder appears whole or not at all.

    Args:
        root: searched recursively; files that are no photographs are ignored and counted.
        recipe: how to crop.
        cache: where caches lie; None is ``crops`` in the user's cache folder.

    Returns:
        The cache's folder.

    Raises:
        ValueError: root is missing, is no folder, or holds no photo with a usable face; or the recipe names
        another
            detector than the one installed.
        ModelsUnavailable: the face models cannot be had.
    """
    root = Path(root)
    recipe.require_detector()
    photos, others = _photos(root)
    fingerprint = _fingerprint(root, photos, recipe)
    cache = Path(cache) if cache is not None else cache_folder() / "crops"
    done = cache / fingerprint
    if (done / _CARD).is_file():
        return done
    cache.mkdir(parents=True, exist_ok=True)
    _sweep(cache)
    working = Path(tempfile.mkdtemp(dir=cache, prefix=_UNFINISHED))
    try:
        writer = _Rows(root, photos, recipe)
        # Closed here, and not when a traceback lets go of it: that stops the worker processes.
        with contextlib.closing(iter(writer)) as rows:
            first = next(rows, None)
            if first is None:
                raise UserError(
                    f"data.root: found {len(photos)} photos under {root} and no usable face "
                    f"({reasons(writer.rejected)}), wanted at least one"
                )
            shards = write_crops(itertools.chain([first], rows), recipe, working)
        card = {
            "format": _FORMAT,
            "fingerprint": fingerprint,
            "folder": root.resolve().name,
            "recipe": recipe.to_dict(),
            "photos": len(photos),
            "crops": len(writer.identities),
            "identities": len(set(writer.identities)),
            "quarantined": len(writer.rejected),
            "other_files": others,
        }
        write_atomic(shards / _QUARANTINE, json.dumps(writer.rejected, indent=1))
        np.save(shards / _IDENTITIES, np.array(writer.identities, np.int32))
        write_atomic(shards / _PEOPLE, json.dumps(_people(photos)))
        write_atomic(shards / _CARD, json.dumps(card, indent=1))
        _publish(shards, done)
    finally:
        shutil.rmtree(working, ignore_errors=True)
    print(
        f"{root}: {card['crops']} crops of {card['identities']} people from {card['photos']} photos, "
        f"{card['quarantined']} quarantined ({reasons(writer.rejected)}), {others} other files ignored; "
        f"cached in {done}"
    )
    return done


@dataclass(frozen=True)
class FaceFolder:
    """The crops of one split of a folder of photographs; random access, cheap to send to a worker process.

    Who is who: the name of the sub-folder of ``root`` that a photo lies in; a photo directly in ``root`` is a
    person of its own. A person falls into a split by a hash of the name and ``seed``, so splits share nobody,
    and adding people moves nobody. Where ``root`` holds nothing but folders named train, val and test, these are the
    splits, and the same holds one level deeper.

    root, recipe, cache: see ``prepare_folder``, which runs when the object is made. split: "train", "val" or
    "test".
    fractions: the splits' expected shares of the people, each >= 0, sum 1. loose: where the recipe has
    ``training_margins``, yield the context crops (``media.crop.context_crop``) and not the face crops of serving.

    Raises ValueError for each of these, for a split that nobody falls into, and as ``prepare_folder`` does.
    """

    root: str | Path
    split: str
    recipe: CropRecipe = RECIPES["aligned64"]
    fractions: tuple[float, float, float] = (0.9, 0.05, 0.05)
    seed: int = 0
    cache: str | Path | None = None
    context: bool = False

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise UserError(f"data.split: found {self.split!r}, wanted one of {', '.join(SPLITS)}")
        if len(self.fractions) != 3 or min(self.fractions) < 0 or abs(sum(self.fractions) - 1) > 1e-6:
            raise UserError(f"data.fractions: found {self.fractions}, wanted three numbers >= 0 that sum to 1")
        if not len(self):
            people = len(set(np.load(self._folder / _IDENTITIES).tolist()))
            raise UserError(
                f"data.root: none of the {people} people under {self.root} falls into split {self.split!r}; wanted "
                "more people (90 % train, 5 % validate, 5 % are held out), or folders train, val and test of them"
            )

    @property
    def size(self) -> int:
        """Side of the crops in pixels."""
        return self.recipe.size

    @property
    def fingerprint(self) -> str:
        """16 hex digits, equal for equal crops in equal order."""
        return _digest([self._folder.name, self.split, list(self.fractions), self.seed] + ["loose"] * self.context)

    @property
    def video(self) -> bool:
        """Photographs, each judged by itself."""
        return False

    @cached_property
    def groups(self) -> np.ndarray:
        """(N,) int32: the person of each crop."""
        return np.load(self._folder / _IDENTITIES, allow_pickle=False)[self._rows]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Example:
        """The crop ``index`` of this split; IndexError past the end."""
        example = self._reader[int(self._rows[index])]
        if self.context or "box" not in example:
            return example
        return face_crop(example, self.recipe) | {"identity": example["identity"]}

    @cached_property
    def _folder(self) -> Path:
        return prepare_folder(self.root, self.recipe, self.cache)

    @cached_property
    def _rows(self) -> np.ndarray:
        identities = np.load(self._folder / _IDENTITIES, allow_pickle=False)
        # As they were numbered: what lies in the folder by now may be others.
        people = json.loads((self._folder / _PEOPLE).read_text())
        split_of = _split_folder if _depth(people) else self._split_of
        chosen = np.array([split_of(name) == self.split for name in people])
        return np.flatnonzero(chosen[identities])

    @cached_property
    def _reader(self) -> CropReader:
        return CropReader(self._folder)

    def _split_of(self, name: str) -> str:
        draw = int(_digest([self.seed, name]), 16) / 16**16
        train, val, _ = self.fractions
        return SPLITS[0] if draw < train else SPLITS[1] if draw < train + val else SPLITS[2]

    def __getstate__(self) -> dict:
        return {name: value for name, value in self.__dict__.items() if name != "_reader"}


class _Rows:
    """The rows for ``write_crops``; notes on the way who is in them and what was rejected."""

    def __init__(self, root: Path, photos: Sequence[str], recipe: CropRecipe):
        self._work = root, photos, recipe
        self.identities: list[int] = []
        self.rejected: list[dict[str, str]] = []

    def __iter__(self) -> Iterator[tuple[Crop, int, str]]:
        root, photos, recipe = self._work
        number, depth = {name: index for index, name in enumerate(_people(photos))}, _depth(photos)
        results = contextlib.closing(crop_photos(root, photos, recipe))
        # Only a terminal gets a bar.
        with results as found, tqdm(total=len(photos), desc=root.name, unit="photo", disable=None) as bar:
            for photo, result in zip(photos, found, strict=True):
                bar.update()
                if isinstance(result, Rejected):
                    self.rejected.append({"file": photo, "reason": result.reason})
                    continue
                self.identities.append(number[_person(photo, depth)])
                yield result, self.identities[-1], photo


def _photos(root: Path) -> tuple[list[str], int]:
    if not root.is_dir():
        found = "a file" if root.exists() else "nothing"
        raise UserError(f"data.root: found {found} at {root}, wanted a folder of photographs")
    photos, others = find_photos(root)
    if not photos:
        raise UserError(f"data.root: found {others} files and no photograph under {root}, wanted at least one")
    return photos, others


def _split_folder(photo: str) -> str:
    return photo.split("/", 1)[0]


def _depth(names: Sequence[str]) -> int:
    """How many folders stand before a person's: 1 where the folders of the root are splits. Of photos or of people."""
    return int({_split_folder(name) for name in names} <= set(SPLITS))


def _person(photo: str, depth: int) -> str:
    return "/".join(photo.split("/")[: depth + 1])


def _people(photos: Sequence[str]) -> list[str]:
    depth = _depth(photos)
    return sorted({_person(photo, depth) for photo in photos})


def _fingerprint(root: Path, photos: Sequence[str], recipe: CropRecipe) -> str:
    listing = [[photo, *_size_and_time(root / photo)] for photo in photos]
    return _digest([_FORMAT, recipe.fingerprint(), listing] + ["splits"] * _depth(photos))


def _size_and_time(photo: Path) -> tuple[int, int] | tuple[None, None]:
    try:
        stat = photo.stat()
    except OSError:  # gone, or a link to nothing: quarantined when it is read
        return None, None
    return stat.st_size, stat.st_mtime_ns


def _digest(value: list) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def _sweep(cache: Path) -> None:
    """Removes what killed runs left behind."""
    for left in cache.glob(f"{_UNFINISHED}*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _DAY:
                shutil.rmtree(left)


def _publish(finished: Path, done: Path) -> None:
    try:
        os.rename(finished, done)
    except OSError:
        if not (done / _CARD).is_file():  # else another process was faster with the same crops
            raise
