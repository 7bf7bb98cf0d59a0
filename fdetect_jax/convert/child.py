"""The child process that reads and converts a checkpoint. In: a job. Out: a safetensors file, or an error.

This file imports no JAX: the parent imports it too, and a file that is refused is refused before JAX is imported.
"""

import importlib
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path

from fdetect_jax.convert.checkpoint import chosen_weights, read_checkpoint
from fdetect_jax.convert.kinds import Converter
from fdetect_jax.convert.tensors import CheckpointError
from fdetect_jax.errors import UserError
from fdetect_jax.files import sha256_of
from fdetect_jax.host import keep_freed_memory

DETECTOR = "detector"  # the kind of a file that holds a detector of the registry


@dataclass(frozen=True)
class Job:
    """One conversion.

    converter: of this kind. options: of its `convert`. output: the file to write, in a folder of this job alone.
    weights_key: see `checkpoint.chosen_weights`.
    """

    kind: str
    converter: Converter
    source: str
    options: dict[str, str]
    licence: str
    output: str
    weights_key: str | None = None


def set_limits(memory: int) -> None:
    """Limits this process to `memory` bytes of address space and to no core dump. Linux alone; else does nothing."""
    if sys.platform != "linux":
        return
    import resource

    keep_freed_memory()  # one arena: glibc reserves 64 MB of addresses for each thread otherwise
    for limit, wanted in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_CORE, 0)):
        _, most = resource.getrlimit(limit)
        resource.setrlimit(limit, (wanted if most == resource.RLIM_INFINITY else min(wanted, most), most))


def work(job: Job) -> Exception | None:
    """Converts; returns the error, if any, for the parent to raise. A bug's is a RuntimeError with its traceback."""
    try:
        _convert(job)
    except (UserError, OSError) as error:
        return error
    except MemoryError:
        return CheckpointError(f"{job.source}: cannot be converted: needs more memory than it may have")
    except RecursionError:
        return CheckpointError(f"{job.source}: cannot be converted: nests too deeply")
    except Exception:
        return RuntimeError(f"{job.source}: the conversion failed\n{traceback.format_exc()}")
    return None


def _convert(job: Job) -> None:
    found = read_checkpoint(job.source)
    key, others = "", []
    if job.converter.keyed:
        try:
            found, key, others = chosen_weights(found, job.weights_key)
        except CheckpointError as error:
            raise CheckpointError(f"{job.source}: {error}") from None
    if others and job.weights_key is None:
        print(f"{job.source}: takes {key}; it also has {', '.join(others)}, see --weights-key", file=sys.stderr)

    import jax

    jax.config.update("jax_platforms", "cpu")  # a GPU's driver needs more addresses than the limit
    from fdetect_jax import weights

    module = importlib.import_module(job.converter.module)
    try:
        config, variables, layout = module.convert(found, **job.options)
    except CheckpointError as error:
        raise CheckpointError(f"{job.source}: {error}") from None
    notes = {"layout": layout, "licence": job.licence or "not stated"}
    notes |= {"weights_key": key} if key else {}
    notes |= {"source": Path(job.source).name, "source_sha256": sha256_of(job.source)}
    for name in job.converter.files:
        path = job.options[name]
        notes |= {f"{name}_source": Path(path).name, f"{name}_sha256": sha256_of(path)}
    if size := job.converter.size:
        notes |= {"size": size if isinstance(size, str) else size[config["name"]]}
    kind = DETECTOR if job.converter.detector else job.kind
    notes |= {"converter": job.kind} if job.converter.detector else {}
    weights.save(job.output, kind, config, variables, **notes)
