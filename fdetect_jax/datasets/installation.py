"""Checks of the installation. In: nothing. Out: lines to show, and whether there is no problem."""

import importlib.metadata
import os
import platform
import tempfile
from pathlib import Path

from fdetect_jax.errors import UserError, backend_trouble
from fdetect_jax.faces.models import ModelsUnavailable, load_models, models_hash
from fdetect_jax.host import cache_folder, check_flags
from fdetect_jax.media import isolated
from fdetect_jax.media.confine import TITLES, Confinement

_PACKAGES = ("fdetect-jax", "jax", "jaxlib", "flax", "mediapipe", "opencv-contrib-python", "av", "tensorflow-datasets")
_EXTRAS = {"apache-beam": "fdetect prepare --beam", "torch": "fdetect bench --vs torch"}


def examine_installation() -> tuple[list[str], bool]:
    """Versions, devices, the face models, and what confines the processes that read uploads; fetches the models if they
    are missing."""
    lines = [f"python {platform.python_version()} on {platform.machine()}, {os.cpu_count()} cores"]
    sound = True
    for name in _PACKAGES:
        version = _version(name)
        sound &= version is not None
        lines.append(f"{name} {version or 'is missing'}")
    lines += [f"{name} {_version(name) or f'is not installed: {use} needs it'}" for name, use in _EXTRAS.items()]
    try:
        check_flags()
        import jax

        lines.append("devices: " + ", ".join(f"{device.platform} {device.device_kind}" for device in jax.devices()))
    except UserError as error:
        sound = False
        lines.append(f"devices: {error}")
    except Exception as error:
        if (trouble := backend_trouble(error)) is None:
            raise
        sound = False
        lines.append(f"devices: {trouble}")
    try:
        content = load_models()
        where = os.environ.get("FDETECT_MODELS") or cache_folder() / "models"
        lines.append(f"face models: {', '.join(sorted(content))} in {where}, verified ({models_hash()})")
    except ModelsUnavailable as error:
        sound = False
        lines.append(f"face models: {error}")
    return [*lines, *_confinement()], sound


def _confinement() -> list[str]:
    """What a process of the service that reads uploads is confined to. A limit that is missing here is no problem of
    the installation, for the others hold without it."""
    with tempfile.TemporaryDirectory() as folder:
        found = isolated.examine(Confinement(folder=Path(folder)))
    held = [TITLES[name] for name, holds in found.items() if holds is True]
    missing = [f"{TITLES[name]}, does not hold: {holds}" for name, holds in found.items() if holds is not True]
    return [f"processes that read uploads: {line}" for line in (", ".join(held) or "nothing holds", *missing)]


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
