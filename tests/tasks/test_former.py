"""What lies in an output of a scan that failed: nothing of other bytes or settings, and verify tells the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.main import main
from core.engine.plan import CohortPlan
from core.engine.records import ScanRecord
from core.io.output import Output
from tasks.pipeline import earlier
from tasks.pipeline.former import write_failure
from tests.cases.makers import bids
from tests.outputs import restore_all

KEY, IMAGE = "sub-01_T1w", "sub-01/anat/sub-01_desc-restored_T1w.nii.gz"


@pytest.fixture
def run(tmp_path: Path) -> tuple[Output, CohortPlan]:
    root = bids(tmp_path / "in", "01", "02")
    out = Output(str(tmp_path / "o?u#t%41"))
    return out, restore_all(str(root), out.uri)


def failed(plan: CohortPlan, digest: str) -> ScanRecord:
    return ScanRecord(key=KEY, state="failed", code="unexpected", reason="a fault", digest=digest, plan_digest=plan.digest)


def test_records_and_plans_of_other_bytes_than_text_count_as_none(run, capsys):
    out, plan = run
    record = out.read_record(KEY)
    for uri in (out.record(KEY), out.plan):
        Path(uri).write_bytes(b'{"key": "\xff"}')
    earlier._by_bytes.cache_clear()
    assert out.read_record(KEY) is None
    assert earlier.as_planned(plan.scans[0].sha256, plan.settings) == []
    assert main(["verify", out.uri]) == 3
    told = capsys.readouterr().out
    assert f"isovox/scans/{KEY}.json: record-damaged" in told
    assert "isovox/plan.json: plan-damaged" in told
    out.write_record(record)
    assert out.read_record(KEY) == record


@pytest.mark.parametrize("digest", ["", "0" * 64])
def test_what_an_earlier_run_made_of_other_bytes_is_gone_once_the_scan_fails(run, digest, capsys):
    out, plan = run
    write_failure(out, plan, failed(plan, digest))
    assert not Path(out.path("sub-01")).exists()
    assert Path(out.path(IMAGE.replace("01", "02"))).exists()
    assert main(["verify", out.uri]) == 0
    assert "1 failed scan has none; no problem" in capsys.readouterr().out


def test_where_all_scans_failed_verify_says_that_nothing_is_there(run, capsys):
    out, plan = run
    for key in (KEY, KEY.replace("01", "02")):
        write_failure(out, plan, failed(plan, "").model_copy(update={"key": key}))
    assert main(["verify", out.uri]) == 0
    assert "2 failed scans have none; no problem, for nothing is restored: isovox status says why" in capsys.readouterr().out
    assert main(["status", out.uri]) == 3


def test_the_page_of_a_run_that_was_interrupted_calls_no_scan_failed_that_it_did_not_come_to(run, capsys):
    out, _ = run
    for uri in (out.record(KEY), out.ending):
        Path(uri).unlink(missing_ok=True)
    assert main(["report", out.uri, "--no-open"]) == 0
    page = Path(out.cohort_page).read_text()
    assert "2 scans planned = 1 done + 0 skipped + 0 flagged + 0 failed + 1 interrupted" in page
    assert "the run ended before this scan; the same command goes on" in page
    words = Path(out.citation).read_text()
    assert "1 scan waits to be restored" in words
    assert "could not be restored" not in words


def test_an_image_that_others_changed_stays(run):
    out, plan = run
    Path(out.path(IMAGE)).write_bytes(b"mine")
    write_failure(out, plan, failed(plan, ""))
    assert Path(out.path(IMAGE)).read_bytes() == b"mine"


def test_an_image_of_these_very_bytes_stays_and_verify_tells_it(run, capsys):
    out, plan = run
    write_failure(out, plan, failed(plan, plan.scan(KEY).digest))
    assert Path(out.path(IMAGE)).exists()
    assert main(["verify", out.uri]) == 0
    told = capsys.readouterr().out
    assert "1 failed scan has an image from before the failure" in told
    assert "have none" not in told


def test_a_database_is_verified_wherever_the_output_lies(run, capsys):
    out, _ = run
    Path(out.path("isovox", "mlflow.db")).write_bytes(b"no database" * 100)
    assert main(["verify", out.uri]) == 3
    assert "isovox/mlflow.db: database-damaged" in capsys.readouterr().out
