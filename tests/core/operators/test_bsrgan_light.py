"""BSRGAN-light: kernels and sizes in closed form, the order of its steps, draws by counter; whole scans, slice by slice."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from pydantic import ValidationError

from core.errors import GridError
from core.geometry.grid import Grid
from core.operators.bsrgan_light import BsrganLight, compressed, degraded, draw_of, every, gaussian, order_of, resized
from core.operators.forward_model import InPlane
from core.settings.degradation import Degradation


def picture(rows: int = 64, columns: int = 48) -> np.ndarray:
    x, y = np.meshgrid(np.linspace(-1, 1, rows), np.linspace(-1, 1, columns), indexing="ij")
    return np.exp(-3 * (x**2 + y**2)).astype(np.float32)


def test_the_same_number_gives_the_same_slice_and_another_gives_another() -> None:
    first, again, other = (degraded(picture(), draw_of(3, number)) for number in (5, 5, 6))
    assert first.tobytes() == again.tobytes()
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, degraded(picture(), draw_of(4, 5)))


@pytest.mark.parametrize("shape", [(64, 48), (66, 51), (36, 28)])
def test_slices_come_out_four_times_coarser_in_levels_of_256(shape: tuple[int, int]) -> None:
    for number in range(40):
        coarse = degraded(picture(*shape), draw_of(0, number))
        assert coarse.shape == (shape[0] // 4, shape[1] // 4)
        assert coarse.dtype == np.float32
        assert 0 <= coarse.min() <= coarse.max() <= 1
        np.testing.assert_allclose(coarse * 255, np.rint(coarse * 255), atol=1e-4)


def test_what_is_constant_stays_so_but_for_noise() -> None:
    means = [degraded(np.full((64, 64), 0.5, np.float32), draw_of(0, number)).mean() for number in range(20)]
    np.testing.assert_allclose(means, 0.5, atol=2 / 255)


def test_all_orders_with_a_before_b_are_equally_likely_and_no_others_occur() -> None:
    orders = Counter(tuple(order_of(draw_of(1, number))) for number in range(6000))
    assert all(order.index("A") < order.index("B") for order in orders)
    assert len(orders) == 60
    assert min(orders.values()) > 60
    assert max(orders.values()) < 145


@pytest.mark.parametrize(("one", "other", "angle"), [(1.5, 0.4, 0.7), (2.0, 2.0, 0.0)])
def test_a_kernel_has_the_covariance_that_it_is_asked_for(one: float, other: float, angle: float) -> None:
    kernel = gaussian(31, one, other, angle)
    places = np.arange(31) - 15.0
    rows, columns = np.meshgrid(places, places, indexing="ij")
    seen = np.array([[(kernel * a * b).sum() for b in (columns, rows)] for a in (columns, rows)])
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    np.testing.assert_allclose(seen, turn @ np.diag([one, other]) @ turn.T, atol=2e-3)
    assert kernel.sum() == pytest.approx(1)


def test_a_shift_moves_the_middle_of_a_kernel_and_an_even_one_lies_half_a_pixel_off() -> None:
    assert (gaussian(25, 2.0, 2.0, 0.0, 1.5).sum(1) * np.arange(25)).sum() == pytest.approx(12 + 1.5, abs=1e-6)
    assert (gaussian(8, 0.5, 0.5, 0.0).sum(1) * np.arange(8)).sum() == pytest.approx(3.5)


@pytest.mark.parametrize("n", [2, 4])
def test_every_nth_pixel_is_seen_where_the_middle_of_its_block_lies(n) -> None:
    ramp = np.arange(128.0)[None].repeat(128, 0)
    seen = every(ramp, n, 2.0)
    inner = slice(32 // n, 96 // n)
    np.testing.assert_allclose(
        seen[inner, inner], ((np.arange(128 // n) + 0.5) * n - 0.5)[None, inner].repeat(64 // n, 0), atol=1e-6
    )


def row_of(line: np.ndarray, count: int, how: str) -> np.ndarray:
    return resized(np.asarray(line, float)[None].repeat(8, 0), (8, count), how)[0]


def test_sizes_change_by_opencvs_geometry() -> None:
    ramp = np.arange(8.0)
    np.testing.assert_allclose(row_of(ramp, 4, "linear"), [0.5, 2.5, 4.5, 6.5])
    np.testing.assert_allclose(row_of(ramp, 2, "area"), [1.5, 5.5])
    spike = np.eye(8)[0]
    assert row_of(spike, 2, "linear")[0] == 0  # nothing is smoothed: the outermost pixel is passed over
    assert row_of(spike, 2, "area")[0] == pytest.approx(0.25)


def test_opencvs_cubic_takes_four_pixels_and_its_own_a() -> None:
    """At 4 to 1 a new pixel lies half-way between two: weights a / 8 and 1 / 2 - a / 8; at 8 to 9 anywhere."""
    inner = np.eye(16)[4:8]
    seen = [row_of(spike, 4, "cubic")[1] for spike in inner]
    np.testing.assert_allclose(seen, [-0.75 / 8, 0.5 + 0.75 / 8, 0.5 + 0.75 / 8, -0.75 / 8])
    place, a = 4.5 * 8 / 9 - 0.5, -0.75
    x = place - 3
    near, far = (a + 2) * x**3 - (a + 3) * x**2 + 1, a * ((1 + x) ** 3 - 5 * (1 + x) ** 2 + 8 * (1 + x) - 4)
    assert row_of(np.eye(8)[3], 9, "cubic")[4] == pytest.approx(near)
    assert row_of(np.eye(8)[2], 9, "cubic")[4] == pytest.approx(far)
    np.testing.assert_allclose(row_of(np.ones(8), 11, "cubic"), 1)


def test_an_area_weighs_pixels_by_what_is_covered_of_them() -> None:
    """Five pixels in two: each covers two and a half; two in three: as OpenCV enlarges by area, none is invented."""
    np.testing.assert_allclose([row_of(spike, 2, "area")[0] for spike in np.eye(5)], [0.4, 0.4, 0.2, 0, 0])
    np.testing.assert_allclose([row_of(spike, 2, "area")[1] for spike in np.eye(5)], [0, 0, 0.2, 0.4, 0.4])
    np.testing.assert_allclose(row_of(np.array([0.0, 1.0]), 3, "area"), [0, 0.5, 1])
    line = np.random.default_rng(0).random(23)
    assert row_of(line, 7, "area").mean() == pytest.approx(line.mean())


def test_jpeg_costs_a_little() -> None:
    image = picture().astype(float)
    assert 0 < np.abs(compressed(image, draw_of(0, 0)) - image).max() < 0.1


# -- scans ----------------------------------------------------------------------------------------------------------------------


def seen(image: np.ndarray, axis: int = 2, seed: int = 0) -> np.ndarray:
    made = BsrganLight().degrade(image.astype(np.float32), Grid(image.shape, np.eye(4)), axis, np.random.default_rng(seed))
    assert made.image.shape == made.grid.shape
    assert made.image.dtype == np.float32
    return made.image


def blobs(at: tuple[float, float], count: int = 24) -> np.ndarray:
    """The same round spot on each of some slices of 64 x 80 pixels, 0 to 900."""
    x, y = np.indices((64, 80)) - np.reshape(at, (2, 1, 1))
    return np.repeat(900 * np.exp(-(x**2 + y**2) / 72)[..., None], count, axis=2)


@pytest.mark.parametrize("axis", range(3))
def test_a_scan_becomes_coarser_within_its_slices_on_the_grid_of_averages(axis: int) -> None:
    grid = Grid((21, 24, 18), np.array([[0.9, 0.1, 0, -3], [-0.1, 1.1, 0, 5], [0, 0, 1.2, 7], [0, 0, 0, 1]]))
    coarse = BsrganLight().degraded_grid(grid, axis)
    assert coarse == InPlane(factor=4).degraded_grid(grid, axis)
    assert coarse.shape == tuple(n if at == axis else n // 4 for at, n in enumerate(grid.shape))
    image = np.random.default_rng(0).random(grid.shape, np.float32)
    assert BsrganLight().degrade(image, grid, axis, np.random.default_rng(0)).image.shape == coarse.shape
    with pytest.raises(GridError, match="factor-too-large"):
        BsrganLight().degraded_grid(Grid((3, 3, 3), np.eye(4)), axis)


def test_what_is_constant_stays_so_in_the_scans_own_unit() -> None:
    image = np.full((32, 32, 12), -200.0)
    assert (seen(image) == -200).all()
    image[..., 6:] = 800
    coarse = seen(image)
    assert coarse[..., 6:].mean() == pytest.approx(800, abs=10)  # noise beyond the range is cut off
    assert coarse[..., :6].mean() == pytest.approx(-200, abs=10)
    assert np.abs(coarse - image[::4, ::4]).max() < 0.05 * 1000


def test_draws_are_the_scans_and_each_slices_own() -> None:
    image = blobs((30, 42), 4)
    first = seen(image)
    assert first.tobytes() == seen(image).tobytes()
    assert not np.array_equal(first, seen(image, seed=1))
    assert not np.array_equal(first[..., 0], first[..., 1])
    image[..., 1] = image[::-1, :, 1]  # of the same range
    np.testing.assert_array_equal(seen(image)[..., [0, 2, 3]], first[..., [0, 2, 3]])


@pytest.mark.parametrize("at", [(31.5, 39.5), (22.0, 51.0)])
def test_a_spot_stays_where_it_is_within_the_shifts_that_are_drawn(at: tuple[float, float]) -> None:
    coarse = seen(blobs(at)).clip(90) - 90
    x, y = np.indices(coarse.shape[:2]) * 4 + 1.5
    centres = np.stack([(where[..., None] * coarse).sum((0, 1)) / coarse.sum((0, 1)) for where in (x, y)])
    assert np.median(np.hypot(*(centres - np.reshape(at, (2, 1))))) < 2.5
    assert np.abs(np.median(centres, axis=1) - at).max() < 1


def test_settings_mean_it_by_its_only_factor() -> None:
    assert Degradation(operator="bsrgan-light").forward == BsrganLight()
    with pytest.raises(ValidationError, match=r"expected a factor of 4 of bsrgan-light, but got 2\. Leave the factor out"):
        Degradation(operator="bsrgan-light", factor=2)
