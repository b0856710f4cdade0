from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from core.geometry.grid import Grid
from core.geometry.resample import interpolate
from core.methods.base import Measured
from core.methods.unires import joint_tv
from core.methods.unires.method import UniRes, UniResSettings
from core.operators.forward_model import SliceProfile
from core.settings.scans import TilingSettings
from core.stats import scan_stats


def anatomy(n: int = 32) -> tuple[np.ndarray, Grid]:
    """Balls in a ball, in air, 1 mm."""
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n)] * 3, indexing="ij")
    image = 700.0 * (x**2 + y**2 + z**2 < 0.7) + 300 * ((x - 0.2) ** 2 + y**2 + (z + 0.1) ** 2 < 0.2)
    return image.astype(np.float32), Grid(image.shape, np.eye(4))


def turned(shape, spacing, angle=0.3, first=(4, -3, 6)) -> Grid:
    c, s = np.cos(angle), np.sin(angle)
    affine = np.eye(4)
    affine[:3, :3] = (
        np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, c, s], [0, -s, c]]) @ np.diag(spacing)
    )
    affine[:3, 3] = first
    return Grid(shape, affine)


def cut(axis: int = 2, seed: int = 0) -> tuple[Measured, np.ndarray, Grid]:
    """A scan in slices of 4 mm with noise, and its truth."""
    truth, grid = anatomy()
    source = grid.refine(axis, Fraction(1, 4))
    image = SliceProfile().operator(source, grid).forward(truth)
    image += np.random.default_rng(seed).normal(0, 8, image.shape).astype(np.float32)
    image = np.abs(image)
    return Measured(image, source, scan_stats(image), SliceProfile()), truth, grid


def problem(measured: Measured, target: Grid) -> tuple[list[joint_tv.Channel], float]:
    tau, lam = 1 / measured.stats.noise_sd**2, 4 / measured.stats.contrast
    operator = measured.forward.operator(measured.grid, target)
    return [joint_tv.Channel((joint_tv.Observation(operator, measured.image, tau),), lam)], float(np.sqrt(tau)) / lam


def minimise(channels, start, spacing, rho: float, rounds: int) -> np.ndarray:
    images, dual = start.copy(), joint_tv.no_dual(start)
    problem = joint_tv.Problem.of(channels, spacing, rho)
    for _ in range(rounds):
        problem.advance(images, dual)
    return images


def error(image, truth) -> float:
    return float(np.sqrt(np.mean((image - truth) ** 2)))


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 4.0), (0.8, 3.0, 1.1)])
def test_the_adjoint_of_a_turned_scan_is_exact(spacing):
    target = Grid((14, 15, 16), np.eye(4))
    operator = SliceProfile(slice_gap=0.1).operator(turned((9, 8, 7), spacing), target)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=operator.shape_in), rng.normal(size=operator.shape_out)
    assert np.vdot(operator.forward(x), y) == pytest.approx(np.vdot(x, operator.adjoint(y)), rel=1e-12)


def test_a_turned_scan_of_a_constant_is_constant_and_of_a_ramp_is_the_ramp():
    target = Grid((30, 30, 30), np.diag([1.0, 1, 1, 1]))
    source = turned((6, 6, 3), (1.0, 1.0, 3.0), first=(12, 10, 11))
    operator = SliceProfile().operator(source, target)
    np.testing.assert_allclose(operator.forward(np.full(target.shape, 7.0)), 7, rtol=1e-12)
    ramp = np.indices(target.shape)[2].astype(float)
    places = target.voxel(source.world(np.indices(source.shape).reshape(3, -1).T))
    inside = ((places > 2) & (places < 27)).all(axis=1)
    assert inside.sum() > 30
    np.testing.assert_allclose(operator.forward(ramp).ravel()[inside], places[inside, 2], rtol=1e-9)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_direct_solve_is_that_of_the_dense_matrix(axis):
    shape, penalty = (8, 7, 9), (0.3, 0.2, 0.4)
    rng = np.random.default_rng(1)
    matrices = [np.eye(n) for n in shape]
    matrices[axis] = rng.random((3, shape[axis]))
    dense = 2.0 * np.kron(np.kron(matrices[0].T @ matrices[0], matrices[1].T @ matrices[1]), matrices[2].T @ matrices[2])
    for at, n in enumerate(shape):
        step = np.diff(np.eye(n), axis=0)
        parts = [np.eye(m) for m in shape]
        parts[at] = step.T @ step
        dense += penalty[at] * np.kron(np.kron(parts[0], parts[1]), parts[2])
    solver = joint_tv.DirectSolver([2.0 * matrices[0].T @ matrices[0], *(m.T @ m for m in matrices[1:])], penalty)
    right = rng.normal(size=shape).astype(np.float32)
    assert solver.exact
    np.testing.assert_allclose(solver(right).ravel(), np.linalg.solve(dense, right.ravel().astype(float)), rtol=2e-3, atol=2e-4)


