"""MLflow has each scan once and says how the run ended, whatever was killed; without a server nothing is lost."""

from __future__ import annotations

import logging
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.engine.records import ScanRecord
from tasks.tracking import events
from tasks.tracking import tracker as tracking
from tasks.tracking.tracker import CohortTracker, flat

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables, which take 2 s to make."""
    from mlflow import MlflowClient

    logging.getLogger("alembic").setLevel(logging.WARNING)
    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def state(tmp_path: Path, empty_database: Path) -> Path:
    folder = tmp_path / "out" / "isovox"
    folder.mkdir(parents=True)
    (folder / "mlflow.db").write_bytes(empty_database.read_bytes())
    return folder


def tracker(state: Path, uri: str | None = None) -> CohortTracker:
    return CohortTracker(state, str(state.parent), uri)


def begin(tracked: CohortTracker, digest: str = "p1", **params: Any) -> None:
    tracked.start("cubic 1 mm", digest, {"method": "cubic", "tiling": {"patch": 64}, **params}, {"version": "0.1.0"})


def record(key: str, **changes: Any) -> ScanRecord:
    base = {"key": key, "state": "done", "digest": f"d-{key}", "plan_digest": "p1", "method": "cubic"}
    figures = {"quality": {"consistency": 0.5, "seam": float("nan")}, "metrics": {"psnr": 31.0}, "seconds": {"restore": 2.0}}
    return ScanRecord.model_validate({**base, **figures, "provenance": {"voxel_size": 1.0, "model": {"name": "unet"}}, **changes})


def runs(state: Path) -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{state / 'mlflow.db'}")
    experiments = [one.experiment_id for one in client.search_experiments() if one.name.startswith("isovox")]
    return list(client.search_runs(experiments)) if experiments else []


def parents(state: Path) -> list[Any]:
    return [run for run in runs(state) if run.data.tags["isovox.kind"] == "cohort"]


def children(state: Path) -> dict[str, Any]:
    found = {run.info.run_name: run for run in runs(state) if run.data.tags["isovox.kind"] == "scan"}
    assert len(found) == len(runs(state)) - len(parents(state)), "a scan was told twice"
    return found


def test_what_the_steps_told_is_kept_by_step(state: Path) -> None:
    from mlflow import MlflowClient

    rows = [(step, 1.0 / step) for step in range(3, 1203, 2)]
    with tracker(state) as tracked:
        begin(tracked)
        tracked.scan(record("sub-01", steps={"loss": rows, "prior": rows}))
    client, run = MlflowClient(tracking_uri=f"sqlite:///{state / 'mlflow.db'}"), children(state)["sub-01"].info.run_id
    for name in ("steps/loss", "steps/prior"):
        assert [(one.step, one.value) for one in client.get_metric_history(run, name)] == rows


def test_a_cohort_and_its_scans(state: Path, tmp_path: Path) -> None:
    page = tmp_path / "report of sub-01.html"
    page.write_text("<p>seen</p>")
    with tracker(state) as tracked:
        begin(tracked)
        tracked.scan(record("sub-01"), [page])
        tracked.scan(record("sub-02", state="failed", code="affine-singular", reason="x" * 9000))
        tracked.log_report(page)
        tracked.finish("FINISHED", {"done": 1, "failed": 1})
    (parent,) = parents(state)
    assert (parent.info.status, parent.data.params["tiling.patch"], parent.data.metrics["failed"]) == ("FINISHED", "64", 1)
    assert parent.data.tags["isovox.plan"] == "p1"
    good, bad = children(state)["sub-01"], children(state)["sub-02"]
    assert {run.data.tags["mlflow.parentRunId"] for run in (good, bad)} == {parent.info.run_id}
    assert (good.info.status, bad.info.status) == ("FINISHED", "FAILED")
    assert good.data.metrics["quality/consistency"] == 0.5
    assert good.data.metrics["metrics/psnr"] == 31
    assert good.data.params == {"method": "cubic", "voxel_size": "1.0", "model.name": "unet"}
    assert good.info.end_time - good.info.start_time == 2000
    assert (bad.data.tags["isovox.code"], bad.data.tags["isovox.state"]) == ("affine-singular", "failed")
    for run in (parent, good):
        assert (state / "mlartifacts" / run.info.run_id / "artifacts" / page.name).read_text() == "<p>seen</p>"
    assert not tracked.unsent.exists()


def test_a_second_run_of_the_plan_takes_up_its_run_and_adds_what_is_new(state: Path) -> None:
    for records in (["sub-01"], ["sub-01", "sub-02"]):
        with tracker(state) as tracked:
            begin(tracked, workers=len(records))
            for key in records:
                tracked.scan(record(key))
            tracked.scan(record("sub-01", state="skipped"))
    assert len(parents(state)) == 1
    assert {key: run.data.tags["isovox.state"] for key, run in children(state).items()} == {"sub-01": "done", "sub-02": "done"}


def test_a_scan_that_failed_and_then_succeeds_keeps_its_run(state: Path) -> None:
    for outcome in ("failed", "done"):
        with tracker(state) as tracked:
            begin(tracked)
            tracked.scan(record("sub-01", state=outcome, provenance={"voxel_size": outcome}))
    run = children(state)["sub-01"]
    assert (run.info.status, run.data.tags["isovox.state"]) == ("FINISHED", "done")


def test_another_plan_is_another_run(state: Path) -> None:
    for digest in ("p1", "p2"):
        with tracker(state) as tracked:
            begin(tracked, digest)
    assert len(parents(state)) == 2


@pytest.mark.parametrize(
    ("raised", "status"), [(None, "FINISHED"), (ValueError, "FAILED"), (KeyboardInterrupt, "KILLED"), (SystemExit, "KILLED")]
)
def test_how_the_block_ends_is_how_the_run_ends(state: Path, raised: type[BaseException] | None, status: str) -> None:
    def block() -> None:
        with tracker(state) as tracked:
            begin(tracked)
            if raised:
                raise raised

    if raised:
        with pytest.raises(raised):
            block()
    else:
        block()
    assert parents(state)[0].info.status == status


RUN = """
import os, sys, time
sys.path[:0] = [{root!r}, {here!r}]
from pathlib import Path
from infra.processes.signals import terminable
from test_tracker import begin, record, tracker
with terminable(), tracker(Path({state!r})) as tracked:
    begin(tracked)
    tracked.scan(record("sub-01"))
    print("up", flush=True)
    time.sleep(60)
