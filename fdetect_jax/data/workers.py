"""How a process that makes batches behaves: one thread for OpenCV, deaf to Ctrl-C, and gone with its parent."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading

import cv2


def enter_worker(index: int, count: int) -> None:
    """To be called first in worker ``index`` of ``count``."""
    cv2.setNumThreads(1)  # the processes share the cores out already
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to handle
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process().sentinel,), daemon=True).start()


def _end_with(parent: int) -> None:
    multiprocessing.connection.wait([parent])  # a parent that is killed cannot end its workers
    os._exit(1)
