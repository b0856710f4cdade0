"""One contract for all linear maps: linear, exact adjoint, types kept, inputs untouched."""

from __future__ import annotations

from fractions import Fraction
from typing import get_args

import numpy as np
import pytest

from core.operators.kernels import KERNELS, Kernel, resize_matrix
from core.operators.kspace import zero_filled_matrix
from core.operators.linear import Compose, LinearOperator, Mask, Separable
from core.operators.profile import Profile, profile_matrix
from core.operators.trilinear import Trilinear

SHAPE = (12, 15, 21)


def lesion() -> np.ndarray:
    return np.random.default_rng(3).random(SHAPE) < 0.2


def resized(shape: tuple[int, int, int], factors: tuple[Fraction | float, ...], kernel: Kernel) -> Separable:
    x, y, z = (resize_matrix(n, factor, kernel) for n, factor in zip(shape, factors, strict=True))
    return Separable((x, y, z))


def some_axis(matrix: np.ndarray, axis: int) -> Separable:
    x, y, z = (matrix if at == axis else np.eye(n) for at, n in enumerate(SHAPE))
    return Separable((x, y, z))


TURN = np.array([[0.96, -0.28, 0], [0.28, 0.96, 0], [0, 0, 1.0]])
OPERATORS: dict[str, LinearOperator] = {
    **{f"{kernel}-down": resized(SHAPE, (Fraction(1, 2), 1, Fraction(3, 7)), kernel) for kernel in KERNELS},
    **{f"{kernel}-up": resized(SHAPE, (2, 1.3, 1), kernel) for kernel in KERNELS},
    **{f"profile-{profile}": some_axis(profile_matrix(21, 6, 3.5, 1.2, profile, gap=0.3), 2) for profile in get_args(Profile)},
    "decimation": some_axis(np.eye(15)[3::4], 1),
    "k-space": some_axis(zero_filled_matrix(21, 4, 0.2), 2),
    "lesion": Mask(~lesion(), SHAPE),
    "turned": Trilinear(np.column_stack([TURN, [3.0, -2, 1]]), SHAPE, (9, 14, 20)),
    "composed": Compose(
        (
            resized(SHAPE, (1, 1, 0.5), "bicubic"),
            Mask(np.arange(11)[None, None] % 4 > 1, (12, 15, 11)),
            resized((12, 15, 11), (1, 1, 2), "lanczos3"),
        )
    ),
}


@pytest.fixture(params=OPERATORS, name="operator")
def _operator(request) -> LinearOperator:
    return OPERATORS[request.param]


def images(operator: LinearOperator, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """An image to go in, and one of the kind that comes out."""
    rng = np.random.default_rng(seed)
    into, out = rng.standard_normal(operator.shape_in), rng.standard_normal(operator.shape_out)
    return into, out


def test_the_adjoint_passes_the_dot_product_test(operator):
    for seed in range(3):
        x, y = images(operator, seed)
        ax, aty = operator.forward(x), operator.adjoint(y)
        scale = np.linalg.norm(ax) * np.linalg.norm(y)
        assert abs(np.vdot(ax, y) - np.vdot(x, aty)) < 1e-13 * scale
        assert scale > 0


def test_it_is_linear(operator):
    (x, y), (other, out) = images(operator, 0), images(operator, 1)
    assert operator.forward(2.5 * x - other) == pytest.approx(2.5 * operator.forward(x) - operator.forward(other), abs=1e-12)
    assert operator.adjoint(2.5 * y - out) == pytest.approx(2.5 * operator.adjoint(y) - operator.adjoint(out), abs=1e-12)


def test_shapes_are_as_promised_and_single_precision_stays(operator):
    x, y = images(operator, 0)
    ax, aty = operator.forward(x.astype(np.float32)), operator.adjoint(y.astype(np.float32))
    assert (ax.shape, ax.dtype) == (operator.shape_out, np.float32)
    assert (aty.shape, aty.dtype) == (operator.shape_in, np.float32)
    assert ax == pytest.approx(operator.forward(x), abs=2e-5)
    assert aty == pytest.approx(operator.adjoint(y), abs=2e-5)


def test_inputs_stay_as_they_are(operator):
    x, y = images(operator, 0)
    before = x.copy(), y.copy()
    operator.forward(x)
    operator.adjoint(y)
    assert np.array_equal(x, before[0])
    assert np.array_equal(y, before[1])


def test_memory_order_does_not_matter(operator):
    x, y = images(operator, 0)
    assert operator.forward(np.asfortranarray(x)) == pytest.approx(operator.forward(x), abs=1e-13)
    assert operator.adjoint(np.asfortranarray(y)) == pytest.approx(operator.adjoint(y), abs=1e-13)
