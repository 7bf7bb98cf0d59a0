"""A data set's videos to shards of face crops. In: a folder in a known layout. Out: a folder that ``Prepared`` reads.

    OUTPUT/prepared_faces-SPLIT.array_record-*, dataset_info.json, features.json      a tfds data set
    OUTPUT/rows-SPLIT.npy       int32 (N, 5) for its crops: number of the file, frame, track, and 0 or 1 each: has
                                landmarks, is an unaltered face of a fake video
    OUTPUT/manifest.json        how it was made, hashes of every shard and of every source file, counts
    OUTPUT/quarantine.json      files that were not used, with the reasons
    OUTPUT/.work                a record for each finished file, until all are done

A run may be killed at any moment: the same command continues it and writes the same bytes.
"""

import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from fdetect_jax.datasets import records
from fdetect_jax.datasets.layouts import Item, find_layout
from fdetect_jax.datasets.layouts.base import SPLITS
from fdetect_jax.datasets.left_out import listing
from fdetect_jax.datasets.manifest import MANIFEST, QUARANTINE, read_manifest, read_quarantine
from fdetect_jax.datasets.prepared_store import Entry, Shard, write_shards
from fdetect_jax.datasets.progress import reasons, watched
from fdetect_jax.datasets.selection import Selection, select
from fdetect_jax.errors import UserError
from fdetect_jax.faces.clips import WHICH
from fdetect_jax.faces.crop import CropRecipe
from fdetect_jax.files import check_folder, digest, is_temporary, on_one_line, sha256_of, write_atomic
from fdetect_jax.media.files import media_kind
from fdetect_jax.media.video import Sampling

SECONDS = 600.0  # the most that one file may take
_WORK = ".work"
_CROPS_A_SHARD = 512  # about; a crop of 380 px takes 0.2 MB
_PER_SECOND_GUESS = 32  # crops of a video, where the sampling does not say


@dataclass(frozen=True)
class Plan:
    """A preparation. name: of the layout. faces: of ``clips.WHICH``."""

    name: str
    root: Path
    output: Path
    recipe: CropRecipe
    sampling: Sampling
    faces: str
    selection: Selection

    def to_dict(self) -> dict[str, Any]:
        """Everything that the shards depend on, without paths."""
        return {
            "format": records.FORMAT,
            "data_set": self.name,
            "recipe": self.recipe.to_dict(),
            "sampling": self.sampling.to_dict(),
            "faces": self.faces,
            "selection": asdict(self.selection),
        }


def rows_file(split: str) -> str:
    """Name of the table of a split's crops."""
    return f"rows-{split}.npy"


def prepare(
    name: str,
    root: str | Path,
    output: str | Path,
    recipe: CropRecipe,
    sampling: Sampling | None = None,
    faces: str | None = None,
    selection: Selection | None = None,
    workers: int | None = None,
    beam: Sequence[str] | None = None,
    seconds: float = SECONDS,
) -> Path:
    """Crops a data set and writes the shards; does nothing where they exist.

    Args:
        name: of a layout, see ``layouts.LAYOUTS``. root: the download. output: a folder of its own.
        recipe: how to crop. sampling: None: 32 frames, evenly spaced. faces: "largest" or "all"; None: the layout's.
        selection: None: everything. workers: processes; None: one per core. beam: options of a pipeline, see
        ``prepared_store.write_shards``. seconds: the most that one file may take.

    Returns:
        ``output``.

    Raises:
        UserError: an option or the layout does not fit, ``output`` holds something else or cannot be written, or no
            file gave a face.
        ModelsUnavailable: the face models cannot be had.
    """
    layout = find_layout(name)
    plan = Plan(
        name,
        Path(root),
        Path(output),
        recipe,
        sampling or Sampling(count=32),
        faces or layout.faces,
        selection or Selection(),
    )
    if plan.faces not in WHICH:
        raise UserError(f"faces: found {plan.faces!r}, wanted one of {', '.join(WHICH)}")
    if not plan.root.is_dir():
        raise UserError(f"root: found no folder at {root}, wanted a download of {layout.about}")
    check_folder(plan.output, "output")
    recipe.require_detector()
    named = layout.items(plan.root)
    for note in listing(plan.root, named, plan.output).notes():
        print(note, file=sys.stderr)
    items = select(named, plan.selection)
    if _is_done(plan, items):
        again = _passing(plan.output)
        if not again:
            shutil.rmtree(plan.output / _WORK, ignore_errors=True)
            print(f"{plan.output}: prepared before, nothing to do")
            return plan.output
        print(f"{plan.output}: prepared before; {again} files whose failure may pass are tried again", file=sys.stderr)
    workers = workers or os.cpu_count() or 1
    entries = _entries(plan, items)
    if beam is None:
        tasks = [entry.task for entry in entries]
        records.finish(tasks, workers, seconds, lambda *args: watched(*args, what=name, unit="file"))
        if (plan.output / MANIFEST).is_file() and _still(entries) == _passing(plan.output):
            print(f"{plan.output}: nothing new")
            return plan.output
    elif not list(beam):
        beam = [f"--direct_num_workers={workers}", "--direct_running_mode=multi_processing"]
    _assemble(plan, items, entries, beam, seconds)
    return plan.output


