"""What is looked through while servers and workers start: one way for all commands."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from shutil import rmtree
from threading import Event, Thread
from typing import TYPE_CHECKING, TypeVar

from flows.runs.progress import counted, waiting

if TYPE_CHECKING:
    from pathlib import Path

    from core.settings.run import Compute
    from core.settings.scans import Selection
    from infra.pools import Pool

Made = TypeVar("Made")
Done = TypeVar("Done")

SOON = 1.0  # seconds within which most of what cannot be had fails: nothing is started for it
TRIES = 100  # to make and lock a folder that others remove at the same moment


def served(uri: str, make: Callable[[], Made], work: Callable[[Made], Done], flow: str) -> Done:
    """Look through the input while the Prefect server starts, and work.

    Where ``make`` fails, the output is left as it was; what another command of the same output uses by then stays. Where a server
    fails, its log stays, which the error names.

    Args:
        uri: of the output.
        make: looks; it is called in another thread.
        work: what is done with what was made, the server being there.
        flow: module of the flow; its import takes seconds, in which ``make`` goes on.

    Returns:
        what ``work`` returns.

    Raises:
        PlanError: disk-too-small for the databases of the services.
        AccessError: storage that may not be written to.
        What ``make`` and ``work`` raise.
    """
    from core.engine.fit import check_room
    from core.io import space
    from core.io.claim import check_writable, kind_of
    from infra.processes.signals import terminable
    from infra.quiet import ServiceError
    from infra.services import local_state, prefect_server

    state = local_state(uri)
    check_room(space.free(state))
    check_writable(uri)
    new = [folder for folder in (state, *state.parents) if not folder.exists()]
    up = Event()

    def and_wait() -> Made:
        made = make()
        if not up.is_set():
            waiting("waiting for Prefect's server")
        return made

    try:
        with terminable(), looking(and_wait) as made, _used(state), ExitStack() as services:
            with _one_starts(state):
                services.enter_context(prefect_server(state))
            up.set()
            waiting("loading Prefect")
            import_module(flow)
            return work(made())
    except ServiceError:
        raise
    except Exception:
        if new and kind_of(uri) is None:
            _remove(state, new)
        raise


@contextmanager
def counted_beside(compute: Compute, cohort: str, selection: Selection) -> Iterator[tuple[Pool, int]]:
    """A pool of workers, and how many scans are selected, which are counted while the workers start.

    Raises:
        UsageError, ClusterError: as ``counted`` and ``open_cluster``.
    """
    from infra.clusters import open_cluster

    with looking(lambda: counted(cohort, selection)) as count:
        waiting("starting workers")
        with open_cluster(compute) as pool:
            yield pool, count()


@contextmanager
def looking(make: Callable[[], Made]) -> Iterator[Callable[[], Made]]:
    """Make something in another thread; yields what waits for it, and raises what making it raised."""
    made: list[Made] = []
    faults: list[BaseException] = []

    def work() -> None:
        try:
            made.append(make())
        except BaseException as error:  # noqa: BLE001 - it is raised where what is made is asked for
            faults.append(error)

    thread = Thread(target=work, daemon=True)  # an interrupted command does not wait for it
    thread.start()
    thread.join(SOON)
    if faults:
        raise faults[0]

    def wait() -> Made:
        while thread.is_alive():
            thread.join(0.1)  # so that a signal is heard
        if faults:
            raise faults[0]
        return made[0]

    yield wait


@contextmanager
def _used(state: Path) -> Iterator[None]:
    """While the block runs, no other command removes the services' folder, which is made."""
    folder = _held(state)
    try:
        yield
    finally:
        os.close(folder)


@contextmanager
def _one_starts(state: Path) -> Iterator[None]:
    """While the block runs, no other command of the same output starts a server: two that make one database end one another."""
    folder = os.open(state.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):  # a file system without such locks
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _held(state: Path) -> int:
    """The folder, open and locked as one of those who use it; the kernel lets go however this process ends."""
    for _ in range(TRIES):
        with suppress(FileNotFoundError):  # it, or one above it, was removed in this moment
            state.mkdir(parents=True, exist_ok=True)
            folder = os.open(state, os.O_RDONLY | os.O_DIRECTORY)
            with suppress(OSError):  # a file system without such locks: there it is never removed
                fcntl.flock(folder, fcntl.LOCK_SH)
            if os.fstat(folder).st_nlink:
                return folder
            os.close(folder)
    raise FileNotFoundError(errno.ENOENT, "cannot be made", str(state))


def _remove(state: Path, new: list[Path]) -> None:
    """Remove the services' folder of work that never began, and the folders above it that were made for it, if nobody uses it."""
    with suppress(FileNotFoundError):
        folder = os.open(state, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            rmtree(state, ignore_errors=True)
        except OSError:
            return
        finally:
            os.close(folder)
    for above in new[1:]:
        try:
            above.rmdir()
        except OSError:
            return
