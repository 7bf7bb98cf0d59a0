"""The ``fdetect`` command: small jobs on the side of training."""

import argparse
import sys
from pathlib import Path

from fdetect_jax.bench.inverter import add_inverter
from fdetect_jax.convert import kinds
from fdetect_jax.datasets.command import add_doctor, add_prepare
from fdetect_jax.errors import UserError
from fdetect_jax.report.facesim_sheet import add_facesim


def main(argv: list[str] | None = None) -> int:
    """Parses the command line and runs one job, which may have an exit status of its own; a user's mistake is one
    line on stderr and exit status 2."""
    parser = argparse.ArgumentParser(prog="fdetect", description=__doc__)
    jobs = parser.add_subparsers(required=True, metavar="JOB")
    predict = jobs.add_parser(
        "predict",
        help="say of images and videos whether their faces are forged",
        epilog="Exit status: 0 nothing is fake, 1 a file is, 2 wrong use, 3 nothing is but a file was unreadable.",
    )
    predict.add_argument("paths", nargs="+", metavar="FILE|DIR", help="images, videos, folders of them")
    predict.add_argument("--output", type=Path, help="a folder for annotated copies and report.html; resumes there")
    predict.add_argument("--json", type=Path, help="write the rows to this file")
    predict.add_argument("--heat-map", action="store_true", help="also draw where the detector looks")
    _add_protocol(predict)
    predict.set_defaults(run=_predict)
    measure = jobs.add_parser("evaluate", help="measure a detector on labelled images and videos")
    measure.add_argument(
        "--data",
        type=Path,
        nargs="+",
        required=True,
        help="what `fdetect prepare` wrote, or folders with real/ and fake/[METHOD/]; several are also pooled",
    )
    measure.add_argument("--split", choices=("train", "val", "test"), help="of prepared data (default: test)")
    measure.add_argument("--output", type=Path, help="a folder for report.html and report.json")
    measure.add_argument("--json", type=Path, help="write the report to this file")
    measure.add_argument(
        "--calibrate", type=Path, metavar="OUT", help="write the weights with a calibration fitted here"
    )
    measure.add_argument(
        "--suite",
        choices=("robustness",),
        help="also measure under JPEG, H.264, resizing, blur, noise and colour, by five severities each: 41 times the "
        "crops, so that fewer --frames save time",
    )
    measure.add_argument("--seed", type=int, default=0, help="of the bootstrap and of the suite's noise (default: 0)")
    _add_protocol(measure)
    measure.set_defaults(run=_evaluate)
    add_prepare(jobs)
    add_doctor(jobs)
    add_inverter(jobs)
    add_facesim(jobs)
    change = jobs.add_parser("convert", help="turn a public checkpoint into safetensors; nothing in it is executed")
    change.add_argument("kind", help=f"one of {', '.join(kinds.names())}")
    change.add_argument("--input", required=True, help="the checkpoint: .pt, .pth, .tar, .pkl or .safetensors")
    change.add_argument("--generator", help="hyperinverter: the StyleGAN2 checkpoint it was made for")
    change.add_argument("--output", required=True, help="the .safetensors to write")
    change.add_argument(
        "--normalization",
        choices=("imagenet", "half", "none"),
        help="efficientnet: of the input (default: none for SBI's weights, else imagenet)",
    )
    change.add_argument("--licence", default="", help="the licence of the weights, kept in the file")
    change.add_argument(
        "--timeout", type=float, default=kinds.SECONDS, help="seconds it may take (default: %(default)g)"
    )
    change.set_defaults(run=_convert)
    back = jobs.add_parser("export", help="write converted weights under their original's key names")
    back.add_argument("input", help="what `fdetect convert` wrote")
    back.add_argument("--layout", help="lukemelas, timm, sbi; nvlabs, rosinality (default: where it came from)")
    back.add_argument("--output", required=True, help="the .safetensors to write")
    back.set_defaults(run=_export)
    bench = jobs.add_parser("bench", help="measure speed, alone or in turn with PyTorch")
    bench.add_argument("names", nargs="*", metavar="NAME", help="which benchmarks (default: all)")
    bench.add_argument("--vs", choices=("torch",), help="compare with PyTorch's fastest variant")
    bench.add_argument("--batch", type=int, default=4, help="images per step (default: 4)")
    bench.add_argument("--dtype", default="float32", help="float32 (default) or bfloat16")
    bench.add_argument("--repeats", type=int, default=5, help="turns of each side (default: 5)")
    bench.add_argument("--peer", help="the one PyTorch variant to run; by default the fastest of all is found first")
    bench.add_argument("--json", type=Path, help="write the rows to this file as well")
    bench.set_defaults(run=_bench)
    memory = jobs.add_parser("memory", help="what a step at the paper's size needs, by XLA's account (minutes)")
    memory.add_argument("--batch", type=int, default=16, help="real faces per step (default: 16)")
    memory.add_argument(
        "--render", choices=("full", "fit"), default="full", help="forgery.latent.render (default: full)"
    )
    memory.add_argument("--no-remat", action="store_true", help="keep every activation")
    memory.set_defaults(run=_memory)
    arguments = parser.parse_args(argv)
    try:
        return arguments.run(arguments) or 0
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _add_protocol(parser: argparse.ArgumentParser) -> None:
    """The detector, and how its scores of faces become one of a file."""
    parser.add_argument("--model", help="weights, or a finished run's folder (default: the bundled demo detector)")
    parser.add_argument("--recipe", help="how faces are cropped, for weights that do not say")
    rate = parser.add_mutually_exclusive_group()
    rate.add_argument("--frames", type=int, help="of a video, evenly spaced (default: 32)")
    rate.add_argument("--per-second", type=float, help="frames of a video per second instead")
    parser.add_argument("--faces", help="largest (one person) or all (default)")
    parser.add_argument(
        "--min-face-share", type=float, default=0.5, help="of a video's frame's largest face, by area (default: 0.5)"
    )
    parser.add_argument(
        "--multi-face", default="max", help="a frame's score: max (default), mean or largest of its faces"
    )
    parser.add_argument("--aggregation", default="mean", help="a video's: mean (default), median, max or top_third")
    parser.add_argument("--threshold", type=float, help="fake from this score on (default: the model's own)")
    parser.add_argument("--workers", type=int, help="processes that read and draw (default: one per core)")
    parser.add_argument(
        "--timeout", type=float, default=600.0, help="seconds per file, to read and to draw (default: 600)"
    )


