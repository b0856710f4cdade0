"""Masks and covariates beside scans: which are found, what depends on them, and that they reach the method that takes them."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from cli.helpers.tables import plan_summary
from core.engine.plan import CohortPlan, ScanPlan
from core.errors import InputError
from core.geometry.grid import Box
from core.io import files, nifti
from core.io.output import Output
from core.operators.forward_model import DroppedSlices
from core.operators.sidecar import fields_of
from core.settings.run import RunSettings
from tasks.pipeline.discover import plan_cohort
from tasks.pipeline.export import export
from tasks.restore.work import Job, ingest, lazily, measured_of, restore, scans_of

SHAPE = (26, 28, 13)
AFFINE = np.diag([2.0, 2.0, 4.0, 1.0])
LESION = np.zeros(SHAPE, np.uint8)
LESION[8:12, 9:14, 4:6] = 1
FAMILY = "beside_family"
pytestmark = pytest.mark.usefixtures("own_family")


def write(path: Path, image: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(image, affine), path)
    return path


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Two persons, the first with a lesion mask and a brain mask."""
    root = tmp_path / "in"
    for label in ("01", "02"):
        image = np.random.default_rng(int(label)).gamma(9, 20, SHAPE).astype(np.float32)
        write(root / f"sub-{label}" / "anat" / f"sub-{label}_T1w.nii.gz", image)
    write(root / "sub-01" / "anat" / "sub-01_desc-lesion_mask.nii.gz", LESION)
    write(root / "sub-01" / "anat" / "sub-01_desc-brain_mask.nii.gz", np.ones(SHAPE, np.uint8))
    (root / "dataset_description.json").write_text(json.dumps({"Name": "x", "BIDSVersion": "1.10.0"}))
    (root / "participants.tsv").write_text("participant_id\tage\tsex\thand\nsub-01\t40\tF\tleft\nsub-02\tn/a\tM\tright\n")
    return root


def planned(cohort: Path, method: str = "filling", **said: object) -> CohortPlan:
    out = str(cohort.parent / f"out-{method}")
    settings = {"input": str(cohort), "out": out, "method": method, "voxel_size": 2} | said
    return plan_cohort(RunSettings.model_validate(settings))


def masks(plan: CohortPlan) -> dict[str, str]:
    return {scan.key[:6]: files.name_of(scan.mask.uri) if scan.mask else "" for scan in plan.scans}


def digests(plan: CohortPlan) -> dict[str, tuple[str, str]]:
    return {scan.key[:6]: (scan.ingest_digest, scan.restore_digest) for scan in plan.scans}


def stored(plan: CohortPlan) -> tuple[Job, ScanPlan]:
    files.write_json(Output(plan.settings.out).plan, plan.model_dump(mode="json"))
    job = Job(plan.settings.out, plan.digest, (plan.scans[0].key,))
    return job, scans_of(job)[0]


def test_a_method_gets_what_it_takes_and_no_more(cohort):
    plan = planned(cohort)
    assert masks(plan) == {"sub-01": "sub-01_desc-lesion_mask.nii.gz", "sub-02": ""}
    assert [scan.covariates for scan in plan.scans] == [{"age": 40.0, "sex": "F"}, {"sex": "M"}]
    assert plan.files.left["beside"] == 1
    other = planned(cohort, "nearest")
    assert masks(other) == {"sub-01": "", "sub-02": ""}
    assert [scan.covariates for scan in other.scans] == [None, None]


def test_a_plan_tells_how_scans_came_about_and_how_many_bring_a_mask(cohort):
    path = cohort / "sub-02" / "anat" / "sub-02_T1w.json"
    files.write_json(str(path), fields_of(DroppedSlices(factor=4), 2, 1.0))
    told = plan_summary(planned(cohort)).splitlines()
    assert "scans: 1 of box slices (slices 4 mm apart); 1 of dropped slices, ×4 (slices 4 mm apart)" in told
    assert "masks: beside 1 of 2 scans, taken by filling" in told
    assert not any(line.startswith("masks") for line in plan_summary(planned(cohort, "nearest")).splitlines())


def test_digests_know_what_lies_beside_a_scan_only_where_it_is_taken(cohort):
    before, other = digests(planned(cohort)), digests(planned(cohort, "nearest"))
    write(cohort / "sub-01" / "anat" / "sub-01_desc-lesion_mask.nii.gz", np.roll(LESION, 1, 0))
    after = digests(planned(cohort))
    assert after["sub-02"] == before["sub-02"]
    assert after["sub-01"][0] == before["sub-01"][0]  # the measured scan is the same
    assert after["sub-01"][1] != before["sub-01"][1]
    (cohort / "participants.tsv").write_text("participant_id\tage\nsub-02\t50\n")
    aged = digests(planned(cohort))
    assert len({before["sub-02"][1], aged["sub-02"][1]}) == 2
    assert digests(planned(cohort, "nearest")) == other
    (cohort / "participants.tsv").unlink()
    assert [scan.covariates for scan in planned(cohort).scans] == [None, None]


