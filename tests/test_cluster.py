"""Who takes part in a run: what cannot be is refused before anything waits."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fdetect_jax.cluster import Cluster
from fdetect_jax.errors import UserError

ADDRESS = "127.0.0.1:9999"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"coordinator": ADDRESS}, "--num_processes: found none, wanted all of"),
        ({"processes": 2}, "--coordinator: found none, wanted all of"),
        ({"coordinator": "host", "processes": 2, "process": 0}, "--coordinator: found 'host', wanted HOST:PORT"),
        ({"coordinator": "host:0", "processes": 2, "process": 0}, "--coordinator: found 'host:0'"),
        ({"coordinator": ADDRESS, "processes": 0, "process": 0}, "--num_processes: found 0"),
        ({"coordinator": ADDRESS, "processes": 2, "process": 2}, "--process_id: found 2, wanted 0 to 1"),
        ({"seconds": 0}, "--join_seconds: found 0, wanted at least 1"),
    ],
)
def test_what_cannot_be_is_refused(fields, message):
    with pytest.raises(UserError) as error:
        Cluster(**fields)
    assert str(error.value).startswith(message)


def test_no_cluster_is_one_line():
    root = Path(__file__).parents[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "OMPI"))}
    line = [sys.executable, "-m", "fdetect_jax.main", "--config=adv", "--workdir=unused", "--distributed"]
    done = subprocess.run(line, cwd=root, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr.startswith("error: --distributed: found no cluster that JAX knows")
    assert done.stderr.count("\n") == 1
