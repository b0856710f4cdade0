"""The run at hand, in the flow's process: the pool, the plan, the progress bars; what failed and what is done."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from core.engine.pace import Pace, pace_of
from core.engine.plan import CohortPlan, ScanPlan
from core.engine.records import ScanRecord
from core.errors import IsovoxError
from core.io import lock, space
from core.io.output import Output
from tasks.bounded import reason
from tasks.events import Advanced, Reached, Tell
from tasks.pipeline.effort import Effort
from tasks.pipeline.former import write_failure
from tasks.restore import tiles, work
from tasks.restore.progress import Listener
from tasks.restore.work import Job

if TYPE_CHECKING:
    from tasks.tracking.tracker import CohortTracker

DEADLINE = 6 * 3600.0  # seconds without any piece of work finishing or telling of progress
SHOWING = 2.0  # seconds between two tellings of the run's progress
LARGE = 1000  # scans of a cohort above which MLflow and Prefect hear one by one only of those to be looked at
TILE_SECONDS = 2.0  # of work to send at a time, so that sending it does not count
Dispatch = Callable[..., Iterator[tuple[Any, Any]]]

RUNS: dict[str, RunContext] = {}


@dataclass
class RunContext:
    """What the tasks of a run share; they name it by the plan's digest, so that no task carries more than names.

    Attributes:
        plan: of the run.
        dispatch: runs a function for each item where the work runs, and yields (item, result or exception); it takes the
            keywords ``window`` (calls in flight), ``deadline`` (seconds) and ``heard`` (whether a call tells of progress).
        tracker: MLflow.
        tell: hears of scans, tiles and steps as they are finished, and every few seconds of the per cent that are over.
        failed: why, by key.
        seconds: by key and stage.
        effort: how far the scans are that are to be done; all of the plan's, unless ``expect`` was told.
        holder: names this run in the lock on the output.
    """

    plan: CohortPlan
    dispatch: Dispatch
    tracker: CohortTracker
    tell: Tell
    failed: dict[str, BaseException] = field(default_factory=dict)
    seconds: dict[str, dict[str, float]] = field(default_factory=dict)
    effort: Effort = field(init=False)
    holder: str = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _listener: Listener = field(default_factory=Listener)
    _counted: dict[str, int] = field(default_factory=dict)
    _shown: float = -math.inf

    def __post_init__(self) -> None:
        """Expect all that is planned."""
        self.holder = lock.token(self.out.lock)
        self.expect(self.plan.scans)

    def expect(self, scans: Iterable[ScanPlan]) -> None:
        """Only these scans are to be done."""
        self.effort = Effort({scan.key: scan.forecast.stages for scan in scans})

    @property
    def out(self) -> Output:
        """The output folder."""
        return Output(self.plan.settings.out)

    def job(self, keys: Sequence[str]) -> Job:
        """The job of a group of scans."""
        seconds = tuple(self.seconds.get(keys[0], {}).items())
        return Job(self.plan.settings.out, self.plan.digest, tuple(keys), seconds=seconds, run=self.holder)

    def progress(self) -> float:
        """Per cent of the work that is over, by the seconds that it takes."""
        return 100.0 * self.effort.share()

    def tells(self, record: ScanRecord) -> bool:
        """Whether MLflow has a run, and Prefect a picture, of this scan; of a large cohort, only of those to be looked at."""
        return self.plan.planned <= LARGE or record.state in {"flagged", "failed"}

    def end(self, groups: Sequence[Sequence[str]]) -> None:
        """Count scans of which all stages are over."""
        for keys in groups:
            self.effort.end(keys)
            self._listener.forget(self.out.progress(keys[0]))
        self.tell(Advanced("scans", sum(map(len, groups))))
        self.tell(Reached(self.progress()))

    def heard(self, job: Job) -> bool:
        """Whether a job's worker has told of progress since this was asked last; bars and the run's page move with it."""
        if (progress := self._listener.news(self.out.progress(job.keys[0]))) is None:
            return False
        self._count(job.keys, progress.unit, progress.done, progress.done / max(progress.total, 1))
        return True

    def _count(self, keys: Sequence[str], unit: str, done: int, part: float) -> None:
        """Count what is done of a restoration, that was not counted before."""
        with self._lock:
            more = done - self._counted.get(keys[0], 0)
            self._counted[keys[0]] = max(done, self._counted.get(keys[0], 0))
        self.effort.part(keys, "restore", part)
        if more > 0:
            self.tell(Advanced(unit, more))
        self._show()

    def _show(self) -> None:
        """Tell of the run's progress, where it is time."""
        with self._lock:
            now = time.monotonic()
            if due := now - self._shown >= SHOWING:
                self._shown = now
        if due:
            self.tell(Reached(self.progress()))

    def run(self, function: Callable[[Job], float], jobs: Iterable[Job]) -> Iterator[tuple[Job, float]]:
        """Run a worker's function for each job, in bounded windows; what fails is noted, the rest comes back."""
        window = 2 * self.plan.settings.compute.workers
        heard = self.heard if function is work.restore else _silent
        for job, outcome in self.dispatch(function, jobs, window=window, deadline=DEADLINE, heard=heard):
            if isinstance(outcome, BaseException):
                self.note(job.keys, outcome)
                self.effort.end(job.keys)
            else:
                yield job, outcome

    def note(self, keys: Iterable[str], error: BaseException) -> None:
        """Note why scans failed; the first reason stands."""
        with self._lock:
            for key in keys:
                self.failed.setdefault(key, error)

    def stage(
        self,
        name: str,
        function: Callable[[Job], float],
        groups: Sequence[Sequence[str]],
        on_done: Callable[[Sequence[str]], object] = lambda _: None,
    ) -> list[list[str]]:
        """Run a stage for groups of scans, and tell ``on_done`` of each that came through; all of these."""
        through = []
        for job, seconds in self.run(function, map(self.job, groups)):
            through.append(list(job.keys))
            on_done(job.keys)
            self._took(job.keys, name, seconds)
        return through

    def _took(self, keys: Sequence[str], stage: str, seconds: float) -> None:
        """Note that scans came through a stage together, and what that took."""
        for key in keys:
            self.seconds.setdefault(key, {})[stage] = seconds
        self.effort.over(keys, stage, seconds)
        self._show()

    def restore(self, groups: Sequence[Sequence[str]]) -> list[list[str]]:
        """Restore groups of scans, each in the mode that the plan says; the groups that came through."""
        tiled = [keys for keys in groups if self.plan.scan(keys[0]).mode == "tile"]
        whole = [keys for keys in groups if self.plan.scan(keys[0]).mode == "scan"]
        through = self.stage("restore", work.restore, whole, lambda keys: self._count(keys, *self.plan.scan(keys[0]).pieces, 1.0))
        return through + [list(keys) for keys in tiled if self._restore_tiled(keys)]

    def _restore_tiled(self, keys: Sequence[str]) -> bool:
        scan, job = self.plan.scan(keys[0]), self.job(keys)
        counts = dict(self.run_any(tiles.prepare_tiles, [job])).get(job)
        if counts is None:
            return False
        size = max(1, round(TILE_SECONDS / max(scan.forecast.stages["restore"] / scan.tiles, 1e-6)))
        share = -(-counts[0] // max(1, self.plan.settings.compute.workers))
        seconds, done = 0.0, 0
        for part, spent in self.run(tiles.restore_some_tiles, tiles.parts(job, counts[0], max(1, min(size, share)))):
            seconds += spent
            done += part.stop - part.first
            self._count(keys, "tiles", done, done / counts[0])
        if keys[0] not in self.failed:
            seconds += sum(spent for _, spent in self.run(tiles.assemble_blocks, tiles.parts(job, counts[1], 1)))
        if keys[0] not in self.failed and counts[1]:
            seconds += sum(spent for _, spent in self.run(tiles.finish_tiles, [job]))
        if keys[0] not in self.failed:
            self._took(keys, "restore", round(seconds, 3))
        return keys[0] not in self.failed

    def run_any(self, function: Callable[[Job], tuple[int, int]], jobs: Iterable[Job]) -> Iterator[tuple[Job, tuple[int, int]]]:
        """As ``run``, for functions that count."""
        return self.run(function, jobs)  # type: ignore[arg-type, return-value]

    def paces(self) -> list[tuple[str, Pace]]:
        """Of each scan that came through all stages: its method, and what its stages took; of fused ones, its share."""
        together = Counter(scan.group for scan in self.plan.scans)
        through = (scan for scan in self.plan.scans if scan.key not in self.failed and "report" in self.seconds.get(scan.key, {}))
        return [
            (
                self.plan.way(scan).method,
                pace_of(self.seconds[scan.key], scan.target_grid.shape, together[scan.group]),
            )
            for scan in through
        ]

    def write_failures(self) -> None:
        """Write the record of each scan that failed or was refused."""
        for refusal in self.plan.refused:
            refused = {"key": refusal.key, "code": refusal.code, "reason": refusal.reason, "plan_digest": self.plan.digest}
            write_failure(self.out, self.plan, ScanRecord(state="failed", **refused))
        for key, error in self.failed.items():
            write_failure(self.out, self.plan, failure(key, error, self.plan))


def _silent(_: Job) -> bool:
    """Of work that tells of nothing before its end."""
    return False


def failure(key: str, error: BaseException, plan: CohortPlan) -> ScanRecord:
    """The record of a scan that failed."""
    scan = plan.scan(key)
    foreseen = error if isinstance(error, IsovoxError) else space.full(error)
    return ScanRecord(
        key=key,
        state="failed",
        code=foreseen.code if foreseen else "storage" if isinstance(error, OSError) else "unexpected",
        reason=reason(error)[:500],
        digest=scan.digest,
        plan_digest=plan.digest,
        method=plan.way(scan).method,
        inputs={scan.relative: scan.sha256},
    )


@contextmanager
def run_context(plan: CohortPlan, dispatch: Dispatch, tracker: CohortTracker, tell: Tell) -> Iterator[RunContext]:
    """The context of a run, known to its tasks while the block lasts."""
    context = RUNS[plan.digest] = RunContext(plan, dispatch, tracker, tell)
    try:
        yield context
    finally:
        del RUNS[plan.digest]
