"""Setup of the processes that make batches, and a check of the shared memory that they need."""

import shutil
import signal
from pathlib import Path

import cv2

from fdetect_jax.errors import UserError
from fdetect_jax.host import end_with_parent

_SHARED = Path("/dev/shm")  # batches pass through it on Linux


def enter_worker(index: int, count: int) -> None:
    """Call this first in worker ``index`` of ``count``."""
    cv2.setNumThreads(1)  # the processes already share the cores
    for asked in (signal.SIGINT, signal.SIGTERM):  # sent to the whole process group; the parent must still save a step
        signal.signal(asked, signal.SIG_IGN)
    end_with_parent()


def require_shared_memory(size: int) -> None:
    """Raises UserError if shared memory has less than ``size`` bytes; a worker would die of it later."""
    if _SHARED.is_dir() and (free := shutil.disk_usage(_SHARED).free) < size:
        raise UserError(
            f"data.workers: found {free >> 20} MB of shared memory in {_SHARED}, wanted {size >> 20} MB for "
            "batches in transit: fewer workers, or a container with more (docker run --shm-size)"
        )
