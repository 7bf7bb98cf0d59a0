"""``fdetect evaluate``: arguments in, a table and files out."""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from tqdm import tqdm

from fdetect_jax.host import prepare

if TYPE_CHECKING:  # JAX comes after what host sets
    from fdetect_jax.evaluation.judge import Judge
    from fdetect_jax.evaluation.protocol import Protocol

_COLUMNS = ("auc", "accuracy", "eer", "ap", "tpr_at_fpr_1%", "tpr_at_fpr_0.1%", "ece")


def chosen(arguments: argparse.Namespace) -> "tuple[Judge, Protocol]":
    """The detector and the protocol that ``predict``'s and ``evaluate``'s arguments name; the demo is announced.

    Raises ValueError as both do.
    """
    from fdetect_jax.evaluation.judge import Judge
    from fdetect_jax.evaluation.protocol import Protocol
    from fdetect_jax.media.video import Sampling

    count = None if arguments.per_second is not None else 32 if arguments.frames is None else arguments.frames
    sampling = Sampling(count, arguments.per_second)
    judge = Judge(arguments.model, recipe=arguments.recipe)
    if arguments.model is None:
        print(f"no --model given: the bundled demo detector judges ({judge.description})", file=sys.stderr)
    threshold = judge.threshold if arguments.threshold is None else arguments.threshold
    rules = {name: getattr(arguments, name) for name in ("faces", "min_face_share", "multi_face", "aggregation")}
    return judge, Protocol(sampling, threshold=threshold, **rules)


def run(arguments: argparse.Namespace) -> None:
    """Judges labelled files, prints their figures, and writes what is asked for.

    Raises ValueError before any work where the data, the model, the protocol or an output cannot be used.
    """
    prepare()
    from fdetect_jax.evaluation.calibration import write_calibrated
    from fdetect_jax.evaluation.evaluate import calibrate, levels, report
    from fdetect_jax.evaluation.evaluation_page import render
    from fdetect_jax.evaluation.labelled import Excluded, files_of, judge_folder
    from fdetect_jax.files import write_atomic

    root = arguments.data
    if arguments.split is not None:
        raise ValueError(f"split: found {arguments.split!r}, wanted none: {root} has no splits")
    total = len(files_of(root))
    for path in (arguments.json, arguments.calibrate):
        if path is not None and not path.parent.is_dir():
            raise ValueError(f"{path}: found no folder {str(path.parent)!r}")
    if arguments.calibrate is not None and arguments.calibrate.suffix != ".safetensors":
        raise ValueError(f"{arguments.calibrate}: wanted a name that ends in .safetensors")
    judge, protocol = chosen(arguments)
    judged, excluded = [], []
    files = judge_folder(root, judge, protocol, arguments.workers, arguments.timeout)
    for one in tqdm(files, total=total, unit="file", disable=None):
        (excluded if isinstance(one, Excluded) else judged).append(one)
    found = {"model": {"file": judge.path.name, "description": judge.description, "recipe": judge.recipe.to_dict()}}
    found |= report(judged, excluded, judge.calibration, protocol, arguments.seed)
    for line in _summary(found):
        print(line)
    text = json.dumps(found, indent=1, allow_nan=False) + "\n"
    if arguments.json:
        write_atomic(arguments.json, text)
    if arguments.output:
        page = render(
            found, judged, levels(judged, judge.calibration, protocol), root.resolve().name, judge.description
        )
        write_atomic(arguments.output / "report.json", text)
        write_atomic(arguments.output / "report.html", page)
        print(arguments.output / "report.html", file=sys.stderr)
    if arguments.calibrate:
        calibration = calibrate(judged, protocol, root.resolve().name)
        write_calibrated(judge.path, arguments.calibrate, calibration)
        print(
            f"{arguments.calibrate}: temperature {calibration.temperature:.4g}, bias {calibration.bias:.4g}, "
            f"threshold {calibration.threshold:.4g}"
        )


def _summary(found: Mapping) -> Iterator[str]:
    """The figures as lines of text."""
    yield f"{'':28s}" + "".join(f"{name.replace('_at_fpr', ''):>14s}" for name in _COLUMNS)
    lines = [("all", found), *found["sources"].items()] if len(found["sources"]) > 1 else [("all", found)]
    for source, methods in found["methods"].items():
        if len(methods) > 1:
            lines += [(f"{source}: {method}", of_method) for method, of_method in methods.items()]
    for title, of_line in lines:
        for level in ("video", "frame"):
            one = of_line[level]
            values = ("–" if one[name] is None else f"{one[name]:.4f}" for name in _COLUMNS)
            counts = f"({one['n_real']} real, {one['n_fake']} fake)"
            yield f"{title[:20]:20s} {level:7s}" + "".join(f"{value:>14s}" for value in values) + f"  {counts}"
    for reason, files in found["data"]["reasons"].items():
        yield f"excluded: {len(files)} {reason}"