"""


def interrupted(state: Path, number: signal.Signals) -> None:
    code = RUN.format(root=str(ROOT), here=str(Path(__file__).parent), state=str(state))
    run = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert run.stdout is not None
    assert run.stdout.readline() == "up\n"
    run.send_signal(number)
    run.wait(timeout=30)


def test_a_run_that_is_told_to_stop_is_killed_in_mlflow(state: Path) -> None:
    interrupted(state, signal.SIGTERM)
    assert [run.info.status for run in parents(state)] == ["KILLED"]


def test_a_run_that_was_killed_outright_is_marked_by_the_next(state: Path) -> None:
    interrupted(state, signal.SIGKILL)
    assert [run.info.status for run in parents(state)] == ["RUNNING"]
    with tracker(state) as tracked:
        begin(tracked, "p2")
        assert {run.data.tags["isovox.plan"]: run.info.status for run in parents(state)} == {"p1": "KILLED", "p2": "RUNNING"}
    assert len(children(state)) == 1


def test_the_sweep_leaves_other_folders_alone(state: Path, tmp_path: Path) -> None:
    uri = f"sqlite:///{state / 'mlflow.db'}"
    other = CohortTracker(tmp_path / "other", str(tmp_path), uri)
    begin(other, "theirs")
    with tracker(state, uri) as tracked:
        begin(tracked)
    assert {run.data.tags["isovox.plan"]: run.info.status for run in parents(state)} == {"theirs": "RUNNING", "p1": "FINISHED"}


@pytest.mark.parametrize("lost_at", ["start", "scan", "finish"])
def test_what_a_lost_server_missed_is_told_by_the_next_run(
    state: Path, lost_at: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def lose() -> None:
        def gone(*_: object) -> None:
            raise ConnectionError("http://name:secret@host is gone")

        monkeypatch.setattr(tracking._Book, "__init__", gone)
        monkeypatch.setattr(tracking._Book, "write", gone)

    points: dict[str, Callable[[], None]] = {lost_at: lose}
    first = tracker(state)
    with first as tracked:
        points.get("start", bool)()
        begin(tracked)
        tracked.scan(record("sub-01"))
        points.get("scan", bool)()
        tracked.scan(record("sub-02"))
        tracked.scan(record("sub-03"))
        points.get("finish", bool)()
        tracked.finish("FINISHED", {"done": 3})
    assert sum("the run goes on" in message for message in caplog.messages) == 1
    assert first.unsent.exists()
    monkeypatch.undo()
    with tracker(state) as tracked:
        begin(tracked, "p2")
    (parent,) = [run for run in parents(state) if run.data.tags["isovox.plan"] == "p1"]
    assert (parent.info.status, parent.data.metrics["done"]) == ("FINISHED", 3)
    assert set(children(state)) == {"sub-01", "sub-02", "sub-03"}
    assert not tracked.unsent.exists()


@pytest.mark.slow
def test_a_real_server_that_dies_in_mid_run_and_comes_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from infra.services import start_mlflow

    monkeypatch.setenv("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    server, page = start_mlflow(tmp_path / "server"), tmp_path / "page.html"
    page.write_text("x" * 100_000)
    try:
        server.wait_healthy(120)
        with tracker(tmp_path / "isovox", server.url) as tracked:
            begin(tracked)
            tracked.scan(record("sub-01"), [page])
            server.stop()
            tracked.scan(record("sub-02"), [page])
            tracked.scan(record("sub-03"), [page])
        assert sum("the run goes on" in message for message in caplog.messages) == 1
        server = start_mlflow(tmp_path / "server")
        server.wait_healthy(120)
        with tracker(tmp_path / "isovox", server.url) as tracked:
            begin(tracked)
    finally:
        server.stop()
    assert set(children(tmp_path / "server")) == {"sub-01", "sub-02", "sub-03"}
    assert {run.info.status for run in runs(tmp_path / "server")} == {"FINISHED"}
    assert len(list((tmp_path / "server").rglob("page.html"))) == 3


def test_a_half_written_line_costs_no_more_than_itself(state: Path) -> None:
    tracked = tracker(state)
    tracked.unsent.write_text('{"kind": "coh')
    begin(tracked)
    assert not tracked.unsent.exists()
    tracked.finish("FINISHED")


def test_a_server_that_is_not_there_is_warned_of_once_and_without_its_password(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    began = time.monotonic()
    with tracker(tmp_path / "isovox", "http://name:secret@127.0.0.1:9") as tracked:
        begin(tracked)
        for number in range(5):
            tracked.scan(record(f"sub-{number}"))
    assert time.monotonic() - began < 20
    warned = [message for message in caplog.messages if "the run goes on" in message]
    assert len(warned) == 1
    assert "secret" not in "".join(caplog.messages)
    assert len([line for line in tracked.unsent.read_text().splitlines() if line]) == 7


def test_a_database_that_takes_nothing_more_is_said_in_a_line(
    state: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with tracker(state) as tracked:
        begin(tracked)
        with sqlite3.connect(state / "mlflow.db") as database:
            database.execute("alter table runs rename to others")
        capfd.readouterr()
        tracked.scan(record("sub-01"))
    (warned,) = [message for message in caplog.messages if "the run goes on" in message]
    assert "no such table: runs" in warned
    assert "[SQL" not in warned
    assert "\n" not in warned
    assert "Traceback" not in caplog.text + "".join(capfd.readouterr())


def test_what_mlflow_refuses_is_said_and_not_told_again(state: Path, caplog: pytest.LogCaptureFixture) -> None:
    with tracker(state) as tracked:
        begin(tracked)
        tracked.scan(record("sub-01", quality={"not=a;name": 1.0}))
        tracked.scan(record("sub-02"))
    assert any("refuses a scan" in message for message in caplog.messages)
    assert children(state)["sub-02"].info.status == "FINISHED"
    assert not tracked.unsent.exists()


def test_an_output_that_was_moved_goes_on_where_it_is(state: Path) -> None:
    with tracker(state) as tracked:
        begin(tracked)
    state.parent.rename(moved := state.parent.with_name("moved"))
    page = moved / "page.html"
    page.write_text("x")
    with tracker(moved / "isovox") as tracked:
        begin(tracked)
        tracked.log_report(page)
    assert not state.parent.exists()
    assert len(list((moved / "isovox" / "mlartifacts").rglob("page.html"))) == 1


def test_a_start_that_is_killed_while_the_tables_are_made_leaves_nothing_broken(tmp_path: Path) -> None:
    code = (
        "import os\n"
        "from pathlib import Path\n"
        "from mlflow.store.tracking import sqlalchemy_store as store\n"
        "store.SqlAlchemyStore._get_artifact_location = lambda *_: os._exit(9)\n"
        "from tasks.tracking.tracker import CohortTracker\n"
        f"CohortTracker(Path({str(tmp_path)!r}), 'out').start('a', 'd', {{}}, {{}})"
    )
    died = subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[3])
    assert died.returncode == 9
    assert not (tmp_path / "mlflow.db").exists()
    with CohortTracker(tmp_path, "out") as tracker:
        tracker.start("a", "d", {}, {})
    assert not tracker.unsent.exists()


def test_an_event_is_the_same_after_its_line() -> None:
    """Also with a figure that is not finite: PSNR of equal images."""
    ended = events.ScanEnded(
        plan="p", at=1, record=record("sub-01", quality={}, metrics={"psnr": float("inf")}), files=("page.html",)
    )
    opened = events.CohortOpened(plan="p", at=1, name="cohort", params={"a": "1"}, tags={})
    for event in (ended, opened, events.CohortClosed(plan="p", at=2, status="KILLED", figures={"done": 1.0})):
        assert events.read_event(events.to_line(event)) == event
    with pytest.raises(ValueError, match="kind"):
        events.read_event('{"kind": "of another version"}')


@pytest.mark.parametrize("name", ["T1 (1).nii.gz", "a//b", "./s/", "é'\"@#", "n" * 400, "sub-01/anat/sub-01_T1w.nii.gz"])
def test_whatever_a_scan_is_named_mlflow_takes_its_parameters(name):
    from mlflow.utils.validation import _validate_param_name

    (key,) = flat({"Inputs": {name: "1"}})
    _validate_param_name(key)
    assert key == f"Inputs.{name}" or not name.startswith("sub-01")
