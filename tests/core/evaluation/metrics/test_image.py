"""Metrics against a reference: equal to scikit-image's, and sensitive to shift, scale and mask as each must be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from skimage.metrics import normalized_root_mse, peak_signal_noise_ratio, structural_similarity

from core.errors import IsovoxError
from core.evaluation.metrics import ms_ssim, nrmse, psnr, ssim
from core.evaluation.metrics.image import RADIUS
from core.evaluation.metrics.kernel import RADIUS as KERNEL_RADIUS
from core.evaluation.metrics.kernel import SIGMA, WINDOW

METRICS = [psnr, nrmse, ssim, ms_ssim]
INNER = (slice(RADIUS, -RADIUS),) * 3


def pair(shape, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A smooth image of 0 to 1000 and the same with noise."""
    rng = np.random.default_rng(seed)
    smooth = gaussian_filter(rng.normal(size=shape), 2)
    clean = (1000 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.float32)
    return (clean + rng.normal(scale=40, size=shape)).astype(np.float32), clean


def reference_ssim(image: np.ndarray, clean: np.ndarray, **options):
    return structural_similarity(
        image.astype(np.float64),
        clean.astype(np.float64),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=1000,
        **options,
    )


@given(st.tuples(*[st.integers(11, 30)] * 3), st.integers(0, 9))
@settings(max_examples=25, deadline=None)
def test_ssim_equals_scikit_image(shape, seed: int) -> None:
    image, clean = pair(shape, seed)
    assert ssim(image, clean, data_range=1000, mask=None) == pytest.approx(reference_ssim(image, clean), abs=1e-9)


def test_masked_ssim_is_the_mean_of_scikit_images_map_over_the_mask() -> None:
    image, clean = pair((24, 30, 27))
    mask = clean > 500
    _, scores = reference_ssim(image, clean, full=True)
    expected = scores[INNER][mask[INNER]].mean()
    assert ssim(image, clean, data_range=1000, mask=mask) == pytest.approx(expected, abs=1e-9)
    assert abs(expected - reference_ssim(image, clean)) > 1e-3


def test_psnr_and_nrmse_equal_scikit_image() -> None:
    image, clean = pair((20, 21, 22))
    expected = peak_signal_noise_ratio(clean.astype(float), image.astype(float), data_range=1000)
    assert psnr(image, clean, data_range=1000, mask=None) == pytest.approx(expected)
    expected = normalized_root_mse(clean.astype(float), image.astype(float), normalization="min-max")
    assert nrmse(image, clean, data_range=float(np.ptp(clean)), mask=None) == pytest.approx(expected)


@pytest.mark.parametrize("metric", METRICS)
def test_an_image_equals_itself(metric) -> None:
    clean = pair((24, 24, 24))[1]
    best = {psnr: float("inf"), nrmse: 0.0}.get(metric, 1.0)
    assert metric(clean, clean, data_range=1000, mask=None) == pytest.approx(best)


@pytest.mark.parametrize("metric", METRICS)
def test_shift_by_a_voxel_offset_and_scale_all_cost_and_more_costs_more(metric) -> None:
    clean = pair((24, 26, 25))[1]
    worse = -1 if metric is nrmse else 1

    def score(image: np.ndarray) -> float:
        return worse * metric(image.astype(np.float32), clean, data_range=1000, mask=None)

    assert score(np.roll(clean, 1, 0)) > score(np.roll(clean, 2, 0))
    assert score(clean + 10) > score(clean + 100)
    assert score(clean * 1.05) > score(clean * 1.3)


def test_contrast_is_not_what_an_offset_changes() -> None:
    clean = pair((48, 48, 48))[1]
    moved = clean + np.float32(100)
    assert ms_ssim(moved, clean, data_range=1000, mask=None) > ssim(moved, clean, data_range=1000, mask=None)


@pytest.mark.parametrize("metric", METRICS)
def test_what_the_mask_leaves_out_does_not_count(metric) -> None:
    image, clean = pair((40, 40, 60))
    mask = np.zeros(clean.shape, bool)
    mask[:, :, :20] = True
    spoilt = image.copy()
    spoilt[:, :, 45:] = 0
    inside = metric(image, clean, data_range=1000, mask=mask)
    assert metric(image, clean, data_range=1000, mask=None) != metric(spoilt, clean, data_range=1000, mask=None)
    if metric is ms_ssim:  # its coarsest windows reach further than the mask
        return
    assert metric(spoilt, clean, data_range=1000, mask=mask) == inside


