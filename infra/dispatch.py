"""Many calls over a pool, a few at a time: each comes back exactly once, whatever dies."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from contextlib import closing
from itertools import chain, islice
from typing import Generic, TypeVar

import cloudpickle

from infra.pools import ClusterError, Pool

Item = TypeVar("Item")
Result = TypeVar("Result")
Heard = Callable[[Item], bool]

MAX_CALL_BYTES = 4096  # of a pickled call: only tiles and URIs travel
POLL = 2.0  # seconds between two looks at whether the cluster lives, and at what its calls tell
STRAGGLING, LEAST_STRAGGLING = 20, 300.0  # a call silent for as many times the longest, and seconds, is begun anew, once


def run_bounded(
    pool: Pool,
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    window: int,
    deadline: float,
    on_done: Callable[[Item], None] | None = None,
    heard: Heard[Item] = lambda _: False,
) -> Iterator[tuple[Item, Result | BaseException]]:
    """Run ``function(item)`` for every item, a few at a time, and yield (item, result or exception) as each finishes.

    Every item is yielded exactly once, whatever happens. An exception is that item's alone; so is the death of its workers (Dask
    tries a call whose worker dies 3 times more). What is lost with a scheduler that comes back is sent again. Where the whole
    cluster is lost for good, or nothing at all finishes or is heard of for
    ``deadline`` seconds, the items left get a ClusterError: silence counts, not length. No more calls are sent than workers are
    there, lest one that waits behind another at a worker share the blame for its death.

    Args:
        pool: what ``open_cluster`` yields.
        function: at module level; its result should be small (counts, not arrays).
        items: taken as they are needed.
        window: most calls in flight.
        deadline: seconds.
        on_done: called with each item before it is yielded.
        heard: asked every two seconds, for each item in flight, whether its call has told of progress since it was last asked.

    Raises:
        ClusterError: "call-too-large": a pickled call above ``MAX_CALL_BYTES``.
    """
    suspects: list[tuple[Item, Result | BaseException]] = []
    with closing(_run(pool, function, iter(items), window, deadline, heard)) as outcomes:
        for item, outcome in outcomes:
            if getattr(outcome, "code", "") == "worker-killed":
                suspects.append((item, outcome))
            else:
                yield _told(item, on_done), outcome
    if len(suspects) > 1:  # a call that stood behind the guilty one at its worker shares the blame: each again, alone
        suspects = list(_run(pool, function, (item for item, _ in suspects), 1, deadline, heard))
    for item, outcome in suspects:
        yield _told(item, on_done), outcome


def _run(
    pool: Pool, function: Callable[[Item], Result], waiting: Iterator[Item], window: int, deadline: float, heard: Heard[Item]
) -> Generator[tuple[Item, Result | BaseException], None, None]:
    calls = _Calls(pool, function, deadline, heard)
    try:
        while calls.fill(waiting, window):
            yield from calls.finished()
    except _LostError as lost:
        yield from ((item, lost) for item in chain(list(calls.flying.values()), calls.lost, waiting))
    finally:
        for future in calls.flying:
            future.cancel()


class _LostError(ClusterError):
    """Nothing that is in flight will come back."""


class _Calls(Generic[Item, Result]):
    """Calls in flight, and when each was sent."""

    def __init__(self, pool: Pool, function: Callable[[Item], Result], deadline: float, heard: Heard[Item]) -> None:
        self._pool, self._function, self._deadline, self._heard = pool, function, deadline, heard
        self.flying: dict[Future[Result], Item] = {}
        self.lost: deque[Item] = deque()  # with a scheduler that may come back: to be sent again
        self._began: dict[Future[Result], float] = {}
        self._longest = math.inf  # of the calls that finished, in seconds

    def fill(self, waiting: Iterator[Item], window: int) -> bool:
        """Send what fits, once there is somebody to send it to; whether anything is in flight."""
        while self._pool.away():
            self._check()
            time.sleep(POLL)
        room = min(window, max(self._pool.slots(), 1)) - len(self.flying)
        for item in islice(chain(_drained(self.lost), waiting), max(room, 0)):
            future = _send(self._pool, self._function, item)
            self.flying[future], self._began[future] = item, time.monotonic()
        return bool(self.flying or self.lost)

    def finished(self) -> Iterator[tuple[Item, Result | BaseException]]:
        """What is done, as soon as anything is."""
        for future in self._wait():
            spent = time.monotonic() - self._began.pop(future)
            if self._pool.lost(future):
                self.lost.append(self.flying.pop(future))
                continue
            self._longest = spent if self._longest == math.inf else max(self._longest, spent)
            outcome = _outcome(future)
            yield self.flying.pop(future), outcome

    def _wait(self) -> set[Future[Result]]:
        """Calls that are done, as soon as there are any; none where calls were lost, which are to be sent again first.

        One that is silent for much longer than others took is begun anew.

        Raises:
            _LostError: the pool is lost, or no call was done or heard of before the deadline.
        """
        latest = time.monotonic()
        while True:
            rest = latest + self._deadline - time.monotonic()
            if done := wait(self.flying, timeout=max(0.0, min(POLL, rest)), return_when=FIRST_COMPLETED).done:
                return done
            self._check()
            if self._put_aside_lost():
                return set()
            latest = max(latest, self._listen())
            if self._longest < math.inf:
                self._pool.hurry(max(LEAST_STRAGGLING, STRAGGLING * self._longest))
            if time.monotonic() - latest >= self._deadline:
                wanted = "a call that finishes or tells of progress before its deadline"
                raise _LostError("too-late", wanted, f"nothing for {self._deadline:.0f} s", "run again, or raise the deadline")

    def _put_aside_lost(self) -> bool:
        """Put aside what is to be sent again, whatever its futures come to; whether there was any."""
        gone = [future for future in self.flying if self._pool.lost(future)]
        for future in gone:
            self.lost.append(self.flying.pop(future))
            del self._began[future]
        return bool(gone)

    def _check(self) -> None:
        """Raises _LostError where the pool is lost."""
        if reason := self._pool.fault():
            raise _LostError("cluster-lost", "a cluster that lives", reason, "see its logs; run again: what is done is kept")

    def _listen(self) -> float:
        """When any call was heard of: now, or never."""
        alive = [future for future, item in self.flying.items() if self._heard(item)]
        for future in alive:
            self._pool.alive(future)
        return time.monotonic() if alive else -math.inf


def _drained(items: deque[Item]) -> Iterator[Item]:
    while items:
        yield items.popleft()


def _told(item: Item, on_done: Callable[[Item], None] | None) -> Item:
    if on_done:
        on_done(item)
    return item


def _send(pool: Pool, function: Callable[[Item], Result], item: Item) -> Future[Result]:
    size = len(cloudpickle.dumps((function, item)))
    if size > MAX_CALL_BYTES:
        wanted = f"a call that pickles to at most {MAX_CALL_BYTES} bytes"
        raise ClusterError("call-too-large", wanted, f"{size} bytes for {function!r}"[:200], "send tiles and URIs, not arrays")
    try:
        return pool.submit(function, item)
    except Exception as error:  # noqa: BLE001 - the pool was closed, or its connection broke for good: the item's outcome
        future: Future[Result] = Future()
        future.set_exception(error)
        return future


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
