"""One run at a time on an output folder: a lock with an owner and an expiry, so that a dead owner never blocks."""

from __future__ import annotations

import getpass
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psutil

from core.errors import BusyError
from core.io import files

BEAT = 30.0  # seconds between two signs of life
EXPIRY = 10 * BEAT  # without a sign for this long, an owner on another machine counts as dead


@dataclass(frozen=True)
class Owner:
    """Who holds a lock.

    Attributes:
        user: name of the user.
        host: name of the machine.
        pid: number of the process there.
        since: local time of that machine when it took the lock, to the second.
    """

    user: str
    host: str
    pid: int
    since: str

    @classmethod
    def of(cls, claim: dict[str, Any]) -> Owner:
        """The owner that a lock's file names."""
        return cls(str(claim["user"]), str(claim["host"]), int(claim["pid"]), str(claim["since"]))

    def __str__(self) -> str:
        """For messages."""
        return f"{self.user} on {self.host} (process {self.pid}) since {self.since}"


def _claim() -> dict[str, Any]:
    process = psutil.Process()
    return {
        "token": uuid.uuid4().hex,
        "host": socket.gethostname(),
        "user": getpass.getuser(),
        "pid": process.pid,
        "born": process.create_time(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "beat": time.time(),
    }


def _alive(claim: dict[str, Any]) -> bool:
    """Whether the owner still works: its process where that can be seen, else its last sign of life."""
    if claim.get("host") != socket.gethostname():
        return time.time() - float(claim.get("beat", 0)) < EXPIRY
    with suppress(psutil.Error, KeyError):
        process = psutil.Process(claim["pid"])
        return abs(float(process.create_time()) - float(claim["born"])) < 1 and process.status() != psutil.STATUS_ZOMBIE
    return False


def owner(uri: str) -> Owner | None:
    """Who holds the lock at ``uri``, None where nobody alive does."""
    claim = _living(uri)
    return Owner.of(claim) if claim else None


def token(uri: str) -> str:
    """Names the run that took the lock at ``uri`` last, dead or alive; empty where none holds it."""
    try:
        return str(files.read_json(uri)["token"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return ""


def _living(uri: str) -> dict[str, Any] | None:
    """The content of the lock's file, None where nobody alive holds it."""
    try:
        claim = files.read_json(uri)
    except (FileNotFoundError, ValueError):
        return None
    return claim if isinstance(claim, dict) and _alive(claim) else None


def _take(uri: str, mine: dict[str, Any]) -> None:
    """Make the lock ours, or raise BusyError naming the owner."""
    if files.create_json(uri, mine):
        return
    other = _living(uri)
    if other is None:  # left by a process that died
        files.write_json(uri, mine)
        time.sleep(0.2)  # another run may take it over at the same moment: the last to write has it
        other = files.read_json(uri)
    if other["token"] != mine["token"]:
        got = f"a run by {Owner.of(other)}"
        raise BusyError("already-running", "one run at a time on an output folder", got, "wait for it to end, or stop it")


@contextmanager
def cohort_lock(uri: str) -> Iterator[None]:
    """Hold the lock file at ``uri`` (local or s3://) while the block runs.

    Raises:
        BusyError: another run works there; it says who, where and since when.
    """
    mine = _claim()
    _take(uri, mine)
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT):
            with suppress(OSError):  # a storage fault here must not end the run; the next beat may pass
                files.write_json(uri, mine | {"beat": time.time()})

    thread = threading.Thread(target=beat, name="cohort-lock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        with suppress(OSError):
            files.remove(uri)
