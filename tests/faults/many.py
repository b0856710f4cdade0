"""A cohort of so many scans through the real flow, tasks, pool and server; only the work on each scan is left out.

python many.py COUNT FOLDER      prints, as JSON, what went through
"""

from __future__ import annotations

import json
import sys
import threading
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import cloudpickle
import numpy as np
import psutil

ROOT = Path(__file__).resolve().parents[2]
WORKERS = 2


class Watched:
    """What is sent to the pool, and what comes back."""

    def __init__(self) -> None:
        self.calls = self.flying = self.most = self.largest = self.at_scheduler = 0
        self._lock = threading.Lock()

    def watch(self, pool: Any) -> None:
        real = pool.submit

        def submit(function: Any, *items: Any) -> Any:
            with self._lock:
                self.calls, self.flying = self.calls + 1, self.flying + 1
                self.most = max(self.most, self.flying)
                self.largest = max(self.largest, len(cloudpickle.dumps((function, *items))))
            future = real(function, *items)
            future.add_done_callback(self._back)
            return future

        pool.submit = submit

    def _back(self, _: Any) -> None:
        with self._lock:
            self.flying -= 1

    def ask(self, pool: Any) -> None:
        """Look how many tasks the scheduler knows."""
        known = pool._client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))
        self.at_scheduler = max(self.at_scheduler, known)


def nothing(_: Any) -> float:
    """In place of a stage's work."""
    return 0.0


def make_plan(count: int, folder: str) -> Any:
    from core.engine.plan import ScanPlan
    from core.engine.planning import complete
    from core.geometry.grid import Grid
    from core.operators.forward_model import SliceProfile
    from core.settings.run import Compute, RunSettings

    grid = Grid((26, 26, 9), np.diag([2.0, 2, 6, 1])).to_json()
    settings = RunSettings(
        input="in", out=folder, method="cubic", voxel_size=2.0, compute=Compute(cluster="local", workers=WORKERS)
    )
    how = {"kind": "nifti", "source": grid, "target": grid, "forward": SliceProfile(), "sha256": "a" * 64}
    keys = [f"sub-{n:05}_T1w" for n in range(count)]
    scans = [ScanPlan(key=key, uris=(f"{key}.nii.gz",), relative=key, stem=key, group=key, **how) for key in keys]
    return complete(settings, scans, [])


def run(count: int, folder: str) -> dict[str, Any]:
    from prefect import flow
    from prefect.runtime import flow_run
    from prefect.task_runners import ThreadPoolTaskRunner

    from flows import reprocess
    from infra.clusters import open_cluster
    from infra.dispatch import run_bounded
    from tasks.events import Advanced, Event
    from tasks.pipeline import export, pages, stages
    from tasks.pipeline.context import run_context
    from tasks.restore import work

    plan, watched, memory = make_plan(count, folder), Watched(), []
    me, lock = psutil.Process(), threading.Lock()

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=8), validate_parameters=False)
    def many() -> tuple[str, int]:
        with open_cluster(plan.settings.compute) as pool:
            watched.watch(pool)

            def tell(event: Event) -> None:
                if isinstance(event, Advanced) and event.unit == "scans":
                    watched.ask(pool)
                    with lock:
                        memory.append(((memory[-1][0] if memory else 0) + event.count, me.memory_info().rss))

            with run_context(plan, partial(run_bounded, pool), SimpleNamespace(), tell) as context:
                reprocess._work(context, {scan.key for scan in plan.scans})
                return str(flow_run.id), memory[-1][0]

    pictures = SimpleNamespace(read_bytes=lambda _: b"")
    with (
        patch.object(work, "ingest", nothing),
        patch.object(work, "restore", nothing),
        patch.object(export, "export", nothing),
        patch.object(pages, "report", nothing),
        patch.object(stages, "files", pictures),
    ):
        name, done = many()
    half = next(rss for finished, rss in memory if finished >= count / 2)
    seen = {"calls": watched.calls, "most_in_flight": watched.most, "most_at_scheduler": watched.at_scheduler}
    return seen | {"flow_run": name, "done": done, "largest_call": watched.largest, "growth": memory[-1][1] - half}


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    print(json.dumps(run(int(sys.argv[1]), sys.argv[2])))  # noqa: T201
