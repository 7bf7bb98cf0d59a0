"""``fdetect facesim``: a contact sheet of procedural faces."""

import argparse
from pathlib import Path

from fdetect_jax.errors import UserError
from fdetect_jax.files import check_output, write_atomic

_ROWS, _COLUMNS = 6, 8


def add_facesim(jobs) -> None:
    """Adds the arguments of ``fdetect facesim`` to an ``argparse`` group of sub-commands."""
    parser = jobs.add_parser("facesim", help="draw a contact sheet of procedural faces")
    parser.add_argument("--size", type=int, default=128, help="pixels of a face, 32 to 256 (default: 128)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("facesim.png"), help="the PNG or JPEG to write")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    import cv2
    import numpy as np

    from fdetect_jax.facesim.faces import FaceSim

    suffix = arguments.output.suffix.lower()
    if suffix not in (".png", ".jpg", ".jpeg"):
        raise UserError(f"--output: found {arguments.output}, wanted a name that ends in .png, .jpg or .jpeg")
    check_output(arguments.output, "--output")
    source = FaceSim("test", arguments.size, _ROWS * _COLUMNS, 1, arguments.seed)
    faces = [source[number]["image"] for number in range(len(source))]
    rows = [np.concatenate(faces[start : start + _COLUMNS], axis=1) for start in range(0, len(faces), _COLUMNS)]
    write_atomic(arguments.output, cv2.imencode(suffix, np.concatenate(rows)[..., ::-1])[1].tobytes())
    print(arguments.output)
