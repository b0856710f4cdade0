"""The repair as a run makes it: on by default, in either mode, and never against what a method took out."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import nibabel
import numpy as np
import pytest

from core.banding import banding
from core.geometry.grid import Grid
from core.io.output import Output
from core.operators.forward_model import SliceProfile
from core.stats import scan_stats
from tests.outputs import restore_all
from tests.phantoms import brain


def write(root: Path, gain: float) -> tuple[np.ndarray, Grid, Grid]:
    """A head in slices of 4 mm, every second one brighter by a share; its scan, its grid and that of the sharp head."""
    sharp, _ = brain((52, 52, 80), noise=2.0, head=True)
    grid = Grid(sharp.shape, np.eye(4))
    source = grid.refine(2, Fraction(1, 4))
    image = SliceProfile().operator(source, grid).forward(sharp)
    image[:, :, ::2] *= np.float32(1 + gain)
    path = root / "sub-01" / "anat" / "sub-01_T1w.nii.gz"
    path.parent.mkdir(parents=True)
    (root / "dataset_description.json").write_text('{"Name": "made", "BIDSVersion": "1.9.0"}')
    nibabel.save(nibabel.Nifti1Image(image, source.affine), path)
    return image, source, grid


def restored(root: Path, out: Path, **how) -> np.ndarray:
    plan = restore_all(str(root), str(out), voxel_size=1.0, **how)
    assert not plan.refused, plan.refused
    (record,) = tuple(Output(str(out)).records())
    assert record.outputs, record.reason
    (path,) = (path for path in record.outputs if path.endswith(".nii.gz"))
    return np.asarray(nibabel.load(out / path).dataobj)


def test_a_run_leaves_less_of_its_scan_unless_told_not_to(tmp_path: Path) -> None:
    image, source, grid = write(tmp_path / "in", 0.0)
    seen = SliceProfile().operator(source, grid)
    plain, better = (restored(tmp_path / "in", tmp_path / f"{repair}", repair=repair) for repair in (False, True))
    left = [float(np.sqrt(np.mean((seen.forward(each) - image) ** 2))) for each in (plain, better)]
    assert left[1] < 0.5 * left[0]


def test_bands_that_a_method_takes_out_are_not_put_back(tmp_path: Path) -> None:
    image, source, grid = write(tmp_path / "in", 0.12)
    planted = banding(image, source, scan_stats(image))
    made = restored(tmp_path / "in", tmp_path / "out", method="unires", method_options={"iterations": 3})
    again = SliceProfile().operator(source, grid).forward(made)
    kept = banding(again, source, scan_stats(again))
    assert planted is not None
    assert kept is not None
    assert planted.gain == pytest.approx(0.12, abs=0.03)
    assert abs(kept.gain) < 0.02
