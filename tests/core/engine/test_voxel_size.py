"""The size of restored voxels: what a scan has already is kept, voxel by voxel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.engine.plan import CohortPlan, ScanPlan, voxel_size_of
from core.engine.planning import complete
from core.geometry.grid import Grid
from core.geometry.resample import interpolate
from core.operators.forward_model import SliceProfile
from core.settings.run import RunSettings

SIZES = (0.8680556, 0.859375, 0.46875)  # of header fields in float32, as scanners write them


def planned(grid: Grid, **changes: Any) -> CohortPlan:
    scan = ScanPlan(
        key="sub-01_T1w",
        uris=("/data/sub-01_T1w.nii.gz",),
        relative="sub-01_T1w.nii.gz",
        kind="nifti",
        stem="sub-01_T1w_desc-restored",
        group="sub-01_T1w",
        sha256="a" * 64,
        source=grid.to_json(),
        target=grid.to_json(),
        forward=SliceProfile(),
    )
    return complete(RunSettings(input="in", out="out", method="cubic", **changes), (scan,), ())


def sliced(size: float, slices: int = 5) -> Grid:
    return Grid((288, 256, slices), np.diag([float(np.float32(size)), float(np.float32(size)), 5.0, 1]))


@pytest.mark.parametrize("fuse", [False, True])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("asked", ["auto", "rounded"])
def test_voxels_within_the_planes_stay_where_they_were_measured(size: float, asked: str, fuse: bool) -> None:
    source = sliced(size)
    target = planned(source, voxel_size="auto" if asked == "auto" else round(size, 3), fuse=fuse).scans[0].target_grid
    assert target.shape[:2] == source.shape[:2]
    assert source.index_map(target)[:2] == ((1.0, 0.0), (1.0, 0.0))
    assert target.spacing == pytest.approx([size] * 3, rel=1e-6)


def test_measured_voxels_come_back_bit_for_bit_where_restored_ones_meet_them() -> None:
    image = np.random.default_rng(0).uniform(0, 1000, (288, 16, 4)).astype(np.float32)
    cubes = Grid(image.shape, np.diag([0.8680556, 0.8680556, 0.8680556, 1]))
    assert (interpolate(image, cubes, planned(cubes, voxel_size="auto").scans[0].target_grid, 3) == image).all()
    source = Grid(image.shape, np.diag([0.8680556, 0.8680556, 3 * 0.8680556, 1]))
    target = planned(source, voxel_size="auto").scans[0].target_grid
    assert target.shape == (288, 16, 12)
    assert (interpolate(image, source, target, 1)[..., 1::3] == image).all()


def test_a_size_is_the_scans_own_only_where_it_is_that_rounded() -> None:
    source = sliced(0.8680556)
    for asked in (0.8679, 0.87, 0.8682, 1.0):
        assert voxel_size_of([source], RunSettings(input="in", out="out", voxel_size=asked)) == asked
    noise = Grid((9, 9, 9), np.diag([1 + 1e-7, 1, 4, 1]))  # of float32, not of a person's rounding
    assert voxel_size_of([noise], RunSettings(input="in", out="out", voxel_size=1.0)) == 1.0


def test_a_plan_that_was_written_asks_for_the_same_voxels_again(tmp_path: Path) -> None:
    first = planned(sliced(0.8680556), voxel_size="auto")
    (tmp_path / "plan.json").write_text(first.model_dump_json())
    read = CohortPlan.model_validate_json((tmp_path / "plan.json").read_bytes())
    assert planned(read.scans[0].source_grid, voxel_size="auto").scans[0].digest == first.scans[0].digest
    assert read.scans[0].target_grid == first.scans[0].target_grid
