"""A worker restores step by step: it goes on from the state that was kept, tells of its progress, and leaves nothing behind."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.engine import iterate
from core.errors import RestorationError
from core.io import files, lock
from core.io.arrays.store import Store
from core.io.output import Output
from core.methods.unires.joint_tv import Problem
from core.settings.run import RunSettings
from tasks.course import Course
from tasks.events import Advanced, Event, Reached
from tasks.pipeline import stages
from tasks.pipeline.discover import plan_cohort
from tasks.restore import progress, tiles, work
from tasks.restore.work import Job
from tests.faults.cohorts import build_cohort

STEPS, KILLED = 9, 6


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_cohort(tmp_path_factory.mktemp("cohort") / "bids", 1, (30, 36, 10))


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """States and progress are written after each step."""
    monkeypatch.setattr(iterate, "SHARE", 1e9)
    monkeypatch.setattr(progress, "EVERY", 0.0)


def begin(cohort: Path, out: Path, method: str = "unires", **tiling: Any) -> Job:
    """The job of the only scan, which is ingested."""
    options = {"iterations": STEPS, "tolerance": 0} if method == "unires" else {}
    how: dict[str, Any] = {"method": method, "method_options": options, "compute": {"state_minutes": 0}, "tiling": tiling}
    plan = plan_cohort(RunSettings.model_validate({"input": str(cohort), "out": str(out), "voxel_size": 2.0} | how))
    files.write_json(Output(str(out)).plan, plan.model_dump(mode="json"))
    job = Job(str(out), plan.digest, (plan.scans[0].key,))
    work.ingest(job)
    return job


def image(job: Job) -> np.ndarray:
    (scan,) = work.scans_of(job)
    return np.asarray(Store(Output(job.out).store).read(work.path_of(job, scan, "restored")))


def test_it_goes_on_from_the_last_state_and_removes_it(cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed, job = begin(cohort, tmp_path / "one"), begin(cohort, tmp_path / "two")
    work.restore(undisturbed)
    made, real = [0], Problem.advance

    def advance(*arrays: Any) -> tuple[float, float]:
        made[0] += 1
        if made[0] == KILLED:
            raise KeyboardInterrupt
        return real(*arrays)

    monkeypatch.setattr(Problem, "advance", advance)
    with pytest.raises(KeyboardInterrupt):
        work.restore(job)
    folder = tmp_path / "two" / "isovox" / "state"
    assert [path.name for path in folder.iterdir()] == [f"{job.keys[0]}.safetensors"]
    work.restore(job)
    assert made[0] == KILLED + STEPS - (KILLED - 1)
    assert image(job).tobytes() == image(undisturbed).tobytes()
    assert not list(folder.iterdir())
    (scan,) = work.scans_of(job)
    assert [step for step, _ in work.told_of(job, scan, "steps")["relative_change"]] == list(range(1, STEPS + 1))
    assert work.told_of(job, scan, "pace")["step_seconds"] > 0
    work.restore(job)
    assert made[0] == KILLED + STEPS - (KILLED - 1)  # done is done


@pytest.mark.parametrize("method", ["unires", "cubic"])
@pytest.mark.parametrize("since", ["ended", "another"])
def test_work_of_a_run_that_has_ended_stops_and_the_next_one_does_it(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, since: str
) -> None:
    monkeypatch.setattr(progress, "AGAIN", 0.0)
    job, path = begin(cohort, tmp_path, method), Output(str(tmp_path)).lock
    with lock.cohort_lock(path):
        ghost = replace(job, run=lock.token(path))
        assert ghost.run
    if since == "another":
        files.write_json(path, {"token": "of another"})
    with pytest.raises(RestorationError, match=r"run-ended: expected a run that waits .* Run again"):
        work.restore(ghost)
    assert not work.restored(job)
    assert not Path(Output(job.out).progress(job.keys[0])).exists()
    files.remove(path)
    with lock.cohort_lock(path):
        work.restore(replace(job, run=lock.token(path)))
    assert work.restored(job)


@pytest.mark.parametrize(("method", "unit", "total"), [("unires", "steps", STEPS), ("cubic", "tiles", 1)])
def test_it_tells_how_far_it_is(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, unit: str, total: int
) -> None:
    job, told, real = begin(cohort, tmp_path, method), [], files.write_json

    def write(uri: str, value: Any) -> None:
        real(uri, value)
        if uri == Output(job.out).progress(job.keys[0]):
            told.append(progress.read_progress(uri))

    monkeypatch.setattr(files, "write_json", write)
    work.restore(job)
    assert [(one.unit, one.done, one.total) for one in told if one] == [(unit, n, total) for n in range(1, total + 1)]
    assert not Path(Output(job.out).progress(job.keys[0])).exists()


def test_as_a_tile_it_gives_the_same_bytes(cohort: Path, tmp_path: Path) -> None:
    whole, tiled = begin(cohort, tmp_path / "one"), begin(cohort, tmp_path / "two")
    work.restore(whole)
    count, blocks = tiles.prepare_tiles(tiled)
    assert count == 1
    for part in tiles.parts(tiled, count, 1):
        tiles.restore_some_tiles(part)
    for part in tiles.parts(tiled, blocks, 1):
        tiles.assemble_blocks(part)
    tiles.finish_tiles(tiled)
    assert image(tiled).tobytes() == image(whole).tobytes()


def test_the_bar_of_a_page_says_what_a_terminal_says(monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[tuple[Any, ...]] = []
    monkeypatch.setattr(
        stages, "update_progress_artifact", lambda _, **said: moved.append((said["progress"], said["description"]))
    )
    tell = stages.with_bar(lambda _: None, None, Course("restoring", {"scans": 2, "tiles": 8}))  # type: ignore[arg-type]
    tell(Advanced("tiles", 2))
    tell(Reached(25.0))
    ((progress, description),) = moved
    assert progress == 25.0
    assert re.fullmatch(r"restoring: 25 %.*, 0/2 scans, 2/8 tiles.*", description)


def test_a_server_that_does_not_take_the_progress_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionResetError("gone")

    monkeypatch.setattr(stages, "update_progress_artifact", refuse)
    heard: list[Event] = []
    tell = stages.with_bar(heard.append, None, Course("restoring", {"scans": 2}))  # type: ignore[arg-type]
    tell(Reached(12.0))
    tell(Advanced("scans"))
    assert heard == [Reached(12.0), Advanced("scans")]
    assert caplog.text.count("progress of the run") == 1
    assert "the progress of the run cannot be shown: gone" in caplog.text
