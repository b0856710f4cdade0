"""What a restored scan leaves and adds, against cubic interpolation: closed forms, and faults that absolute limits let pass."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from core.engine.against_cubic import (
    AS_MADE,
    REPAIRED,
    detail_ratios,
    grey_levels,
    repeated_planes,
    residual_ratios,
    stripes,
)
from core.engine.consistency import explained_again, explained_by_repair, left_by_repair, repaired
from core.engine.quality import Baseline, Quality, assess
from core.geometry.grid import Array, Grid
from core.geometry.resample import interpolate
from core.geometry.tiles import volume
from core.methods.base import Measured
from core.operators.forward_model import SliceProfile
from core.settings.run import QualityThresholds
from core.stats import scan_stats

GRID = Grid((40, 44, 12), np.diag([1.0, 1.0, 4.0, 1.0]))
TARGET = Grid((64, 72, 64), np.eye(4))


def head() -> Array:
    """A head of 1 mm voxels with folds."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in TARGET.shape), indexing="ij")
    radius = np.sqrt((x / 0.85) ** 2 + (y / 0.9) ** 2 + (z / 0.85) ** 2)
    folds = 25 * np.cos(14 * x + 3 * np.sin(8 * z)) * np.cos(12 * y - 5 * z)
    return np.asarray((100 + folds) / (1 + np.exp((radius - 1) * 25)), np.float32)


@pytest.fixture(scope="module")
def measured() -> Measured:
    source = TARGET.refine(2, Fraction(1, 4))
    seen = SliceProfile().operator(source, TARGET).forward(head())
    noisy = np.abs(seen + np.random.default_rng(0).standard_normal(seen.shape)).astype(np.float32)
    return Measured(noisy, source, scan_stats(noisy), SliceProfile())


@pytest.fixture(scope="module")
def cubic(measured: Measured) -> Array:
    return interpolate(measured.image, measured.grid, TARGET, 3)


def check(measured: Measured, image: Array, cubic: Array, *, again: bool = True) -> Quality:
    return assess(measured, image, TARGET, volume(TARGET.shape), QualityThresholds(), Baseline(cubic, again))


@pytest.mark.parametrize("again", [True, False], ids=["repaired", "as made"])
@pytest.mark.parametrize("order", [1, 3])
def test_good_interpolation_passes(measured: Measured, cubic: Array, order, again) -> None:
    image = interpolate(measured.image, measured.grid, TARGET, order)
    quality = check(measured, repaired(image, TARGET, measured) if again else image, cubic, again=again)
    assert quality.problems == []


def test_the_truth_passes(measured: Measured, cubic: Array) -> None:
    assert check(measured, head(), cubic, again=False).problems == []


FAULTS = {
    "consistency-ratio": lambda image: image * np.float32(1.02),
    "slice-ratio": lambda image: np.concatenate([image[..., :28], image[..., 32:36], image[..., 32:]], axis=2),
    "cluster-ratio": lambda image: image + 40 * ball(3.0),
    "grain": lambda image: image + 8 * np.random.default_rng(1).standard_normal(image.shape).astype(np.float32),
    "across": lambda image: image * (1 + np.float32(0.2) * np.resize(np.float32([1, -1]), image.shape[2])),
    "again-ratio": lambda image: image + 2 * np.random.default_rng(1).standard_normal(image.shape).astype(np.float32),
    "spot-ratio": lambda image: image + 10 * ball(2.0),
    "stripes": lambda image: image * (1 + np.float32(0.06) * np.resize(np.float32([1, -1]), image.shape[2])),
    "repeated": lambda image: np.concatenate([image[..., :30], image[..., 31:32], image[..., 31:]], axis=2),
    "levels": lambda image: np.round(image / 8) * 8,
}


def ball(radius: float) -> Array:
    x, y, z = (np.arange(n) - n / 2 for n in TARGET.shape)
    return (np.add.outer(np.add.outer(x**2, y**2), z**2) <= radius**2).astype(np.float32)


