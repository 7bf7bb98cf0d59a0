"""``fdetect probe``: arguments in, lines and a detector out."""

import argparse
import dataclasses
from pathlib import Path


def add_probe(jobs) -> None:
    """Adds ``fdetect probe`` to an ``argparse`` group of sub-commands."""
    parser = jobs.add_parser(
        "probe",
        help="fit a detector to a few labelled faces in seconds, on a trained network that stays as it is",
        description="Finds the faces of labelled files, lets a trained network describe them, and fits a classifier to "
        "these descriptions. Prints the AUC of cross-validation over groups (a person, a video), and writes a detector "
        "for `fdetect predict --model`, `fdetect evaluate --model` and fdetect_jax.load.",
        epilog="The AUC says how well it does on files like these, and nothing of other sources: measure it on some "
        "with `fdetect evaluate`. A folder right below real/ is taken for one person; where it is none, put the files "
        "into real/ itself, or a manifest.csv with a column group into DIR.",
    )
    parser.add_argument("--model", help="weights of the network, or a finished run's folder (default: the bundled one)")
    parser.add_argument("--recipe", help="crop recipe, for weights that do not name one")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="what the network computes in")
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        metavar="DIR",
        required=True,
        help="folders with real/ and fake/[METHOD/], 5 files in each or more; or output of `fdetect prepare`",
    )
    parser.add_argument("--split", choices=("train", "val", "test"), help="of prepared data (default: train)")
    parser.add_argument("--output", type=Path, required=True, help="the .safetensors to write")
    parser.add_argument(
        "--kind",
        default="logistic",
        help="logistic: a linear classifier of the embedding (default); knn: votes of the nearest faces; fakespotter: "
        "the share of active neurons in each layer, classified by five dense layers; svm: the same by a linear support "
        "vector machine",
    )
    parser.add_argument("--k", type=int, default=5, help="knn: how many faces vote (default: 5)")
    parser.add_argument(
        "--neuron",
        default="unit",
        help="fakespotter, svm: unit, every value of a feature map (default), or channel, the mean of each channel",
    )
    parser.add_argument("--frames", type=int, help="frames of a video, evenly spaced (default: 8)")
    parser.add_argument("--seed", type=int, default=0, help="seed of folds and draws (default: 0)")
    parser.add_argument("--workers", type=int, help="processes that read files (default: one per core)")
    parser.add_argument("--timeout", type=float, default=600.0, help="time limit per file in seconds (default: 600)")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    from fdetect_jax.host import set_up

    set_up()  # before JAX
    from fdetect_jax.evaluation.probe import Job, probe
    from fdetect_jax.inference.trunk import Trunk

    job = Job(**{field.name: getattr(arguments, field.name) for field in dataclasses.fields(Job)})
    sets = job.open()
    probe(job, sets, Trunk(arguments.model, arguments.recipe, arguments.dtype))
