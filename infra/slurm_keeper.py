"""Keeps a run's SLURM jobs at their wanted number: a job that ends, cancelled or at its walltime, is asked for anew.

dask-jobqueue starts each job once. Here the queue is compared with the workers that are connected, every half minute; jobs that
neither wait nor run are dropped from the cluster's list, which is then brought up to its number again.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING

from core.errors import UsageError

if TYPE_CHECKING:
    from dask_jobqueue import SLURMCluster
    from distributed import Client

EVERY = 30.0  # seconds between two looks
LONGEST = 600.0  # seconds between two orders of jobs whose predecessors never became workers
BARREN = 8  # such orders in a row, after which no more are given
WAITING = frozenset({"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "SUSPENDED"})
LIVING = WAITING | {"RUNNING", "COMPLETING", "RESIZING", "SIGNALING", "STAGE_OUT"}
MARGIN, SHARE = 300.0, 10  # seconds before a job's walltime at which its worker leaves, or a tenth of a short one
ENDLESS = frozenset({"UNLIMITED", "INFINITE"})  # walltimes of jobs that nothing ends

_log = logging.getLogger(__name__)


class Keeper:
    """Looks after the jobs of a cluster, in a thread of its own.

    Args:
        cluster: of dask-jobqueue.
        client: connected to its scheduler.
        wanted: jobs.
    """

    def __init__(self, cluster: SLURMCluster, client: Client, wanted: int) -> None:
        self._cluster, self._client, self._wanted = cluster, client, wanted
        self._queue: Mapping[str, str] = {}  # state of each job, by its number
        self._orders = 0  # of jobs in a row, without one that became a worker
        self._due = 0.0  # when the next may be given, by the monotonic clock
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="isovox-slurm")
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._ended.set()

    def waits(self) -> bool:
        """Whether a job waits for its turn, so that there will be a worker."""
        return any(state in WAITING for state in self._queue.values())

    def _watch(self) -> None:
        while not self._ended.wait(EVERY):
            with suppress(Exception):  # the cluster is being closed, or the queue does not answer: the next look tells
                self.look()

    def look(self) -> None:
        """Compare the queue with the workers, and ask for what is missing."""
        queue = queued()
        if queue is None:
            return
        jobs = {name: job.job_id for name, job in dict(self._cluster.workers).items()}
        self._queue = {number: queue[number] for number in jobs.values() if number in queue}
        connected = {worker["name"] for worker in self._client.scheduler_info(n_workers=-1)["workers"].values()}
        self._tell(len(connected & set(jobs)))
        gone = [name for name in jobs if name not in connected and queue.get(jobs[name] or "", "") not in LIVING and jobs[name]]
        missing = self._wanted - (len(jobs) - len(gone))
        if connected:
            self._orders = 0
        if missing > 0 and time.monotonic() >= self._due:
            self._order(missing, gone, jobs)

    def _order(self, missing: int, gone: Iterable[str], jobs: Mapping[str, str]) -> None:
        if self._orders == BARREN:
            say(f"{BARREN} orders of jobs in a row brought no worker: none are given any more; see the jobs' logs")
        self._orders += 1
        if self._orders > BARREN:
            return
        self._due = time.monotonic() + min(EVERY * 2 ** (self._orders - 1), LONGEST)
        names = ", ".join(str(jobs[name]) for name in gone)
        say(f"{missing} of {self._wanted} worker jobs ended{f' ({names})' if names else ''}: asked for anew")
        self._cluster.sync(self._forget, list(gone))
        self._cluster.scale(self._wanted)

    async def _forget(self, names: Iterable[str]) -> None:
        for name in names:
            self._cluster.workers.pop(name, None)
            self._cluster.worker_spec.pop(name, None)

    def _tell(self, connected: int) -> None:
        counts = {state: list(self._queue.values()).count(state) for state in sorted(set(self._queue.values()))}
        words = ", ".join(f"{count} {state.lower()}" for state, count in counts.items()) or "none in the queue"
        if not sys.stderr.isatty():  # where it would stand among bars
            say(f"{connected} of {self._wanted} workers are connected; jobs: {words}")


def say(text: str) -> None:
    """To the driver's log."""
    sys.stderr.write(f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S} SLURM: {text}\n")
    sys.stderr.flush()


def queued() -> dict[str, str] | None:
    """The state of each of the user's jobs, by its number; None where the queue does not answer."""
    command = ["squeue", "--me", "--noheader", "--states=all", "--format=%i %T"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout  # noqa: S603
    except (OSError, subprocess.SubprocessError) as error:
        _log.info("squeue does not answer: %s", error)
        return None
    return dict(line.split(maxsplit=1) for line in listed.splitlines() if len(line.split()) == 2)


def lifetime(walltime: object) -> list[str]:
    """Arguments by which a worker leaves in order before its job's walltime, so that this never counts against a scan.

    Args:
        walltime: as SLURM writes it: minutes, minutes:seconds, hours:minutes:seconds, days-hours[:minutes[:seconds]]; none of a
            job that may run for ever (UNLIMITED, INFINITE, 0).

    Raises:
        UsageError: walltime; to YAML 24:00:00 without quotes is the number 86400, which SLURM would take for minutes.
    """
    try:
        text = walltime.strip() if isinstance(walltime, str) else ""
        seconds = 0 if text.upper() in ENDLESS else walltime_seconds(text)
    except (ValueError, KeyError) as error:
        wanted, remedy = 'a walltime as SLURM writes it, in quotes, such as "24:00:00"', "correct it in Dask's jobqueue.yaml"
        raise UsageError("walltime", wanted, repr(walltime), remedy) from error
    if not seconds:
        return []
    margin = min(MARGIN, seconds / SHARE)
    return ["--lifetime", f"{seconds - margin:.0f}s", "--lifetime-stagger", f"{margin / 2:.0f}s"]


def walltime_seconds(walltime: str) -> int:
    """The seconds of a walltime as SLURM writes it."""
    days, dash, rest = walltime.strip().rpartition("-")
    numbers = [int(part) for part in rest.split(":")]
    units = [3600, 60, 1] if dash else {1: [60], 2: [60, 1], 3: [3600, 60, 1]}[len(numbers)]  # after days hours come first
    return int(days or 0) * 86400 + sum(number * unit for number, unit in zip(numbers, units, strict=False))
