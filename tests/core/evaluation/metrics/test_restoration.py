"""The figures of a restored scan: each scaled as its name says."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from core.errors import IsovoxError
from core.evaluation.metrics.perceptual import Lpips, lpips_slices
from core.evaluation.metrics.restoration import minmax, peak_of, restoration_scores, trimmed


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    """A truth whose one half is 0, and a restored scan with noise everywhere."""
    draw = np.random.default_rng(0)
    truth = 500 + 100 * gaussian_filter(draw.normal(size=(48, 40, 32)), 2).astype(np.float32)
    truth[:24] = 0
    return (truth + draw.normal(0, 20, truth.shape)).astype(np.float32), truth


def test_peaks_and_masks_are_those_of_the_names(pair):
    image, truth = pair
    scores = restoration_scores(image, truth)
    squares = (image.astype(np.float64) - truth) ** 2
    peak = np.percentile(truth, 99.9)
    assert scores["psnr"] == pytest.approx(10 * np.log10(peak**2 / squares.mean()), abs=1e-3)
    assert scores["psnr_head"] == pytest.approx(10 * np.log10(peak**2 / squares[truth > 0].mean()), abs=1e-3)
    ours, theirs = (minmax(one[6:-6, 5:-5, 4:-4]) for one in pair)
    assert scores["psnr_minmax"] == pytest.approx(-10 * np.log10(np.mean((ours - theirs) ** 2)), abs=1e-3)


def test_only_the_min_max_figures_forgive_gain_and_offset(pair):
    image, truth = pair
    plain, moved = restoration_scores(image, truth), restoration_scores(image * 3 + 50, truth)
    for name in ("psnr_minmax", "ms_ssim_minmax"):
        assert moved[name] == pytest.approx(plain[name], abs=1e-3)
    assert moved["psnr"] < plain["psnr"] - 10
    assert moved["psnr_head"] < plain["psnr_head"] - 10


def test_one_wild_voxel_ruins_the_min_max_figure_alone(pair):
    image, truth = pair
    wild = image.copy()
    wild[24, 20, 16] = image.max() * 4
    assert restoration_scores(wild, truth)["psnr_minmax"] < restoration_scores(image, truth)["psnr_minmax"] - 5
    assert restoration_scores(wild, truth)["psnr"] > restoration_scores(image, truth)["psnr"] - 2


def test_the_border_is_32_voxels_and_an_eighth_of_what_is_shorter_than_256():
    assert trimmed(np.zeros((256, 300, 64), np.float32)).shape == (192, 236, 48)


def test_a_constant_image_is_scaled_to_zeros_and_an_empty_truth_refused():
    assert not minmax(np.full((3, 3, 3), 7, np.float32)).any()
    with pytest.raises(IsovoxError, match="metric-range: expected a truth with voxels above 0"):
        peak_of(np.zeros((3, 3, 3), np.float32))


def test_lpips_sees_eight_slices_across_axis_1_each_scaled_by_itself():
    image = np.zeros((16, 256, 20), np.float32)
    image += np.arange(256, dtype=np.float32)[None, :, None] + np.linspace(0, 1, 20, dtype=np.float32)
    image[..., 0] = 1000 + np.arange(256)  # tells which slice it was
    slices = lpips_slices(image)
    assert slices.shape == (8, 3, 16, 20)
    assert slices.min() == 0
    assert slices.max() == 1
    assert lpips_slices(np.ones((9, 12, 9), np.float32)).shape == (8, 3, 9, 9)
    seen = []
    Lpips(lambda a, b: seen.append((a.shape, b.shape)) or (a - b).abs().mean())(image, image)
    assert seen == [((8, 3, 16, 20), (8, 3, 16, 20))]


def test_lpips_of_a_slice_is_of_it_alone_scaled_by_itself():
    seen = []
    row = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert Lpips(lambda a, b: seen.append((a, b)) or (a - b).abs().mean())(100 + row, 7 * row) == 0
    assert {tuple(one.shape) for one in seen[0]} == {(1, 3, 3, 4)}
    assert float(seen[0][0].max()) == 1


def test_lpips_takes_the_planes_that_the_paper_names(monkeypatch):
    asked = []
    monkeypatch.setattr("core.evaluation.metrics.perceptual.minmax", lambda one: asked.append(int(one[0, 0])) or one)
    lpips_slices(np.broadcast_to(np.arange(256, dtype=np.float32)[None, :, None], (2, 256, 2)))
    assert asked == [88, 98, 108, 118, 128, 138, 148, 158]


def test_lpips_that_cannot_be_had_says_why(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torchvision", None)
    with pytest.raises(IsovoxError, match=r"lpips-missing: .*torchvision.*pip install"):
        Lpips()
