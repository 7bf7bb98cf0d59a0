"""Files and folders at addresses (gs://, s3://, whatever fsspec opens): copied here, used here, and copied back.

In: an address. Out: a local path. Paths that are no addresses pass unchanged.
"""

import contextlib
import json
import os
import re
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from fdetect_jax.errors import UserError
from fdetect_jax.fields import from_json
from fdetect_jax.files import digest, is_temporary
from fdetect_jax.host import cache_folder

LISTING = "fdetect_files.json"  # of a folder at an address: the files of its last whole copy, name -> bytes
_SECONDS = 20.0  # between two copies of what has changed
_UNFINISHED = ".orbax-checkpoint-tmp"  # in the name of a checkpoint's folder until it is whole


def is_address(path: Any) -> bool:
    """Whether a path is an address: SCHEME://…"""
    return isinstance(path, str) and re.match(r"[a-z][a-z0-9+.-]+://", path) is not None


def here(path: Any) -> Any:
    """The local path of what lies at an address, a file or a folder; copied once for each content.

    Copies stay in the user's cache. Raises UserError where nothing is there or the address cannot be read.
    """
    if not is_address(path):
        return path
    with _reaching(path):
        system, root = _opened(path)
        found = _files(system, root)
    if not found:
        raise UserError(f"{path}: found nothing there, wanted a file or a folder")
    folder = cache_folder() / "remote" / digest([path, found])
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=folder.parent))
        with _reaching(path):
            _get(system, root, found, fresh)
        try:
            fresh.rename(folder)
        except OSError:  # another process was first
            shutil.rmtree(fresh)
    return folder / PurePosixPath(root).name if "" in found else folder


@contextlib.contextmanager
def workdir(path: str | os.PathLike, writes: bool = True) -> Iterator[Path]:
    """The folder of a run. One at an address is a local copy of it in this block.

    What changes is copied back every 20 s and at the end, unless this process does not write. A file counts once the
    listing names it, so a run that was killed leaves the files of the last whole copy.

    Raises:
      UserError: the address cannot be read or written; what was not copied stays in the local folder, which is named.
    """
    if not is_address(path):
        yield Path(path)
        return
    with _reaching(path):
        system, root = _opened(path)
        listing = f"{root}/{LISTING}"
        known = from_json(system.cat_file(listing).decode()) if system.exists(listing) else {}
    above = cache_folder() / "workdirs"
    above.mkdir(parents=True, exist_ok=True)
    local = Path(tempfile.mkdtemp(dir=above))
    with _reaching(path):
        _get(system, root, known, local)
    copy = _Copy(system, root, local, known)
    if writes:
        with _reaching(path):
            copy.send()  # before any work: an address that cannot be written is refused
    try:
        with copy.now_and_then() if writes else contextlib.nullcontext():
            yield local
    finally:
        if writes:
            with _reaching(path, f"; the run's files are in {local}"):
                copy.send()
            print(f"copied to {path}", flush=True)
        shutil.rmtree(local, ignore_errors=True)


class _Copy:
    """What a folder at an address holds of a local one."""

    def __init__(self, system: Any, root: str, local: Path, known: dict[str, int]):
        self.system, self.root, self.local = system, root, local
        self._sent = {name: self._state(name) for name in known}
        self._one = threading.Lock()

    def _state(self, name: str) -> tuple[int, int] | None:
        """Bytes and time of the last change; None where the file is gone."""
        try:
            found = (self.local / name).stat()
        except FileNotFoundError:
            return None
        return found.st_size, found.st_mtime_ns

    def send(self) -> None:
        """Copies new and changed files, then the listing; removes what is gone here."""
        with self._one:
            names = [path.relative_to(self.local).as_posix() for path in self.local.rglob("*") if path.is_file()]
            states = {name: self._state(name) for name in names if not _is_unfinished(name)}
            for name, state in states.items():
                if state is not None and state != self._sent.get(name):
                    self._folder_of(name)
                    with contextlib.suppress(FileNotFoundError):  # an old checkpoint that was removed meanwhile
                        self.system.put_file(str(self.local / name), f"{self.root}/{name}")
            states = {name: state for name, state in states.items() if state is not None and self._state(name)}
            sizes = {name: state[0] for name, state in sorted(states.items())}
            self._folder_of(LISTING)
            self.system.pipe_file(f"{self.root}/{LISTING}", json.dumps(sizes, indent=1).encode())
            for name in self._sent.keys() - states.keys():
                with contextlib.suppress(FileNotFoundError):
                    self.system.rm_file(f"{self.root}/{name}")
            self._sent = states

    def _folder_of(self, name: str) -> None:
        self.system.makedirs(str(PurePosixPath(self.root, name).parent), exist_ok=True)

    @contextlib.contextmanager
    def now_and_then(self) -> Iterator[None]:
        """Sends in a thread while the block runs; what fails is said, and tried again."""
        done = threading.Event()

        def work() -> None:
            while not done.wait(_SECONDS):
                try:
                    self.send()
                except Exception as error:
                    print(f"not copied, will be tried again: {error}", file=sys.stderr)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def _opened(address: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs  # imported by the few who need it

    return url_to_fs(address)


def _is_unfinished(name: str) -> bool:
    return any(_UNFINISHED in part or is_temporary(part) for part in PurePosixPath(name).parts)


def _files(system: Any, root: str) -> dict[str, str]:
    """The files below an address, relative, with all that one listing says of each: bytes, times, checksums. "" stands
    for the address itself where that is a file."""
    if system.isfile(root):
        return {"": str(system.info(root))}
    if not system.exists(root):
        return {}
    found = system.find(root, detail=True)
    prefix = system._strip_protocol(root).rstrip("/") + "/"
    return {name.removeprefix(prefix): str(entry) for name, entry in sorted(found.items())}


def _get(system: Any, root: str, names: Iterable[str], folder: Path) -> None:
    for name in names:
        inside = PurePosixPath(name)
        if inside.is_absolute() or ".." in inside.parts:
            raise UserError(f"found the name {name!r}, wanted one inside the folder")
        target = folder / (name or PurePosixPath(root).name)
        target.parent.mkdir(parents=True, exist_ok=True)
        system.get_file(f"{root}/{name}" if name else root, str(target))


@contextlib.contextmanager
def _reaching(address: str, more: str = "") -> Iterator[None]:
    """Whatever a file system raises becomes a UserError that names the address."""
    try:
        yield
    except ImportError as error:
        raise UserError(f"{address}: found no package for this kind of address, wanted it installed: {error}") from None
    except Exception as error:
        why = f"{type(error).__name__}: {' '.join(str(error).split()):.300}"
        wanted = f"an address that can be read and written{more}"
        raise UserError(f"{address}: cannot be used ({why}), wanted {wanted}") from error