def test_the_mask_reaches_the_method_and_what_it_fills_is_not_held_against_it(cohort):
    job, scan = stored(planned(cohort))
    for stage in (ingest, restore, export):
        stage(job)
    measured, part = measured_of(job, scan), lazily(job, scan).crop(Box((8, 0, 3), (26, 28, 6)))
    np.testing.assert_array_equal(measured.mask, LESION > 0)
    np.testing.assert_array_equal(part.mask, LESION[8:, :, 3:6] > 0)
    assert measured.covariates == part.covariates == {"age": 40.0, "sex": "F"}
    out = Output(job.out)
    image, _, _ = nifti.load(out.path(f"{scan.stem}.nii.gz"))
    twice = np.repeat(LESION > 0, 2, axis=2)
    assert (image[twice] == 40).all()
    assert image[~twice].mean() == pytest.approx(180, rel=0.05)
    (record,) = out.records()
    assert record.quality["consistency"] < 1e-3
    assert abs(record.quality["gain_error"]) < 1e-6


def test_a_mask_that_changed_since_the_plan_is_refused(cohort):
    job, scan = stored(planned(cohort))
    ingest(job)
    write(cohort / "sub-01" / "anat" / "sub-01_desc-lesion_mask.nii.gz", np.roll(LESION, 1, 0))
    with pytest.raises(InputError, match=r"input-changed: expected the mask that was planned .*\. Run again"):
        measured_of(job, scan)


def test_an_empty_mask_leaves_nothing_out(cohort):
    write(cohort / "sub-01" / "anat" / "sub-01_desc-lesion_mask.nii.gz", LESION * 0)
    job, scan = stored(planned(cohort))
    ingest(job)
    assert not measured_of(job, scan).mask.any()


@pytest.mark.parametrize(
    ("name", "affine", "taken"),
    [
        ("sub-02_mask", AFFINE, True),
        ("sub-02_label-tumour_mask", AFFINE, True),
        ("sub-02_roi", AFFINE, True),
        ("sub-02_desc-brain_mask", AFFINE, False),
        ("sub-02_label-GM_mask", AFFINE, False),
        ("sub-02_run-2_mask", AFFINE, True),  # of a run that the scan does not name
        ("sub-02_mask", np.diag([2.0, 2.0, 4.5, 1.0]), False),
    ],
)
def test_a_mask_is_known_by_its_name_and_its_grid(cohort, name, affine, taken):
    write(cohort / "sub-02" / "anat" / f"{name}.nii.gz", LESION, affine)
    assert masks(planned(cohort))["sub-02"] == (f"{name}.nii.gz" if taken else "")


def test_a_mask_of_another_run_is_not_the_scans(cohort):
    anat = cohort / "sub-02" / "anat"
    (anat / "sub-02_T1w.nii.gz").rename(anat / "sub-02_run-1_T1w.nii.gz")
    write(anat / "sub-02_run-2_mask.nii.gz", LESION)
    assert masks(planned(cohort))["sub-02"] == ""


def test_a_folder_of_plain_names_brings_masks_too(tmp_path):
    for person in ("a", "b"):
        write(tmp_path / "in" / person / "T1w.nii.gz", np.random.default_rng(0).gamma(9, 20, SHAPE).astype(np.float32))
    write(tmp_path / "in" / "a" / "lesion_mask.nii.gz", LESION)
    write(tmp_path / "in" / "b" / "brain_mask.nii.gz", LESION)
    found = {scan.relative: scan.mask is not None for scan in planned(tmp_path / "in").scans}
    assert found == {"a/T1w.nii.gz": True, "b/T1w.nii.gz": False}


def test_a_table_names_the_mask(cohort, tmp_path):
    write(tmp_path / "elsewhere" / "hole.nii.gz", LESION)
    write(tmp_path / "elsewhere" / "far.nii.gz", LESION, np.diag([4.0, 4.0, 8.0, 1.0]))
    table = cohort / "scans.tsv"
    lines = ["path\tmask", "sub-01/anat/sub-01_T1w.nii.gz\tn/a", "sub-02/anat/sub-02_T1w.nii.gz\t../elsewhere/{}"]
    table.write_text("\n".join(lines).format("hole.nii.gz"))
    assert masks(planned(table)) == {"sub-01": "", "sub-02": "hole.nii.gz"}
    table.write_text("\n".join(lines).format("far.nii.gz"))
    (refused,) = planned(table).refused
    assert refused.code == "mask-grid"
    assert (
        "expected a mask on the scan's grid of (26, 28, 13), but got another grid in far.nii.gz. Resample the mask"
        in refused.reason
    )


def test_scans_without_the_mask_that_is_needed_and_with_two_are_refused_by_name(cohort):
    plan = planned(cohort, "needing")
    assert masks(plan) == {"sub-01": "sub-01_desc-lesion_mask.nii.gz"}
    assert [(one.key, one.code) for one in plan.refused] == [("sub-02_T1w", "mask-missing")]
    assert (
        "expected a mask beside the scan, on its grid, that says lesion or tumour, but got none. Add one"
        in plan.refused[0].reason
    )
    write(cohort / "sub-01" / "anat" / "sub-01_label-lesion_mask.nii.gz", LESION)
    codes = {one.key: one.code for one in planned(cohort).refused}
    assert codes == {"sub-01_T1w": "mask-ambiguous"}
