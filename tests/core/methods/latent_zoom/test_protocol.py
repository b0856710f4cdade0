"""The figures of the evaluation: of slices, and of structure that was invented or lost."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import IsovoxError
from core.geometry.grid import Grid
from core.methods.latent_zoom.protocol import METRICS, PROTOCOL, between_scores, counted, invented_and_lost, scores, slice_psnr
from core.operators.forward_model import DroppedSlices
from tests.phantoms import brain

TRUTH = brain((32, 34, 33))[0]


PLACES = np.stack(np.meshgrid(*(np.arange(32) - 16 for _ in range(3)), indexing="ij"))
SMOOTH = (100 * np.exp(-(PLACES**2).sum(0) / 150)).astype(np.float32)
SPOTTED = (SMOOTH + 50 * np.exp(-(PLACES**2).sum(0) / 4)).astype(np.float32)


def test_a_spot_is_invented_where_the_truth_has_none_and_lost_where_it_has_one() -> None:
    invented, missing = invented_and_lost(SPOTTED, SMOOTH)
    too_much, lost = invented_and_lost(SMOOTH, SPOTTED)
    assert missing < 0.05 * invented
    assert too_much < 0.05 * lost
    assert lost > 0.03
    assert invented_and_lost(TRUTH, TRUTH) == (0, 0)


def test_half_of_a_structure_is_half_lost_and_twice_more_is_invented() -> None:
    assert invented_and_lost(TRUTH / 2, TRUTH) == pytest.approx((0, 0.5), abs=1e-5)
    assert invented_and_lost(TRUTH * 3, TRUTH) == pytest.approx((2, 0), abs=1e-5)


def test_slices_of_air_do_not_count() -> None:
    padded = np.concatenate([np.zeros_like(TRUTH), TRUTH], axis=2)
    assert counted(padded) == [n + TRUTH.shape[2] for n in counted(TRUTH)]
    assert len(counted(TRUTH)) > 10


def test_psnr_of_slices_is_known_for_a_constant_error_and_bounded() -> None:
    image = np.zeros((20, 20), np.float32)
    assert slice_psnr(image, image + np.float32(0.1)) == pytest.approx(20, abs=1e-4)
    assert slice_psnr(image, image) == pytest.approx(60)
    assert scores(TRUTH, TRUTH, None)["psnr_slices"] == pytest.approx(60)
    assert scores(TRUTH, TRUTH, None)["ssim_slices"] == pytest.approx(1)


def test_a_constant_truth_is_refused() -> None:
    flat = np.ones((16, 16, 16), np.float32)
    with pytest.raises(IsovoxError, match=r"metric-range: expected a truth that varies, but got 1 everywhere\. Check the truth"):
        scores(flat, flat, None)


def test_new_slices_are_those_between_measured_ones_and_alone_count() -> None:
    grid = Grid(TRUTH.shape, np.eye(4))
    measured = DroppedSlices(factor=4).degraded_grid(grid, 2)
    image = TRUTH.copy()
    image[..., ::4] = 0  # the measured ones
    image[..., 33 - 33 % 4 :] = 0  # and what lies beyond them
    assert between_scores(image, TRUTH, grid, measured) == {"psnr_between": 60.0, "ssim_between": 1.0}
    assert between_scores(image, TRUTH, grid, grid) == {}
    image[..., 17] += 1
    assert between_scores(image, TRUTH, grid, measured)["psnr_between"] < 60


def test_rates_and_new_slices_have_their_columns_and_both_ways_are_joined() -> None:
    assert {"invented", "lost", "psnr_between", "ssim_between"} <= {metric.name for metric in METRICS}
    assert PROTOCOL.degradations["plane4gap2"] == {"operator": "in-plane", "factor": 4, "every": 2}
