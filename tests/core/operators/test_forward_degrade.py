"""Scans of low resolution: geometry, constants, means, linearity, crops, and what each operator does to a line."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from core.errors import GridError, UsageError
from core.geometry.grid import Grid
from core.operators.forward import Beside
from core.operators.forward_model import DroppedSlices, InPlane, KSpace, LesionMask, LowField, SliceProfile
from core.operators.kernels import KERNELS, resize_matrix
from core.operators.kspace import kept_lines
from core.settings.degradation import Degradation
from core.tissues import Tissues
from tests.phantoms import brain

OBLIQUE = np.array([[0.9, 0.1, 0.02, -30], [-0.1, 1.1, 0.05, 12], [0, -0.04, 0.7, 5], [0, 0, 0, 1.0]])
THICK = [SliceProfile(factor=4), SliceProfile(factor=3, slice_profile="gaussian", slice_gap=0.2)]
HOWS = [
    *THICK,
    DroppedSlices(factor=5),
    DroppedSlices(factor=3, phase=2),
    InPlane(factor=2),
    InPlane(factor=3, kernel="lanczos3"),
    InPlane(factor=4, every=4),
]
ALONG = [SliceProfile(factor=2), DroppedSlices(factor=2), LowField(factor=2)]


def made(image, how, axis=2, affine=OBLIQUE, draw=None, **beside):
    grid = Grid(image.shape, affine)
    seen = how.degrade(image.astype(np.float32), grid, axis, draw or np.random.default_rng(0), Beside(**beside))
    assert seen.grid == how.degraded_grid(grid, axis)
    return seen.image, seen.grid


def noise(shape, seed=0):
    return np.random.default_rng(seed).normal(100, 20, shape).astype(np.float32)


def name(how) -> str:
    return how.describe()


@given(st.tuples(*[st.integers(8, 30)] * 3), st.integers(0, 2), st.integers(2, 8), st.sampled_from(ALONG))
@settings(max_examples=60, deadline=None)
def test_slices_are_counted_and_stay_in_their_place(shape, axis, factor, how):
    grid, how = Grid(shape, OBLIQUE), how.model_copy(update={"factor": factor})
    coarse = how.degraded_grid(grid, axis)
    assert coarse.shape == tuple(n // factor if one == axis else n for one, n in enumerate(shape))
    assert coarse.spacing[axis] == pytest.approx(grid.spacing[axis] * factor)
    first = [0.0, 0, 0]
    first[axis] = 0.0 if how.kind == "slice-mask" else (factor - 1) / 2
    assert coarse.world(np.zeros((1, 3))) == pytest.approx(grid.world(np.array([first])), abs=1e-9)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("how", [SliceProfile(factor=8), LowField(factor=8), InPlane(factor=8)], ids=name)
def test_the_field_of_view_is_kept_where_slices_fill_it(how, axis):
    grid = Grid((24, 16, 32), OBLIQUE)
    assert how.degraded_grid(grid, axis).corners() == pytest.approx(grid.corners(), abs=1e-9)


@pytest.mark.parametrize("how", HOWS, ids=name)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_constant_stays_constant_up_to_the_border(how, axis):
    result, coarse = made(np.full((20, 21, 22), 7.0), how, axis)
    assert result.shape == coarse.shape
    assert result.dtype == np.float32
    assert result == pytest.approx(7.0, rel=1e-6)


def test_a_box_averages_exactly_the_voxels_of_its_slice():
    image = noise((5, 6, 26))
    result, _ = made(image, SliceProfile(factor=4))
    assert result == pytest.approx(image[:, :, :24].reshape(5, 6, 6, 4).mean(3), rel=1e-5)
    assert result.mean() == pytest.approx(image[:, :, :24].mean(), rel=1e-6)


def test_a_gap_is_not_seen():
    image = np.zeros((2, 2, 16), np.float32)
    image[:, :, 0::4] = image[:, :, 3::4] = 100.0  # the outer voxels of each slice of 4
    half, _ = made(image, SliceProfile(factor=4, slice_gap=0.5))
    assert half == pytest.approx(0.0, abs=1e-6)


def test_a_gaussian_keeps_the_mean_of_what_lies_inside():
    image = np.zeros((2, 2, 96), np.float32)
    image[:, :, 40:56] = noise((2, 2, 16))
    result, _ = made(image, SliceProfile(factor=4, slice_profile="gaussian"))
    assert result.sum() * 4 == pytest.approx(image.sum(), rel=0.02)


def test_a_gaussian_is_as_wide_as_said():
    """A step seen through it: 10 % to 90 % takes 1.088 of its FWHM (and of the voxels' own width a little)."""
    image = np.repeat(np.array([0.0, 1.0]), 200)[None, None]
    matrix, n, edges = LowField()._rows(400, 50, 8, 3.5, across=True), 400, []
    for shift in range(8):  # slices of every phase make one fine curve
        rolled = np.roll(image[0, 0], shift)
        rolled[:shift] = 0
        edges += list(zip((np.arange(n // 8) * 8 + 3.5 - shift), matrix @ rolled, strict=True))
    places, values = np.array(sorted(edges)).T
    low, high = (np.interp(level, values, places) for level in (0.1, 0.9))
    assert high - low == pytest.approx(1.088 * 8 * 0.75, rel=0.03)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("phase", range(4))
def test_the_first_slice_that_is_kept_is_chosen(axis, phase):
    image = noise((11, 9, 13))
    result, coarse = made(image, DroppedSlices(factor=4, phase=phase), axis)
    kept = phase + 4 * np.arange(image.shape[axis] // 4)
    assert np.array_equal(result, np.take(image, kept, axis))
    first = np.zeros((1, 3))
    first[0, axis] = phase
    assert coarse.world(np.zeros((1, 3))) == pytest.approx(Grid(image.shape, OBLIQUE).world(first), abs=1e-9)


def test_a_reduction_within_the_slices_is_the_resizer_of_the_five_kernels():
    image = noise((12, 18, 5))
    for kernel in KERNELS:
        rows, columns = (resize_matrix(n, Fraction(1, 3), kernel) for n in image.shape[:2])
        by_hand = np.einsum("ax,by,xyz->abz", rows, columns, image)
        assert made(image, InPlane(factor=3, kernel=kernel))[0] == pytest.approx(by_hand, rel=1e-5)


def test_lines_of_k_space_that_were_not_measured_are_zero_and_the_others_as_they_were():
    image = noise((6, 32, 7))
    result, coarse = made(image, KSpace(factor=4, centre=0.25), 1)
    assert coarse.shape == image.shape
    kept = kept_lines(32, 4, 0.25)
    spectrum, before = np.fft.fft(result, axis=1), np.fft.fft(image, axis=1)
    assert 8 < kept.sum() < 20
    assert np.abs(spectrum[:, ~kept]).max() < 1e-2  # brightness of 100, single precision
    assert spectrum[:, kept] == pytest.approx(before[:, kept], abs=1e-2)


def test_images_of_k_space_are_magnitudes():
    image = np.zeros((4, 32, 4), np.float32)
    image[:, 16] = 100
    result, _ = made(image, KSpace(factor=2, centre=0.3), 1)
    seen = KSpace(factor=2, centre=0.3, axis="A").operator(*[Grid(image.shape, np.eye(4))] * 2).forward(image)
    assert seen.min() < -1
    assert np.array_equal(result, np.abs(seen))


def test_a_lesion_is_zeroed_and_nothing_else():
    image = noise((7, 9, 11))
    lesion = image > 110
    result, _ = made(image, LesionMask(), mask=lesion)
    assert (result[lesion] == 0).all()
    assert np.array_equal(result[~lesion], image[~lesion])
    with pytest.raises(GridError, match="mask-missing"):
        made(image, LesionMask())


def test_a_mask_keeps_one_slice_as_it_was():
    image = noise((5, 6, 26))
    result, _ = made(image, DroppedSlices(factor=4))
    assert np.array_equal(result, image[:, :, :24:4])


@pytest.mark.parametrize("how", HOWS, ids=name)
def test_noise_free_operators_are_linear(how):
    one, other = noise((6, 7, 30)), noise((6, 7, 30), 1)
    both = made(2 * one - 3 * other, how)[0]
    assert both == pytest.approx(2 * made(one, how)[0] - 3 * made(other, how)[0], abs=1e-3)


@pytest.mark.parametrize("how", HOWS, ids=name)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_crop_of_the_columns_gives_the_bits_of_the_whole(how, axis):
    image = noise((33, 34, 35))
    at = [slice(7, 12), slice(20, 29), slice(3, 11)]
    for one, factor in enumerate(how.factors(axis)):
        at[one] = slice(None) if factor > 1 else at[one]
    assert np.array_equal(made(image[tuple(at)], how, axis)[0], made(image, how, axis)[0][tuple(at)])


@pytest.mark.parametrize("axis", [0, 2])
def test_low_field_of_a_crop_is_that_of_the_whole_but_for_the_noise(axis):
    image, _ = brain((40, 40, 40))
    tissues, how = Tissues.fit(image), LowField(factor=8)
    at = [slice(7, 23)] * 3
    at[axis] = slice(None)
    silent = {"tissues": tissues, "draw": Silent()}
    assert np.array_equal(made(image[tuple(at)], how, axis, **silent)[0], made(image, how, axis, **silent)[0][tuple(at)])


class Silent:
    """A generator that draws no noise, and always the same SNRs."""

    def multivariate_normal(self, *_):
        return 60.0, 50.0

    def standard_normal(self, shape, dtype):
        return np.zeros(shape, dtype)


def test_the_same_draw_gives_the_same_bits_and_another_does_not():
    image, _ = brain((24, 24, 24))
    given = {"tissues": Tissues.fit(image)}
    how = LowField(factor=4)
    one, same, other = (made(image, how, draw=np.random.default_rng(seed), **given)[0] for seed in (3, 3, 4))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("how", [*HOWS, KSpace()], ids=name)
def test_what_is_not_random_draws_nothing(how):
    draw = np.random.default_rng(5)
    made(noise((8, 8, 8)), how, draw=draw)
    assert draw.random() == np.random.default_rng(5).random()


def test_coarser_slices_of_which_some_were_dropped_are_both_in_turn():
    image = noise((12, 16, 10))
    both, grid = made(image, InPlane(factor=4, every=3))
    dropped, between = made(image, DroppedSlices(factor=3))
    turned = InPlane(factor=4).degrade(dropped, between, 2, np.random.default_rng(0))
    np.testing.assert_allclose(both, turned.image, rtol=1e-5)
    assert grid == turned.grid
    assert InPlane(factor=4, every=3).acquired(0.5) == {"SliceThickness": 0.5, "SpacingBetweenSlices": 1.5}


def test_settings_say_the_forward_model_that_is_meant():
    """Of low field those of the paper unless said: 6 of every 8 voxels, a gap of 2."""
    assert Degradation().forward == SliceProfile(factor=4)
    assert Degradation(operator="low-field", factor=8).forward == LowField(slice_profile="gaussian", slice_gap=0.25, factor=8)
    said = Degradation(operator="low-field", slice_gap=0.0, slice_profile="box")
    assert said.forward == LowField(slice_profile="box", slice_gap=0.0, factor=4)
    assert Degradation(operator="slice-mask", slice_gap=0.3).forward == DroppedSlices(factor=4)
    assert Degradation(operator="slice-mask", phase=3).forward == DroppedSlices(factor=4, phase=3)
    assert Degradation(operator="in-plane", factor=2, kernel="box").forward == InPlane(factor=2, kernel="box")
    assert Degradation(operator="in-plane", factor=4, every=2).forward == InPlane(factor=4, every=2)
    assert Degradation(operator="k-space", centre=0.1).forward == KSpace(factor=4, centre=0.1)
    assert Degradation.model_validate(said.model_dump()) == said


def test_settings_of_before_keep_their_json():
    """Digests of simulated scans and the settings of trainings hold it."""
    assert Degradation().model_dump() == {
        "operator": "slice-profile", "factor": 4, "slice_profile": "box", "slice_gap": 0.0, "contrast": "T1w",
    }  # fmt: skip
    assert Degradation(operator="slice-mask", phase=1).model_dump()["phase"] == 1


@pytest.mark.parametrize("make", [Degradation, DroppedSlices])
def test_a_phase_beyond_the_factor_is_refused(make):
    with pytest.raises(ValidationError, match=r"expected a phase below the factor 4, but got 4\. Count slices from 0"):
        make(factor=4, phase=4)


def test_a_scan_is_not_degraded_by_a_factor_that_nobody_told():
    with pytest.raises(UsageError, match=r"factor-missing: expected how many sharp voxels .*\. Name the factor"):
        made(noise((9, 9, 9)), SliceProfile())


def test_too_few_slices_are_refused():
    with pytest.raises(
        GridError, match=r"factor-too-large: expected at least 8 voxels .* got 7 voxels on axis 1\. Lower the factor"
    ):
        made(noise((9, 7, 9)), SliceProfile(factor=8), axis=1)


def test_an_image_that_is_not_on_its_grid_is_refused():
    with pytest.raises(GridError, match="image-shape: expected an image of"):
        HOWS[0].degrade(noise((9, 9, 9)), Grid((9, 9, 8), np.eye(4)), 2, np.random.default_rng(0))


def test_low_field_without_tissues_is_refused():
    with pytest.raises(UsageError, match=r"tissues-missing: .* Fit them with Tissues\.fit"):
        made(noise((9, 9, 9)), LowField(factor=4))


def test_what_is_not_said_of_a_forward_model():
    """Settings, cards and sidecars leave out what is usual: these are promises."""
    assert KSpace().model_dump(exclude={"axis"}) == {"kind": "k-space", "factor": 4, "centre": 0.08}
    assert SliceProfile().digested() == {"slice_profile": "box", "slice_gap": 0.0}
    assert SliceProfile(axis="R").digested() == {"slice_profile": "box", "slice_gap": 0.0, "axis": "R"}
    assert LesionMask().factors(0) == (1, 1, 1)
    assert KSpace(factor=3).digested() == {"kind": "k-space", "factor": 3, "centre": 0.08}
    assert SliceProfile(slice_profile="point").centres == "decimation"
    assert SliceProfile(slice_profile="gaussian").centres == "profile"
    for centre in (-0.01, 1.01):
        with pytest.raises(ValidationError):
            KSpace(centre=centre)
