"""Flow runs whose process died without a word: told to Prefect as crashed, and each begun anew, once.

A worker that is killed leaves its runs pending or running for ever, and a cohort, whose runs take turns, waits for them.
Heartbeats tell of runs that gave one; here it is the others that are found, and what follows from a crash.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil

from infra.group import health
from infra.group.state import AGAIN, TAG

EVERY = 30.0  # seconds between two looks
PENDING = 900.0  # seconds after which a run that waits for its process counts as dead
SILENT = 90.0  # seconds without a sign of life after which a run whose process is gone does
RECENT = timedelta(days=1)  # what crashed before that is not begun anew
MOST = 200  # runs, of one look
BEAT = "prefect.flow-run.heartbeat"

Run = Mapping[str, Any]


@dataclass
class Sweeper:
    """Looks after a group's flow runs.

    Attributes:
        api: address of Prefect's API.
        login: user:password.
        pool: the work pool whose runs are processes of this machine.
    """

    api: str
    login: str
    pool: str
    _looked: float = 0.0  # by the monotonic clock

    def look(self) -> list[str]:
        """Where it is time again, end what is dead and begin anew what crashed; a line for each, for a log."""
        if time.monotonic() - self._looked < EVERY:
            return []
        self._looked = time.monotonic()
        return [*self._crash_dead(datetime.now(UTC)), *self._begin_anew(datetime.now(UTC))]

    def _crash_dead(self, now: datetime) -> Iterator[str]:
        for run in self._runs({"state": {"type": {"any_": ["PENDING", "RUNNING"]}}}):
            if reason := self._death(run, now):
                self._set_state(run, {"type": "CRASHED", "name": "Crashed", "message": reason})
                yield f"{run['name']}: {reason}"

    def _death(self, run: Run, now: datetime) -> str:
        """Why a run counts as dead; empty where it lives, or may."""
        state, since = run["state"], datetime.fromisoformat(run["state"]["timestamp"])
        waited = (now - since).total_seconds()
        if run["work_pool_name"] == self.pool and _is_gone(run) and waited > SILENT and not self._beats(run, now):
            return "its process was killed"
        if state["type"] == "PENDING" and waited > PENDING:
            return f"no process began it within {PENDING / 60:.0f} min: its worker was killed"
        return ""

    def _beats(self, run: Run, now: datetime) -> bool:
        """Whether a run has told of itself lately."""
        lately = {"since": (now - timedelta(seconds=SILENT)).isoformat(), "until": now.isoformat()}
        which = {"event": {"name": [BEAT]}, "resource": {"id": [f"prefect.flow-run.{run['id']}"]}, "occurred": lately}
        status, answer = health.ask(f"{self.api}/events/filter", self.login, {"filter": which, "limit": 1})
        return status != 200 or bool(answer["events"])  # where it is not known it may live

    def _begin_anew(self, now: datetime) -> Iterator[str]:
        recent = {"end_time": {"after_": (now - RECENT).isoformat()}}
        for run in self._runs({"state": {"type": {"any_": ["CRASHED"]}}, **recent}):
            if run["deployment_id"] is None or AGAIN in run["tags"]:
                continue
            # The mark comes first: what dies between the two is not begun anew for ever.
            body = {"tags": [*run["tags"], AGAIN]}
            if health.ask(f"{self.api}/flow_runs/{run['id']}", self.login, body, method="PATCH")[0] == 204:
                message = "begun anew, once, after it crashed"
                self._set_state(run, {"type": "SCHEDULED", "name": "AwaitingRetry", "message": message})
                yield f"{run['name']}: {message}"

    def _runs(self, which: dict[str, Any]) -> list[Run]:
        wanted = {"flow_runs": {"tags": {"all_": [TAG]}, **which}, "limit": MOST}
        status, runs = health.ask(f"{self.api}/flow_runs/filter", self.login, wanted)
        return runs if status == 200 else []

    def _set_state(self, run: Run, state: Mapping[str, Any]) -> None:
        health.ask(f"{self.api}/flow_runs/{run['id']}/set_state", self.login, {"state": state, "force": True})


def _is_gone(run: Run) -> bool:
    """Whether a run's process, as far as one is known, has ended; another one may have its number by now."""
    try:
        process = psutil.Process(int(run["infrastructure_pid"]))
        return process.status() == psutil.STATUS_ZOMBIE or process.create_time() > _begun(run)
    except (TypeError, ValueError):
        return False
    except psutil.NoSuchProcess:
        return True


def _begun(run: Run) -> float:
    """When a run's state was entered, with a minute's grace: a process begins before it is running."""
    return datetime.fromisoformat(run["state"]["timestamp"]).timestamp() + 60.0