@pytest.mark.parametrize("metric", METRICS)
def test_a_full_mask_is_no_mask_and_the_range_counts(metric) -> None:
    image, clean = pair((24, 26, 25))
    whole = metric(image, clean, data_range=1000, mask=None)
    assert metric(image, clean, data_range=1000, mask=np.ones(clean.shape, bool)) == pytest.approx(whole, rel=1e-12)
    assert metric(image, clean, data_range=4000, mask=None) != pytest.approx(whole, rel=1e-3)
    assert metric(image * 4, clean * 4, data_range=4000, mask=None) == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize("metric", METRICS)
def test_layout_and_reorientation_change_nothing(metric) -> None:
    image, clean = pair((24, 26, 25))
    whole = metric(image, clean, data_range=1000, mask=None)
    assert metric(np.asfortranarray(image), clean, data_range=1000, mask=None) == whole
    assert metric(image.T, clean.T, data_range=1000, mask=None) == pytest.approx(whole, rel=1e-9)
    assert metric(image[::-1], clean[::-1], data_range=1000, mask=None) == pytest.approx(whole, rel=2e-3)


def test_ms_ssim_of_one_scale_is_ssim_and_of_five_is_the_weighted_product() -> None:
    image, clean = pair((21, 21, 21))
    one = ssim(image, clean, data_range=1000, mask=None)
    assert ms_ssim(image, clean, data_range=1000, mask=None) == pytest.approx(one)
    constant = np.full((176, 176, 176), 200, np.float32)
    ours = ms_ssim(constant + 100, constant, data_range=1000, mask=None)
    luminance = (2 * 300 * 200 + 10**2) / (300**2 + 200**2 + 10**2)
    assert ours == pytest.approx(luminance**0.1333, abs=1e-4)  # the last scale alone sees the means, with its weight


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"image": np.zeros((12, 12, 13), np.float32)}, "metric-shape"),
        ({"mask": np.ones((3, 3, 3), bool)}, "metric-shape"),
        ({"data_range": 0.0}, "metric-range"),
        ({"data_range": float("nan")}, "metric-range"),
        ({"mask": np.zeros((12, 12, 12), bool)}, "metric-mask"),
    ],
)
def test_what_cannot_be_scored_is_refused_with_a_remedy(metric, change, code) -> None:
    zeros = np.zeros((12, 12, 12), np.float32)
    given = {"image": zeros, "reference": zeros, "data_range": 1.0, "mask": None} | change
    with pytest.raises(IsovoxError, match=rf"{code}: expected .*, but got .*\. (Resample|Give|Check)"):
        metric(**given)


def test_ssim_needs_a_window_inside_the_volume_and_in_the_mask() -> None:
    thin = np.zeros((20, 20, 10), np.float32)
    with pytest.raises(IsovoxError, match=r"metric-small: expected at least 11 voxels"):
        ssim(thin, thin, data_range=1, mask=None)
    block = np.zeros((20, 20, 20), np.float32)
    border = np.zeros(block.shape, bool)
    border[0] = True
    with pytest.raises(IsovoxError, match="away from the border"):
        ssim(block, block, data_range=1, mask=border)


@pytest.mark.parametrize("metric", METRICS)
def test_range_and_mask_must_be_said(metric) -> None:
    zeros = np.zeros((12, 12, 12), np.float32)
    with pytest.raises(TypeError, match="mask"):
        metric(zeros, zeros, data_range=1)
    with pytest.raises(TypeError, match="data_range"):
        metric(zeros, zeros, mask=None)


def test_the_window_is_the_papers() -> None:
    assert len(WINDOW) == 2 * RADIUS + 1 == 2 * KERNEL_RADIUS + 1
    assert sum(WINDOW) == pytest.approx(1)
    assert WINDOW[RADIUS + 3] / WINDOW[RADIUS] == pytest.approx(np.exp(-0.5 * (3 / SIGMA) ** 2))
