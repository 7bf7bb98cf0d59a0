"""``fdetect evaluate``: arguments in, a table and files out."""

import argparse
import dataclasses

from fdetect_jax.errors import UserError
from fdetect_jax.host import set_up


def run(arguments: argparse.Namespace) -> None:
    """Scores labelled files, prints their measures, and writes what is asked for.

    Raises UserError before any work where the data, the model, the protocol or an output cannot be used.
    """
    set_up()  # before JAX
    from fdetect_jax.evaluation.job import Job, measure
    from fdetect_jax.inference.options import chosen

    job = Job(**{field.name: getattr(arguments, field.name) for field in dataclasses.fields(Job)})
    sets = job.open()
    for name in ("frames", "per_second", "faces"):
        if (found := getattr(arguments, name)) is not None and (own := [one for one in sets if one.prepared]):
            raise UserError(f"{name}: found {found!r}, wanted none: {own[0].root} was prepared with its own")
    measure(job, sets, *chosen(arguments))
