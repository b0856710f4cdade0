"""Files torn, emptied or removed behind our back: what is damaged is made anew with the same bytes, the rest is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.cohorts import changes, leftovers, products, states
from tests.faults.conftest import OPTIONS, Runner

SCAN = "sub-02/anat/sub-02_desc-restored_T1w"
STORE = "isovox/cohort.zarr/sub-02_T1w"
ARTEFACTS = {
    "image": f"{SCAN}.nii.gz",
    "sidecar": f"{SCAN}.json",
    "record": "isovox/scans/sub-02_T1w.json",
    "page": "reports/sub-02_T1w.html",
    "viewer": "reports/sub-02_T1w_viewer.html",
    "cohort's page": "report.html",
    "plan": "isovox/plan.json",
}
SAME_BYTES = {"image", "sidecar", "page"}  # the others tell times
BLOCKS = {
    "measured": f"{STORE}/measured/image/c/0/0/0",
    "restored": f"{STORE}/cubic/restored/image/c/1/0/0",
    "consistency": f"{STORE}/cubic/consistency/image/c/0/0/0",
}
OTHERS = (
    f"{STORE}/measured",
    f"{STORE}/cubic/restored",
    "sub-01",
    "sub-03",
    "reports/sub-01",
    "reports/sub-03",
    "isovox/scans/sub-01",
    "isovox/scans/sub-03",
)


def tear(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def remove(path: Path) -> None:
    path.unlink()


HARMS = (tear, remove)
FAST = {("image", tear), ("restored", tear)}


@pytest.mark.parametrize(
    ("artefact", "harm"),
    [pytest.param(name, harm, marks=() if (name, harm) in FAST else pytest.mark.slow) for name in ARTEFACTS for harm in HARMS],
)
def test_a_damaged_product_is_made_anew_and_nothing_else(
    isovox: Runner, cohort: Path, finished: Path, expected: dict[str, str], artefact: str, harm
) -> None:
    path = finished / ARTEFACTS[artefact]
    before, whole = changes(finished), path.read_bytes()
    harm(path)
    isovox("run", cohort, finished, *OPTIONS)
    assert products(finished) == expected
    assert set(states(finished).values()) == {("done", "")}
    assert path.read_bytes() == whole or artefact not in SAME_BYTES
    assert path.stat().st_size > 0.9 * len(whole)
    assert leftovers(finished) == []
    now = changes(finished)
    assert [one for one in before if one.startswith(OTHERS) and now[one] != before[one]] == []


@pytest.mark.parametrize(
    ("block", "harm"),
    [pytest.param(name, harm, marks=() if (name, harm) in FAST else pytest.mark.slow) for name in BLOCKS for harm in HARMS],
)
def test_a_damaged_block_of_the_store_is_mended_when_it_is_needed(
    isovox: Runner, cohort: Path, finished: Path, expected: dict[str, str], block: str, harm
) -> None:
    harm(finished / BLOCKS[block])
    (finished / "reports" / "sub-02_T1w.html").unlink()
    isovox("run", cohort, finished, *OPTIONS)
    assert products(finished) == expected
    assert (finished / "reports" / "sub-02_T1w.html").exists()


@pytest.mark.slow
@pytest.mark.parametrize("block", ["measured", "restored"])
def test_a_block_torn_as_the_run_was_killed_is_made_anew(
    isovox: Runner, cohort: Path, out: Path, expected: dict[str, str], block: str
) -> None:
    kill = {"at": "os:replace", "match": "sub-03_desc-restored_T1w.nii.gz", "act": "kill"}
    isovox("run", cohort, out, *OPTIONS, "--workers", "1", faults=[kill], code=-9)
    tear(out / BLOCKS[block])
    (out / f"{SCAN}.nii.gz").unlink()
    isovox("run", cohort, out, *OPTIONS)
    assert products(out) == expected


@pytest.mark.slow
def test_a_block_torn_in_mid_run_is_mended_by_the_same_run(
    isovox: Runner, cohort: Path, out: Path, expected: dict[str, str]
) -> None:
    lost = {"at": "tasks.pipeline.export:_export", "match": "sub-02", "act": "remove", "with": str(out / BLOCKS["restored"])}
    isovox("run", cohort, out, *OPTIONS, faults=[lost])
    assert products(out) == expected


@pytest.mark.slow
def test_an_output_that_vanishes_before_the_end_fails_its_scan_and_the_next_run_repairs_it(
    isovox: Runner, cohort: Path, out: Path, expected: dict[str, str]
) -> None:
    lost = {"at": "flows.reprocess:_close", "act": "remove", "with": str(out / f"{SCAN}.nii.gz")}
    said = isovox("run", cohort, out, *OPTIONS, faults=[lost], code=3)
    assert "output-missing" in said
    assert "planned 3 = 2 done + 0 skipped + 0 flagged + 1 failed" in said
    assert "output-missing" in (out / "report.html").read_text()
    assert "output-missing" in isovox("status", out, code=3)
    assert "1 done + 2 skipped" in isovox("run", cohort, out, *OPTIONS)
    assert products(out) == expected
