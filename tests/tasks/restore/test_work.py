"""What a worker reads from plan and store: the scan with how it was acquired, and noise that the run's seed decides."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from core.engine.plan import ScanPlan
from core.errors import InputError
from core.geometry.grid import Box
from core.io import files
from core.io.output import Output
from core.methods.base import Measured
from core.noise import field_key
from core.operators.forward_model import SliceProfile
from core.settings.run import RunSettings
from tasks.pipeline.discover import plan_cohort
from tasks.restore.work import Job, ingest, lazily, measured_of, scans_of

SHAPE = (26, 28, 14)


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """One scan in slices of 3 mm, 4 mm apart."""
    path = tmp_path / "in" / "sub-01" / "anat" / "sub-01_T1w.nii"
    path.parent.mkdir(parents=True)
    image = np.random.default_rng(0).gamma(2, 50, SHAPE).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(image, np.diag([2.0, 2.0, 4.0, 1.0])), path)
    path.with_suffix(".json").write_text(json.dumps({"SliceThickness": 3.0}))
    return tmp_path / "in"


def planned(cohort: Path, **said: object) -> tuple[Job, ScanPlan]:
    """A job of the cohort's scan, its plan in the output."""
    out = str(cohort.parent / "out")
    plan = plan_cohort(RunSettings.model_validate({"input": str(cohort), "out": out, "method": "cubic", "voxel_size": 2} | said))
    files.write_json(Output(out).plan, plan.model_dump(mode="json"))
    job = Job(out, plan.digest, ("sub-01_T1w",))
    return job, scans_of(job)[0]


def read(cohort: Path, **said: object) -> tuple[Measured, Measured, ScanPlan]:
    """The scan from the store, at once and a part of it."""
    job, scan = planned(cohort, **said)
    ingest(job)
    return measured_of(job, scan), lazily(job, scan).crop(Box((0, 0, 2), (26, 28, 9))), scan


def test_a_scan_comes_from_the_store_with_how_it_was_acquired(cohort: Path) -> None:
    whole, part, scan = read(cohort, slices={"slice_profile": "gaussian"})
    wanted = SliceProfile(slice_profile="gaussian", slice_gap=0.25)
    assert scan.forward == wanted
    assert whole.forward == wanted
    assert part.forward == wanted
    np.testing.assert_array_equal(part.image, whole.image[:, :, 2:9])


def test_noise_follows_the_seed_of_the_run_and_the_bytes_of_the_scan(cohort: Path) -> None:
    keys = []
    for seed in (0, 1):
        whole, part, scan = read(cohort, seed=seed)
        assert whole.noise == part.noise == field_key(seed, scan.sha256)
        keys.append(whole.noise)
    assert keys[0] != keys[1]


def test_a_file_that_changed_since_the_plan_is_refused_and_leaves_nothing(cohort: Path) -> None:
    job, _ = planned(cohort)
    (path,) = cohort.rglob("*.nii")
    image = nibabel.load(path)
    nibabel.save(nibabel.Nifti1Image(image.get_fdata().astype(np.float32) + 1, image.affine), path)
    with pytest.raises(
        InputError, match=r"input-changed: expected the bytes that were planned \(\w{12}\), but got \w{12}\. Run again"
    ):
        ingest(job)
    assert not (cohort.parent / "out" / "isovox" / "cohort.zarr" / "sub-01_T1w" / "measured").exists()
