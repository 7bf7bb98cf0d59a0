"""Model cards for bundled weights: what a file holds, how good it is, and how to make it again."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from fdetect_jax.errors import UserError
from fdetect_jax.files import write_atomic

_FIGURES = {"psnr": ("PSNR", " dB", 2), "ssim": ("SSIM", "", 4)}


def write_card(
    path_md: str | os.PathLike,
    *,
    name: str,
    what: str,
    data: str,
    config: str,
    seed: int,
    figures: Mapping[str, float],
    licence: str,
    picture: str | os.PathLike,
    commands: Sequence[str] | None = None,
) -> None:
    """Writes a short Markdown card beside the weights.

    Args:
      path_md: the card.
      name: of the weights.
      what: one or two sentences, the network and what it is for.
      data: what it was trained on, and what it was held out from.
      config: as given to ``--config=``, for example ``configs/gan.py``.
      seed: of the run.
      figures: on held-out faces; ``psnr`` in dB and ``ssim`` are required, others follow.
      licence: of the weights.
      picture: an image file that exists, shown by its path relative to the card.
      commands: the shell lines that make the weights; by default the trainer's one line from config and seed.

    Raises:
      ValueError: without ``psnr`` or ``ssim``. FileNotFoundError: without the picture.
    """
    path, picture = Path(path_md), Path(picture)
    if missing := [key for key in _FIGURES if key not in figures]:
        raise UserError(f"{path}: figures lack {missing}, found {list(figures)}")
    if not picture.is_file():
        raise FileNotFoundError(f"{path}: no picture at {picture}")
    shown = Path(os.path.relpath(picture.resolve(), path.resolve().parent)).as_posix()
    train = f"python -m fdetect_jax.main --config={config} --config.seed={seed} --workdir=runs/{name}"
    ordered = [*_FIGURES, *(key for key in figures if key not in _FIGURES)]
    lines = [
        f"# {name}",
        "",
        what,
        "",
        "| | |",
        "|---|---|",
        f"| Data | {_cell(data)} |",
        f"| Config | `{_cell(config)}` |",
        f"| Seed | {seed} |",
        *(f"| {_label(key)}, held-out faces | {_value(key, figures[key])} |" for key in ordered),
        f"| Licence | {_cell(licence)} |",
        "",
        f"![Sample grid of {name}]({shown.replace(' ', '%20')})",
        "",
        "## Reproduce",
        "",
        "```sh",
        *(commands if commands is not None else (train,)),
        "```",
    ]
    write_atomic(path, "\n".join(lines) + "\n")


def _label(key: str) -> str:
    return _FIGURES[key][0] if key in _FIGURES else _cell(key.replace("_", " "))


def _value(key: str, value: float) -> str:
    _, unit, digits = _FIGURES.get(key, ("", "", 4))
    return f"{value:.{digits}f}{unit}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
