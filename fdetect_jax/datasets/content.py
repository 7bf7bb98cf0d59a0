"""Content hashes of many files, each file read once. In: a folder, names in it, an index. Out: a SHA-256 for each name.

The index is a JSON file {name: [size, mtime_ns, ctime_ns, inode, SHA-256]}. It saves reading unchanged files again and
may be deleted at any time. Processes that share it may overwrite each other's entries; the cost is a file read twice.
"""

import contextlib
import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from fdetect_jax.fields import from_json
from fdetect_jax.files import sha256_of, write_atomic

_THREADS = 8  # hashing leaves Python's lock; a network's delay is what they wait for
_SETTLED = 2_000_000_000  # ns; a file changed again sooner may keep its time stamp (2 s on FAT)


def hash_files(root: Path, names: Sequence[str], index: Path) -> list[str | None]:
    """The SHA-256 of each file in hex digits, None for one that cannot be read.

    A file whose size, times and inode are those of the index is not read. Files changed in the last two seconds are
    not put into the index.

    Args:
        root: the folder. names: paths below it, with "/". index: its file; created, brought up to date, or left alone
            where its folder cannot be written.
    """
    known = _read(index)
    now = time.time_ns()
    stamps = {name: _stamp(root / name) for name in names}
    found = {name: known[name][-1] for name in names if name in known and known[name][:-1] == stamps[name]}
    unread = [name for name in names if name not in found and stamps[name] is not None]
    pool = ThreadPoolExecutor(_THREADS)
    try:
        hashes = pool.map(_sha256, [root / name for name in unread])
        # Only a terminal gets a bar.
        bar = tqdm(hashes, "hashing", len(unread), leave=False, unit="file", disable=None)
        for name, value in zip(unread, bar, strict=True):
            if value is not None:
                found[name] = value
    finally:  # an interrupted run goes on from here
        pool.shutdown(cancel_futures=True)
        settled = {n: [*stamps[n], v] for n, v in found.items() if max(stamps[n][1:3]) < now - _SETTLED}
        if settled != known:
            with contextlib.suppress(OSError):
                write_atomic(index, json.dumps(settled))
    return [found.get(name) for name in names]


def _read(index: Path) -> dict[str, list]:
    try:
        found = from_json(index.read_bytes())
    except (OSError, ValueError):
        return {}
    rows = found.items() if isinstance(found, dict) else ()
    return {name: row for name, row in rows if isinstance(row, list) and len(row) == 5}


def _stamp(path: Path) -> list[int] | None:
    try:
        stat = os.stat(path)
    except OSError:  # gone, or a link to nothing
        return None
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


def _sha256(path: Path) -> str | None:
    try:
        return sha256_of(path)
    except OSError:
        return None
