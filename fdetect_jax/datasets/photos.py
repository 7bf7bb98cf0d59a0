"""Face crops of a folder of photographs, made once and cached. In: a folder and a recipe. Out: a folder of shards.

The cache's name is a hash of the recipe and of every photograph's path below the folder and content: the same
photographs elsewhere, under another name or with other times, have the same cache. Where a photograph gave no crop by a
failure that may pass (a time limit, a killed process), the name says which were missing, and the next call tries those
again: what it adds is another data set. A call that is stopped leaves its crops in ``.crops-*``, see ``CropDiary``.
"""

import contextlib
import itertools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from fdetect_jax.datasets.content import hash_files
from fdetect_jax.datasets.crop_diary import CropDiary
from fdetect_jax.datasets.crop_store import read_crops, write_crops
from fdetect_jax.datasets.layouts.base import SPLITS
from fdetect_jax.datasets.photo_crops import Crop, crop_photos, find_photos
from fdetect_jax.datasets.progress import reasons
from fdetect_jax.datasets.working import working_folder
from fdetect_jax.errors import UserError
from fdetect_jax.faces.crop import CropRecipe
from fdetect_jax.files import digest, write_atomic
from fdetect_jax.host import cache_folder
from fdetect_jax.media.files import Found
from fdetect_jax.media.limits import Rejected

_FORMAT = 4  # part of the cache's name; raise it when what is written changes
_CARD, _QUARANTINE, _IDENTITIES, _PEOPLE = "card.json", "quarantine.json", "identities.npy", "people.json"


def prepare_folder(root: str | Path, recipe: CropRecipe, cache: str | Path | None = None) -> Path:
    """Crops the largest face of every photograph under ``root``, unless that has been done before.

    Beside the shards lie ``card.json`` (recipe, counts, fingerprint), ``quarantine.json`` ([{file, reason}] for every
    photograph that gave no crop), ``identities.npy`` (one int32 per crop) and ``people.json`` (the name of each of
    these numbers). The folder appears whole or not at all; processes that make it at once end with the same one.

    Args:
        root: searched recursively; other files are ignored and counted. recipe: how to crop.
        cache: the folder of all caches; None: ``crops`` in the user's cache folder.

    Returns:
        The cache's folder.

    Raises:
        UserError: root is missing, is no folder, or holds no photograph with a usable face; or the recipe names
            another face detector than the one installed.
        ModelsUnavailable: the face models cannot be had.
    """
    root = Path(root)
    recipe.require_detector()
    photos, left_out = _photos(root)
    cache = Path(cache) if cache is not None else cache_folder() / "crops"
    fingerprint = _fingerprint(root, photos, recipe, cache)
    done = cache / fingerprint
    if (done / _CARD).is_file():
        return done
    with CropDiary(cache, fingerprint) as diary:
        known: dict[str, Crop | Rejected] = {}
        for partial in cache.glob(f"{fingerprint}-*/{_CARD}"):
            known = _known(partial.parent)
            missing = [photo for photo in photos if photo not in known]
            with contextlib.closing(_Rows(root, missing, recipe, {}, diary).results()) as fresh:
                results = dict(zip(missing, fresh, strict=True))
            if all(isinstance(one, Rejected) and one.passing for one in results.values()):
                return partial.parent
            known |= results
        done = _write(_Rows(root, photos, recipe, known, diary), left_out, cache, fingerprint)
        diary.remove()
    return done


def read_people(folder: Path) -> tuple[np.ndarray, list[str]]:
    """Who is in the crops of a cache: the identity of each crop, (N,) int32, and the name of each identity.

    A name is the path of a person's folder below the root, or of the photograph that lies in no folder.
    """
    return np.load(folder / _IDENTITIES, allow_pickle=False), json.loads((folder / _PEOPLE).read_text())


def published_splits(people: Sequence[str]) -> list[str] | None:
    """The split of each name where all folders of the root are named as splits ("train", "val", "test"), else None."""
    return [_top(name) for name in people] if _depth(people) else None


def _write(crops: "_Rows", left_out: Found, cache: Path, fingerprint: str) -> Path:
    """Writes the cache and gives it its name."""
    with working_folder(cache) as working:
        # Closed here, and not when a traceback lets go of it: that stops the worker processes.
        with contextlib.closing(iter(crops)) as rows:
            first = next(rows, None)
            if first is None:
                raise UserError(
                    f"data.root: found {len(crops.photos)} photos under {crops.root} and no usable face "
                    f"({reasons(crops.rejected)}), wanted at least one"
                )
            shards = write_crops(itertools.chain([first], rows), crops.recipe, working)
        missing = [row["file"] for row in crops.rejected if row["passing"]]
        name = f"{fingerprint}-{digest(missing)}" if missing else fingerprint
        done = cache / name
        card = {
            "format": _FORMAT,
            "fingerprint": name,
            "folder": crops.root.resolve().name,
            "recipe": crops.recipe.to_dict(),
            "photos": len(crops.photos),
            "crops": len(crops.identities),
            "identities": len(set(crops.identities)),
            "quarantined": len(crops.rejected),
            "left_out": {reason: len(paths) for reason, paths in left_out.left_out.items()},
        }
        write_atomic(shards / _QUARANTINE, json.dumps(crops.rejected, indent=1))
        np.save(shards / _IDENTITIES, np.array(crops.identities, np.int32))
        write_atomic(shards / _PEOPLE, json.dumps(_people(crops.photos)))
        write_atomic(shards / _CARD, json.dumps(card, indent=1))
        _publish(shards, done)
    print(
        f"{crops.root}: {card['crops']} crops of {card['identities']} people from {card['photos']} photos, "
        f"{card['quarantined']} quarantined ({reasons(crops.rejected)}); cached in {done}"
    )
    for note in (*_folders_taken(crops.photos), *left_out.notes()):
        print(f"{crops.root}: {note}")
    return done


