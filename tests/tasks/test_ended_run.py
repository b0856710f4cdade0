"""Batches that outlive their run: a cancelled flow has closed what its tasks share while their threads still run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from tasks.pipeline import stages
from tasks.pipeline.context import RUNS

STAGES = ("ingest_scans", "restore_scans", "export_scans", "report_scans")


@pytest.mark.parametrize("last", [None, *STAGES])
def test_a_batch_whose_run_has_ended_is_cancelled_and_says_so(last: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []

    def stage(name: str) -> Any:
        def run(plan: str, groups: stages.Groups) -> stages.Groups:
            ran.append(name)
            if name == last:
                del RUNS[plan]
            return groups

        return run

    for name in STAGES:
        monkeypatch.setattr(stages, name, stage(name))
    if last is not None:
        monkeypatch.setitem(RUNS, "plan", SimpleNamespace())  # type: ignore[arg-type] # only whether it is there is asked
    state = stages.process_batch.fn("plan", "a", [["a"]])
    assert state is not None
    assert state.is_cancelled()
    assert "ended" in str(state.message)
    assert ran == list(STAGES[: STAGES.index(last) + 1 if last else 0])


def test_the_bar_of_a_run_that_is_over_is_full_and_tells_what_became_of_the_scans(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[dict[str, Any]] = []
    monkeypatch.setattr(stages, "update_progress_artifact", lambda _, **how: shown.append(how))
    stages.end_progress(UUID(int=1), {"done": 56, "skipped": 0, "flagged": 1, "failed": 3})
    assert shown == [{"progress": 100.0, "description": "ended: 56 done, 1 flagged, 3 failed"}]
