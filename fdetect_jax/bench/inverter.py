"""``fdetect inverter``: measures how well an inverter reconstructs held-out faces, and draws its sample grid."""

import argparse
from pathlib import Path


def add_inverter(jobs) -> None:
    """Adds ``fdetect inverter`` and its arguments to an ``argparse`` group of sub-commands."""
    parser = jobs.add_parser("inverter", help="measure an inverter on held-out faces and draw its sample grid")
    parser.add_argument("inverter", help="a bundled one (facesim64, faces64) or a folder of safetensors")
    parser.add_argument("--root", help="a folder of photographs; default: procedural faces")
    parser.add_argument("--split", default="test", choices=("train", "val", "test"), help="of people (default: test)")
    parser.add_argument("--limit", type=int, default=400, help="how many faces at most (default: 400)")
    parser.add_argument("--size", type=int, help="a detector's input: also measure what render=fit changes there")
    grid = "write the grid real | E | E + H | difference | random faces to this PNG"
    parser.add_argument("--output", type=Path, help=grid)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    from fdetect_jax.host import set_up

    set_up()
    from fdetect_jax import assets
    from fdetect_jax.data.sources import make_source
    from fdetect_jax.evaluation.reconstruction import measure, samples
    from fdetect_jax.files import check_output
    from fdetect_jax.gan import inversion
    from fdetect_jax.report.gallery import gallery_png

    if arguments.output:
        check_output(arguments.output, "--output")
    networks, variables = inversion.load(assets.inverter(arguments.inverter))
    source = make_source(_data(arguments.root, networks.resolution), arguments.split)
    figures, columns = measure(networks, variables, source, arguments.limit, size=arguments.size)
    for name, value in figures.items():
        print(f"{name:14s} {value:.3f}")
    if arguments.output:
        columns |= samples(networks, variables, len(columns["real"]), seed=0)
        gallery_png(columns, arguments.output)
        print(arguments.output)


def _data(root: str | None, size: int):
    from ml_collections import ConfigDict

    if root:
        return ConfigDict({"source": "folder", "root": root, "recipe": f"aligned{size}", "size": size})
    identities = {"train": 2000, "val": 100, "test": 100}
    return ConfigDict({"source": "facesim", "size": size, "identities": identities, "per_identity": 4, "seed": 0})