class _Rows:
    """The rows for ``write_crops``; keeps a record of who is in them and what was rejected."""

    def __init__(
        self,
        root: Path,
        photos: Sequence[str],
        recipe: CropRecipe,
        known: Mapping[str, Crop | Rejected],
        diary: CropDiary,
    ):
        """known: what is known of some of the photos. diary: knows others, and notes what is found of the rest."""
        self.root, self.photos, self.recipe = root, photos, recipe
        self._known, self._diary = known, diary
        self.identities: list[int] = []
        self.rejected: list[dict[str, str]] = []

    def __iter__(self) -> Iterator[tuple[Crop, int, str]]:
        photos, depth = self.photos, _depth(self.photos)
        number = {name: index for index, name in enumerate(_people(photos))}
        results = contextlib.closing(self.results())
        # Only a terminal gets a bar.
        with results as found, tqdm(total=len(photos), desc=self.root.name, unit="photo", disable=None) as bar:
            for photo, result in zip(photos, found, strict=True):
                bar.update()
                if isinstance(result, Rejected):
                    self.rejected.append({"file": photo, "reason": result.reason, "passing": result.passing})
                    continue
                self.identities.append(number[_person(photo, depth)])
                yield result, self.identities[-1], photo

    def results(self) -> Iterator[Crop | Rejected]:
        """One for each photo, in order."""
        left = [photo for photo in self.photos if photo not in self._known and photo not in self._diary]
        with contextlib.closing(crop_photos(self.root, left, self.recipe)) as fresh:
            for photo in self.photos:
                if photo in self._known:
                    yield self._known[photo]
                elif photo in self._diary:
                    yield self._diary[photo]
                else:
                    found = next(fresh)
                    self._diary.add(photo, found)
                    yield found


def _known(partial: Path) -> dict[str, Crop | Rejected]:
    """The results of an earlier call, by photo; without those that may be others the next time."""
    found: dict[str, Crop | Rejected] = {}
    for row in json.loads((partial / _QUARANTINE).read_text()):
        if not row["passing"]:
            found[row["file"]] = Rejected(row["reason"])
    return found | read_crops(partial)


def _photos(root: Path) -> tuple[list[str], Found]:
    if not root.is_dir():
        found = "a file" if root.exists() else "nothing"
        raise UserError(f"data.root: found {found} at {root}, wanted a folder of photographs")
    photos, left_out = find_photos(root)
    if not photos:
        found = "; ".join(left_out.notes()) or "no file"
        raise UserError(f"data.root: found no photograph under {root} ({found}), wanted at least one")
    return photos, left_out


def _top(name: str) -> str:
    return name.split("/", 1)[0]


def _depth(names: Sequence[str]) -> int:
    """How many folders stand before a person's: 1 where the folders of the root are splits. Of photos or of people."""
    return int({_top(name) for name in names} <= set(SPLITS))


def _folders_taken(photos: Sequence[str]) -> Iterator[str]:
    """What the folders of the root were taken for, where some are named as splits."""
    folders = sorted({_top(photo) for photo in photos if "/" in photo})
    splits = [name for name in folders if name in SPLITS]
    if splits and _depth(photos):
        yield f"its folders {', '.join(splits)} are taken for splits"
    elif splits:
        others = sorted({_top(photo) for photo in photos} - set(splits))
        shown = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
        yield f"its folders are taken for people, {', '.join(splits)} too, because {shown} is no split"


def _person(photo: str, depth: int) -> str:
    return "/".join(photo.split("/")[: depth + 1])


def _people(photos: Sequence[str]) -> list[str]:
    depth = _depth(photos)
    return sorted({_person(photo, depth) for photo in photos})


def _fingerprint(root: Path, photos: Sequence[str], recipe: CropRecipe, cache: Path) -> str:
    hashes = hash_files(root, photos, cache / f".hashes-{digest(str(root.resolve()))}.json")
    listing = [list(row) for row in zip(photos, hashes, strict=True)]
    return digest([_FORMAT, recipe.fingerprint(), listing])


def _publish(finished: Path, done: Path) -> None:
    try:
        os.rename(finished, done)
    except OSError:
        if not (done / _CARD).is_file():  # else another process was faster with the same crops
            raise
