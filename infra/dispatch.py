"""Many calls over a pool, a few at a time: each comes back exactly once, whatever dies."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from contextlib import closing
from itertools import chain, islice
from typing import TypeVar

import cloudpickle

from infra.pools import ClusterError, Pool

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_CALL_BYTES = 4096  # of a pickled call: only tiles and URIs travel
POLL = 5.0  # seconds between two looks at whether the cluster lives
STRAGGLING, LEAST_STRAGGLING = 20, 300.0  # a call of so many times the longest before it, and seconds, is begun anew, once


def run_bounded(
    pool: Pool,
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    window: int,
    deadline: float,
    on_done: Callable[[Item], None] | None = None,
) -> Iterator[tuple[Item, Result | BaseException]]:
    """Run ``function(item)`` for every item, a few at a time, and yield (item, result or exception) as each finishes.

    Every item is yielded exactly once, whatever happens. An exception is that item's alone; so is the death of its workers (Dask
    tries a call whose worker dies 3 times more). Where the whole cluster is lost, or nothing at all finishes for ``deadline``
    seconds, the items left get a ClusterError. No more calls are sent than workers are there, lest one that waits behind another
    at a worker share the blame for its death.

    Args:
        pool: what ``open_cluster`` yields.
        function: at module level; its result should be small (counts, not arrays).
        items: taken as they are needed.
        window: most calls in flight.
        deadline: seconds.
        on_done: called with each item before it is yielded.

    Raises:
        ClusterError: "call-too-large": a pickled call above ``MAX_CALL_BYTES``.
    """
    suspects: list[tuple[Item, Result | BaseException]] = []
    with closing(_run(pool, function, iter(items), window, deadline)) as outcomes:
        for item, outcome in outcomes:
            if getattr(outcome, "code", "") == "worker-killed":
                suspects.append((item, outcome))
            else:
                yield _told(item, on_done), outcome
    if len(suspects) > 1:  # a call that stood behind the guilty one at its worker shares the blame: each again, alone
        suspects = list(_run(pool, function, (item for item, _ in suspects), 1, deadline))
    for item, outcome in suspects:
        yield _told(item, on_done), outcome


def _run(
    pool: Pool, function: Callable[[Item], Result], waiting: Iterator[Item], window: int, deadline: float
) -> Generator[tuple[Item, Result | BaseException], None, None]:
    flying: dict[Future[Result], Item] = {}
    began: dict[Future[Result], float] = {}
    longest = math.inf  # of the calls that finished, in seconds
    try:
        while _fill(pool, function, waiting, flying, window):
            began = {future: began.get(future, time.monotonic()) for future in flying}
            for future in _finished(pool, flying, deadline, max(LEAST_STRAGGLING, STRAGGLING * longest)):
                spent = time.monotonic() - began[future]
                longest = spent if longest == math.inf else max(longest, spent)
                outcome = _outcome(future)
                yield flying.pop(future), outcome
    except _LostError as lost:
        yield from ((item, lost) for item in chain(list(flying.values()), waiting))
    finally:
        for future in flying:
            future.cancel()


class _LostError(ClusterError):
    """Nothing that is in flight will come back."""


def _told(item: Item, on_done: Callable[[Item], None] | None) -> Item:
    if on_done:
        on_done(item)
    return item


def _fill(
    pool: Pool, function: Callable[[Item], Result], waiting: Iterator[Item], flying: dict[Future[Result], Item], window: int
) -> bool:
    """Send what fits; whether anything is in flight."""
    room = min(window, max(pool.slots(), 1)) - len(flying)
    for item in islice(waiting, max(room, 0)):
        flying[_send(pool, function, item)] = item
    return bool(flying)


def _send(pool: Pool, function: Callable[[Item], Result], item: Item) -> Future[Result]:
    size = len(cloudpickle.dumps((function, item)))
    if size > MAX_CALL_BYTES:
        wanted = f"a call that pickles to at most {MAX_CALL_BYTES} bytes"
        raise ClusterError("call-too-large", wanted, f"{size} bytes for {function!r}"[:200], "send tiles and URIs, not arrays")
    try:
        return pool.submit(function, item)
    except Exception as error:  # noqa: BLE001 - the pool was closed or its connection broke: the item's outcome
        future: Future[Result] = Future()
        future.set_exception(error)
        return future


def _finished(pool: Pool, flying: Iterable[Future[Result]], deadline: float, straggling: float) -> set[Future[Result]]:
    """What is done, as soon as anything is; a call that runs for longer than ``straggling`` seconds is begun anew."""
    end = time.monotonic() + deadline
    while not (done := wait(flying, timeout=max(0.0, min(POLL, end - time.monotonic())), return_when=FIRST_COMPLETED).done):
        if reason := pool.fault():
            raise _LostError("cluster-lost", "a cluster that lives", reason, "see its logs; run again: what is done is kept")
        if straggling < math.inf:
            pool.hurry(straggling)
        if time.monotonic() >= end:
            got = f"nothing for {deadline:.0f} s"
            raise _LostError("too-late", "a call that finishes before its deadline", got, "run again, or raise the deadline")
    return done


def _outcome(future: Future[Result]) -> Result | BaseException:
    try:
        error = future.exception(timeout=0)
    except CancelledError:
        return ClusterError("cancelled", "a call that runs to its end", "one that was cancelled or lost", "run again")
    if type(error).__name__ == "KilledWorker":  # by name: distributed is not imported where work runs in this process
        wanted = "a worker that survives the work"
        remedy = "give workers more memory (--memory-limit) or smaller patches"
        return ClusterError("worker-killed", wanted, "4 workers that died of it", remedy)
    return future.result() if error is None else error
