"""Masks and labels beside a scan are never restored as images; on request they come onto the new grid by partial volume."""

from __future__ import annotations

import re

import nibabel
import numpy as np
import pytest

from core.errors import InputError
from core.geometry.grid import Grid
from core.io import readers
from core.io.output import Output
from core.labels import carried
from core.settings.run import RunSettings
from tasks.pipeline.discover import plan_cohort
from tasks.pipeline.results import verified_records
from tests.cases.makers import SHAPE, VOXEL, affine_of, bids, head, nifti
from tests.outputs import restore_all


def ball(radius: float, value: int = 1, centre=(8.0, 12.0, 4.0)) -> np.ndarray:
    at = np.moveaxis(np.indices(SHAPE), 0, -1) * VOXEL + affine_of()[:3, 3]
    return value * (((at - centre) ** 2).sum(-1) < radius**2)


def test_a_mask_keeps_its_volume_and_labels_stay_whole():
    source = Grid(SHAPE, affine_of())
    target = source.isotropic(2.0, "profile")
    mask = ball(30).astype(np.float32)
    share = carried(mask, source, target)
    assert 0 <= share.min() < share.max() <= 1
    assert share.sum() * 2.0**3 == pytest.approx(mask.sum() * np.prod(VOXEL), rel=0.02)
    both = (ball(30) + ball(15, 6)).astype(np.float32)
    labels = carried(both, source, target)
    assert set(np.unique(labels)) == {0, 1, 7}
    for value in (1, 7):
        assert (labels == value).sum() * 8.0 == pytest.approx((both == value).sum() * np.prod(VOXEL), rel=0.15)
    assert set(np.unique(carried(np.zeros(SHAPE, np.float32), source, target))) == {0}


def test_labels_that_a_scale_moves_off_whole_numbers_stay_labels_and_small_probabilities_are_kept():
    source = Grid(SHAPE, affine_of())
    target = source.isotropic(2.0, "profile")
    both = (ball(30) + ball(15, 6)).astype(np.float32)
    scaled = both * np.float32(1 + 2**-23)
    assert not np.array_equal(scaled, both)
    np.testing.assert_array_equal(carried(scaled, source, target), carried(both, source, target))
    faint = carried(both * np.float32(1e-4), source, target)
    assert faint.max() == pytest.approx(7e-4)


def test_masks_of_one_name_in_the_folders_of_two_scans_of_a_person_are_both_carried(tmp_path):
    for contrast, radius in (("T1", 30), ("T2", 15)):
        folder = tmp_path / "in" / "p1" / contrast
        nifti(folder / "image.nii.gz")
        nifti(folder / "lesion.nii.gz", voxels=ball(radius), dtype=np.uint8)
    plan = restore_all(str(tmp_path / "in"), str(tmp_path / "out"), carry_labels=True)
    assert [record.state for record in verified_records(Output(str(tmp_path / "out")), plan)] == ["done", "done"]
    anat = tmp_path / "out" / "sub-p1" / "anat"
    masks = ("sub-p1_desc-lesionRestored_mask.nii.gz", "sub-p1_desc-lesionT2wRestored_mask.nii.gz")
    for name, radius in zip(masks, (30, 15), strict=True):
        share = np.asarray(nibabel.load(anat / name).dataobj)
        assert share.sum() * 8.0 == pytest.approx(ball(radius).sum() * np.prod(VOXEL), rel=0.02)


def test_masks_of_one_name_that_two_runs_carry_are_both_kept(tmp_path):
    for contrast, radius in (("T1", 30), ("T2", 15)):
        folder = tmp_path / "in" / "p1" / contrast
        nifti(folder / "image.nii.gz")
        nifti(folder / "lesion.nii.gz", voxels=ball(radius), dtype=np.uint8)
    out = Output(str(tmp_path / "out"))
    for suffix in ("T2w", "T1w"):
        restore_all(str(tmp_path / "in"), out.uri, carry_labels=True, selection={"suffix": (suffix,)})
    assert all(out.outputs_whole(record) for record in out.records())
    assert len({path for record in out.records() for path in record.outputs if "mask" in path}) == 2
    plan = restore_all(str(tmp_path / "in"), out.uri, carry_labels=True)
    assert [record.state for record in verified_records(out, plan)] == ["done", "done"]
    masks = {path.name for path in (tmp_path / "out").rglob("*_mask.nii.gz")}
    assert masks == {"sub-p1_desc-lesionRestored_mask.nii.gz", "sub-p1_desc-lesionT2wRestored_mask.nii.gz"}


