"""``kill -9`` of the run anywhere: the next run takes over, ends with the same bytes, and nothing shows as running any more."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.faults.asking import flow_states
from tests.faults.cohorts import leftovers, mlflow_states, products, states
from tests.faults.conftest import OPTIONS, Runner

WRITE, RENAME = "core.io.arrays.store:Store.write_block", "os:replace"
STAGES = {
    "after the plan": {"at": "flows.reprocess:_work"},
    "between two ingests": {"at": "core.io.arrays.store:Store.finish", "match": "measured", "from": 2},
    "between two blocks of a restored scan": {"at": WRITE, "match": "restored", "from": 2},
    "before the NIfTI gets its name": {"at": RENAME, "match": "desc-restored_T1w.nii.gz", "from": 2},
    "between NIfTI and sidecar": {"at": RENAME, "match": "desc-restored_T1w.json", "from": 2},
    "before the record": {"at": RENAME, "match": "isovox/scans/"},
    "in the report": {"at": RENAME, "match": "reports/sub-02_T1w.html"},
    "while MLflow is told": {"at": "tasks.tracking.tracker:CohortTracker.log_report"},
}


FAST = {"between two blocks of a restored scan"}


@pytest.mark.parametrize("stage", [pytest.param(one, marks=() if one in FAST else pytest.mark.slow) for one in STAGES])
def test_a_killed_run_is_completed_by_the_next(
    isovox: Runner, cohort: Path, out: Path, expected: dict[str, str], stage: str
) -> None:
    isovox("run", cohort, out, *OPTIONS, faults=[STAGES[stage] | {"act": "kill"}], code=-signal.SIGKILL)
    assert "lock.json" in " ".join(leftovers(out))
    isovox("run", cohort, out, *OPTIONS)
    assert products(out) == expected
    assert leftovers(out) == []
    assert set(states(out).values()) == {("done", "")}
    assert set(mlflow_states(out)) == {"FINISHED"}
    assert flow_states(isovox, out) == ["COMPLETED", "CRASHED"]