def test_conjugate_gradients_solve_what_the_direct_solve_cannot():
    measured, _, _ = cut()
    target = measured.grid.isotropic(1.3)  # in-plane axes are resampled, too
    channels, rho = problem(measured, target)
    equations = joint_tv.NormalEquations(channels[0], (rho * channels[0].lam ** 2,) * 3)
    assert not equations.exact
    done = equations.solve(equations.data, np.zeros(target.shape, np.float32))
    left = np.linalg.norm(equations.apply(done) - equations.data) / np.linalg.norm(equations.data)
    assert left < 2 * joint_tv.CG_STOP


def test_a_good_guess_is_made_better():
    measured, _, _ = cut()
    target = measured.grid.isotropic(1.3)
    channels, rho = problem(measured, target)
    equations = joint_tv.NormalEquations(channels[0], (rho * channels[0].lam ** 2,) * 3)

    def left(image):
        return np.linalg.norm(equations.apply(image) - equations.data) / np.linalg.norm(equations.data)

    good = equations.solve(equations.data, np.zeros(target.shape, np.float32))
    assert left(equations.solve(equations.data, good)) < 0.3 * left(good)


def test_the_cost_falls_to_that_of_a_splitting_with_another_penalty():
    measured, _, grid = cut()
    channels, rho = problem(measured, grid)
    start = interpolate(measured.image, measured.grid, grid, 3)[None]

    def cost(rounds: int, factor: float) -> float:
        return joint_tv.objective(channels, minimise(channels, start, grid.spacing, factor * rho, rounds), grid.spacing)

    falling = [joint_tv.objective(channels, start, grid.spacing), cost(10, 1.0), cost(50, 1.0), cost(400, 1.0)]
    assert falling == sorted(falling, reverse=True)
    assert falling[-1] == pytest.approx(cost(400, 0.2), rel=2e-3)  # the optimum does not depend on the penalty


def test_at_the_optimum_no_small_change_costs_less():
    measured, _, grid = cut()
    channels, rho = problem(measured, grid)
    start = interpolate(measured.image, measured.grid, grid, 3)[None]
    best = minimise(channels, start, grid.spacing, 0.2 * rho, 400)
    least = joint_tv.objective(channels, best, grid.spacing)
    rng = np.random.default_rng(2)
    for scale in (1.0, 10.0):
        change = rng.normal(0, scale, best.shape).astype(np.float32)
        assert joint_tv.objective(channels, best + change, grid.spacing) > least
    assert joint_tv.objective(channels, 0.9 * best + 0.1 * start, grid.spacing) > least


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_it_is_nearer_to_the_truth_than_cubic_interpolation(axis):
    measured, truth, grid = cut(axis)
    (done,) = UniRes().restore([measured], grid)
    assert done.dtype == np.float32
    assert error(done, truth) < 0.92 * error(interpolate(measured.image, measured.grid, grid, 3), truth)


@pytest.mark.parametrize("size", [0.9, 1.1, 1.5])
def test_nothing_is_sharpened_where_voxels_are_samples(size):
    """In the planes only interpolated: the result from the scan's own voxels, or the scan onto larger ones of the target."""
    measured, _, _ = cut()
    image = measured.image - np.float32(1)  # no magnitude, so that nothing is cut off at zero on the way
    measured = replace(measured, image=image, stats=scan_stats(image))
    scan = replace(measured, grid=Grid(measured.grid.shape, measured.grid.affine @ np.diag([size, size, 1.0, 1.0])))
    target = scan.grid.isotropic(1.0)
    (done,) = UniRes().restore([scan], target)
    coarser = scan.grid if size > 1 else scan.grid.with_axis(target, 0).with_axis(target, 1)
    own = replace(scan, image=interpolate(scan.image, scan.grid, coarser, 3), grid=coarser)
    (plain,) = UniRes().restore([own], coarser.with_axis(target, 2))
    whole = interpolate(plain, coarser.with_axis(target, 2), target, 3)
    inner = (slice(3, -3),) * 3
    assert np.abs(done - whole)[inner].max() < 0.02 * measured.stats.upper
    cubic = interpolate(scan.image, scan.grid, target, 3)
    beyond = [max(float(image.max()) - scan.stats.maximum, 0) for image in (done, cubic)]
    assert beyond[0] <= max(1.5 * beyond[1], 0.1 * scan.stats.upper)