def test_masks_of_one_bids_name_in_two_formats_are_both_carried(tmp_path):
    root = bids(tmp_path / "in", "01")
    for ending in (".nii", ".nii.gz"):
        nifti(root / "sub-01" / "anat" / f"sub-01_desc-a_mask{ending}", voxels=ball(30), dtype=np.uint8)
    plan = restore_all(str(root), str(tmp_path / "out"), carry_labels=True)
    (record,) = verified_records(Output(str(tmp_path / "out")), plan)
    assert sum("mask" in path for path in record.outputs) == plan.files.left["carried"] == 2


def test_masks_beside_a_scan_are_carried_onto_its_grid_where_asked_for(tmp_path):
    root = bids(tmp_path / "in", "01")
    anat = root / "sub-01" / "anat"
    nifti(anat / "sub-01_label-lesion_roi.nii.gz", voxels=ball(30), dtype=np.uint8)
    nifti(anat / "sub-01_desc-empty_mask.nii.gz", voxels=np.zeros(SHAPE), dtype=np.uint8)
    nifti(anat / "sub-01_space-other_dseg.nii.gz", shape=(20, 20, 20), voxel=(5, 5, 5), voxels=np.ones((20, 20, 20)))
    before = plan_cohort(RunSettings(method="cubic", input=str(root), out=str(tmp_path / "plain"), voxel_size=2.0))
    assert before.files.left["mask"] == 3
    plan = restore_all(str(root), str(tmp_path / "out"), carry_labels=True)
    assert (plan.files.left["carried"], plan.files.left["mask"]) == (2, 1)
    assert plan.scans[0].digest != before.scans[0].digest
    assert plan.scans[0].restore_digest == before.scans[0].restore_digest
    made = {path.name for path in (tmp_path / "out").rglob("*.nii.gz")}
    assert made == {
        "sub-01_desc-restored_T1w.nii.gz",
        "sub-01_label-lesion_desc-restored_roi.nii.gz",
        "sub-01_desc-emptyrestored_mask.nii.gz",
    }
    image = nibabel.load(tmp_path / "out" / "sub-01" / "anat" / "sub-01_desc-restored_T1w.nii.gz")
    mask = nibabel.load(tmp_path / "out" / "sub-01" / "anat" / "sub-01_label-lesion_desc-restored_roi.nii.gz")
    np.testing.assert_allclose(mask.affine, image.affine)
    share = np.asarray(mask.dataobj)
    assert share.sum() * 8.0 == pytest.approx(ball(30).sum() * np.prod(VOXEL), rel=0.02)


def _declared(path, voxels: np.ndarray) -> None:
    """Labels whose header says that they are: more of them than values tell apart from intensities."""
    image = nibabel.Nifti1Image(voxels.astype(np.int16), affine_of())
    image.header.set_intent("label")
    nibabel.save(image, path)


def test_labels_that_a_header_declares_are_no_scan_and_are_carried(tmp_path):
    root = bids(tmp_path / "in", "01")
    many = np.digitize(head(), np.linspace(20, 800, 40))
    anat = root / "sub-01" / "anat"
    _declared(anat / "sub-01_acq-atlas_T1w.nii.gz", many)
    _declared(anat / "sub-01_dseg.nii.gz", many)
    plan = restore_all(str(root), str(tmp_path / "out"), carry_labels=True)
    assert [scan.key for scan in plan.scans] == ["sub-01_T1w"]
    (refused,) = plan.refused
    assert (refused.key, refused.code) == ("sub-01_acq-atlas_T1w", "voxels-labels")
    assert "labels by its header (intent code 1002)" in refused.reason
    assert plan.files.left["carried"] == 1
    carried_there = np.asarray(nibabel.load(next((tmp_path / "out").rglob("*dseg.nii.gz"))).dataobj)
    assert set(np.unique(carried_there)) <= set(np.unique(many))
    with pytest.raises(InputError, match=r"voxels-labels: .* by its header"):
        readers.load("nifti", [str(anat / "sub-01_dseg.nii.gz")])
    assert readers.load_at(str(anat / "sub-01_dseg.nii.gz"))[0].max() == many.max()


