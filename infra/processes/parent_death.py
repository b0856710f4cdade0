"""Loaded by Dask workers on this machine as they start: the kernel ends them when the process that started them ends.

Dask's own watch is a thread of the worker, which never has its turn while a call holds the GIL.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def dask_setup(_worker: object) -> None:
    """Called by Dask."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == 1:  # it had ended before
            os._exit(1)