def _is_done(plan: Plan, items: Sequence[Item]) -> bool:
    if (plan.output / MANIFEST).is_file():
        found = read_manifest(plan.output)
        wanted = json.loads(json.dumps(plan.to_dict() | {"files": _listing(plan.root, items)}))
        differ = [key for key in wanted if found.get(key) != wanted[key] and key != "files"]
        if [_named(row) for row in found["files"]] != [_named(row) for row in wanted["files"]]:
            differ.append("files")
        if differ:
            raise UserError(
                f"{plan.output}: found another preparation ({', '.join(differ)} differ), wanted a new folder"
            )
        return True
    others = [one.name for one in plan.output.iterdir() if not _ours(one.name)] if plan.output.is_dir() else []
    if others:
        raise UserError(f"{plan.output}: found {', '.join(sorted(others)[:5])}, wanted an empty folder or a new one")
    return False


def _passing(output: Path) -> int:
    """How many files a finished preparation left out by a failure that may pass."""
    return sum(row.get("passing") is True for row in read_quarantine(output))


def _still(entries: Sequence[Entry]) -> int:
    return sum(records.read(entry.task.record, crops=False).passing for entry in entries)


def _ours(name: str) -> bool:
    # Shards are moved here before the manifest is written, and a run may be killed between the two.
    whole = (_WORK, "dataset_info.json", "features.json", QUARANTINE)
    return name in whole or name.startswith(("prepared_faces-", "rows-")) or is_temporary(name)


def _named(row: dict[str, Any]) -> list:
    return [row.get(key) for key in ("file", "label", "split", "bytes")]


def _listing(root: Path, items: Sequence[Item]) -> list[dict[str, Any]]:
    return [asdict(item) | {"video": item.video, "bytes": _stat(root, item.file)[0]} for item in items]


def _stat(root: Path, file: str | None) -> tuple[int | None, int | None]:
    if file is None:
        return None, None
    try:
        stat = (root / file).stat()
    except OSError:  # named by a list, and not there: quarantined when it is read
        return None, None
    return stat.st_size, stat.st_mtime_ns


def _entries(plan: Plan, items: Sequence[Item]) -> list[Entry]:
    people = sorted({(item.source, item.identity) for item in items})
    number = {person: index for index, person in enumerate(people)}
    how = [records.FORMAT, plan.recipe.to_dict(), plan.sampling.to_dict(), plan.faces]
    made = []
    for item in items:
        of_mask = [item.mask, *_stat(plan.root, item.mask)]
        name = digest([item.file, *_stat(plan.root, item.file), item.label, *of_mask, how])
        task = records.Task(
            (plan.root / item.file).absolute(),
            item.label == 0,
            (plan.root / item.mask).absolute() if item.mask else None,
            plan.recipe,
            plan.sampling,
            plan.faces,
            (plan.output / _WORK / "records" / name[:2] / f"{name}.npz").absolute(),
        )
        made.append(Entry(task, item.video, item.label, item.method, item.source, number[item.source, item.identity]))
    return made


def _shards(plan: Plan, entries: Sequence[Entry], seconds: float) -> Iterator[Shard]:
    """Shards of successive files, closed when they should give enough crops."""
    held: list[Entry] = []
    crops = 0
    for entry in entries:
        image = media_kind(entry.task.file) == "image"
        held.append(entry)
        crops += 1 if image else plan.sampling.count or _PER_SECOND_GUESS
        if crops >= _CROPS_A_SHARD:
            yield Shard(tuple(held), 1, seconds)
            held, crops = [], 0
    if held:
        yield Shard(tuple(held), 1, seconds)


