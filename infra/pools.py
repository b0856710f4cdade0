"""Executors with the interface of concurrent.futures that also say how much they can run at once and whether they still live."""

from __future__ import annotations

import logging
import os
import queue
import signal
import threading
import time
import uuid
from abc import abstractmethod
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any
from unittest.mock import patch
from weakref import WeakKeyDictionary

from core.errors import IsovoxError
from core.methods.registry import VARIABLE

if TYPE_CHECKING:
    from distributed import Client
    from distributed.deploy.cluster import Cluster

    from infra.slurm_keeper import Keeper

# One thread for each worker's linear algebra: workers share the cores, and sums come out in one order on any number of them.
# And one for its Zarr codecs: every thread that unpacks chunks keeps memory of its own that the process never gives back.
CODECS = "ZARR_THREADING__MAX_WORKERS"
SINGLE = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", CODECS), "1")

_log = logging.getLogger(__name__)

CLOSING = 30.0  # seconds in which the workers of a cluster may end by themselves


class ClusterError(IsovoxError):
    """A place to work that is missing, unreachable, dead or too late, or work that cannot be sent there."""


class Pool(Executor):
    """What ``open_cluster`` yields: submit(function, *args) → Future, as in concurrent.futures."""

    @abstractmethod
    def slots(self) -> int:
        """How many calls can run at once, now."""

    @abstractmethod
    def fault(self) -> str | None:
        """Why nothing submitted here will ever finish; None where the pool lives."""

    def alive(self, future: Future[Any]) -> None:
        """Take note that a call tells of progress."""

    def hurry(self, seconds: float) -> None:
        """Begin anew, once, what has been silent for longer than so many seconds, where that can be done."""

    def away(self) -> bool:
        """Whether nothing can be sent now, but may be again before long."""
        return False

    def lost(self, future: Future[Any]) -> bool:  # noqa: ARG002 - of the interface
        """Whether a call has gone with a scheduler that is, or may come, back: it is to be sent again."""
        return False

    @abstractmethod
    def cancel(self) -> None:
        """Drop what waits and end the workers that belong to this pool; safe from any thread and to repeat."""


class Threads(Pool):
    """Threads of this process; daemons, so that an interrupt does not wait for the scan in hand.

    While it lives, BLAS and torch run single-threaded, as they do in the workers of the clusters.
    """

    def __init__(self, workers: int) -> None:
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._closed = False
        self._settings = _single_threaded(workers)
        self._threads = [threading.Thread(target=self._work, daemon=True, name=f"isovox-{i}") for i in range(workers)]
        for thread in self._threads:
            thread.start()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            _run(*call)
            del call  # no reference to a result is kept while waiting

    def submit(self, fn: Callable[..., Any], /, *args: object, **kwargs: object) -> Future[Any]:
        """Queue a call."""
        if self._closed:
            raise _closed()
        future: Future[Any] = Future()
        self._calls.put((future, lambda: fn(*args, **kwargs)))
        return future

    def slots(self) -> int:
        """The number of threads."""
        return len(self._threads)

    def fault(self) -> str | None:
        """Threads live as long as the process, until they are told to end."""
        return "the pool was closed" if self._closed else None

    def cancel(self) -> None:
        """Drop what waits; what runs, runs on (a thread cannot be killed), and its result is dropped."""
        self._closed = True
        with suppress(queue.Empty):
            while call := self._calls.get_nowait():
                call[0].cancel()
        for _ in self._threads:
            self._calls.put(None)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - the interface
        """End the threads, after what is queued or (cancel_futures) without it."""
        if cancel_futures:
            self.cancel()
        elif not self._closed:
            self._closed = True
            for _ in self._threads:
                self._calls.put(None)
        for thread in self._threads if wait else ():
            thread.join()
        self._settings.close()


