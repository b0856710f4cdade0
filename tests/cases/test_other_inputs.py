"""Persons of one label in two datasets: never overwritten by one another, left beside one another, or made one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cli.main import main
from core.errors import UsageError
from core.io import claim
from core.settings.run import RunSettings
from core.settings.simulate import SimulateSettings
from tasks.evaluate.simulate import simulate
from tasks.harmonize.sites import write_table
from tasks.pipeline.discover import check_plan, plan_cohort
from tests.cases.makers import bids, nifti, series
from tests.outputs import restore_all

OTHER = r"out-other-input: expected .*, but got .*out, made of .*{}, where {} than in .*{}\. Name another folder"


def check(source: Path, out: Path) -> None:
    check_plan(plan_cohort(RunSettings(input=str(source), out=str(out), method="cubic", voxel_size=3.0)))


def restored(source: Path, out: Path) -> dict[Path, bytes]:
    """All files of the output."""
    restore_all(str(source), str(out), voxel_size=3.0)
    return {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


@pytest.fixture
def two(tmp_path) -> tuple[Path, Path]:
    first, second = bids(tmp_path / "a", "01", "02"), bids(tmp_path / "b")
    for seed, label in ((7, "02"), (8, "03")):
        nifti(second / f"sub-{label}" / "anat" / f"sub-{label}_T1w.nii.gz", seed=seed)
    return first, second


def test_another_datasets_person_of_the_same_label_is_refused_before_anything_is_written(two, tmp_path, capsys):
    first, second = two
    before = restored(first, tmp_path / "out")
    with pytest.raises(UsageError, match=OTHER.format("a", "sub-02_T1w is another scan", "b")):
        check(second, tmp_path / "out")
    assert main(["run", str(second), str(tmp_path / "out"), "--method", "cubic", "--voxel-size", "3"]) == 2
    assert "out-other-input" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before


def test_a_dataset_that_moved_a_scan_that_changed_and_other_persons_go_on(two, tmp_path):
    first, second = two
    restored(first, tmp_path / "out")
    shutil.copytree(first, tmp_path / "elsewhere")
    check(tmp_path / "elsewhere", tmp_path / "out")
    nifti(tmp_path / "elsewhere" / "sub-02" / "anat" / "sub-02_T1w.nii.gz", seed=9)  # sub-01 is still the same
    check(tmp_path / "elsewhere", tmp_path / "out")
    (tmp_path / "link").symlink_to("a")
    nifti(first / "sub-02" / "anat" / "sub-02_T1w.nii.gz", seed=9)
    for source in (first, tmp_path / "link", first / "sub-02" / "anat" / "sub-02_T1w.nii.gz"):
        check(source, tmp_path / "out")
    shutil.rmtree(second / "sub-02")
    check(second, tmp_path / "out")


def test_another_datasets_person_that_is_refused_leaves_no_former_one_in_its_place(two, tmp_path):
    first, second = two
    restored(first, tmp_path / "out")
    (second / "sub-02" / "anat" / "sub-02_T1w.nii.gz").write_bytes(b"broken")
    with pytest.raises(UsageError, match=OTHER.format("a", "sub-02_T1w is another scan", "b")):
        check(second, tmp_path / "out")


def test_a_scan_of_another_name_whose_output_would_have_the_same_path_is_refused(tmp_path):
    nifti(tmp_path / "a" / "p1" / "T1.nii.gz")
    nifti(tmp_path / "b" / "p1_T1w.nii.gz", seed=3)
    restored(tmp_path / "a", tmp_path / "out")
    with pytest.raises(UsageError, match="out-other-input"):
        check(tmp_path / "b", tmp_path / "out")


def test_the_input_that_a_run_marked_is_known_from_any_folder(two, tmp_path, monkeypatch):
    first, second = two
    monkeypatch.chdir(tmp_path)
    restored(Path("a"), Path("out"))
    claim.mark("out", "run", "a")
    assert claim.input_of("out") == str(first)
    assert claim.kind_of("out") == "run"
    monkeypatch.chdir(second)
    nifti(first / "sub-02" / "anat" / "sub-02_T1w.nii.gz", seed=9)
    check(first, tmp_path / "out")


def test_the_table_of_a_site_is_another_input_where_it_names_none_of_its_scans(two, tmp_path):
    first, second = two
    table = tmp_path / "o" / "isovox" / "sites" / "A.tsv"

    def named(*roots: Path) -> Path:
        images = [path for root in roots for path in sorted(root.rglob("*T1w.nii.gz"))]
        rows = [{"path": str(path), "participant_id": path.name[:6], "suffix": "T1w"} for path in images]
        write_table(str(table), rows)
        return table

    restored(named(first), tmp_path / "out")
    nifti(first / "sub-02" / "anat" / "sub-02_T1w.nii.gz", seed=9)
    check(named(first), tmp_path / "out")
    with pytest.raises(UsageError, match=OTHER.format("a/sub-01/anat", "sub-02_T1w is another scan", "b/sub-02/anat")):
        check(named(second), tmp_path / "out")


def test_simulations_of_another_datasets_persons_are_refused_and_of_moved_or_changed_scans_are_not(two, tmp_path):
    first, second = two

    def made(source: Path) -> list[str]:
        return [record.state for record in simulate(SimulateSettings(input=str(source), out=str(tmp_path / "out")))]

    assert made(first) == ["done", "done"]
    with pytest.raises(UsageError, match=OTHER.format("a/sub-02/anat", "sub-02_T1w is another scan", "b")):
        made(second)
    shutil.copytree(first, tmp_path / "elsewhere")
    assert made(tmp_path / "elsewhere") == ["skipped", "skipped"]
    nifti(first / "sub-02" / "anat" / "sub-02_T1w.nii.gz", seed=9)
    assert made(first) == ["skipped", "done"]


def test_persons_of_one_label_in_two_datasets_below_a_folder_are_two_and_never_fused(tmp_path):
    for name in ("siteA", "siteB"):
        bids(tmp_path / "in" / name, "01")
        nifti(tmp_path / "in" / name / "sub-01" / "anat" / "sub-01_T2w.nii.gz")
        nifti(tmp_path / "in" / name / "sub-01" / "anat" / "sub-01_desc-brain_mask.nii.gz")
    settings = RunSettings(input=str(tmp_path / "in"), out=str(tmp_path / "out"), method="unires", fuse=True)
    plan = plan_cohort(settings.model_copy(update={"carry_labels": True}))
    assert not plan.refused
    groups = [{scan.relative.partition("/")[0] for scan in group} for group in plan.groups()]
    assert groups in ([{"siteA"}, {"siteB"}], [{"siteB"}, {"siteA"}])
    assert len({scan.stem.partition("/")[0] for scan in plan.scans}) == 2
    labels = {label.stem.partition("/")[0] for scan in plan.scans for label in scan.labels}
    assert labels == {scan.stem.partition("/")[0] for scan in plan.scans}
    shutil.rmtree(tmp_path / "in" / "siteB")
    plan = plan_cohort(settings)
    assert {scan.stem.partition("/")[0] for scan in plan.scans} == {"sub-01"}


def test_series_of_several_persons_with_one_study_are_several_persons_and_never_fused(tmp_path):
    for name in ("p1", "p2"):
        series(tmp_path / "in" / name, study="1.2.3")
    plan = plan_cohort(RunSettings(input=str(tmp_path / "in"), out=str(tmp_path / "out"), method="unires"))
    assert [scan.stem.partition("/")[0] for scan in plan.scans] == ["sub-p1", "sub-p2"]
    plan = plan_cohort(RunSettings(input=str(tmp_path / "in"), out=str(tmp_path / "out"), method="unires", fuse=True))
    assert [refusal.code for refusal in plan.refused] == ["fuse-unproven"] * 2