def _assemble(
    plan: Plan, items: Sequence[Item], entries: Sequence[Entry], beam: Sequence[str] | None, seconds: float
) -> None:
    work = plan.output / _WORK / "shards"
    shutil.rmtree(work, ignore_errors=True)
    infos, builder, made = [], None, []
    for split in SPLITS:
        own = [entry for entry, item in zip(entries, items, strict=True) if item.split == split]
        if own:
            shards = list(_shards(plan, own, seconds))
            print(f"{split}: writing {len(shards)} shards", file=sys.stderr, flush=True)
            builder = write_shards(split, shards, plan.recipe, (work / split).absolute(), beam)
            infos.append(builder.info.splits[split])
            made += sorted(Path(builder.data_dir).glob("*.array_record-*"))
    # An earlier preparation, of which some files are tried again, stays whole until all shards are written.
    (plan.output / MANIFEST).unlink(missing_ok=True)  # it would speak of shards that are no more
    for old in (*plan.output.glob("prepared_faces-*"), *plan.output.glob("rows-*")):
        old.unlink()  # or of a run that was killed, perhaps with other options
    for path in made:
        os.replace(path, plan.output / path.name)
    builder.info.set_splits(tfds.core.SplitDict(infos))
    builder.info.write_to_directory(plan.output)
    manifest, quarantine = _account(plan, items, entries)
    if not any(row["crops"] for row in manifest["files"]):
        shutil.rmtree(plan.output / _WORK)  # or the same failures would be found again
        raise UserError(
            f"{plan.root}: found no face in {len(items)} files ({reasons(quarantine)}), wanted at least one"
        )
    write_atomic(plan.output / QUARANTINE, json.dumps(quarantine, indent=1))
    write_atomic(plan.output / MANIFEST, json.dumps(manifest, indent=1))  # last: it says that all is there
    if not any(row["passing"] for row in quarantine):  # else the next run goes on from the records
        shutil.rmtree(plan.output / _WORK)
    _print_summary(plan, manifest, quarantine)


def _account(plan: Plan, items: Sequence[Item], entries: Sequence[Entry]) -> tuple[dict[str, Any], list[dict]]:
    """The manifest and the quarantine; writes each split's table of rows."""
    files, quarantine = _listing(plan.root, items), []
    rows: dict[str, list[np.ndarray]] = {split: [] for split in SPLITS}
    for number, (row, entry) in enumerate(zip(files, entries, strict=True)):
        record = records.read(entry.task.record, crops=False)
        row |= {"sha256": record.sha256, "frames": record.looked, "crops": len(record.frame)}
        shown = {key: row[key] for key in ("file", "split", "label", "method")}
        if record.reason:
            quarantine.append(shown | {"reason": record.reason, "passing": record.passing})
        if record.note:
            quarantine.append(
                shown | {"file": row["mask"], "reason": f"mask not used: {record.note}", "passing": False}
            )
        known = ~np.isnan(record.landmarks[:, 0, 0])
        rows[row["split"]].append(
            np.c_[np.full(len(known), number), record.frame, record.track, known, record.untouched].astype(np.int32)
        )
    counts: dict[str, dict] = {}
    for row in files:
        one = counts.setdefault(row["split"], {}).setdefault(row["method"], Counter(files=0, crops=0, quarantined=0))
        one.update(files=1, crops=row["crops"], quarantined=int(not row["crops"]))
    hashes = {}
    for split in counts:
        np.save(plan.output / rows_file(split), np.concatenate(rows[split]))
    for path in sorted([*plan.output.glob("*.array_record-*"), *plan.output.glob("rows-*.npy")]):
        hashes[path.name] = sha256_of(path)
    return plan.to_dict() | {"counts": counts, "shards": hashes, "files": files}, quarantine


def _print_summary(plan: Plan, manifest: dict[str, Any], quarantine: list[dict]) -> None:
    for split, methods in manifest["counts"].items():
        for method, count in methods.items():
            print(f"{split:6s} {on_one_line(method):20s} {count['files']:6d} files {count['crops']:8d} crops")
    print(f"{plan.output}: {len(quarantine)} quarantined ({reasons(quarantine)}), see {QUARANTINE}")
