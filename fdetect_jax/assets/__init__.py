"""Bundled weights, each with a card (README.md) beside it."""

from pathlib import Path

from fdetect_jax.errors import UserError
from fdetect_jax.remote import here

ROOT = Path(__file__).parent


def detector(name: str = "release") -> Path:
    """Where a bundled detector lies: "release", or "demo", a small one of self-blended images alone.

    Raises:
      UserError: there is none of this name.
    """
    path = ROOT / name / "detector.safetensors"
    if not path.is_file():
        bundled = sorted(path.parent.name for path in ROOT.glob("*/detector.safetensors"))
        raise UserError(f"detector: found no bundled detector {name!r}, wanted one of {bundled}, or a file")
    return path


def inverter(name: str) -> Path:
    """Where an inverter lies: a bundled one by name (``facesim64``, ``faces64``), a folder, or one file.

    Raises:
      UserError: neither.
    """
    given = Path(here(name))
    for folder in (ROOT / name, given):
        if (folder / "generator.safetensors").is_file():
            return folder
    if given.is_file():
        return given
    bundled = sorted(path.parent.name for path in ROOT.glob("*/generator.safetensors"))
    raise UserError(
        f"inverter: found {name!r}, which holds no generator.safetensors; wanted one of {bundled} or a folder with "
        "generator.safetensors, encoder.safetensors and, optionally, hyper.safetensors, or a converted HyperInverter"
    )