def _memory(arguments: argparse.Namespace) -> None:
    from fdetect_jax.bench import memory
    from fdetect_jax.bench.setting import Setting

    setting = Setting(arguments.batch, "bfloat16", resolution=1024)
    found = memory.adv_step(arguments.render, not arguments.no_remat, setting)
    print(f"arguments {found.arguments:.1f} GB, temporary {found.temporary:.1f} GB")


def _convert(arguments: argparse.Namespace) -> None:
    options = {"generator": arguments.generator, "normalization": arguments.normalization}
    kinds.convert(
        arguments.kind,
        arguments.input,
        arguments.output,
        licence=arguments.licence,
        seconds=arguments.timeout,
        **options,
    )
    print(arguments.output)


def _export(arguments: argparse.Namespace) -> None:
    kinds.export(arguments.input, arguments.output, arguments.layout)
    print(arguments.output)


def _predict(arguments: argparse.Namespace) -> int:
    from fdetect_jax.predict.command import run

    return run(arguments)


def _evaluate(arguments: argparse.Namespace) -> None:
    from fdetect_jax.evaluation.command import run

    run(arguments)


def _bench(arguments: argparse.Namespace) -> None:
    from fdetect_jax.bench.run import run
    from fdetect_jax.bench.setting import Setting

    setting = Setting(batch=arguments.batch, dtype=arguments.dtype)
    run(arguments.names, setting, arguments.repeats, arguments.vs == "torch", arguments.peer, arguments.json)
