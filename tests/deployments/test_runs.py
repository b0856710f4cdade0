"""Deployed flows run by a worker that starts processes: a cohort now and again, another cancelled, a third killed."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.error
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.deployments.cohorts import phantoms, write_phantom
from tests.deployments.conftest import Group

pytestmark = pytest.mark.slow
COUNTS = {"nightly": 3, "arriving": 1, "pair": 1}
Places = dict[str, tuple[Path, Path]]
STOPPED = 30.0  # seconds within which a cancelled run has ended


def processes_of(out: Path) -> list[psutil.Process]:
    """Flow runs' processes that work on an output, with their children."""
    try:
        pid = json.loads((out / "isovox" / "lock.json").read_text())["pid"]
        own = psutil.Process(pid)
    except (OSError, ValueError, psutil.NoSuchProcess):
        return []
    return [own, *own.children(recursive=True)]


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def half_written(out: Path) -> list[str]:
    return [str(path) for path in out.rglob("*") if path.name.endswith((".tmp", ".partial", "lock.json"))]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    """Input and output of each cohort."""
    folder = tmp_path_factory.mktemp("cohorts")
    return {name: (phantoms(folder / name, count), folder / f"{name}-out") for name, count in COUNTS.items()}


@pytest.fixture(scope="module")
def deployed(group: Group, worker: object, places: Places) -> str:
    """What was said when the cohorts were deployed, for the second time."""
    words = [word for name, (source, out) in places.items() for word in ("--cohort", f"{name}={source}={out}")]
    words += ["--cron", "0 2 29 2 *", "--timezone", "Europe/Berlin", "--poll", "600000", "--quiet-seconds", "3"]
    group.deploy(*words)
    made = {name: group.deployment(f"reprocess-cohort/{name}")["id"] for name in places}
    said = group.deploy(*words)
    assert made == {name: group.deployment(f"reprocess-cohort/{name}")["id"] for name in places}
    return said


def test_deploying_again_changes_nothing(group: Group, deployed: str) -> None:
    assert "deployed: reprocess-cohort/nightly, at '0 2 29 2 *' Europe/Berlin and every 600000 min" in deployed
    again = group.deployment("reprocess-cohort/nightly")
    assert len(again["schedules"]) == 2
    assert again["global_concurrency_limit"]["limit"] == 1
    names = [one["name"] for one in group.ask("automations/filter", {})]
    assert sorted(set(names)) == sorted(names)
    assert {"isovox: dead runs", "isovox: arrivals of nightly"} <= set(names)


def test_a_cohort_that_was_not_deployed_cannot_be_notified(group: Group) -> None:
    assert "cohort-unknown" in group.isovox("notify", "nobody", code=2)


def test_the_server_refuses_bad_values_before_a_run_is_made(group: Group, worker: object, tmp_path: Path) -> None:
    before = group.ask("flow_runs/count", {})
    for wrong in ({"method": "magic"}, {"input": "here"}, {"voxel_size": 0}):
        with pytest.raises(urllib.error.HTTPError) as refused:
            group.start("reprocess-cohort/reprocess-cohort", settings={"input": str(tmp_path), "out": "/data/out"} | wrong)
        assert refused.value.code in {409, 422}
        assert next(iter(wrong)) in refused.value.read().decode()
    assert group.ask("flow_runs/count", {}) == before


def test_a_cohort_is_looked_through_and_only_what_changed_is_done(group: Group, deployed: str, places: Places) -> None:
    source, out = places["nightly"]
    run = group.start("reprocess-cohort/nightly")
    ended = group.ended(run)
    assert (ended["state"]["type"], ended["state"]["message"]) in {("COMPLETED", "3 done"), ("COMPLETED", "3 flagged")}
    summary = group.artifacts(run, "summary")[0]["data"]
    assert "3 new, 0 changed, 0 unchanged" in summary
    kept = (out / "sub-01" / "anat" / "sub-01_desc-restored_T1w.nii.gz").stat().st_mtime_ns

    quick = group.ended(group.start("reprocess-cohort/nightly", quick=True))
    assert "nothing is new" in quick["state"]["message"]

    write_phantom(source, "02", seed=22)
    write_phantom(source, "04", seed=4)
    shutil.rmtree(source / "sub-03")
    run = group.start("reprocess-cohort/nightly", quick=True)
    assert group.ended(run)["state"]["type"] == "COMPLETED"
    summary = group.artifacts(run, "summary")[0]["data"]
    assert "1 new, 1 changed, 1 unchanged, 1 removed" in summary
    assert "sub-03_T1w" in (out / "report.html").read_text()
    assert (out / "sub-03" / "anat" / "sub-03_desc-restored_T1w.nii.gz").exists()
    assert list(json.loads((out / "isovox" / "removed.json").read_text())) == ["sub-03_T1w"]
    assert (out / "sub-01" / "anat" / "sub-01_desc-restored_T1w.nii.gz").stat().st_mtime_ns == kept


