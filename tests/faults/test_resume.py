"""What is done is not done again; what changed is, and only that."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.faults.cohorts import changes, leftovers, mlflow_states, products, restored, states, thick_scan, write_scan
from tests.faults.conftest import OPTIONS, Runner

NO_INGEST = {"at": "core.io.nifti:slabs", "act": "kill"}


def test_an_undisturbed_run_adds_up(reference: Path, expected: dict[str, str]) -> None:
    assert set(states(reference).values()) == {("done", "")}
    assert leftovers(reference) == []
    assert mlflow_states(reference) == ["FINISHED"] * 4
    assert len([name for name in expected if name.endswith(".nii.gz")]) == len(states(reference)) == 3


def test_a_second_run_starts_no_flow_and_writes_nothing(isovox: Runner, cohort: Path, finished: Path) -> None:
    before = changes(finished)
    said = isovox("run", cohort, finished, *OPTIONS, faults=[{"at": "flows.runs.launch:run_flow", "act": "kill"}])
    assert "planned 3 = 0 done + 3 skipped" in said
    assert changes(finished) == before


@pytest.mark.slow
def test_some_of_the_scans_may_be_run_alone_with_the_same_settings(
    isovox: Runner, cohort: Path, finished: Path, expected: dict[str, str]
) -> None:
    assert "2 skipped" in isovox("run", cohort, finished, *OPTIONS, "--participant-label", "01", "03")
    assert products(finished) == expected


def test_other_settings_for_some_of_the_scans_are_refused(
    isovox: Runner, cohort: Path, finished: Path, expected: dict[str, str]
) -> None:
    before = changes(finished)
    others = ("--method", "linear", "--voxel-size", "2", "--participant-label", "01")
    assert "mixed-settings" in isovox("run", cohort, finished, *others, code=2)
    assert changes(finished) == before


def test_only_a_scan_whose_bytes_changed_is_done_anew(isovox: Runner, cohort: Path, finished: Path, tmp_path: Path) -> None:
    changed = Path(shutil.copytree(cohort, tmp_path / "bids"))
    image, grid = thick_scan(2)
    write_scan(changed, "02", image + 100, grid)
    before, made = restored(finished), changes(finished)
    assert "1 done + 2 skipped" in isovox("run", changed, finished, *OPTIONS)
    assert [name for name, digest in restored(finished).items() if digest != before[name]] == ["sub-02_desc-restored_T1w.nii.gz"]
    own = (
        "isovox/cohort.zarr/sub-01_T1w",
        "isovox/cohort.zarr/sub-03_T1w",
        "sub-01",
        "sub-03",
        "reports/sub-01",
        "reports/sub-03",
    )
    for path, when in changes(finished).items():
        assert not path.startswith(own) or when == made[path], path


@pytest.mark.slow
def test_a_scan_that_came_in_is_done_and_the_others_skipped(
    isovox: Runner, cohort: Path, finished: Path, tmp_path: Path, expected: dict[str, str]
) -> None:
    more = Path(shutil.copytree(cohort, tmp_path / "bids"))
    write_scan(more, "04", *thick_scan(4))
    assert "1 done + 3 skipped" in isovox("run", more, finished, *OPTIONS)
    assert expected.items() <= products(finished).items()


@pytest.mark.slow
def test_a_threshold_is_judged_anew_without_restoring(
    isovox: Runner, cohort: Path, finished: Path, expected: dict[str, str]
) -> None:
    idle = [NO_INGEST | {"match": "bids"}, {"at": "tasks.restore.work:restore_scan", "act": "kill"}]
    said = isovox("run", cohort, finished, *OPTIONS, "--max-consistency", "0.0001", faults=idle)
    assert "3 flagged" in said
    assert {state for state, _ in states(finished).values()} == {"flagged"}
    images = {name: digest for name, digest in products(finished).items() if "/restored " in name or "/measured " in name}
    assert images.items() <= expected.items()


def sidecars(out: Path) -> list[dict[str, str]]:
    return [json.loads(path.read_text())["Isovox"] for path in out.glob("sub-*/anat/*.json")]


@pytest.mark.slow
def test_another_method_reads_no_scan_again(isovox: Runner, cohort: Path, finished: Path) -> None:
    before = restored(finished)
    faults = [NO_INGEST | {"match": str(cohort)}]
    isovox("run", cohort, finished, "--method", "linear", "--voxel-size", "2", faults=faults)
    assert [side["Method"] for side in sidecars(finished)] == ["linear"] * 3
    assert set(before.values()).isdisjoint(restored(finished).values())
    assert {side["PlanDigest"] for side in sidecars(finished)} == {
        json.loads((finished / "isovox" / "plan.json").read_text())["digest"]
    }
