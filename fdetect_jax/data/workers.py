"""How the processes that make batches behave, and what they need of the machine."""

import shutil
import signal
from pathlib import Path

import cv2

from fdetect_jax.errors import UserError
from fdetect_jax.host import end_with_parent

_SHARED = Path("/dev/shm")  # where batches pass, on Linux


def enter_worker(index: int, count: int) -> None:
    """To be called first in worker ``index`` of ``count``."""
    cv2.setNumThreads(1)  # the processes share the cores out already
    for asked in (signal.SIGINT, signal.SIGTERM):  # of the whole group; the parent still has a step to save
        signal.signal(asked, signal.SIG_IGN)
    end_with_parent()


def require_shared_memory(size: int) -> None:
    """Raises ValueError where ``size`` bytes of batches could not be under way; a worker would die of it later."""
    if _SHARED.is_dir() and (free := shutil.disk_usage(_SHARED).free) < size:
        raise UserError(
            f"data.workers: found {free >> 20} MB of shared memory in {_SHARED}, wanted {size >> 20} MB for batches on "
            "their way: fewer workers, or a container with more (docker run --shm-size)"
        )
