"""What a repair changes, and what it leaves alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from core.engine import consistency
from core.engine.consistency import AGREES, repair_of, repaired, unrepaired
from core.geometry.grid import Grid
from core.geometry.resample import interpolate
from core.methods.base import Measured
from core.methods.registry import build_method
from core.operators.bsrgan_light import BsrganLight
from core.operators.forward_model import LowField, SliceProfile
from core.stats import scan_stats

FINE = Grid((20, 22, 24), np.eye(4))


def head(seed: int = 0) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    inside = np.zeros(FINE.shape, np.float32)
    inside[4:-4, 4:-4, 4:-4] = 100 + 60 * gaussian_filter(np.random.default_rng(seed).normal(size=(12, 14, 16)), 1.0) / 0.2
    return np.maximum(gaussian_filter(inside, 0.7), 0).astype(np.float32)


def scan_of(truth: np.ndarray, noise: float = 0.0) -> Measured:
    made = SliceProfile(factor=4).degrade(truth, FINE, 2, np.random.default_rng(0))
    image = made.image + noise * np.random.default_rng(1).normal(size=made.image.shape).astype(np.float32)
    return Measured(image, made.grid, scan_stats(image), SliceProfile())


def left(image: np.ndarray, measured: Measured) -> float:
    return float(np.sqrt(np.mean((measured.operator(FINE).forward(image) - measured.image) ** 2)))


def test_an_interpolated_scan_comes_nearer_to_the_scan_and_to_the_truth() -> None:
    truth = head()
    measured = scan_of(truth)
    rough = interpolate(measured.image, measured.grid, FINE, 3)
    made = repaired(rough, FINE, measured)
    assert left(made, measured) < 0.5 * left(rough, measured)
    assert np.mean((made - truth) ** 2) < 0.95 * np.mean((rough - truth) ** 2)


def test_what_agrees_with_its_scan_is_left_as_it_is() -> None:
    truth = head()
    np.testing.assert_allclose(repaired(truth, FINE, scan_of(truth)), truth, atol=0.02)


def test_it_goes_nowhere_beyond_the_image_and_the_scan() -> None:
    measured = scan_of(head(), noise=5.0)
    rough = interpolate(measured.image, measured.grid, FINE, 3).clip(0)
    made = repaired(rough, FINE, measured)
    assert made.min() >= min(rough.min(), measured.image.min())
    assert made.max() <= max(rough.max(), measured.image.max())


def test_a_scan_without_values_below_0_is_met_by_an_image_without_any(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = head()
    measured = scan_of(truth)
    rough = interpolate(measured.image, measured.grid, FINE, 3)
    rough[truth < 1] -= 30 * np.random.default_rng(2).random(np.count_nonzero(truth < 1), np.float32)
    made = repaired(rough, FINE, measured)
    assert rough.min() < -20
    assert made.min() == 0
    monkeypatch.setattr(consistency, "CUTS", 0)
    once = repaired(rough, FINE, measured)
    assert left(made, measured) < 0.8 * left(once, measured)
    assert np.mean((made - truth) ** 2) < np.mean((once - truth) ** 2)
    below = replace(measured, image=measured.image - 200, stats=scan_stats(measured.image - 200))
    assert repaired(rough - 200, FINE, below).min() < -200


def test_what_a_mask_hides_changes_nothing() -> None:
    truth = head()
    mask = np.zeros(scan_of(truth).image.shape, bool)
    mask[8:11, 8:12, 2:4] = True
    measured = replace(scan_of(truth), mask=mask)
    spoilt = replace(measured, image=np.where(mask, np.float32(9e3), measured.image))
    rough = interpolate(measured.image, measured.grid, FINE, 3)
    np.testing.assert_array_equal(repaired(rough, FINE, spoilt).clip(0, 150), repaired(rough, FINE, measured).clip(0, 150))


def test_a_turned_scan_is_met_too() -> None:
    truth = head()
    angle = 0.2
    turned = np.eye(4)
    turned[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    turned[:3, 3] = (0, 4, -3)
    grid = Grid((20, 20, 6), turned @ np.diag([1.0, 1.0, 4.0, 1.0]))
    image = SliceProfile().operator(grid, FINE).forward(truth)
    measured = Measured(image, grid, scan_stats(image), SliceProfile())
    dim = 0.9 * truth
    assert left(repaired(dim, FINE, measured), measured) < 0.4 * left(dim, measured)


def test_a_scan_of_nothing_is_left_alone() -> None:
    empty = np.zeros((20, 22, 6), np.float32)
    measured = replace(scan_of(head()), image=empty, stats=replace(scan_of(head()).stats, upper=0.0))
    image = np.ones(FINE.shape, np.float32)
    assert repaired(image, FINE, measured) is image


def test_another_contrast_than_the_anatomys_is_not_held_against_it() -> None:
    cubic = build_method("cubic", {})
    assert unrepaired(cubic, SliceProfile()) == ""
    assert "another contrast" in unrepaired(cubic, LowField())
    assert "draws that it does not tell" in unrepaired(cubic, BsrganLight())


def test_rounds_come_near_the_closed_form_of_a_head_in_much_air() -> None:
    """A mask in which nothing is hidden takes the closed form away and nothing else."""
    roomy = Grid((56, 56, 48), np.eye(4))
    truth = np.zeros(roomy.shape, np.float32)
    truth[18:38, 17:39, 12:36] = head()
    made = SliceProfile(factor=4).degrade(truth, roomy, 2, np.random.default_rng(0))
    stats = replace(scan_stats(made.image), noise_sd=0.1)
    closed = Measured(made.image, made.grid, stats, SliceProfile())
    rounds = replace(closed, mask=np.zeros(made.image.shape, bool))
    rough = interpolate(made.image, made.grid, roomy, 3)
    wanted = repaired(rough, roomy, closed) - rough
    assert np.linalg.norm(repaired(rough, roomy, rounds) - rough - wanted) < 0.15 * np.linalg.norm(wanted)


def test_rounds_end_where_what_is_left_of_the_head_is_noise() -> None:
    truth, noisy = head(), scan_of(head(), noise=4.0)
    unseen = np.zeros(noisy.image.shape, bool)
    measured = replace(noisy, mask=unseen, stats=replace(noisy.stats, noise_sd=5.0))
    assert (repaired(truth, FINE, measured) == truth).all()
    dim, inside = 0.8 * truth, measured.image > 20
    met = (measured.operator(FINE).forward(repaired(dim, FINE, measured)) - measured.image)[inside]
    assert np.sqrt(np.mean(met**2)) < 5.5


@pytest.mark.parametrize("noise", [0.0, 2.0, 4.0])
def test_rounds_that_end_at_the_noise_are_a_gain(noise: float) -> None:
    truth = head()
    measured = replace(scan_of(truth, noise), mask=np.zeros(scan_of(truth).image.shape, bool))
    rough = interpolate(measured.image, measured.grid, FINE, 3)
    assert np.mean((repaired(rough, FINE, measured) - truth) ** 2) < np.mean((rough - truth) ** 2)


@pytest.mark.parametrize("turn", [0.0, 0.2])
@pytest.mark.parametrize("masked", [False, True])
def test_grids_and_mask_alone_tell_whether_it_goes_by_rounds(turn: float, *, masked: bool) -> None:
    affine = np.array([[np.cos(turn), -np.sin(turn), 0, 4], [np.sin(turn), np.cos(turn), 0, 0], [0, 0, 4, 1], [0, 0, 0, 1]])
    grid = Grid((14, 14, 5), affine)
    image = SliceProfile().operator(grid, FINE).forward(head())
    mask = np.zeros(grid.shape, bool) if masked else None
    rounds = repair_of(head(), FINE, Measured(image, grid, scan_stats(image), SliceProfile(), mask=mask)).rounds
    assert (rounds is not None) == (masked or turn > 0)


def test_what_lies_in_the_mask_has_no_say() -> None:
    scan = scan_of(head(), noise=4.0)
    mask = np.zeros(scan.image.shape, bool)
    mask[4:9, 4:9, 2] = True
    spoiled = np.where(mask, np.float32(10 * scan.image.max()), scan.image)
    images = [
        repair_of(0.8 * head(), FINE, replace(scan, image=image, stats=scan_stats(image), mask=mask)).image
        for image in (scan.image, spoiled)
    ]
    np.testing.assert_array_equal(*images)


def test_it_says_how_it_went_and_why_nothing_was_added() -> None:
    truth, closed = head(), scan_of(head(), noise=4.0)
    rounds = replace(closed, mask=np.zeros(closed.image.shape, bool))
    dim = 0.8 * truth
    assert (repair_of(dim, FINE, closed).rounds, repair_of(dim, FINE, closed).unneeded) == (None, "")
    assert repair_of(dim, FINE, rounds).rounds in range(1, 21)
    assert repair_of(dim, FINE, rounds).unneeded == ""
    loud = replace(rounds, stats=replace(rounds.stats, noise_sd=5.0))
    assert (repair_of(truth, FINE, loud).rounds, repair_of(truth, FINE, loud).unneeded) == (0, AGREES)
    dark = replace(closed, stats=replace(closed.stats, upper=0.0))
    assert repair_of(dim, FINE, dark).unneeded == "the scan has no values above 0"
