"""``fdetect prepare`` and ``fdetect doctor``: arguments in, lines and files out."""

import argparse
import sys
from pathlib import Path

from fdetect_jax.files import on_one_line


def add_prepare(jobs) -> None:
    """Adds ``fdetect prepare`` to an ``argparse`` group of sub-commands."""
    parser = jobs.add_parser(
        "prepare",
        help="crop the faces of a data set into shards",
        epilog="DATA_SET: faceforensics, celeb_df, dfdc, dfdc_preview, ffiw, deeperforensics, or folder (real/ and "
        "fake/, or manifest.csv). The command may be killed at any moment; the same command continues it.",
    )
    parser.add_argument("name", metavar="DATA_SET", help="the layout of the root, see below")
    parser.add_argument("--root", type=Path, required=True, help="the download")
    parser.add_argument("--output", type=Path, required=True, help="a new folder")
    parser.add_argument(
        "--recipe",
        default="paper",
        help="paper (default), sbi, ff++, framed (the files are crops), aligned, aligned64, aligned1024",
    )
    parser.add_argument("--size", type=int, help="side of the crops in pixels (default: the recipe's)")
    rate = parser.add_mutually_exclusive_group()
    rate.add_argument("--frames", type=int, help="of a video, evenly spaced (default: 32)")
    rate.add_argument("--per-second", type=float, help="frames of a video per second instead")
    parser.add_argument("--faces", help="largest (one person of a video) or all (default: as the data set needs)")
    parser.add_argument("--split", nargs="+", help="some of train, val, test (default: all)")
    parser.add_argument("--methods", nargs="+", help="of forgery, with their real videos; or real (default: all)")
    parser.add_argument("--compression", help="faceforensics: raw, c23 or c40")
    parser.add_argument(
        "--train-fraction", type=float, default=1.0, help="of the training groups (default: 1; paper: 0.1)"
    )
    parser.add_argument("--workers", type=int, help="processes (default: one per core)")
    parser.add_argument(
        "--beam",
        nargs=argparse.REMAINDER,
        metavar="OPTION",
        help="last: run on Apache Beam with these options of its own, such as --runner=FlinkRunner (default: local)",
    )
    parser.set_defaults(run=_prepare)


def add_doctor(jobs) -> None:
    """Adds ``fdetect doctor`` likewise."""
    parser = jobs.add_parser(
        "doctor",
        help="list what is missing, misnamed or corrupt in a download or shards; without DIR, check the installation",
        epilog="Exit status: 0 all is well, 1 there are problems, 2 wrong use.",
    )
    parser.add_argument("root", nargs="?", type=Path, metavar="DIR", help="a download, or the output of prepare")
    parser.add_argument("--name", help="the data set (default: guessed)")
    parser.add_argument("--quick", action="store_true", help="do not open the videos")
    parser.add_argument("--workers", type=int, help="processes (default: one per core)")
    parser.set_defaults(run=_doctor)


def _prepare(arguments: argparse.Namespace) -> None:
    from fdetect_jax.datasets.prepare import prepare
    from fdetect_jax.datasets.selection import SPLITS, Selection
    from fdetect_jax.faces.crop import make_recipe
    from fdetect_jax.media.video import Sampling

    count = None if arguments.per_second is not None else 32 if arguments.frames is None else arguments.frames
    selection = Selection(
        tuple(arguments.split or SPLITS),
        tuple(arguments.methods) if arguments.methods else None,
        arguments.compression,
        arguments.train_fraction,
    )
    prepare(
        arguments.name,
        arguments.root,
        arguments.output,
        make_recipe(arguments.recipe, arguments.size),
        Sampling(count, arguments.per_second),
        arguments.faces,
        selection,
        arguments.workers,
        arguments.beam,
    )


def _doctor(arguments: argparse.Namespace) -> int:
    if arguments.root is None:
        from fdetect_jax.datasets.installation import examine_installation

        lines, sound = examine_installation()
    else:
        from fdetect_jax.datasets.doctor import examine

        lines, sound = examine(arguments.root, arguments.name, not arguments.quick, arguments.workers)
    for line in lines:
        print(on_one_line(line))
    print("all is well" if sound else "there are problems", file=sys.stderr)
    return 0 if sound else 1
