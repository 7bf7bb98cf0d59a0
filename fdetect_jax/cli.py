"""The ``fdetect`` command: jobs other than training."""

import argparse
import importlib.metadata
from pathlib import Path

from fdetect_jax.bench.inverter import add_inverter
from fdetect_jax.convert import kinds
from fdetect_jax.datasets.command import add_doctor, add_prepare
from fdetect_jax.errors import UserError, exit_status
from fdetect_jax.evaluation.probe_command import add_probe
from fdetect_jax.report.facesim_sheet import add_facesim
from fdetect_jax.service.command import add_service


def main(argv: list[str] | None = None) -> int:
    """Parses the command line and runs one job, which may return its own exit status; see ``errors.exit_status`` for
    that of a job that ends with an exception."""
    with exit_status() as status:
        arguments = _parser().parse_args(argv)
        status.code = arguments.run(arguments) or 0
    return status.code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fdetect", description=__doc__)
    parser.add_argument("--version", action="version", version=f"fdetect {importlib.metadata.version('fdetect-jax')}")
    jobs = parser.add_subparsers(required=True, metavar="JOB")
    help_ = jobs.add_parser("help", help="show this help, or that of a job")
    help_.add_argument("job", nargs="?", metavar="JOB", choices=jobs.choices, help="the job")
    help_.set_defaults(run=lambda arguments: (jobs.choices.get(arguments.job) or parser).print_help())
    predict = jobs.add_parser(
        "predict",
        help="detect forged faces in images and videos",
        epilog="Exit status: 0 no file is fake, 1 a file is, 2 wrong use, 3 none is but a file was unreadable, 70 the "
        "program failed, 130 stopped by Ctrl-C.",
    )
    predict.add_argument("paths", nargs="+", metavar="FILE|DIR", help="images, videos, folders of them")
    predict.add_argument(
        "--output", type=Path, help="folder of annotated copies and report.html; resumes an earlier run there"
    )
    predict.add_argument("--json", type=Path, help="write the rows to this file; - is the standard output")
    predict.add_argument("--heat-map", action="store_true", help="also draw a heat map of the detector's attention")
    predict.add_argument(
        "--server",
        metavar="URL",
        help="judge with the service there (`fdetect serve`), which takes --model (a name), --faces, --frames, "
        "--per-second and --heat-map of the options below",
    )
    predict.add_argument(
        "--key", help="with --server: its key (default: FDETECT_KEY of the environment, which other users cannot see)"
    )
    _add_protocol(predict)
    predict.set_defaults(run=_predict)
    measure = jobs.add_parser("evaluate", help="measure a detector on labelled images and videos")
    measure.add_argument(
        "--data",
        type=Path,
        nargs="+",
        required=True,
        help="output of `fdetect prepare`, or folders with real/ and fake/[METHOD/]; several are also pooled",
    )
    measure.add_argument("--split", choices=("train", "val", "test"), help="of prepared data (default: test)")
    measure.add_argument("--output", type=Path, help="folder of report.html and report.json")
    measure.add_argument("--json", type=Path, help="write the report to this file; - is the standard output")
    measure.add_argument(
        "--calibrate", type=Path, metavar="OUT", help="write the weights with a calibration fitted here"
    )
    measure.add_argument(
        "--false-alarms",
        type=float,
        nargs=2,
        metavar=("SUSPICIOUS", "FAKE"),
        help="with --calibrate: thresholds that these shares of the real files of the worst source reach (0.05 0.01)",
    )
    measure.add_argument(
        "--suite",
        choices=("robustness",),
        help="also measure under JPEG, H.264, resizing, blur, noise and colour, at five severities each: 41 times the "
        "crops; fewer --frames save time",
    )
    measure.add_argument(
        "--seed", type=int, default=0, help="seed of the bootstrap and of the degradations' noise (default: 0)"
    )
    _add_protocol(measure)
    measure.set_defaults(run=_evaluate)
    add_probe(jobs)
    add_prepare(jobs)
    add_doctor(jobs)
    add_inverter(jobs)
    add_facesim(jobs)
    add_service(jobs)
    change = jobs.add_parser("convert", help="turn a public checkpoint into safetensors; nothing in it is executed")
    change.add_argument("kind", help=f"one of {', '.join(kinds.names())}")
    change.add_argument("--input", required=True, help="the checkpoint: .pt, .pth, .tar, .pkl, .h5 or .safetensors")
    change.add_argument("--generator", help="hyperinverter: the StyleGAN2 checkpoint it was made for")
    change.add_argument("--decoder", help="classnseg: the decoder that was trained with the encoder")
    change.add_argument("--trunk", help="capsule: torchvision's VGG-19, which its weights lack")
    change.add_argument("--templates", help="ffd: the folder of the templates it was trained with, for map type tmp")
    change.add_argument("--output", required=True, help="the .safetensors to write")
    change.add_argument(
        "--normalization",
        choices=("imagenet", "half", "none"),
        help="efficientnet: input normalization (default: none for SBI's weights, else imagenet)",
    )
    change.add_argument(
        "--real-class",
        choices=("0", "1"),
        help="capsule: the class that is real (default: 1 for version 1's weights, 0 for version 2's)",
    )
    change.add_argument(
        "--weights-key", help="of a checkpoint with several: state_dict, … (default: averaged weights before others)"
    )
    change.add_argument("--licence", default="", help="the licence of the weights, kept in the file")
    change.add_argument(
        "--timeout", type=float, default=kinds.SECONDS, help="time limit in seconds (default: %(default)g)"
    )
    change.set_defaults(run=_convert)
    together = jobs.add_parser(
        "join", help="make one detector of several trained ones, whose margin is the mean of theirs"
    )
    together.add_argument("inputs", nargs="+", metavar="WEIGHTS", help="of trainings of one EfficientNet")
    together.add_argument("--output", required=True, help="the .safetensors to write, in half precision")
    together.add_argument("--description", default="", help="kept in the file")
    together.set_defaults(run=_join)
    back = jobs.add_parser("export", help="write converted weights under their original's key names")
    back.add_argument("input", help="output of `fdetect convert`")
    back.add_argument("--layout", help="lukemelas, timm, sbi; nvlabs, rosinality (default: its original layout)")
    back.add_argument("--output", required=True, help="the .safetensors to write")
    back.set_defaults(run=_export)
    bench = jobs.add_parser("bench", help="measure speed, alone or in turn with PyTorch")
    bench.add_argument("names", nargs="*", metavar="NAME", help="which benchmarks (default: all)")
    bench.add_argument("--vs", choices=("torch",), help="compare with PyTorch's fastest variant")
    bench.add_argument("--batch", type=int, default=4, help="images per step (default: 4)")
    bench.add_argument("--dtype", default="float32", help="float32 (default) or bfloat16")
    bench.add_argument("--repeats", type=int, default=5, help="turns of each side (default: 5)")
    bench.add_argument("--peer", help="the one PyTorch variant to run; default: the fastest of all")
    bench.add_argument("--json", type=Path, help="write the rows to this file as well; - is the standard output")
    bench.set_defaults(run=_bench)
    memory = jobs.add_parser("memory", help="memory of a step at the paper's size, by XLA's analysis (takes minutes)")
    memory.add_argument("--batch", type=int, default=16, help="real faces per step (default: 16)")
    memory.add_argument(
        "--render", choices=("full", "fit"), default="full", help="forgery.latent.render (default: full)"
    )
    memory.add_argument("--no-remat", action="store_true", help="keep every activation")
    memory.set_defaults(run=_memory)
    return parser


