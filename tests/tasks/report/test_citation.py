"""Words to cite say what a run did, method by method, and number their references."""

from __future__ import annotations

import re

from core.engine.records import ScanRecord
from core.io import files
from core.io.output import Output
from core.settings.run import RunSettings
from tasks.pipeline.discover import plan_cohort
from tasks.pipeline.pages import write_cohort_page
from tasks.report.citation import citation
from tests.cases.makers import bids


def words(tmp_path, records, **how):
    bids(tmp_path / "in", "01", "02")
    settings = {"input": str(tmp_path / "in"), "out": str(tmp_path / "out"), "voxel_size": 6} | how
    plan = plan_cohort(RunSettings.model_validate(settings))
    return plan, citation(plan, records, {"isovox": "1", "numpy": "2.0"})


def record(key, method, **more):
    return ScanRecord(key=key, state="done", method=method, outputs={f"{key}.nii.gz": "ab"}, **more)


def test_each_method_that_restored_something_is_named_with_its_model_and_papers(tmp_path):
    model = {"name": "anyscan", "version": "3", "sha256": "0123456789abcdef"}
    records = [record("a", "unires"), record("b", "anyscan", provenance={"Model": model}), record("c", "unires")]
    plan, made = words(tmp_path, [*records, ScanRecord(key="d", state="failed", method="cubic")])
    text = made.paragraph
    assert "3 scans were restored: 2 by unires (" in text
    assert "; 1 by anyscan (" in text
    assert "with the model anyscan, version 3, SHA-256 0123456789ab" in text
    assert "by cubic" not in text
    assert "chosen by isovox" in text
    assert "2 scans had smaller voxels and became coarser" in text
    assert plan.digest[:12] in text
    numbers = {int(number) for group in re.findall(r"\[([\d, ]+)\]", text) for number in group.split(", ")}
    assert numbers == set(range(1, len(made.references) + 1))
    assert any("10.1007/978-3-319-95921-4_21" in reference for reference in made.references)


def test_a_run_by_one_method_says_no_more_than_it_did(tmp_path):
    _, made = words(tmp_path, [record("a", "nearest")], method="nearest", repair=False, voxel_size="auto")
    assert "chosen" not in made.paragraph
    assert "smoothly" not in made.paragraph
    assert "1 scan was restored: 1 by nearest" in made.paragraph
    assert len(made.references) == 2


def test_the_page_and_the_file_carry_the_paragraph(tmp_path):
    records = [record("sub-01_T1w", "cubic")]
    plan, made = words(tmp_path, records, method="cubic")
    out = Output(str(tmp_path / "out"))
    write_cohort_page(out, plan, records)
    assert "1 scan was restored: 1 by cubic" in files.read_bytes(out.citation).decode()
    page = files.read_bytes(out.cohort_page).decode()
    assert "Words to cite" in page
    assert "10.1109/79.799930" in page
    assert made.paragraph.split(" (")[0] in page
    assert "which become 6 mm" in page
