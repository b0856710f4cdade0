"""Bands that are planted are found with their gain and taken out; anatomy and noise alone are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.banding import Banding, banding, evened
from core.geometry.grid import Grid
from core.io import nifti
from core.stats import scan_stats
from tests.phantoms import brain

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
SPACING = (1.0, 1.0, 4.0)


def thick(axis: int = 2, noise: float = 3.0, seed: int = 0) -> tuple[np.ndarray, Grid]:
    """A head of folded tissue in 24 slices of 4 mm across an axis, 1 mm within them."""
    shape, spacing = [64, 64, 64], [1.0, 1.0, 1.0]
    shape[axis], spacing[axis] = 96, 4.0
    image, _ = brain(tuple(shape), noise=noise, head=True, seed=seed)
    slices = np.moveaxis(image, axis, 0).reshape(24, 4, 64, 64).mean(axis=1)
    image = np.ascontiguousarray(np.moveaxis(slices, 0, axis), np.float32)
    return image, Grid(image.shape, np.diag([*spacing, 1.0]))


def banded(image: np.ndarray, grid: Grid, gain: float) -> np.ndarray:
    gains = np.where(np.arange(image.shape[grid.slice_axis]) % 2, 1.0, 1 + gain).astype(np.float32)
    return image * gains.reshape([-1 if at == grid.slice_axis else 1 for at in range(3)])


def seen(image: np.ndarray, grid: Grid) -> Banding:
    result = banding(image, grid, scan_stats(image))
    assert result is not None
    return result


@pytest.mark.parametrize("gain", [0.05, -0.08, 0.3])
def test_the_gain_of_a_ramp_is_found_exactly(gain: float) -> None:
    """A head that changes evenly from slice to slice has no steps of its own."""
    image = np.full((40, 40, 16), 100.0, np.float32)
    image[:4] = image[:, :4] = 0
    grid = Grid(image.shape, np.diag([1, 1, 4, 1.0]))
    assert seen(banded(image, grid, gain), grid).gain == pytest.approx(gain, abs=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("gain", [0.06, -0.06])
def test_planted_bands_are_found_with_their_gain_and_taken_out(axis: int, gain: float) -> None:
    image, grid = thick(axis)
    dark = banded(image, grid, gain)
    found = seen(dark, grid)
    assert found.found
    assert found.gain == pytest.approx(gain, abs=0.02)
    even, told = evened(dark, grid, scan_stats(dark))
    assert told == found
    assert not seen(even, grid).found
    ratio = even[image > 20] / image[image > 20]
    assert ratio.std() < abs(gain) / 6  # of half the gain before


@pytest.mark.parametrize("seed", range(4))
def test_anatomy_and_noise_alone_are_no_bands(seed: int) -> None:
    image, grid = thick(noise=8.0, seed=seed)
    assert not seen(image, grid).found
    same, told = evened(image, grid, scan_stats(image))
    assert same is image
    assert told is None


def test_the_gains_of_neighbours_cancel() -> None:
    gains = Banding(0.1, 0.01).gains(7)
    np.testing.assert_allclose(gains[:-1] * gains[1:], 1, rtol=1e-6)
    np.testing.assert_allclose(gains[0] / gains[1], 1.1, rtol=1e-6)


@pytest.mark.parametrize("low", [-5.0, -1e5])
def test_a_dark_voxel_hides_no_bands(low: float) -> None:
    image, grid = thick()
    dark = banded(image, grid, 0.06)
    gain = seen(dark, grid).gain
    dark[3, 3, 3] = low
    assert seen(dark, grid).gain == pytest.approx(gain, abs=1e-3)
    assert evened(dark, grid, scan_stats(dark))[1] is not None


@pytest.mark.parametrize("case", ["cubes", "few slices", "below zero"])
def test_where_nothing_can_be_told_nothing_is(case: str) -> None:
    image, grid = thick()
    if case == "cubes":
        grid = Grid(image.shape, np.eye(4))
    if case == "few slices":
        image = image[:, :, :9].copy()
        grid = Grid(image.shape, grid.affine)
    if case == "below zero":
        image = image - 50
    assert banding(image, grid, scan_stats(image)) is None


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason="shared/data, the real scans, is not beside the project")
def test_real_clinical_scans_show_what_is_planted_and_of_one_the_bands_it_has() -> None:
    """All inner slices of the T1w but the uppermost alternate: -3 and +5.5 % against their neighbours."""
    for name, own in (("T1W", 0.045), ("T2W", 0.01), ("FLAIR", 0.0)):
        image, grid, _ = nifti.load(str(DATA / f"openms/patient01_thick/{name}.nii.gz"))
        assert seen(image, grid).found is (name == "T1W")
        assert seen(image, grid).gain == pytest.approx(own, abs=0.005)
        found = seen(banded(image, grid, 0.1), grid)
        assert found.found
        assert found.gain == pytest.approx((1 + own) * 1.1 - 1, abs=0.02)
