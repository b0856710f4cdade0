"""Scans that are odd but whole, and references and inputs that changed: restored with all pages, or failed by name."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from core.engine.records import ScanRecord
from core.errors import InputError
from core.io import files
from core.io.output import Output
from core.io.unchanged import check_unchanged
from core.settings.run import RunSettings
from tasks.pipeline.discover import plan_cohort
from tasks.pipeline.results import row, verified_records
from tasks.restore.work import Job, ingest
from tests.cases.makers import affine_of, bids, head, nifti, patch
from tests.outputs import restore_all

COARSE: dict[str, Any] = {"shape": (20, 20, 12), "voxel": (6, 6, 10)}
HEAD = head(COARSE["shape"], affine_of(**COARSE)).astype(np.float32)


def restored(root: Path, **how: Any) -> ScanRecord:
    """The record of the one scan of a dataset."""
    out = Output(str(root.parent / "out"))
    (record,) = verified_records(out, restore_all(str(root), out.uri, **how))
    assert out.reported(record.key)
    return record


def with_one(value: float) -> np.ndarray:
    voxels = HEAD.copy()
    voxels[10, 10, 6] = value
    return voxels


ODD = {"one of 1e9": with_one(1e9), "one of 1e12": with_one(1e12), "a million more": HEAD + 1e6, "at the grain": HEAD + 3e7}


@pytest.mark.parametrize("name", ODD)
def test_a_scan_of_odd_but_finite_voxels_is_restored_with_its_pages(tmp_path, name):
    nifti(tmp_path / "in" / "sub-01" / "anat" / "sub-01_T1w.nii.gz", voxels=ODD[name], dtype=np.float32, **COARSE)
    assert restored(tmp_path / "in", voxel_size=3.0).state in {"done", "flagged"}


def test_a_scan_that_is_its_own_reference_is_done_and_has_no_infinite_figure(tmp_path):
    root = bids(tmp_path / "in", "01", shape=(40, 40, 40), voxel=(4, 4, 4))
    record = restored(root, reference=str(root), voxel_size="auto")
    assert record.state == "done"
    assert "psnr" not in record.metrics
    assert (record.metrics["ssim"], record.metrics["nrmse"], row(record)["psnr"]) == (1, 0, None)


def test_a_reference_that_lies_elsewhere_is_named(tmp_path):
    root, truth = bids(tmp_path / "in", "01"), bids(tmp_path / "truth", "01")
    (path,) = truth.rglob("*.nii.gz")
    image = nibabel.load(path)
    affine = image.affine.copy()
    affine[:3, 3] += 1000
    moved = nibabel.Nifti1Image(np.asarray(image.dataobj), affine)
    moved.set_qform(affine, 1)
    nibabel.save(moved, path)
    with pytest.raises(InputError, match=r"reference-apart: .*sub-01_T1w\.nii\.gz lies elsewhere"):
        restored(root, reference=str(truth))


def test_an_input_that_is_gone_is_named_as_one_that_changed_is(tmp_path):
    path = nifti(tmp_path / "a.nii")
    with pytest.raises(InputError, match=r"input-changed: .* Run again"):
        check_unchanged([str(path)], "0" * 64)
    path.unlink()
    with pytest.raises(InputError, match=r"input-gone: expected a\.nii, as it was .* Bring it back"):
        check_unchanged([str(path)], "0" * 64)


def test_a_scan_that_is_deleted_after_planning_fails_by_name(tmp_path):
    root, out = bids(tmp_path / "in", "01"), Output(str(tmp_path / "out"))
    plan = plan_cohort(RunSettings(input=str(root), out=out.uri, method="cubic", voxel_size=2.0))
    files.write_json(out.plan, plan.model_dump(mode="json"))
    next(root.rglob("*.nii.gz")).unlink()
    with pytest.raises(InputError, match=r"input-gone: expected sub-01_T1w\.nii\.gz"):
        ingest(Job(out.uri, plan.digest, ("sub-01_T1w",)))


def test_a_space_that_nifti_does_not_know_is_written_as_one_that_is_not_told(tmp_path):
    root = bids(tmp_path / "in", "01", **COARSE)
    patch(next(root.rglob("*.nii.gz")), 252, struct.pack("<2h", 100, 100))  # qform_code, sform_code
    assert restored(root, voxel_size=4.0).state == "done"
    image = nibabel.load(next((tmp_path / "out").rglob("*_desc-restored_T1w.nii.gz")))
    assert (int(image.header["qform_code"]), int(image.header["sform_code"])) == (2, 2)
