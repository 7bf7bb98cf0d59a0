"""The door: ``python -m fdetect_jax.main --config=configs/adv.py [--config.FIELD=VALUE …] [--workdir=DIR]``."""

from pathlib import Path

from absl import app, flags
from ml_collections import config_flags

from fdetect_jax.host import set_up

_CONFIG = config_flags.DEFINE_config_file("config", None, "What to run: a file of configs/, with :variant.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Everything the run makes; runs/<config> by default. Same dir: resume.")


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"found the stray argument {argv[1]!r}")
    from absl import logging

    logging.set_verbosity(logging.WARNING)
    from fdetect_jax import config as checks
    from fdetect_jax.errors import UserError
    from fdetect_jax.train.loop import NonFiniteError, train_and_evaluate
    from fdetect_jax.train.trainers import make_task

    config = _CONFIG.value
    try:
        workdir = _WORKDIR.value or Path("runs") / _name(flags.FLAGS["config"].config_filename)
        if config.task == "table":
            from fdetect_jax.experiments.table import run_table

            run_table(config, workdir)
            return
        checks.check(config)
        train_and_evaluate(config, workdir, make_task(config))
    except (UserError, NonFiniteError) as error:
        raise SystemExit(f"error: {error}") from error


def _name(filename: str) -> str:
    file, _, variant = filename.partition(":")
    return Path(file).stem + (f"_{variant}" if variant else "")


if __name__ == "__main__":
    set_up()  # a config file may import JAX
    flags.mark_flag_as_required("config")
    app.run(main)
