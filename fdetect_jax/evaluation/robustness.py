"""How well a detector holds under degradations: files scored under each in, AUC against severity out, as figures for
JSON and lines of text.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from fdetect_jax.evaluation.degrade import CONDITIONS, DEGRADATIONS
from fdetect_jax.evaluation.results import measure
from fdetect_jax.evaluation.table import Test
from fdetect_jax.evaluation.units import units_of
from fdetect_jax.inference.calibration import Calibration
from fdetect_jax.inference.labelled import ScoredFile
from fdetect_jax.inference.protocol import Protocol

_KEPT = ("auc", "auc_interval", "balanced_accuracy")


def robustness(
    files: Sequence[ScoredFile],
    clean: Mapping[str, Mapping],
    calibration: Calibration,
    protocol: Protocol,
    seed: int = 0,
) -> dict:
    """AUC under every degradation, fit for JSON.

    Args:
      files: of both classes, with ``degraded``. clean: level -> ``results.measure`` of the same files as they are.

    Returns:
      ``clean``: level -> auc, auc_interval (95 %, over files), balanced_accuracy; ``degradations``: name -> title,
      parameter, values, and for each level a list of the same figures, from mild to severe; ``worst``: of each level,
      where its AUC is lowest: degradation, severity (1 to 5), value, auc, and fall, by how much it is below clean.
    """
    found: dict[str, dict] = {
        name: {"title": one.title, "parameter": one.parameter, "values": list(one.values)}
        | {level: [] for level in clean}
        for name, one in DEGRADATIONS.items()
    }
    for number, (name, _) in enumerate(CONDITIONS):
        here = units_of([replace(one, margins=one.degraded[number]) for one in files], calibration, protocol)
        for level in clean:
            test = Test(level, "", here[level], level)
            found[name][level].append(_kept(measure(test, calibration, protocol.threshold, seed)))
    return {
        "clean": {level: _kept(of_level) for level, of_level in clean.items()},
        "degradations": found,
        "worst": {level: _worst(found, level, of_level["auc"]) for level, of_level in clean.items()},
    }


def _kept(of_level: Mapping) -> dict:
    return {name: of_level[name] for name in _KEPT}


def _worst(found: Mapping[str, Mapping], level: str, clean: float) -> dict:
    aucs = {(name, number): one["auc"] for name, of in found.items() for number, one in enumerate(of[level])}
    name, number = min(aucs, key=aucs.__getitem__)
    auc = aucs[name, number]
    value = found[name]["values"][number]
    return {"degradation": name, "severity": number + 1, "value": value, "auc": auc, "fall": clean - auc}


def describe_worst(worst: Mapping) -> str:
    """For example "JPEG, quality 10: 0.6123, 0.3001 below clean"."""
    if worst["fall"] <= 0:
        return "none is below clean"
    named = DEGRADATIONS[worst["degradation"]].named(worst["value"])
    return f"{named}: {worst['auc']:.4f}, {worst['fall']:.4f} below clean"


def summary(found: Mapping, titles: Mapping[str, str]) -> Iterator[str]:
    """Lines of text. found: of ``robustness``. titles: level -> what a reader calls it."""
    for level, title in titles.items():
        yield ""
        head = "".join(f"{severity:>8d}" for severity in range(1, 6))
        yield f"{f'AUC by severity: {title.lower()}':26s}{'clean':>8s}{head}"
        for of in found["degradations"].values():
            aucs = "".join(f"{one['auc']:8.4f}" for one in of[level])
            values = ", ".join(f"{value:g}" for value in of["values"])
            yield f"{of['title']:26s}{found['clean'][level]['auc']:8.4f}{aucs}  {of['parameter']} {values}"
        yield f"worst: {describe_worst(found['worst'][level])}"