def _run(future: Future[Any], call: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits for the future
        future.set_exception(error)
    else:
        future.set_result(result)


def _closed() -> ClusterError:
    return ClusterError("cluster-closed", "an open cluster", "one that was closed or cancelled", "open it again")


def _cancelled() -> Future[Any]:
    """The future of a call that was never sent."""
    future: Future[Any] = Future()
    future.cancel()
    future.set_running_or_notify_cancel()  # wakes who waits for it
    return future


def _single_threaded(workers: int) -> ExitStack:
    """Pin BLAS, torch and Zarr, whether they are imported yet or not, until the stack is closed."""
    import sys

    from threadpoolctl import threadpool_limits

    stack = ExitStack()
    wanted = SINGLE | {CODECS: str(workers)}
    stack.enter_context(patch.dict(os.environ, {name: os.environ.get(name, value) for name, value in wanted.items()}))
    stack.enter_context(threadpool_limits(limits=1))
    if torch := sys.modules.get("torch"):
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(1)
    if zarr := sys.modules.get("zarr"):
        stack.enter_context(zarr.config.set({"threading.max_workers": workers}))
    return stack


def _with_families(families: str, function: Callable[..., Any], /, *args: object, **kwargs: object) -> Any:
    """A call that knows the families of whoever sent it: a worker of another machine, or of a group, inherits no environment."""
    os.environ[VARIABLE] = families
    return function(*args, **kwargs)


class Workers(Pool):
    """Dask workers behind a client; a call whose worker dies is run again elsewhere by Dask itself.

    Args:
        client: connected.
        cluster: what to close with the pool; None where the scheduler is someone else's.
        patience: seconds without any worker, and without one that queues, after which the cluster counts as dead; None for ever.
        most: calls that can be sent, whoever is there, for a cluster that grows with what is sent; 0 for one that does not.
        again: connects once more to a scheduler that others keep alive; None for one that dies with this process.
        keeper: of workers that queue for their turn; None where they do not.
    """

    ANSWER = 20.0  # seconds within which a live scheduler answers
    RETURN = 300.0  # seconds within which one that was lost may come back
    FRESH = 1.0  # seconds for which an answer is good

    def __init__(
        self,
        client: Client,
        cluster: Cluster | None,
        patience: float | None,
        most: int = 0,
        again: Callable[[], Client] | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        self._keeper = keeper
        self._client, self._cluster, self._patience, self._most, self._again = client, cluster, patience, most, again
        self._gone: float | None = None  # since when the scheduler has not answered
        self._since: dict[str, float] = {}
        self._hurried: set[str] = set()
        self._keys: WeakKeyDictionary[Future[Any], str] = WeakKeyDictionary()
        self._executor = client.get_executor(pure=False)
        self._slots, self._asked, self._manned = 0, 0.0, time.monotonic()
        self._fault: str | None = None
        self._lock = threading.Lock()

    def submit(self, fn: Callable[..., Any], /, *args: object, **kwargs: object) -> Future[Any]:
        """Send a call to the scheduler."""
        if self._fault:
            raise _closed()
        key = f"{getattr(fn, '__name__', 'call')}-{uuid.uuid4().hex}"
        families = os.environ.get(VARIABLE)
        call = (_with_families, families, fn) if families else (fn,)
        try:
            future: Future[Any] = self._executor.submit(*call, *args, key=key, **kwargs)
        except Exception as error:
            if not self._cut_off(error):
                raise
            future = _cancelled()
        self._keys[future] = key
        return future

    def _cut_off(self, error: Exception) -> bool:
        """Whether a call could not be sent for want of a connection, which is then waited for as one that is found broken."""
        with self._lock:
            if self._again is None or self._client.status == "running":
                return False
            self._note_gone(error)
            return True

    def slots(self) -> int:
        """Threads of the workers that are connected, as of a second ago."""
        self._ask()
        return max(self._slots, self._most)

    def alive(self, future: Future[Any]) -> None:
        """Count the silence of a call anew."""
        with self._lock:
            if (key := self._keys.get(future)) in self._since:
                self._since[key] = time.monotonic()

    def hurry(self, seconds: float) -> None:
        """Start the workers anew that have been silent at one call for so long; each call once, and only workers of our own."""
        if self._cluster is None:
            return
        with suppress(Exception):  # a scheduler that does not answer is found by ``fault``
            running = {key: worker for worker, keys in self._client.processing().items() for key in keys}
            late = self._late(set(running), seconds)
            if late:
                _log.warning("a call has been silent for more than %.0f s; its worker is started anew, once", seconds)
                self._client.restart_workers(sorted({running[key] for key in late}), timeout=CLOSING, raise_for_error=False)

    def _late(self, running: set[str], seconds: float) -> set[str]:
        """Of the calls that run, those to be begun anew."""
        now = time.monotonic()
        with self._lock:
            self._since = {key: self._since.get(key, now) for key in running}
            late = {key for key, since in self._since.items() if now - since > seconds and key not in self._hurried}
            self._hurried |= late
        return late

    def fault(self) -> str | None:
        """Whether the scheduler answers and has had workers lately."""
        self._ask()
        if self._keeper is not None and self._keeper.waits():
            self._manned = time.monotonic()
        unmanned = time.monotonic() - self._manned
        if self._fault is None and self._patience is not None and unmanned > self._patience:
            self._fault = f"no worker for {unmanned:.0f} s"
        return self._fault

    def _ask(self) -> None:
        with self._lock:
            if self._fault or time.monotonic() - self._asked < self.FRESH:
                return
            try:
                if self._gone is not None:
                    self._connect_again()
                threads = self._client.sync(self._client.scheduler.ncores, callback_timeout=self.ANSWER)  # type: ignore[union-attr]
            except Exception as error:  # noqa: BLE001 - whatever it is, the scheduler does not answer
                self._note_gone(error)
                return
            if self._gone is not None:
                _log.warning(
                    "the scheduler is back after %.0f s; what was lost with it is sent again", time.monotonic() - self._gone
                )
                self._gone, self._manned = None, time.monotonic()
            self._slots, self._asked = sum(threads.values()), time.monotonic()
            self._manned = self._asked if threads else self._manned

    def _note_gone(self, error: Exception) -> None:
        """The scheduler does not answer: it may come back where others keep it alive, and for so long."""
        now = time.monotonic()
        self._slots, self._asked = 0, now
        if self._gone is None and self._again is not None:
            _log.warning("the scheduler does not answer: it is waited for, %.0f s at most", self.RETURN)
        self._gone = self._gone or now
        if self._again is None or now - self._gone > self.RETURN:
            self._fault = f"the scheduler does not answer ({type(error).__name__})"

    def _connect_again(self) -> None:
        assert self._again is not None  # noqa: S101 - else its silence was a fault
        fresh = self._again()
        former, self._client, self._executor = self._client, fresh, fresh.get_executor(pure=False)
        with suppress(Exception):  # its scheduler is gone
            former.close(timeout=1)

    def away(self) -> bool:
        """Whether the scheduler was lost and is not back yet."""
        self._ask()
        return self._gone is not None and not self._fault

    def lost(self, future: Future[Any]) -> bool:
        """Whether the client no longer knows a call that it sent, as it forgets all where its scheduler goes."""
        if self._again is None or self._fault:
            return False
        return future.cancelled() or (not future.done() and self._keys.get(future) not in self._client.futures)

    def cancel(self) -> None:
        """Cancel what was sent and close the cluster, where it is ours."""
        self._fault = self._fault or "the cluster was cancelled"
        self._close()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - the interface
        """Close the client, and the cluster where it is ours, after what was sent or (cancel_futures) at once."""
        if wait and not cancel_futures and not self._fault:
            self._executor.shutdown(wait=True)
        self._fault = self._fault or "the cluster was closed"
        if cancel_futures:
            self._kill()
        self._close()

    def _close(self) -> None:
        if self._keeper is not None:
            self._keeper.stop()
        with suppress(Exception):  # a dead scheduler must not keep the workers' processes from being ended
            self._client.close(timeout=5)
        if self._cluster is not None:
            try:
                self._cluster.close(timeout=CLOSING)
            except Exception:  # noqa: BLE001 - the work is done: workers that are slow to end are no reason to fail
                self._kill()

    def _kill(self) -> None:
        """End worker processes of this machine outright, and let none begin anew: what they wrote is whole or absent."""
        for worker in getattr(self._cluster, "workers", {}).values():
            worker.auto_restart = False
            if (pid := getattr(worker, "pid", None)) is not None:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
