"""The closed form of the smooth correction against dense solutions of what it stands for."""

from __future__ import annotations

import numpy as np
import pytest

from core.operators.profile import profile_matrix
from core.operators.repair import repair_matrix, smooth_covariance

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