@pytest.mark.parametrize("code", FAULTS)
def test_a_fault_is_found_by_its_own_figure(measured: Measured, cubic: Array, code: str) -> None:
    image = repaired(cubic, TARGET, measured)
    plain = check(measured, image, cubic)
    assert plain.problems == []
    assert code in {found for found, _ in check(measured, np.asarray(FAULTS[code](image), np.float32), cubic).problems}


def test_detail_that_other_scans_told_of_is_no_fault(measured: Measured, cubic: Array) -> None:
    image = FAULTS["across"](head())
    alone, fused = (
        assess(measured, image, TARGET, volume(TARGET.shape), QualityThresholds(), Baseline(cubic, repaired=False, fused=fused))
        for fused in (False, True)
    )
    assert "across" in {code for code, _ in alone.problems}
    assert "across" not in {code for code, _ in fused.problems}
    assert fused.figures["cluster_ratio"] == alone.figures["cluster_ratio"]


def test_what_the_repair_would_leave_is_what_it_leaves(measured: Measured, cubic: Array) -> None:
    operator = measured.operator(TARGET)
    left = operator.forward(repaired(cubic, TARGET, measured)) - measured.image
    told = left_by_repair(operator.forward(cubic) - measured.image, TARGET, measured)
    inside = (measured.image > 20) & (measured.image < 120)  # where the image stays in the scan's range
    assert np.abs(left - told)[inside].max() < 0.05 * np.abs(operator.forward(cubic) - measured.image)[inside].max()


def test_a_second_repair_would_change_little_but_what_was_planted_since(measured: Measured, cubic: Array) -> None:
    operator, image = measured.operator(TARGET), repaired(cubic, TARGET, measured)
    changed = image + 10 * ball(3.0)
    residual, planted = operator.forward(image) - measured.image, operator.forward(10 * ball(3.0))
    first, second = (explained_again(each, residual + more, TARGET, measured) for each, more in ((image, 0), (changed, planted)))
    told = np.vdot(second - first, planted) / np.vdot(planted, planted)
    assert 0.6 < told <= 1
    away = np.abs(planted) < 1e-3  # but where the brightest voxels are other ones
    assert np.median(np.abs(second - first - explained_by_repair(planted, TARGET, measured))[~away]) < 1e-3
    assert np.abs(first).max() < 0.2 * np.abs(second).max()


def test_what_a_repair_was_not_allowed_is_no_fault(measured: Measured, cubic: Array) -> None:
    """Values end at the brightest: slices that ask for more there are not explained, and no one planted anything."""
    image = np.minimum(repaired(cubic, TARGET, measured), np.float32(110))
    residual = measured.operator(TARGET).forward(image) - measured.image
    assert residual.min() < -5
    wanted = explained_by_repair(residual, TARGET, measured)
    assert wanted.min() < -5
    assert explained_again(image, residual, TARGET, measured).min() > 0.3 * wanted.min()


def test_stripes_are_told_by_their_amplitude() -> None:
    image = 100 + np.random.default_rng(5).standard_normal((40, 40, 1)).astype(np.float32) * np.ones(24, np.float32)
    turns, slope = np.resize([1, -1], 24), np.arange(24) / 24
    for q in (0.02, 0.1):
        assert stripes(np.asarray(image * (1 + q * turns), np.float32), 2, 2) == pytest.approx(q / (1 - q**2), rel=1e-3)
    assert stripes(np.asarray(image * (1 + slope), np.float32), 2, 0) < 1e-3
    dimmed = image * np.repeat(np.float32([1, 1, 0.95, 1, 1, 1]), 4)
    assert stripes(dimmed, 2, 0) < 0.01  # a whole slice is another fault
    assert stripes(image[..., :4], 2, 0) == stripes(0 * image, 2, 0) == 0


