"""A cohort that a training takes in: what is refused, and what of an earlier call is taken as it is."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from core.errors import UsageError
from core.settings.train import TrainSettings
from core.training.data.pairs import draw_pair
from tasks.train import intake, training
from tasks.train.intake import Cohort, Place
from tasks.train.noted import remember

EDGE = 56


def head(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).gamma(4, 20, (EDGE,) * 3).astype(np.float32)


def write(root: Path, name: str, image: np.ndarray, sform: float = 1.0) -> None:
    """A scan whose voxels are 1 mm wide by its qform, and ``sform`` mm by its sform."""
    path = root / f"sub-{name}" / "anat" / f"sub-{name}_T1w.nii.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    scan = nib.Nifti1Image(image, np.eye(4))
    scan.set_qform(np.eye(4), 1)
    scan.set_sform(np.diag([sform, sform, sform, 1]), 1)
    nib.save(scan, path)


def taken(cohort: Path, out: Path, **changed) -> tuple[Place, Cohort]:
    place = Place(str(out))
    settings = TrainSettings(recipe="unet-3d", cohort=str(cohort), preset="tiny", **changed)
    return place, intake.ingest(place, settings, lambda *_: None)


def test_a_scan_that_is_empty_but_for_specks_is_left_out(tmp_path):
    """By its 99.9th percentile, which is 0, no patch can be divided."""
    specks = np.zeros((EDGE,) * 3, np.float32)
    specks[:2, :5, :5] = head(0)[:2, :5, :5]
    write(tmp_path / "in", "01", head(1))
    write(tmp_path / "in", "02", specks)
    for _ in range(2):  # nor is it taken from the store of a call before
        _, cohort = taken(tmp_path / "in", tmp_path / "out")
        assert list(cohort.people) == ["01"]
        assert cohort.failed["sub-02_T1w"].startswith("voxels-sparse: expected")


@pytest.mark.parametrize("unit", [1e-9, 1e6])
def test_a_scan_in_any_unit_is_learned_from_in_its_own_range(tmp_path, unit):
    write(tmp_path / "in", "01", head(1))
    write(tmp_path / "in", "02", head(1) * np.float32(unit))
    place, cohort = taken(tmp_path / "in", tmp_path / "out")
    how = TrainSettings(recipe="unet-3d", cohort="x").degradation
    subjects = [training.subject(place, name, key, how, {}) for name, (key,) in cohort.people.items()]
    wanted, got = (draw_pair(each, how.forward, 16, np.random.default_rng(1)) for each in subjects)
    np.testing.assert_allclose(got.truth, wanted.truth, rtol=1e-4)


def test_a_scan_is_read_again_where_another_transform_is_trusted(tmp_path):
    """A call that was refused for something else leaves the scan as it was read then."""
    write(tmp_path / "in", "01", head(1), sform=1.5)
    for trust, voxel in {"sform": 1.5, "qform": 1.0}.items():
        place, _ = taken(tmp_path / "in", tmp_path / "out", trust=trust)
        assert place.store.grid("sub-01_T1w/measured").spacing == (voxel,) * 3


def test_a_scan_of_which_the_store_lost_a_block_is_taken_in_again(tmp_path):
    write(tmp_path / "in", "01", head(1))
    place, _ = taken(tmp_path / "in", tmp_path / "out")
    before = place.store.read("sub-01_T1w/measured")
    (block, *_) = (tmp_path / "out" / "cohort.zarr" / "sub-01_T1w" / "measured" / "image" / "c").rglob("0/0/0")
    block.unlink()
    taken(tmp_path / "in", tmp_path / "out")
    np.testing.assert_array_equal(place.store.read("sub-01_T1w/measured"), before)


def test_a_training_does_not_go_on_with_voxels_of_another_size(tmp_path):
    """A header that was corrected meanwhile is another scan; one of which the last digits are others is the same."""
    for name in ("01", "02"):
        write(tmp_path / "in", name, head(int(name)))
    settings = TrainSettings(recipe="unet-3d", cohort=str(tmp_path / "in"), preset="tiny")
    split = {"train": ["01"], "validation": ["02"], "test": []}
    place, cohort = taken(tmp_path / "in", tmp_path / "out", trust="sform")
    remember(place, settings, split, cohort)
    for sform in (1.000001, 1.5):
        write(tmp_path / "in", "01", head(1), sform=sform)
        _, cohort = taken(tmp_path / "in", tmp_path / "out", trust="sform")
        if sform < 1.1:
            remember(place, settings, split, cohort)
    with pytest.raises(UsageError, match=r"other-training: .* other values of voxels\.sub-01_T1w\. "):
        remember(place, settings, split, cohort)
