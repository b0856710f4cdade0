"""A simulated scanner: what each of its parts does, against closed forms; the same number is always the same scanner."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import UsageError
from core.geometry.grid import Grid
from core.operators.forward import Beside
from core.operators.profile import FWHM
from core.operators.scanner import Scanner, bias_field
from core.settings.degradation import Degradation
from core.tissues import CSF, GM, WM, Tissues, maps_of_labels
from tests.phantoms import brain

IMAGE, LABELS = brain((48, 48, 48), noise=0.0)
GRID = Grid(IMAGE.shape, np.eye(4))
MAPS = maps_of_labels(LABELS)
TISSUES = Tissues.of_maps(IMAGE, MAPS)


def seen(scanner: Scanner, image=IMAGE, seed: int = 0, maps=MAPS):
    grid = Grid(image.shape, np.eye(4))
    return scanner.degrade(image, grid, 2, np.random.default_rng(seed), Beside(TISSUES, maps))


def test_each_tissue_gets_its_own_brightness():
    sharp = Scanner(curve=(1.5, 0.9, 0.6), width=(1e-3, 1e-3))
    made = seen(sharp).image
    for tissue, factor in ((CSF, 1.5), (GM, 0.9), (WM, 0.6)):
        where = MAPS[tissue] > 0
        assert made[where] == pytest.approx(factor * IMAGE[where], rel=1e-5)
    assert (made[LABELS == 0] == 0).all()


def test_a_point_becomes_a_gaussian_of_the_width_that_is_said_within_and_across():
    image = np.zeros((41, 41, 41), np.float32)
    image[20, 20, 20] = 1000
    made = seen(Scanner(width=(2.0, 4.0)), image, maps=np.zeros((3, *image.shape), np.float32)).image
    for axis, fwhm in ((0, 2.0), (1, 2.0), (2, 4.0)):
        line = made.sum(axis=tuple({0, 1, 2} - {axis}), dtype=np.float64)
        spread = float((line * (np.arange(41) - 20) ** 2).sum() / line.sum())
        assert spread == pytest.approx((fwhm / FWHM) ** 2 + 1 / 12, rel=0.02)  # and of the voxel within which it is constant


def test_voxels_are_of_the_size_that_is_said_and_the_head_stays_in_its_place():
    scanner = Scanner(voxel=(1.25, 1.5))
    made = seen(scanner)
    assert made.grid.spacing == pytest.approx((1.25, 1.25, 1.5))
    assert made.image.shape == (39, 39, 32)
    middle = [np.array([n / 2 - 0.5 for n in grid.shape])[None] for grid in (GRID, made.grid)]
    assert made.grid.world(middle[1]) == pytest.approx(GRID.world(middle[0]), abs=1e-9)
    assert made.image.sum(dtype=np.float64) * 1.25**2 * 1.5 == pytest.approx(IMAGE.sum(dtype=np.float64), rel=0.01)


def test_noise_is_a_share_of_white_matter_as_the_scanner_shows_it():
    quiet, loud = (seen(Scanner(curve=(1, 1, 2), noise=noise)) for noise in (0.0, 0.04))
    inside = MAPS[WM] > 0
    assert (loud.image - quiet.image)[inside].std() == pytest.approx(0.04 * 2 * TISSUES.wm_mean, rel=0.03)
    assert loud.drawn["NoiseSD"] == pytest.approx(0.04 * 2 * TISSUES.wm_mean)


def test_a_bias_field_is_smooth_of_its_strength_the_scanners_own_and_a_little_the_scans():
    fields = [bias_field((32, 24, 40), 0.3, pattern, np.random.default_rng(seed)) for pattern, seed in ((1, 0), (1, 1), (2, 0))]
    logs = [np.log(field) for field in fields]
    assert [np.abs(log).max() for log in logs] == pytest.approx([0.3] * 3, rel=1e-5)
    assert max(np.abs(np.diff(log, axis=axis)).max() for log in logs for axis in range(3)) < 0.06
    alike = np.corrcoef([log.ravel() for log in logs])
    assert 0.8 < alike[0, 1] < 0.9999
    assert alike[0, 2] < 0.7


def test_a_number_is_always_the_same_scanner_and_another_is_another():
    settings = [Degradation(operator="scanner", scanner=number).forward for number in (1, 1, 2)]
    assert settings[0] == settings[1] == Scanner.drawn(1)
    assert settings[0] != settings[2]
    reference = Degradation(operator="scanner").forward
    assert (reference.curve, reference.voxel) == ((1, 1, 1), (1, 1))
    made = [seen(Scanner.drawn(1), seed=seed).image for seed in (5, 5, 6)]
    assert np.array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])


def test_without_tissues_there_is_no_scanner():
    with pytest.raises(UsageError, match=r"tissues-missing: expected the tissues of the scan, but got none"):
        Scanner.drawn(1).degrade(IMAGE, GRID, 2, np.random.default_rng(0))
