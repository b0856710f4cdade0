"""Runs whose process died before it gave a sign of life: their cohort's turn passes on, and they are begun anew, once."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from deployments.automations import notices
from infra.group import health, sweeper
from infra.group.state import AGAIN, TAG
from infra.group.sweeper import Sweeper
from tests.deployments.cohorts import phantoms
from tests.deployments.conftest import Group, end, start_worker

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


def run_of(state: str, seconds: float, pid: int | None = None, pool: str = "isovox") -> dict[str, Any]:
    since = (NOW - timedelta(seconds=seconds)).isoformat()
    return {"id": "1", "state": {"type": state, "timestamp": since}, "infrastructure_pid": pid, "work_pool_name": pool}


@pytest.fixture
def gone() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen(["true"]) as process:
        process.wait()
    return process.pid


@pytest.mark.parametrize(
    ("state", "seconds", "ended", "pool", "beats", "dead"),
    [
        ("PENDING", 899, False, "isovox", 0, False),
        ("PENDING", 901, False, "other", 0, True),
        ("RUNNING", 9000, False, "isovox", 0, False),  # no process of it is known: heartbeats tell
        ("RUNNING", 91, True, "isovox", 0, True),
        ("RUNNING", 91, True, "isovox", 1, False),
        ("RUNNING", 89, True, "isovox", 0, False),
        ("RUNNING", 91, True, "other", 0, False),  # its process is another machine's
    ],
)
def test_which_runs_count_as_dead(
    state: str, seconds: float, ended: bool, pool: str, beats: int, dead: bool, gone: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "ask", lambda *_: (200, {"events": [{}] * beats}))
    run = run_of(state, seconds, gone if ended else None, pool)
    assert bool(Sweeper("api", "", "isovox")._death(run, NOW)) == dead


def test_what_cannot_be_asked_may_live(gone: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "ask", lambda *_: (0, None))
    assert not Sweeper("api", "", "isovox")._death(run_of("RUNNING", 91, gone), NOW)


def look(group: Group) -> list[str]:
    return Sweeper(f"{group.url}/api", "", "isovox").look()


def crashes(group: Group, run: str) -> list[Any]:
    """What the server told of a run's crashes, with what it was said to belong to; the latest first."""
    which = {"event": {"name": ["prefect.flow-run.Crashed"]}, "resource": {"id": [f"prefect.flow-run.{run}"]}}
    return group.ask("events/filter", {"filter": which | {"order": "DESC"}})["events"]


def pending(group: Group, run: str) -> str:
    """The state of a run that a worker takes, as its server says."""
    group.ask(f"flow_runs/{run}/set_state", {"state": {"type": "PENDING"}, "force": False})
    return str(group.run(run)["state"]["name"])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_worker_killed_while_its_run_is_pending_holds_nobody_up(
    group: Group, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look(group)  # what other tests left crashed
    group.deploy("--cohort", f"pending={phantoms(tmp_path / 'bids', 1)}={tmp_path / 'out'}", "--cron", "")
    first, second = (group.start("reprocess-cohort/pending") for _ in range(2))
    assert pending(group, first) == "Pending"
    assert pending(group, second) == "AwaitingConcurrencySlot"
    assert look(group) == []
    monkeypatch.setattr(sweeper, "PENDING", 0.0)
    assert [line.rpartition(": ")[2] for line in look(group)] == ["its worker was killed", "begun anew, once, after it crashed"]
    again = group.run(first)
    assert (again["state"]["name"], set(again["tags"])) == ("AwaitingRetry", {TAG, "cohort:pending", AGAIN})
    worker = start_worker(group)
    try:
        assert {group.ended(run, 600)["state"]["type"] for run in (first, second)} == {"COMPLETED"}
    finally:
        end(worker)
    group.ask(f"flow_runs/{first}/set_state", {"state": {"type": "CRASHED"}, "force": True})
    assert look(group) == []
    assert group.run(first)["state"]["type"] == "CRASHED"


@pytest.mark.slow
def test_a_run_begun_anew_that_dies_before_it_runs_is_told(group: Group, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.server.events.schemas.automations import EventTrigger
    from prefect.server.events.schemas.events import ReceivedEvent

    look(group)  # what other tests left crashed
    group.deploy("--cohort", f"twice={phantoms(tmp_path / 'bids', 1)}={tmp_path / 'out'}", "--cron", "")
    run = group.start("reprocess-cohort/twice")
    monkeypatch.setattr(sweeper, "PENDING", 0.0)
    assert pending(group, run) == "Pending"
    assert len(look(group)) == 2
    assert pending(group, run) == "Pending"
    assert len(look(group)) == 1
    assert group.run(run)["state"]["type"] == "CRASHED"
    again, before = group.wait(lambda: len(known := crashes(group, run)) == 2 and known)
    (notice,) = (made for made in notices([], 15) if made.name == "isovox: crashed cohorts")
    trigger = EventTrigger.model_validate(notice.trigger.model_dump())
    assert [trigger.covers(ReceivedEvent.model_validate(event)) for event in (again, before)] == [True, False]
