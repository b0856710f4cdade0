"""Products along an axis: right, and with bits that depend on nothing but the numbers."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import GridError
from core.operators.linear import WIDE, Compose, Mask, Separable, _run_of, apply_axis
from core.operators.profile import profile_matrix

SHAPE = (33, 40, 29)


def banded(m: int, n: int) -> np.ndarray:
    near = np.abs(np.arange(m)[:, None] * n / m - np.arange(n)) < 3
    return np.random.default_rng(1).standard_normal((m, n)) * near


def image(shape=SHAPE, dtype=np.float32) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


def along(matrix: np.ndarray, x: np.ndarray, axis: int) -> np.ndarray:
    return np.moveaxis(np.tensordot(matrix, x.astype(np.float64), axes=(1, axis)), 0, axis)


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("size", [1, 11, 90])
def test_a_banded_product_is_the_product(axis, order, size):
    matrix = banded(size, SHAPE[axis])
    x = np.asarray(image(dtype=np.float64), order=order)
    result = apply_axis(matrix, x, axis)
    assert result == pytest.approx(along(matrix, x, axis), abs=1e-12)
    assert result.flags.c_contiguous if order == "C" else result.flags.f_contiguous


@pytest.mark.parametrize("axis", range(3))
def test_a_dense_product_is_the_product(axis):
    x = image((90, 91, 92), np.float64)
    matrix = np.random.default_rng(1).standard_normal((17, x.shape[axis]))
    assert np.count_nonzero(matrix) > WIDE * len(matrix)
    assert apply_axis(matrix, x, axis) == pytest.approx(along(matrix, x, axis), abs=1e-11)


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(("first", "count"), [(0, 1), (0, 7), (5, 20), (9, 20)])
def test_voxels_taken_as_they_are_have_the_bits_and_the_layout_of_a_product(axis, order, first, count):
    x = np.asarray(image((29, 29, 29)), order=order)
    x[10, 11, 12], x[10, 12, 12] = -0.0, np.nan
    matrix = np.eye(29)[first : first + count]
    almost = matrix.copy()
    almost[0, (first + 14) % 29] = 1e-45  # nothing, in float32, but no run of voxels
    taken, product = apply_axis(matrix, x, axis), apply_axis(almost, x, axis)
    assert taken.tobytes(order="K") == product.tobytes(order="K")
    assert [a == b or n == 1 for n, a, b in zip(taken.shape, taken.strides, product.strides, strict=True)] == [True] * 3
    assert not np.shares_memory(taken, x)


@pytest.mark.parametrize("axis", range(3))
def test_bits_depend_on_neither_layout_nor_crop(axis):
    x = image((70, 83, 300))
    matrix = banded(x.shape[axis] * 3 // 2, x.shape[axis])
    whole = apply_axis(matrix, x, axis)
    box = tuple(slice(None) if at == axis else slice(3, 64) for at in range(3))
    padded = np.zeros(tuple(n + 3 for n in x.shape), np.float32)
    padded[1:-2, 1:-2, 1:-2] = x

    assert np.array_equal(apply_axis(matrix, np.asfortranarray(x), axis), whole)
    assert np.array_equal(apply_axis(matrix, x[box], axis), whole[box])
    assert np.array_equal(apply_axis(matrix, np.asfortranarray(x)[box], axis), whole[box])
    assert np.array_equal(apply_axis(matrix, padded[1:-2, 1:-2, 1:-2], axis), whole)
    flipped = apply_axis(matrix, x[::-1, ::-1, ::-1][::-1, ::-1, ::-1], axis)
    assert np.array_equal(flipped, whole)
    turned = np.ascontiguousarray(x.transpose(1, 2, 0)).transpose(2, 0, 1)
    assert np.array_equal(apply_axis(matrix, turned, axis), whole)


def test_the_identity_returns_the_very_image():
    x = image()
    assert apply_axis(np.eye(SHAPE[1]), x, 1) is x
    nearly = np.eye(SHAPE[1])
    nearly[0, 1] = 1e-9
    assert apply_axis(nearly, x, 1) is not x


@pytest.mark.parametrize(
    "x",
    [
        np.zeros((4, 5, 6), np.float32),
        np.zeros((4, 8, 6), np.int16),
        np.zeros((8, 8), np.float32),
        np.zeros((4, 8, 6), np.float16),
    ],
)
def test_an_image_that_does_not_fit_is_refused(x):
    with pytest.raises(
        GridError, match=r"matrix-mismatch: expected a float32 or float64 image with 8 voxels on axis 1 of 3, but got .*\. Build"
    ):
        apply_axis(np.ones((3, 8)), x, 1)


def test_separable_applies_a_matrix_an_axis():
    matrices = banded(11, 33), banded(60, 40), np.eye(29)
    x = image(dtype=np.float64)
    operator = Separable(matrices)
    assert (operator.shape_in, operator.shape_out) == (SHAPE, (11, 60, 29))
    assert operator.forward(x) == pytest.approx(np.einsum("ax,by,cz,xyz->abc", *matrices, x, optimize=True), abs=1e-12)


def test_a_constant_stays_constant_under_rows_that_sum_to_one():
    matrices = tuple(profile_matrix(n, m, n / m, (n / m - 1) / 2) for n, m in zip(SHAPE, (11, 50, 9), strict=True))
    result = Separable(matrices).forward(np.full(SHAPE, 1234.5, np.float32))
    assert result == pytest.approx(1234.5, rel=3e-7)


def test_a_mask_zeroes_even_what_is_not_a_number():
    kept = np.ones((1, 1, 29), bool)
    kept[..., 3] = False
    x = image()
    x[..., 3] = np.nan
    result = Mask(kept, SHAPE).forward(x)
    assert (result[..., 3] == 0).all()
    assert np.array_equal(np.delete(result, 3, 2), np.delete(x, 3, 2))


@pytest.mark.parametrize("shape", [(33, 40, 28), (40, 29), (2, 1, 1)])
def test_a_mask_of_another_grid_is_refused(shape):
    with pytest.raises(GridError, match=r"mask-mismatch: expected a mask for images of \(33, 40, 29\), but got one of .*\. Draw"):
        Mask(np.ones(shape, bool), SHAPE)


def test_maps_compose_in_the_order_of_action_only_where_they_fit():
    first, second = Separable((banded(11, 33), np.eye(40), np.eye(29))), Mask(np.ones((11, 1, 29), bool), (11, 40, 29))
    both = Compose((first, second))
    x = image(dtype=np.float64)
    assert np.array_equal(both.forward(x), second.forward(first.forward(x)))
    assert (both.shape_in, both.shape_out) == (SHAPE, (11, 40, 29))
    with pytest.raises(
        GridError, match=r"operators-mismatch: expected each output to fit .*, but got \(11, 40, 29\) into \(33, 40, 29\)"
    ):
        Compose((second, first))


@pytest.mark.parametrize("rows", [[2, 3, 4], [2, 4, 3], [2, 2, 3], [3, 4, 5]])
def test_rows_of_the_identity_in_any_order_are_a_product(rows: list[int]) -> None:
    """A run is taken as it is; what repeats or turns around is no run."""
    x, matrix = image((7, 4, 3)), np.eye(7)[rows]
    assert np.array_equal(apply_axis(matrix, x, 0), x[rows])


def test_a_run_with_a_weight_besides_is_a_product() -> None:
    matrix = np.eye(7)[2:5].copy()
    matrix[1, 0] = 0.5
    x = image((7, 4, 3))
    assert apply_axis(matrix, x, 0) == pytest.approx(along(matrix, x, 0), abs=1e-6)
    matrix = np.eye(7)[2:5] * 2
    assert np.array_equal(apply_axis(matrix, x, 0), 2 * x[2:5])


@pytest.mark.parametrize("shape", [(7, 4), (1, 7, 4, 3)])
def test_only_volumes_have_axes(shape) -> None:
    with pytest.raises(GridError, match="matrix-mismatch"):
        apply_axis(np.eye(7)[:3], np.zeros(shape, np.float32), shape.index(7))


def test_the_axes_that_shrink_most_come_first() -> None:
    """The order decides the last bits, and so is a rule: by the ratio of rows to columns."""
    x = image((6, 8, 10))
    matrices = [banded(m, n) for m, n in ((12, 6), (2, 8), (5, 10))]
    expected = x
    for axis in (1, 2, 0):
        expected = apply_axis(matrices[axis], expected, axis)
    assert np.array_equal(Separable(tuple(matrices)).forward(x), expected)


def test_a_run_of_halves_is_no_run() -> None:
    x = image((7, 4, 3))
    assert np.array_equal(apply_axis(np.eye(7)[2:5] * 0.5, x, 0), x[2:5] * np.float32(0.5))


@pytest.mark.parametrize("first", [0, 3, 5])
def test_rows_that_take_voxels_as_they_are_are_found_and_no_others(first):
    run = np.eye(8)[first : first + 3]
    assert _run_of(run) == first
    assert _run_of(run[::-1]) is None
    assert _run_of(run * 0.5) is None
    more = run.copy()
    more[1, 2 if first else 7] = 0.25
    assert _run_of(more) is None
    x = image((8, 4, 4), np.float64)
    assert apply_axis(more, x, 0) == pytest.approx(along(more, x, 0), abs=1e-15)
