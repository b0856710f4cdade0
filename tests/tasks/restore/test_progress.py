"""What a worker tells of its progress reaches the run, is news once, and is gone with the work."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from core.engine.plan import CohortPlan, ScanPlan
from core.engine.planning import complete
from core.geometry.grid import Grid
from core.io import files, lock
from core.io.output import Output
from core.operators.forward_model import SliceProfile
from core.settings.run import RunSettings
from tasks.events import Advanced, Reached
from tasks.pipeline.context import RunContext
from tasks.restore import progress
from tasks.restore.progress import Listener, Progress, Reporter, read_progress


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_it_is_told_every_two_seconds_at_most_and_removed_at_the_end(tmp_path: Path) -> None:
    clock, uri, written = Clock(), str(tmp_path / "state" / "a.json"), []
    with Reporter(uri, clock) as tell:
        for step in range(1, 101):
            clock.now = step / 10
            tell("steps", step, 200)
            if (told := read_progress(uri)) and told not in written:
                written.append(told)
    assert [told.done for told in written] == [20, 40, 60, 80, 100]
    assert written[0] == Progress("steps", 20, 200, 2.0)
    assert not Path(uri).exists()


def test_on_s3_it_is_told_more_seldom() -> None:
    assert progress.interval("s3://bucket/out/isovox/state/a.json") == 15
    assert progress.interval("/out/isovox/state/a.json") == 2


def test_what_a_killed_worker_told_is_removed_and_a_storage_that_fails_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock, path = Clock(), tmp_path / "a.json"
    path.write_text("{}")

    def fail(*_: Any) -> None:
        raise ConnectionResetError("gone")

    with Reporter(str(path), clock) as tell:
        monkeypatch.setattr(files, "write_json", fail)
        clock.now = 5.0
        tell("steps", 1, 2)
    assert "cannot be told: gone" in caplog.text
    assert not path.exists()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"unit": "steps", "done": "x", "total": 1, "at": 0}'])
def test_what_cannot_be_read_tells_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    assert read_progress(str(tmp_path / "a.json")) is None
    assert read_progress(str(tmp_path / "missing.json")) is None


def test_news_is_what_was_told_since_not_what_a_killed_run_left(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "a.json"
    listener = Listener(clock)

    def tell(done: int, at: float) -> Progress:
        path.write_text(json.dumps({"unit": "steps", "done": done, "total": 9, "at": at}))
        return Progress("steps", done, 9, at)

    tell(4, 1.0)
    assert listener.news(str(path)) is None  # of a run before
    clock.now = 3.0
    assert listener.news(str(path)) is None
    clock.now = 6.0
    told = tell(5, 2.0)
    assert listener.news(str(path)) == told
    clock.now = 6.5
    tell(6, 3.0)
    assert listener.news(str(path)) is None  # too early to look again
    clock.now = 9.0
    assert listener.news(str(path)) == tell(6, 3.0)
    clock.now = 12.0
    path.unlink()
    assert listener.news(str(path)) is None or read_progress(str(path)) is None


def make_plan(out: Path, scans: int = 2) -> CohortPlan:
    grid = Grid((20, 20, 6), np.diag([2.0, 2, 6, 1])).to_json()
    how: dict[str, Any] = {"kind": "nifti", "source": grid, "target": grid, "forward": SliceProfile(), "sha256": "a" * 64}
    keys = [f"sub-{n}" for n in range(scans)]
    settings = RunSettings(input="in", out=str(out), method="unires", method_options={"iterations": 40}, voxel_size=2)
    return complete(settings, [ScanPlan(key=k, uris=(k,), relative=k, stem=k, group=k, **how) for k in keys], [])


def test_bars_and_the_runs_page_move_with_the_steps_of_a_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, heard = make_plan(tmp_path), []
    clock = Clock()
    context = RunContext(plan, lambda *_, **__: iter(()), SimpleNamespace(), heard.append)
    context._listener = Listener(clock)
    monkeypatch.setattr("tasks.pipeline.context.time", SimpleNamespace(monotonic=clock))
    job, uri = context.job(["sub-0"]), context.out.progress("sub-0")
    assert context.heard(job) is False
    for done in (10, 30):
        clock.now += 3.0
        files.write_json(uri, {"unit": "steps", "done": done, "total": 40, "at": clock.now})
        assert context.heard(job) is True
    clock.now += 3.0
    assert context.heard(job) is False
    stages = plan.scans[0].forecast.stages
    restoring = stages["restore"] / sum(stages.values())
    parts = [Reached(pytest.approx(100 * restoring * part / 2)) for part in (0.25, 0.75)]
    assert heard == [Advanced("steps", 10), parts[0], Advanced("steps", 20), parts[1]]
    heard.clear()
    monkeypatch.setattr(context, "dispatch", lambda _, jobs, **__: ((job, stages["restore"]) for job in jobs))
    assert context.restore([["sub-0"]]) == [["sub-0"]]
    assert heard[0] == Advanced("steps", 10)  # those that were left
    assert context.progress() == pytest.approx(100 * restoring / 2)
    context.end([["sub-0"]])
    left = 100 * restoring / (1 + restoring)  # the first is over, though nothing was exported of it
    assert heard[-2:] == [Advanced("scans", 1), Reached(pytest.approx(left))]


def test_a_storage_that_fails_does_not_say_that_a_run_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise ConnectionResetError("gone")

    monkeypatch.setattr(files, "read_json", fail)
    progress.check_wanted(str(tmp_path / "lock.json"), "a run")


def test_a_lock_that_is_missed_once_does_not_end_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter(["", "a run"])
    monkeypatch.setattr(lock, "token", lambda _: next(looks))
    monkeypatch.setattr(progress, "AGAIN", 0.0)
    progress.check_wanted(str(tmp_path / "lock.json"), "a run")
    assert next(looks, None) is None


def test_the_jobs_of_a_run_name_it(tmp_path: Path) -> None:
    out = Output(str(tmp_path))
    plan = SimpleNamespace(settings=SimpleNamespace(out=str(tmp_path)), digest="d", scans=())
    with lock.cohort_lock(out.lock):
        context = RunContext(cast("CohortPlan", plan), lambda *_: iter(()), SimpleNamespace(), print)  # type: ignore[arg-type]
        assert context.job(["a"]).run == lock.token(out.lock) != ""
