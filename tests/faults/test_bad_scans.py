"""A bad scan, a full disk: named, counted, and no other scan's business."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest

from tests.faults.cohorts import leftovers, path_of, products, restored, states, thick_scan
from tests.faults.conftest import OPTIONS, Runner


def spoil(folder: Path, label: str, voxels: np.ndarray, affine: np.ndarray) -> None:
    path = path_of(folder, label)
    path.parent.mkdir(parents=True)
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)


@pytest.fixture
def spoiled(cohort: Path, tmp_path: Path) -> Path:
    """The cohort with four scans that are of no use."""
    folder = Path(shutil.copytree(cohort, tmp_path / "bids"))
    image, grid = thick_scan(9)
    holed = image.copy()
    holed[10, 10, 10] = np.nan
    for label, voxels in {"04": image, "05": holed, "06": np.stack([image, image], axis=-1), "07": image}.items():
        spoil(folder, label, voxels, grid.affine)
    path = path_of(folder, "04")
    path.write_bytes(path.read_bytes()[:20000])
    flat = nibabel.load(path_of(folder, "07"))
    header, voxels = flat.header.copy(), np.asarray(flat.dataobj)
    header["srow_x"], header["qform_code"], header["sform_code"], header["vox_offset"] = 0, 0, 1, 352
    header["scl_slope"], header["scl_inter"] = 1, 0
    path_of(folder, "07").write_bytes(gzip.compress(header.binaryblock + bytes(4) + voxels.astype("<f4").tobytes(order="F")))
    return folder


def test_bad_scans_are_named_and_the_others_restored(isovox: Runner, spoiled: Path, out: Path, expected: dict[str, str]) -> None:
    said = isovox("run", spoiled, out, *OPTIONS, code=3)
    assert "planned 7 = 3 done + 0 skipped + 0 flagged + 4 failed" in said
    codes = {key: code for key, (state, code) in states(out).items() if state == "failed"}
    assert codes == {
        "sub-04_T1w": "file-truncated",
        "sub-05_T1w": "voxels-nonfinite",
        "sub-06_T1w": "not-3d",
        "sub-07_T1w": "affine-singular",
    }
    assert all(code in said and code in (out / "report.html").read_text() for code in codes.values())
    assert restored(out).items() <= {Path(name).name: digest for name, digest in expected.items()}.items()
    assert len(restored(out)) == 3
    assert not list((out / "isovox" / "cohort.zarr").glob("sub-0[4567]_T1w/measured"))
    counts = json.loads((out / "isovox" / "run.json").read_text())["counts"]
    assert counts == {"done": 3, "skipped": 0, "flagged": 0, "failed": 4}
    again = isovox("run", spoiled, out, *OPTIONS, code=3)
    assert "planned 7 = 0 done + 3 skipped + 0 flagged + 4 failed" in again


PLACES = {
    "store": {"at": "core.io.arrays.store:Store.write_block", "match": "sub-02_T1w/cubic/restored", "to": 9},
    "NIfTI": {"at": "core.io.files:_write_local", "match": "sub-02_desc-restored_T1w.nii.gz", "to": 9},
    "sidecar": {"at": "core.io.files:_write_local", "match": "sub-02_desc-restored_T1w.json", "to": 9},
    "rename": {"at": "os:replace", "match": "sub-02_desc-restored_T1w.nii.gz", "to": 9},
    "page": {"at": "os:replace", "match": "reports/sub-02_T1w.html", "to": 9},
}


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_a_full_disk_is_named_and_leaves_nothing_half_written(
    isovox: Runner, cohort: Path, out: Path, expected: dict[str, str], place: str
) -> None:
    said = isovox("run", cohort, out, *OPTIONS, faults=[PLACES[place] | {"act": "full"}], code=3)
    assert "planned 3 = 2 done + 0 skipped + 0 flagged + 1 failed" in said
    assert states(out)["sub-02_T1w"] == ("failed", "disk-full")
    assert leftovers(out) == []
    assert "1 done + 2 skipped" in isovox("run", cohort, out, *OPTIONS)
    assert products(out) == expected


@pytest.mark.slow
def test_a_disk_that_is_full_for_all_that_comes_ends_the_run_and_the_next_completes_it(
    isovox: Runner, cohort: Path, out: Path, expected: dict[str, str]
) -> None:
    full = {"at": "core.io.files:_write_local", "match": "", "from": 12, "to": 10**6, "act": "full"}
    run = isovox.start("run", cohort, out, *OPTIONS, faults=[full])
    assert run.wait() not in {0, 2}
    assert "No space left" in run.text
    isovox("run", cohort, out, *OPTIONS)
    assert products(out) == expected
    assert leftovers(out) == []
