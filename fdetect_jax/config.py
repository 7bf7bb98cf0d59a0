"""The checks of a config before any work starts: what every run has is checked here, the rest by whom it concerns.

A config comes from a file of ``configs/`` with fields overridden on the command line.
"""

from ml_collections import ConfigDict

from fdetect_jax.fields import get, one_of, refuse, whole
from fdetect_jax.train.trainers import TRAINERS


def check(config: ConfigDict) -> None:
    """Checks every field that can be checked without working.

    Raises:
      UserError: naming the first field that does not fit, what was found and what was wanted.
    """
    one_of(config, "task", TRAINERS)
    for field in ("steps", "log_every", "checkpoint_every", "keep_checkpoints"):
        whole(config, field, 1)
    whole(config, "seed", 0)
    if not isinstance(text := get(config, "description"), str):
        refuse("description", text, "text")
    TRAINERS[config.task].load().check(config)
