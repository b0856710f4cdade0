from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import zoom

from core import stats as statistics
from core.geometry.grid import Box
from core.io import nifti
from core.stats import NOISE_FLOOR, RunningStatistics, ScanStats, scan_stats
from tests.phantoms import brain


def head(noise: float, *, stripped: bool) -> np.ndarray:
    """A ball of two tissues in air, measured as the magnitude of a complex image."""
    rng = np.random.default_rng(1)
    x = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in (96, 100, 40)), indexing="ij"))
    radius = np.sqrt((x**2).sum(axis=0))
    clean = np.where(radius < 0.5, 1000.0, np.where(radius < 0.8, 700.0, 0.0))
    noisy = np.hypot(clean + rng.normal(0, noise, clean.shape), rng.normal(0, noise, clean.shape))
    return np.where(stripped & (clean == 0), 0, noisy).astype(np.float32)


@pytest.mark.parametrize("stripped", [False, True])
@pytest.mark.parametrize("noise", [10.0, 40.0])
def test_the_noise_is_found_with_air_around_the_head_and_without(noise, stripped):
    stats = scan_stats(head(noise, stripped=stripped))
    assert stats.noise_sd == pytest.approx(noise, rel=0.08)
    assert stats.foreground_mean + 60 >= 700
    assert stats.contrast == pytest.approx(760, abs=60)


@pytest.mark.parametrize("stripped", [False, True])
def test_a_voxel_far_brighter_than_all_others_changes_nothing_but_the_range(stripped):
    image = head(20.0, stripped=stripped)
    faulty = image.copy()
    faulty[48, 50, 20] = 1e7
    found, wanted = scan_stats(faulty), scan_stats(image)
    assert found.maximum == 1e7
    assert found.noise_sd == pytest.approx(wanted.noise_sd, rel=0.1)
    assert found.contrast == pytest.approx(wanted.contrast, rel=0.1)
    assert found.foreground_mean == pytest.approx(wanted.foreground_mean, rel=0.1)


def test_a_scan_without_background_gets_its_noise_from_the_planes():
    rng = np.random.default_rng(2)
    ramp = np.linspace(500, 900, 64)[:, None, None] * np.ones((64, 64, 30))
    stats = scan_stats((ramp + rng.normal(0, 12, ramp.shape)).astype(np.float32))
    assert stats.noise_sd == pytest.approx(12, rel=0.1)


@pytest.mark.parametrize("contrast", ["T1w", "T2w", "FLAIR"])
def test_dark_tissue_of_a_scan_without_air_is_not_taken_for_its_noise(contrast):
    image, labels = brain((96, 96, 96), contrast, noise=4.0)
    inside = image[30:66, 30:66, 30:66]
    assert len(np.unique(labels[30:66, 30:66, 30:66])) >= 2
    assert scan_stats(inside).noise_sd == pytest.approx(4.0, rel=0.25)


def test_a_crop_of_a_real_scan_has_the_noise_of_the_whole(scans):
    image = nifti.load(str(scans / "ds002748/sub-02/anat/sub-02_T1w.nii.gz"))[0]
    inside = image[80:206, 80:206, 50:128]
    assert scan_stats(inside).noise_sd == pytest.approx(scan_stats(image).noise_sd, rel=0.5)


@pytest.mark.parametrize("noise", [20.0, 60.0])
def test_noise_of_a_scan_that_was_interpolated_is_still_found(noise):
    """Twofold by splines in the planes, of a head in air and of a stripped one: there is next to no finest detail then."""
    for stripped in (False, True):
        measured = head(noise, stripped=stripped)
        finer = np.abs(zoom(measured, (2, 2, 1), order=3))
        if stripped:
            finer[zoom(measured, (2, 2, 1), order=0) == 0] = 0
        assert scan_stats(finer).noise_sd == pytest.approx(noise, rel=0.4), stripped


def test_a_crop_within_a_noisy_head_takes_no_dark_tissue_for_air(scans):
    """Its borders are not dark; the dark class of it, cerebrospinal fluid and bone, spreads five times as far as the noise."""
    image = nifti.load(str(scans / "ds000011/sub-02/anat/sub-02_T1w.nii.gz"))[0]
    middle = [n // 2 for n in image.shape]
    crop = image[tuple(slice(n - 44, n + 44) for n in middle)].reshape(88, 88, 22, 4).mean(axis=-1)
    draw = np.random.default_rng(0)
    noisy = np.hypot(crop + draw.normal(0, 4.3, crop.shape), draw.normal(0, 4.3, crop.shape)).astype(np.float32)
    assert scan_stats(noisy).noise_sd == pytest.approx(4.3, rel=0.15)


def test_range_is_that_of_the_voxels():
    image = head(20, stripped=True)
    stats = scan_stats(image)
    assert (stats.minimum, stats.maximum) == (float(image.min()), float(image.max()))
    assert stats.foreground_mean < stats.upper <= stats.maximum


@pytest.mark.parametrize("factor", [1e-4, 1e5])
def test_statistics_scale_with_the_unit(factor):
    image = head(20, stripped=False)
    one, other = scan_stats(image), scan_stats((image * np.float32(factor)).astype(np.float32))
    for name in ScanStats.__dataclass_fields__:
        assert getattr(other, name) == pytest.approx(getattr(one, name) * factor, rel=2e-2), name


def test_a_scan_without_noise_keeps_the_floor():
    stats = scan_stats(head(0, stripped=True))
    assert stats.noise_sd == pytest.approx(NOISE_FLOOR * stats.contrast)


@pytest.mark.parametrize("value", [0.0, 7.0, -3.0])
def test_a_constant_image_has_finite_statistics_above_zero(value):
    stats = scan_stats(np.full((6, 7, 8), value, np.float32))
    assert stats.contrast > 0
    assert stats.noise_sd > 0
    assert np.isfinite([getattr(stats, name) for name in ScanStats.__dataclass_fields__]).all()


def test_real_skull_stripped_scan(scans):
    from core.io.nifti import load

    image = load(str(scans / "ds002748/sub-01/anat/sub-01_T1w.nii.gz"))[0]
    stats = scan_stats(image)
    assert 0.005 < stats.noise_sd / stats.contrast < 0.05


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("limit", [1 << 22, 100_000])
@pytest.mark.parametrize("stripped", [False, True])
def test_slabs_in_any_order_give_the_bits_of_the_whole(order, limit, stripped, monkeypatch):
    monkeypatch.setattr(statistics, "SAMPLED", limit)
    image = head(20, stripped=stripped).transpose(order)
    whole = scan_stats(image)
    for thickness in (1, 7, 64):
        running = RunningStatistics(image.shape)
        for z in reversed(range(0, image.shape[2], thickness)):
            box = Box((0, 0, z), (*image.shape[:2], min(z + thickness, image.shape[2])))
            running.take(box, image[box.slices])
        assert running.stats() == whole


@pytest.mark.parametrize("stripped", [False, True])
def test_a_sample_of_the_planes_tells_nearly_what_all_tell(stripped, monkeypatch):
    image = head(20, stripped=stripped)
    whole = scan_stats(image)
    monkeypatch.setattr(statistics, "SAMPLED", image.size // 4)
    sample = scan_stats(image)
    assert (sample.minimum, sample.maximum) == (whole.minimum, whole.maximum)
    for name in ("upper", "foreground_mean", "contrast", "noise_sd"):
        assert getattr(sample, name) == pytest.approx(getattr(whole, name), rel=0.03), name
