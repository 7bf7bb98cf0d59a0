"""Makes one detector of several trainings: trains the experts, joins them, and fits the calibration of the whole."""

from pathlib import Path

from ml_collections import ConfigDict

from fdetect_jax import config as checks
from fdetect_jax import parallel
from fdetect_jax.convert.experts import join
from fdetect_jax.errors import UserError
from fdetect_jax.evaluation.job import Job, measure
from fdetect_jax.experiments.runs import Run, changed, train
from fdetect_jax.fields import get, one_of, refuse
from fdetect_jax.inference.protocol import Protocol
from fdetect_jax.inference.scorer import Scorer
from fdetect_jax.remote import here
from fdetect_jax.train.detector import check_network

_OWN = ("experts", "false_alarms")  # fields that the trainings of the experts do not have
_JOINED = "joined.safetensors"  # before its calibration


def run_experts(config: ConfigDict, workdir: str | Path) -> None:
    """Trains every expert in ``<workdir>/<name>``, resumes unfinished ones, and joins them.

    ``<workdir>/detector.safetensors`` is the whole detector in half precision, its thresholds fitted on the validation
    split to ``false_alarms``; ``report.html`` and ``report.json`` measure it on the test split.

    Raises:
      UserError: before any work. Stopped: after SIGTERM; the same command resumes.
    """
    workdir = Path(workdir)
    runs = _runs(config, workdir)
    root = Path(here(runs[0].config.data.root))
    made, unfitted = workdir / "detector.safetensors", workdir / _JOINED
    fit = Job([root], "val", calibrate=made, false_alarms=tuple(get(config, "false_alarms")))
    test = Job([root], "test", output=workdir)
    val, held_out = fit.open(), test.open()
    for _ in train(runs, _say):
        pass
    if parallel.process() > 0:  # the first process writes
        return
    join([run.folder / "detector.safetensors" for run in runs], unfitted, config.description)
    _say("fitting the thresholds on the validation split")
    try:
        measure(fit, val, Scorer(unfitted), Protocol())
        unfitted.unlink()
    except UserError as error:
        _say(f"not calibrated: {error}")
        unfitted.replace(made)
    _say("testing")
    scorer = Scorer(made)
    own = scorer.calibration
    measure(test, held_out, scorer, Protocol(threshold=own.threshold, suspicious=own.suspicious))


def _runs(config: ConfigDict, workdir: Path) -> list[Run]:
    experts = get(config, "experts")
    if len(experts) < 2:
        refuse("experts", sorted(experts), "two or more trainings")
    runs = [
        Run(name, config.seed, changed(config, experts[name], config.seed, _OWN), workdir / name) for name in experts
    ]
    for run in runs:
        try:
            with parallel.apart():
                checks.check(run.config)
                check_network(run.config)
            one_of(run.config, "data.source", ["prepared"])
            for field in ("detector.name", "detector.overrides", "data.root"):
                one, first = (get(each.config, field) for each in (run, runs[0]))
                if one != first:
                    raise UserError(f"{field}: found {one!r}, wanted {first!r} as in {runs[0].variant}")
        except UserError as error:
            raise UserError(f"experts.{run.variant}: {error}") from None
    return runs


def _say(text: str) -> None:
    print(text, flush=True)