def carried_in(tmp_path, *, voxels, name="sub-01_desc-odd_mask.nii.gz", dtype=np.float32):
    """The record of a scan beside a mask of these voxels, and the mask as it lies in the output."""
    root = bids(tmp_path / "in", "01")
    nifti(root / "sub-01" / "anat" / name, voxels=voxels, dtype=dtype)
    plan = restore_all(str(root), str(tmp_path / "out"), carry_labels=True)
    assert plan.files.left["carried"] == 1
    (record,) = verified_records(Output(str(tmp_path / "out")), plan)
    path = tmp_path / "out" / "sub-01" / "anat" / "sub-01_desc-oddrestored_mask.nii.gz"
    return record, np.asarray(nibabel.load(path).dataobj) if path.exists() else None


def test_a_mask_of_ones_everywhere_is_carried(tmp_path):
    record, mask = carried_in(tmp_path, voxels=np.ones(SHAPE), dtype=np.uint8)
    assert record.state == "done"
    assert mask.max() == 1
    assert mask.sum() * 8.0 == pytest.approx(np.prod(SHAPE) * np.prod(VOXEL), rel=0.02)


def test_a_mask_that_cannot_be_read_is_left_out_by_name_and_its_scan_is_restored(tmp_path):
    voxels = ball(30).astype(np.float32)
    voxels[0, 0, 0] = np.nan
    record, mask = carried_in(tmp_path, voxels=voxels)
    assert (record.state, record.code, mask) == ("flagged", "label-left-out", None)
    assert re.search(r"sub-01_desc-odd_mask\.nii\.gz was not carried: voxels-nonfinite", record.reason)
    assert "sub-01/anat/sub-01_desc-restored_T1w.nii.gz" in record.outputs


def test_a_mask_of_one_value_is_read_whatever_its_format(tmp_path):
    head = "NRRD0004\ntype: uchar\ndimension: 3\nspace: right-anterior-superior\nsizes: 20 20 20\nencoding: raw\n"
    head += "space directions: (5,0,0) (0,5,0) (0,0,5)\nspace origin: (0,0,0)\n\n"
    (tmp_path / "m.nrrd").write_bytes(head.encode() + b"\1" * 8000)
    image, grid, _ = readers.load_labels(str(tmp_path / "m.nrrd"))
    assert (image.min(), image.max(), grid.shape) == (1, 1, (20, 20, 20))
    with pytest.raises(InputError, match="voxels-constant"):
        readers.load_at(str(tmp_path / "m.nrrd"))


def test_a_mask_whose_name_would_be_too_long_is_left_out_and_its_scan_flagged(tmp_path):
    bids(tmp_path / "in", "01")
    folder = tmp_path / "in" / "sub-01" / "anat"
    for label in ("b" * 226, "lesion"):
        nifti(folder / f"sub-01_desc-{label}_mask.nii.gz", voxels=ball(30), dtype=np.uint8)
    plan = restore_all(str(tmp_path / "in"), str(tmp_path / "out"), carry_labels=True)
    (record,) = verified_records(Output(str(tmp_path / "out")), plan)
    assert (record.state, record.code) == ("flagged", "label-left-out")
    assert "name-too-long: expected a name of at most 255 bytes for the carried image, but got 258" in record.reason
    assert "sub-01/anat/sub-01_desc-lesionRestored_mask.nii.gz" in {
        path.replace("restored", "Restored") for path in record.outputs
    }
