"""Bundled weights, each with a card (README.md) beside it."""

from pathlib import Path

ROOT = Path(__file__).parent


def pair(name: str) -> Path:
    """The folder of an inversion pair: a bundled one by name (``facesim64``, ``faces64``), or a path.

    Raises:
      ValueError: neither.
    """
    for folder in (ROOT / name, Path(name)):
        if (folder / "generator.safetensors").is_file():
            return folder
    bundled = sorted(path.parent.name for path in ROOT.glob("*/generator.safetensors"))
    raise ValueError(
        f"pair: found {name!r}, which holds no generator.safetensors; wanted one of {bundled} or a folder with "
        "generator.safetensors, encoder.safetensors and, optionally, hyper.safetensors"
    )