def test_magnitudes_stay_above_zero_and_other_scans_do_not():
    measured, _, grid = cut()
    assert UniRes().restore([measured], grid)[0].min() >= 0
    lowered = measured.image - np.float32(500)
    (done,) = UniRes().restore([Measured(lowered, measured.grid, scan_stats(lowered), SliceProfile())], grid)
    assert done.min() < -400


def test_a_constant_scan_stays_constant():
    grid = Grid((12, 13, 5), np.diag([1.0, 1.0, 4.0, 1.0]))
    image = np.full(grid.shape, 90.0, np.float32)
    for size in (1.0, 0.9):
        (done,) = UniRes().restore([Measured(image, grid, scan_stats(image), SliceProfile())], grid.isotropic(size))
        np.testing.assert_allclose(done, 90, rtol=1e-4)


def test_an_empty_scan_gives_zeros():
    grid = Grid((6, 6, 3), np.diag([1.0, 1.0, 4.0, 1.0]))
    image = np.zeros(grid.shape, np.float32)
    (done,) = UniRes().restore([Measured(image, grid, scan_stats(image), SliceProfile())], grid.isotropic(1.0))
    assert done.shape == (6, 6, 12)
    assert not done.any()


def test_zeros_around_the_anatomy_are_left_out_and_stay_zero():
    measured, _, grid = cut()
    wide = np.pad(measured.image, ((20, 20), (20, 20), (4, 4)))
    wide[wide < 60] = 0
    stripped = Measured(wide, measured.grid.pad((20, 20, 4), (20, 20, 4)), scan_stats(wide), SliceProfile())
    (done,) = UniRes(UniResSettings(iterations=5)).restore([stripped], grid.pad((20, 20, 16), (20, 20, 16)))
    filled = np.argwhere(done != 0)
    assert filled.min(axis=0).min() >= 4
    assert abs(done[:10]).max() == 0
    assert done[20:-20, 20:-20, 16:-16].max() > 500


def test_scans_in_three_orientations_sharpen_one_another():
    cuts = [cut(axis, seed=axis) for axis in range(3)]
    scans, (_, truth, grid) = [one for one, _, _ in cuts], cuts[0]
    method = UniRes(UniResSettings(iterations=100))
    together = method.restore(scans, grid)
    assert len(together) == 3
    for scan, fused in zip(scans, together, strict=True):
        assert error(fused, truth) < 0.95 * error(method.restore([scan], grid)[0], truth)


def test_the_unit_of_one_scan_changes_no_other():
    (one, _, grid), (two, _, _) = cut(0, seed=0), cut(1, seed=1)
    image = two.image / np.float32(1024)
    small = Measured(image, two.grid, scan_stats(image), SliceProfile())
    method = UniRes(UniResSettings(iterations=5))
    as_it_is, beside_small = (method.restore([one, other], grid) for other in (two, small))
    np.testing.assert_allclose(beside_small[0], as_it_is[0], atol=1e-3 * one.stats.contrast)
    np.testing.assert_allclose(beside_small[1] * 1024, as_it_is[1], atol=1e-3 * two.stats.contrast)


def test_turned_scans_are_fused_on_the_first_ones_grid():
    measured, truth, grid = cut()
    source = turned((40, 40, 12), (1.0, 1.0, 4.0), angle=0.2)
    image = SliceProfile().operator(source, grid).forward(truth)
    other = Measured(image, source, scan_stats(image), SliceProfile())
    one, two = UniRes(UniResSettings(iterations=8)).restore([measured, other], grid)
    assert one.shape == two.shape == truth.shape
    assert np.corrcoef(one.ravel(), truth.ravel())[0, 1] > 0.95
    seen = two > 50
    assert np.corrcoef(two[seen], truth[seen])[0, 1] > 0.8


def test_the_same_bits_every_time_and_one_tile():
    measured, _, grid = cut()
    target = grid.refine(0, 1).isotropic(1.1)
    method = UniRes(UniResSettings(iterations=4))
    (tile,) = method.tiling(measured.grid, target, TilingSettings()).tiles()
    crop = measured.crop(method.source_box(measured.grid, target, tile))
    first, second = method.restore([measured], target)[0], method.restore([crop], target.crop(tile.read))[0]
    assert first.tobytes() == second.tobytes()


def test_few_rounds_end_early_where_nothing_moves():
    measured, _, grid = cut()
    (done,) = UniRes(UniResSettings(tolerance=1.0)).restore([measured], grid)
    (one,) = UniRes(UniResSettings(iterations=1)).restore([measured], grid)
    np.testing.assert_array_equal(done, one)
