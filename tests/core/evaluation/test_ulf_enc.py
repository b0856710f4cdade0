"""The challenge's figures, held against closed forms and scikit-image's defaults."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import IsovoxError
from core.evaluation.protocols.ulf_enc import PROTOCOL, flat_ssim, scores


def random(seed: int, shape: tuple[int, int, int] = (16, 15, 14)) -> np.ndarray:
    return np.random.default_rng(seed).random(shape, np.float32)


def test_equal_images_score_by_their_parts() -> None:
    """0.7 of SSIM 1, 80 dB of 32, and nothing wrong."""
    image = random(0)
    assert scores(image, image, None) == pytest.approx(
        {"ulf_score": 0.7 + 0.1 * (80 / 32 + 1 + 1), "ulf_ssim": 1, "ulf_psnr": 80, "ulf_mae": 0, "ulf_nmse": 0}
    )


def test_gain_and_offset_cost_nothing_and_a_bright_voxel_much() -> None:
    truth = random(1)
    figures = scores(3 * truth + 7, truth, None)
    assert figures["ulf_ssim"] == pytest.approx(1, abs=1e-4)
    assert figures["ulf_mae"] == pytest.approx(0, abs=1e-5)
    hot = truth.copy()
    hot[0, 0, 0] = 10
    darkened = scores(hot, truth, None)
    low, high = float(truth.min()), float(truth.max())
    theirs, ours = (truth - low) / (high - low), (hot - low) / (10 - low)
    wrong = np.abs(ours.astype(np.float64) - theirs)
    assert darkened["ulf_mae"] == pytest.approx(wrong.mean(), rel=1e-4)
    assert darkened["ulf_nmse"] == pytest.approx((wrong**2).mean() / np.square(theirs, dtype=np.float64).mean(), rel=1e-4)
    assert darkened["ulf_psnr"] == pytest.approx(-10 * np.log10((wrong**2).mean() + 1e-8), rel=1e-4)


def test_the_score_is_the_weighted_sum_and_nmse_counts_once_at_most() -> None:
    truth = np.zeros((9, 9, 9), np.float32)
    truth[4, 4, 4] = 1
    figures = scores(1 - truth, truth, None)
    assert (figures["ulf_mae"], figures["ulf_nmse"]) == (1, 1)
    assert figures["ulf_psnr"] == pytest.approx(0, abs=1e-6)
    assert figures["ulf_score"] == pytest.approx(0.7 * figures["ulf_ssim"], abs=1e-7)


@pytest.mark.parametrize(("a", "b"), [(0.0, 0.0), (1.0, 0.0), (0.5, 0.25)])
def test_constant_images_have_the_closed_form(a: float, b: float) -> None:
    first, second = (np.full((8, 9, 10), value, np.float32) for value in (a, b))
    assert flat_ssim(first, second) == pytest.approx((2 * a * b + 1e-4) / (a * a + b * b + 1e-4), abs=1e-9)


def test_ssim_is_scikit_image_s() -> None:
    metrics = pytest.importorskip("skimage.metrics")
    first, second = (random(seed).astype(np.float64) for seed in (2, 3))
    wanted = metrics.structural_similarity(first, second, data_range=1.0)
    assert flat_ssim(first, second) == pytest.approx(wanted, abs=1e-12)


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(IsovoxError, match=r"metric-range: expected a truth that varies, but got 2 everywhere\. Check"):
        scores(random(4), np.full((16, 15, 14), 2, np.float32), None)
    with pytest.raises(IsovoxError, match=r"metric-small: expected at least 7 voxels an axis, but got \(6, 9, 9\)\. Score"):
        flat_ssim(random(5, (6, 9, 9)), random(6, (6, 9, 9)))


def test_it_is_a_protocol_beside_the_shared_figures() -> None:
    assert {"psnr", "ssim", "ulf_score"} <= set(PROTOCOL.score(random(7), random(8)))