def test_objects_that_arrive_start_one_run(group: Group, deployed: str) -> None:
    group.isovox("notify", "arriving")
    event = {"event": "isovox.objects-arrived", "resource": {"prefect.resource.id": "isovox.cohort.arriving"}, "payload": {}}
    for _ in range(3):  # as a webhook of the storage would
        stamp = {"id": str(uuid.uuid4()), "occurred": datetime.now(UTC).isoformat()}
        group.ask("events", [event | stamp])
    made = group.deployment("reprocess-cohort/arriving")["id"]

    def runs() -> list[Any]:
        return group.ask("flow_runs/filter", {"deployments": {"id": {"any_": [made]}}})

    run = group.wait(runs)[0]["id"]
    assert group.ended(run)["state"]["type"] == "COMPLETED"
    assert 1 <= len(runs()) <= 2


def test_two_runs_of_a_cohort_come_one_after_the_other(group: Group, deployed: str) -> None:
    first, second = group.start("reprocess-cohort/pair"), group.start("reprocess-cohort/pair")
    one, other = group.ended(first), group.ended(second)
    assert {one["state"]["type"], other["state"]["type"]} == {"COMPLETED"}
    spans = sorted((run["start_time"], run["end_time"]) for run in (one, other))
    assert spans[0][1] <= spans[1][0]


LONG = {"method": "unires", "method_options": {"tolerance": 0.0}, "voxel_size": 0.5}


@pytest.mark.parametrize("cluster", ["in-process", "local"])
def test_a_cancelled_run_stops_and_leaves_nothing(group: Group, worker: object, tmp_path: Path, cluster: str) -> None:
    source, out = phantoms(tmp_path / "bids", 4, 64), tmp_path / "out"
    settings = {"input": str(source), "out": str(out), "compute": {"cluster": cluster}} | LONG
    run = group.start("reprocess-cohort/reprocess-cohort", settings=settings)
    group.wait(lambda: list((out / "isovox").glob("cohort.zarr/*/measured/zarr.json")))
    time.sleep(3)
    family = processes_of(out)
    assert family
    group.ask(f"flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}, "force": False})
    began = time.monotonic()
    group.wait(lambda: not any(map(alive, family)), STOPPED, 0.05)
    stopped = time.monotonic() - began
    assert group.ended(run)["state"]["type"] == "CANCELLED"
    print(f"{cluster}: nothing ran after {stopped:.1f} s, Cancelled after {time.monotonic() - began:.1f} s")  # noqa: T201
    assert half_written(out) == []
    log = [line["message"] for line in group.ask("logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}})]
    assert [line for line in log if "exception" in line] == []


def test_a_run_with_a_failed_scan_ends_in_a_line_of_its_log(group: Group, worker: object, tmp_path: Path) -> None:
    source, out = phantoms(tmp_path / "bids", 2), tmp_path / "out"
    bad = source / "sub-01" / "anat" / "sub-01_T1w.nii.gz"
    bad.write_bytes(bad.read_bytes()[:-40])
    run = group.start("reprocess-cohort/reprocess-cohort", settings={"input": str(source), "out": str(out), "method": "cubic"})
    ended = group.ended(run)
    assert ended["state"]["type"] == "FAILED"
    what = ended["state"]["message"]
    assert "1 failed" in what
    assert group.artifacts(run, "progress")[0]["description"] == f"ended: {what}"

    def last() -> list[str]:
        log = [line["message"] for line in group.ask("logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}})]
        return [line for line in log if "scans failed" in line or "Traceback" in line]

    assert group.wait(last) == [f"scans failed ({what}): the report says why of each"]
    assert "Traceback" not in group.log()


def test_a_killed_run_is_told_and_the_next_one_goes_on(group: Group, worker: subprocess.Popen[bytes], tmp_path: Path) -> None:
    source, out = phantoms(tmp_path / "bids", 6, 64), tmp_path / "out"
    settings = {"input": str(source), "out": str(out), "method": "unires", "compute": {"workers": 1}}
    run = group.start("reprocess-cohort/reprocess-cohort", settings=settings)
    group.wait(lambda: list((out / "isovox" / "scans").glob("*.json")))
    for one in processes_of(out):
        one.kill()
    began = time.monotonic()
    assert group.ended(run)["state"]["type"] == "CRASHED"
    print(f"told after {time.monotonic() - began:.1f} s")  # noqa: T201
    done = {path: path.stat().st_mtime_ns for path in out.glob("sub-*/anat/*.nii.gz")}
    again = group.ended(group.start("reprocess-cohort/reprocess-cohort", settings=settings))
    assert again["state"]["type"] == "COMPLETED"
    assert len(list(out.glob("sub-*/anat/*.nii.gz"))) == 6
    assert {path: path.stat().st_mtime_ns for path in done} == done
