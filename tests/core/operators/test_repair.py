"""The closed form of the smooth correction against dense solutions of what it stands for."""

from __future__ import annotations

import numpy as np
import pytest

from core.geometry.grid import Grid
from core.operators.forward_model import SliceProfile
from core.operators.linear import Compose, Mask, Separable
from core.operators.profile import profile_matrix
from core.operators.repair import correction, repair_matrix, smooth_covariance

SLICES, VOXELS, SCALE = 7, 32, 4.3


@pytest.mark.parametrize("profile", ["box", "gaussian"])
@pytest.mark.parametrize("gap", [0.0, 0.25])
def test_it_is_the_most_probable_correction(profile, gap: float) -> None:
    """The minimum of |r - A d|^2 / s^2 + d' S^-1 d by the normal equations, whose inverse is on the other side of A."""
    rows = profile_matrix(VOXELS, SLICES, SCALE, 1.9, profile, gap=gap)
    covariance, noise = smooth_covariance(VOXELS) + 1e-6 * np.eye(VOXELS), 0.3
    left = np.random.default_rng(0).normal(size=SLICES)
    dense = np.linalg.solve(rows.T @ rows / noise**2 + np.linalg.inv(covariance), rows.T @ left / noise**2)
    np.testing.assert_allclose(repair_matrix(rows, noise) @ left, dense, atol=1e-4)


def test_the_less_noise_the_less_is_left_and_never_more_than_there_was() -> None:
    rows = profile_matrix(VOXELS, SLICES, SCALE, 1.9)
    left = np.random.default_rng(1).normal(size=SLICES)
    rests = [np.linalg.norm(left - rows @ repair_matrix(rows, noise) @ left) for noise in (1e-4, 0.1, 1.0, 1e3)]
    assert rests[0] < 1e-5
    assert rests == sorted(rests)
    assert rests[-1] <= np.linalg.norm(left)


def test_what_is_explained_stays_as_it_is() -> None:
    rows = profile_matrix(VOXELS, SLICES, SCALE, 1.9)
    assert not (repair_matrix(rows, 0.1) @ np.zeros(SLICES)).any()


def scan_of_slices(turn: float = 0.0) -> tuple[Grid, Grid]:
    """A small image's grid and that of thick slices in it, turned by so many radians about x."""
    turned = np.array([[1, 0, 0, 0], [0, np.cos(turn), -np.sin(turn), 1], [0, np.sin(turn), np.cos(turn), 0.5], [0, 0, 0, 1]])
    return Grid((7, 8, 12), np.eye(4)), Grid((7, 6, 4), turned @ np.diag([1.0, 1.3, 3.0, 1.0]))


def dense_correction(operator, left: np.ndarray, noise: float) -> np.ndarray:
    """W left by the matrices that its formula names."""
    n = int(np.prod(operator.shape_in))
    columns = [operator.forward(unit.reshape(operator.shape_in)).ravel() for unit in np.eye(n)]
    rows = np.stack(columns, axis=1)
    covariance = np.eye(1)
    for axis in operator.shape_in:
        covariance = np.kron(covariance, smooth_covariance(axis))
    seen = rows @ covariance @ rows.T + noise**2 * np.eye(len(rows))
    return (covariance @ rows.T @ np.linalg.solve(seen, left.ravel())).reshape(operator.shape_in)


def test_the_closed_form_of_three_axes_is_the_dense_one() -> None:
    target, source = scan_of_slices()
    operator = SliceProfile(slice_gap=0.1).operator(source, target)
    assert isinstance(operator, Separable)
    left = np.random.default_rng(2).normal(size=source.shape).astype(np.float32)
    made, rounds = correction(operator, left, 0.4)
    assert rounds is None
    np.testing.assert_allclose(made, dense_correction(operator, left, 0.4), atol=2e-5)


@pytest.mark.parametrize("turn", [0.0, 0.3])
def test_rounds_come_to_the_dense_one_where_there_is_no_closed_form(turn: float) -> None:
    """Of turned scans, and of scans in whose mask nothing was measured."""
    target, source = scan_of_slices(turn)
    unseen = np.zeros(source.shape, bool)
    unseen[2:4, 2:5, 1] = True
    operator = Compose((SliceProfile().operator(source, target), Mask(~unseen, source.shape)))
    left = np.where(unseen, 0, 1e3 * np.random.default_rng(3).normal(size=source.shape)).astype(np.float32)
    dense = dense_correction(operator, left, 1.0)
    made, rounds = correction(operator, left, 1.0)
    assert rounds in range(1, 21)
    assert np.linalg.norm(made - dense) < 0.02 * np.linalg.norm(dense)
