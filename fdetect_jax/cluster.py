"""Several processes as one run: the only file that calls ``jax.distributed``.

In: who takes part. Afterwards ``jax.devices()`` holds the devices of all of them. Call it before JAX is used.
"""

import os
import sys
import threading
from dataclasses import dataclass

from fdetect_jax.errors import WRONG_USE, UserError

_SILENT = 30  # seconds after which a process that does not answer counts as dead; the others end then
_LAST = 3600  # seconds that processes wait at the end for the first one, which writes the report


@dataclass(frozen=True)
class Cluster:
    """Who takes part in a run.

    coordinator: HOST:PORT of process 0, which all can reach. processes: how many there are. process: the number of
    this one, from 0. All three None: JAX asks the cluster (Cloud TPU, GKE, Slurm, Open MPI). seconds: how long to wait
    until all have joined.
    """

    coordinator: str | None = None
    processes: int | None = None
    process: int | None = None
    seconds: int = 300

    def __post_init__(self) -> None:
        given = {"--coordinator": self.coordinator, "--num_processes": self.processes, "--process_id": self.process}
        missing = [name for name, value in given.items() if value is None]
        if missing and len(missing) < len(given):
            raise UserError(f"{missing[0]}: found none, wanted all of {', '.join(given)}, or --distributed alone")
        if self.seconds < 1:
            raise UserError(f"--join_seconds: found {self.seconds}, wanted at least 1")
        if missing:
            return
        host, _, port = self.coordinator.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
            raise UserError(f"--coordinator: found {self.coordinator!r}, wanted HOST:PORT of process 0")
        if self.processes < 1:
            raise UserError(f"--num_processes: found {self.processes}, wanted at least 1")
        if not 0 <= self.process < self.processes:
            raise UserError(f"--process_id: found {self.process}, wanted 0 to {self.processes - 1}")


def join(cluster: Cluster) -> None:
    """Joins this process to the others, once, before JAX computes.

    Raises:
      UserError: JAX knows no cluster here, or cannot listen on the coordinator's address. Where not all processes have
        come after ``cluster.seconds``, the process prints one line and ends with status 2: XLA would abort it.
    """
    import jax

    # SIGTERM belongs to the training loop, which agrees with the other processes on the step to stop at.
    jax.config.update("jax_enable_preemption_service", False)
    known = cluster.coordinator is not None
    late = threading.Timer(cluster.seconds, _missing, (cluster,))
    late.daemon = True
    late.start()
    try:
        jax.distributed.initialize(
            cluster.coordinator,
            cluster.processes,
            cluster.process,
            cluster_detection_method="deactivate" if known else None,
            initialization_timeout=cluster.seconds + 60,
            heartbeat_timeout_seconds=_SILENT,
            shutdown_timeout_seconds=_LAST,
        )
    except ValueError as error:
        raise UserError(
            f"--distributed: found no cluster that JAX knows ({' '.join(str(error).split())}), wanted Cloud TPU, GKE, "
            "Slurm or Open MPI, or --coordinator, --num_processes and --process_id"
        ) from error
    except (RuntimeError, OSError) as error:
        raise UserError(f"--coordinator: cannot join: {' '.join(str(error).split()):.300}") from error
    finally:
        late.cancel()


def _missing(cluster: Cluster) -> None:
    among = "the processes" if cluster.processes is None else f"the {cluster.processes} processes"
    where = "" if cluster.coordinator is None else f" at {cluster.coordinator}"
    text = f"found not all of {among}{where} within {cluster.seconds} s, wanted all of them: one has not started, or "
    os.write(2, f"error: --join_seconds: {text}cannot reach the coordinator\n".encode())
    os._exit(WRONG_USE)


def leave(status: int) -> None:
    """Ends this process, whose run has failed, at once.

    At a usual end it would wait for the others, which wait for it: so they learn of it when they next compute.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)
