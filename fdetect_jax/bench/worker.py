"""One side of one benchmark as a process: ``python -m fdetect_jax.bench.worker SIDE NAME FOLDER SETTING``.

SIDE is ``ours``, ``torch`` or ``roofline``; FOLDER passes arrays between the sides; SETTING is JSON. It prints JSON,
one object per line: a description of the work, then an answer to every line on stdin, until that is "end". The process
ends with its stdin at the latest.
"""

import json
import os
import queue
import resource
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from fdetect_jax import interrupts
from fdetect_jax.bench.setting import Setting
from fdetect_jax.host import keep_freed_memory, use_wide_vectors


def main(side: str, name: str, folder: str, setting: str) -> None:
    interrupts.ignore()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # output of libraries must not look like an answer
    keep_freed_memory()  # for both sides
    use_wide_vectors()
    asked = _lines()

    def answer(content: dict[str, Any]) -> None:
        answers.write(json.dumps(content) + "\n")

    try:
        made, call = _SIDES[side](name, Path(folder), json.loads(setting))
        answer(made)
        while asked.get() != "end\n":
            answer(call())
    except Exception as error:
        answer({"error": f"{type(error).__name__}: {error}"})
        raise


def _lines() -> queue.SimpleQueue:
    """Lines of stdin as they arrive; when stdin ends without "end", the process ends, whatever it is doing."""
    lines: queue.SimpleQueue = queue.SimpleQueue()
    source = os.fdopen(os.dup(0))
    sys.stdin.close()  # a forked child would close it too, and wait for the reader below

    def read() -> None:
        for line in source:
            lines.put(line)
            if line == "end\n":
                return
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    return lines


def _ours(name: str, folder: Path, setting: dict):
    import jax

    from fdetect_jax.bench.benchmarks import BENCHMARKS

    work = BENCHMARKS[name](Setting(**setting))
    np.savez(folder / "arrays.npz", **work.arrays)
    np.savez(folder / "ours.npz", **work.outputs)
    device = jax.devices()[0]
    made = {"images": work.images, "device": device.device_kind, "flops": None, "bytes": None}
    made |= {"stages": work.stages, "figures": work.figures}
    if work.programs:
        costs = [(times, program.cost_analysis()) for times, program in work.programs]
        made["flops"] = sum(times * cost.get("flops", 0.0) for times, cost in costs)
        made["bytes"] = sum(times * cost.get("bytes accessed", 0.0) for times, cost in costs)

    def call() -> dict:
        jax.block_until_ready(work.prepare())
        forget_peak()
        start = time.perf_counter()
        jax.block_until_ready(work.call())
        seconds = time.perf_counter() - start
        on_device = (device.memory_stats() or {}).get("peak_bytes_in_use")
        return {"seconds": seconds, "memory": on_device or peak_memory()}

    return made, call


def _torch(name: str, folder: Path, setting: dict):
    from fdetect_jax.bench import torch_side

    variants = setting.pop("variants", None)
    with np.load(folder / "arrays.npz") as file:
        peer = torch_side.best(name, dict(file), Setting(**setting), variants)
    np.savez(folder / "torch.npz", **peer.outputs)

    def call() -> dict:
        peer.prepare()
        forget_peak()
        return {"seconds": torch_side.seconds(peer.call), "memory": torch_side.device_memory() or peak_memory()}

    return {"peer": peer.variant, "tried": peer.tried}, call


def _roofline(name: str, folder: Path, setting: dict):
    from fdetect_jax.bench import roofline

    return roofline.measure(setting["dtype"]), lambda: {}


_SIDES = {"ours": _ours, "torch": _torch, "roofline": _roofline}


def forget_peak() -> None:
    """Restarts the count of ``peak_memory``, if the system allows it (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_memory() -> int:
    """The largest resident size of this process in bytes, since ``forget_peak`` or, if unsupported, since its start."""
    try:
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.split("VmHWM:")[1].split()[0])
    except (OSError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak


if __name__ == "__main__":
    main(*sys.argv[1:])
