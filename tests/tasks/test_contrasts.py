"""What the choice by the scan knows of contrasts is what outputs are named by: paths, descriptions of series, tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.engine.plan import CohortPlan, Weights
from core.methods.registry import shipped
from core.models.bundle import read_bundle
from core.settings.run import RunSettings
from tasks.pipeline.discover import plan_cohort
from tests.cases.makers import nifti, series

SHAPE, VOXEL = (60, 60, 15), (1.0, 1.0, 4.0)
OTHERWISE = "no trained model was measured on such scans"


def planned(cohort: Path, **more: object) -> CohortPlan:
    folder = str(shipped("anyscan"))
    others = {"anyscan": Weights(folder=folder, sha256=read_bundle(folder).digest)}
    how = {"input": str(cohort), "out": str(cohort.parent / "out"), "method": "auto", "slices": {"slice_gap": 0.0}}
    return plan_cohort(RunSettings.model_validate(how | more), None, others)


def choices(plan: CohortPlan) -> dict[str, str]:
    return {scan.stem.rpartition("/")[2]: scan.method for scan in plan.scans}


def test_in_a_plain_folder_paths_tell_the_contrast(tmp_path: Path) -> None:
    cohort = tmp_path / "cohort"
    for name in ("p1/T1W", "p2/T2_sag", "p3/FLAIR", "p4/T1CE", "p5/T1_post_gd_ax", "p6/ax_T1_FLAIR", "p7/foo"):
        nifti(cohort / f"{name}.nii.gz", shape=SHAPE, voxel=VOXEL)
    plan = planned(cohort)
    assert choices(plan) == {
        "sub-p1_desc-restored_T1w": "anyscan",
        "sub-p2_acq-sag_desc-restored_T2w": "anyscan",
        "sub-p3_desc-restored_FLAIR": "anyscan",
        "sub-p4_ce-agent_desc-restored_T1w": "unires",
        "sub-p5_acq-ax_ce-gd_desc-restored_T1w": "unires",
        "sub-p6_acq-ax_desc-restored_T1w": "anyscan",
        "sub-p7foo_desc-restored_MRI": "unires",
    }
    why = {scan.stem.rpartition("/")[2]: scan.why for scan in plan.scans}
    assert why["sub-p4_ce-agent_desc-restored_T1w"] == OTHERWISE
    assert why["sub-p7foo_desc-restored_MRI"] == "its contrast is not told (name it in a table's column suffix)"


@pytest.mark.parametrize(
    ("description", "suffix", "method"),
    [
        ("AX T1 SE", "T1w", "anyscan"),
        ("AX T2 FLAIR", "FLAIR", "anyscan"),
        ("t2_tse_tra_4mm", "T2w", "anyscan"),
        ("AX T1 FLAIR", "T1w", "anyscan"),
        ("AX T1 +C", "T1w", "unires"),
        ("AX T1 W/O CONTRAST", "T1w", "anyscan"),
        ("SURVEY", "MRI", "unires"),
    ],
)
def test_of_dicom_the_description_tells_it(tmp_path: Path, description: str, suffix: str, method: str) -> None:
    def edit(one, number: int) -> None:
        one.SeriesDescription, one.PixelSpacing, one.SliceThickness = description, [1.0, 1.0], 4.0
        one.ImagePositionPatient = [30.0, 30.0, 4.0 * number]

    series(tmp_path / "cohort" / "s1", shape=SHAPE, edit=edit)
    ((stem, chosen),) = choices(planned(tmp_path / "cohort")).items()
    assert (stem.rpartition("_")[2], chosen) == (suffix, method)


def test_a_tables_suffix_does_not_hide_an_agent(tmp_path: Path) -> None:
    names = ("T1CE", "T1_post", "T1", "sub-x_ses-post_T1w")
    for name in names:
        nifti(tmp_path / f"{name}.nii.gz", shape=SHAPE, voxel=VOXEL)
    rows = "".join(f"{name}.nii.gz\tp{number}\tT1w\n" for number, name in enumerate(names))
    (tmp_path / "cohort.tsv").write_text(f"path\tparticipant_id\tsuffix\n{rows}")
    assert choices(planned(tmp_path / "cohort.tsv")) == {
        "sub-p0_ce-agent_desc-restored_T1w": "unires",
        "sub-p1_ce-agent_desc-restored_T1w": "unires",
        "sub-p2_desc-restored_T1w": "anyscan",
        "sub-p3_ses-post_desc-restored_T1w": "anyscan",
    }
