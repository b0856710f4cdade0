"""What a slice sees of a finer axis."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from core.errors import GridError
from core.operators.profile import FWHM, profile_matrix

PROFILES = ("box", "gaussian", "point")
FINE = 400  # samples a voxel, for sums in place of integrals


def by_sum(n_target: int, n_source: int, scale: float, offset: float, profile: str, *, gap: float) -> np.ndarray:
    """The same matrix by sampling the profile densely; beyond the border the outermost voxel goes on."""
    matrix = np.zeros((n_source, n_target))
    reach = int(5 * scale) + 2
    at = (np.arange(-reach * FINE, reach * FINE) + 0.5) / FINE
    width = scale * (1 - gap)
    weight = np.abs(at) <= width / 2 if profile == "box" else np.exp(-0.5 * (at * FWHM / width) ** 2)
    for row in range(n_source):
        voxel = np.clip(np.rint(at + scale * row + offset), 0, n_target - 1).astype(int)
        np.add.at(matrix[row], voxel, weight / weight.sum())
    return matrix


@pytest.mark.parametrize("profile", ["box", "gaussian"])
@pytest.mark.parametrize(
    ("scale", "offset", "gap"), [(4, 1.5, 0), (4, 1.5, 0.25), (3.7, -0.8, 0.1), (1.3, 0.15, 0), (6, 2.5, 0.5)]
)
def test_weights_are_the_integrals_of_the_profile(profile, scale, offset, gap):
    found = profile_matrix(30, 9, scale, offset, profile, gap=gap)
    assert found == pytest.approx(by_sum(30, 9, scale, offset, profile, gap=gap), abs=2e-3)


def test_a_box_that_divides_is_the_mean_of_its_voxels():
    assert np.array_equal(profile_matrix(12, 3, 4, 1.5), np.kron(np.eye(3), np.full((1, 4), 0.25)))


def test_a_gap_is_not_seen():
    assert np.array_equal(profile_matrix(8, 2, 4, 1.5, "box", gap=0.5)[0], [0, 0.5, 0.5, 0, 0, 0, 0, 0])


def test_a_gaussian_is_half_as_sensitive_at_the_faces_of_its_slice():
    row = profile_matrix(401, 1, 80, 200, "gaussian")[0]
    assert row[160] / row[200] == pytest.approx(0.5, abs=1e-3)
    assert row[200 - 140] == 0  # it ends at 4 standard deviations
    assert row == pytest.approx(row[::-1], abs=1e-14)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("noise", [0.0, 1e-9, 3e-6])
def test_coinciding_centres_give_the_exact_identity(profile, noise):
    assert np.array_equal(profile_matrix(200, 200, 1 + noise / 200, noise, profile, gap=0.0), np.eye(200))
    assert np.array_equal(profile_matrix(200, 150, 1 + noise / 200, 20 + noise, profile), np.eye(200)[20:170])


@pytest.mark.parametrize(("scale", "offset"), [(0.3, -0.35), (0.9, 0.2), (1.0, 0.5), (0.25, 7.1)])
@pytest.mark.parametrize("profile", PROFILES)
def test_an_axis_that_is_not_coarser_is_linearly_interpolated(profile, scale, offset):
    line = np.random.default_rng(0).standard_normal(12)
    expected = np.interp(scale * np.arange(40) + offset, np.arange(12), line)
    assert profile_matrix(12, 40, scale, offset, profile) @ line == pytest.approx(expected, abs=1e-12)


def test_a_point_keeps_the_slices_that_lie_on_voxels():
    assert np.array_equal(profile_matrix(12, 3, 4, 0, "point"), np.eye(12)[::4])
    assert np.array_equal(profile_matrix(12, 3, 4, 1.5, "point")[1], np.eye(12)[5] / 2 + np.eye(12)[6] / 2)


@given(
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.floats(0.1, 12),
    st.floats(-20, 60),
    st.sampled_from(PROFILES),
    st.floats(0, 0.99),
)
def test_rows_sum_to_one_everywhere_and_are_not_negative(sizes, scale, offset, profile, gap):
    n_target, n_source = sizes
    matrix = profile_matrix(n_target, n_source, scale, offset, profile, gap=gap)
    assert matrix.shape == (n_source, n_target)
    assert np.abs(matrix.sum(axis=1) - 1).max() < 1e-11
    assert (matrix >= 0).all()


@given(st.floats(1.01, 9), st.floats(0, 0.5), st.sampled_from(PROFILES))
def test_a_ramp_is_measured_at_the_slices_centres(scale, gap, profile):
    offset = 40.0 - 3.5 * scale
    assume(offset > 2 * scale)
    measured = profile_matrix(80, 8, scale, offset, profile, gap=gap) @ np.arange(80.0)
    staircase = 0.13  # as far as the mean of a staircase over a box of a voxel or more leaves the ramp
    assert measured == pytest.approx(scale * np.arange(8) + offset, abs=staircase)


def test_a_slice_beyond_the_field_of_view_sees_the_outermost_voxel():
    matrix = profile_matrix(8, 4, 4, -4.5)
    assert np.array_equal(matrix[0], np.eye(8)[0])
    assert np.array_equal(profile_matrix(8, 4, 4, 1.5)[3], np.eye(8)[7])
    assert np.array_equal(profile_matrix(8, 1, 4, -0.5)[0], [0.75, 0.25, 0, 0, 0, 0, 0, 0])


def test_points_keep_one_in_n_at_any_phase():
    line = np.arange(10.0)
    for phase in range(4):
        kept = len(line[phase::4])
        assert np.array_equal(profile_matrix(10, kept, 4, phase, "point") @ line, line[phase::4])


@pytest.mark.parametrize(("scale", "gap"), [(0.0, 0.0), (-1.0, 0.0), (4.0, 1.0), (4.0, -0.1)])
def test_a_profile_that_cannot_be_is_refused(scale, gap):
    with pytest.raises(
        GridError, match=r"profile-invalid: expected a scale above 0 and a gap in \[0, 1\), but got scale .*\. Check"
    ):
        profile_matrix(8, 2, scale, 0, gap=gap)