def _add_protocol(parser: argparse.ArgumentParser) -> None:
    """Adds the detector's arguments, and those that combine its scores of faces into one score per file."""
    parser.add_argument("--model", help="weights, or a finished run's folder (default: the bundled detector)")
    parser.add_argument("--recipe", help="crop recipe, for weights that do not name one")
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        help="what the detector computes in (default: bfloat16 on TPUs and on GPUs that have it, else float32)",
    )
    rate = parser.add_mutually_exclusive_group()
    rate.add_argument("--frames", type=int, help="frames per video, evenly spaced (default: 32)")
    rate.add_argument("--per-second", type=float, help="frames per second of a video instead")
    parser.add_argument("--faces", help="largest (one person) or all (default)")
    parser.add_argument(
        "--min-face-share",
        type=float,
        default=0.5,
        help="smallest face that counts, relative to the frame's largest, by area (default: 0.5)",
    )
    parser.add_argument(
        "--multi-face", default="max", help="score of a frame: max (default), mean or largest of its faces"
    )
    parser.add_argument(
        "--aggregation", default="mean", help="score of a video: mean (default), median, max, top_third or votes"
    )
    parser.add_argument(
        "--views",
        type=int,
        default=1,
        help="crops of each face with margins as training draws them; the mean of the higher half counts (default: 1)",
    )
    parser.add_argument("--threshold", type=float, help="lowest score that counts as fake (default: the model's own)")
    parser.add_argument("--workers", type=int, help="processes that read files and draw copies (default: one per core)")
    parser.add_argument(
        "--timeout",
        type=float,
        default=600.0,
        help="time limit per file in seconds, for reading and for drawing (default: 600)",
    )


def _memory(arguments: argparse.Namespace) -> None:
    from fdetect_jax.bench import memory
    from fdetect_jax.bench.setting import Setting

    setting = Setting(arguments.batch, "bfloat16", resolution=1024)
    found = memory.adv_step(arguments.render, not arguments.no_remat, setting)
    print(f"arguments {found.arguments:.1f} GB, temporary {found.temporary:.1f} GB")


def _convert(arguments: argparse.Namespace) -> None:
    from fdetect_jax.convert.conversion import convert

    names = ("generator", "decoder", "templates", "normalization", "trunk", "real_class")
    options = {name: getattr(arguments, name) for name in names}
    convert(
        arguments.kind,
        arguments.input,
        arguments.output,
        licence=arguments.licence,
        seconds=arguments.timeout,
        weights_key=arguments.weights_key,
        **options,
    )
    print(arguments.output)


def _join(arguments: argparse.Namespace) -> None:
    from fdetect_jax.convert.experts import join

    join(arguments.inputs, arguments.output, arguments.description)


def _export(arguments: argparse.Namespace) -> None:
    from fdetect_jax.convert.conversion import export

    export(arguments.input, arguments.output, arguments.layout)
    print(arguments.output)


def _predict(arguments: argparse.Namespace) -> int:
    if arguments.server is not None:
        from fdetect_jax.predict.server import run as judged_there

        bare = argparse.ArgumentParser()
        _add_protocol(bare)
        return judged_there(arguments, vars(bare.parse_args([])))
    if arguments.key is not None:
        raise UserError("--key: found without --server, wanted both")
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