def test_ratios_of_white_residuals_are_those_of_their_spreads() -> None:
    draw = np.random.default_rng(2)
    small, large = (sd * draw.standard_normal(GRID.shape).astype(np.float32) for sd in (1.0, 3.0))
    scan, inside = np.full(GRID.shape, 50, np.float32), np.ones(GRID.shape, np.bool_)
    ratios = residual_ratios(large, small, scan, inside, GRID, 1e-3, REPAIRED)
    assert ratios["consistency_ratio"] == pytest.approx(3, rel=0.02)
    assert ratios["slice_ratio"] == pytest.approx(3, rel=0.1)
    assert 1.5 < ratios["cluster_ratio"] < 4
    noise = residual_ratios(small, 0 * small, scan, inside, GRID, 1.0, AS_MADE)
    assert noise["consistency_ratio"] == pytest.approx(1, rel=0.02)  # the noise itself is no fault
    assert noise["cluster_ratio"] < 1.5


def test_a_cluster_counts_by_its_sum_under_a_gaussian() -> None:
    grid = Grid((48, 48, 48), np.eye(4))
    residual = np.zeros(grid.shape, np.float32)
    x, y, z = (np.exp(-(((np.arange(48) - 24) / (9 / 2.3548200450309493)) ** 2) / 2) for _ in range(3))
    weights = x[:, None, None] * y[:, None] * z
    residual += np.asarray(2 * weights, np.float32)
    flat, inside = np.full(grid.shape, 50, np.float32), np.ones(grid.shape, np.bool_)
    found = residual_ratios(residual, 0 * residual, flat, inside, grid, 1.0, AS_MADE)["cluster_ratio"]
    assert found == pytest.approx(2 * np.linalg.norm(weights) / 4, rel=0.01)  # what a matched filter gives, over the least


def test_no_head_leaves_nothing_to_tell() -> None:
    nothing = np.zeros(GRID.shape, np.float32)
    told = residual_ratios(nothing, nothing, nothing, nothing > 0, GRID, 1.0, AS_MADE)
    assert set(told.values()) == {0.0}


def test_detail_is_told_along_and_across_the_slices() -> None:
    image = np.random.default_rng(3).standard_normal((20, 22, 24)).astype(np.float32)
    assert detail_ratios(2 * image, image, 2, 0.0) == pytest.approx({"blur": 0.5, "grain": 2.0, "across": 2.0})
    assert detail_ratios(gaussian_filter(image, 1), image, 2, 0.0)["blur"] > 3
    assert detail_ratios(image, image, None, 0.0)["across"] == 1
    assert detail_ratios(0 * image, image, 2, 1.0)["blur"] == pytest.approx(1, abs=0.05)  # all that was lost is the noise


def test_repeated_planes_and_grey_levels() -> None:
    image = np.random.default_rng(4).standard_normal((20, 22, 24)).astype(np.float32)
    twice = image.copy()
    twice[..., 10] = twice[..., 11]
    assert repeated_planes(image, image, 2, 1) == pytest.approx(1)
    assert repeated_planes(twice, image, 2, 1) > 50
    assert repeated_planes(twice, image, 2, 11) == pytest.approx(1, abs=0.3)
    assert repeated_planes(np.repeat(image[..., ::4], 4, axis=2), image, 2, 1) == 1  # nearest neighbours
    assert grey_levels(image, image) == 1
    assert grey_levels(np.round(image), image) > 100


def test_what_a_repaired_truth_leaves_of_the_noise_is_no_fault() -> None:
    """A repair takes back what is smooth of the noise: 0.7 of it stays, of cubic interpolation, which draws it along, 0.2."""
    draw = np.random.default_rng(0)
    shape = (40, 40, 40)
    scan = np.full(shape, 100, np.float32)
    ours, cubic = (draw.normal(0, share, shape).astype(np.float32) for share in (0.7, 0.2))
    ratios = residual_ratios(ours, cubic, scan, np.ones(shape, bool), Grid(shape, np.eye(4)), 1.0, REPAIRED)
    limits = QualityThresholds()
    assert ratios["consistency_ratio"] < limits.max_consistency_ratio
    assert ratios["slice_ratio"] < limits.max_slice_ratio
    assert ratios["cluster_ratio"] < limits.max_cluster_ratio
