"""One contract for all operators: linear, exact adjoint, types kept, inputs untouched."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from core.geometry.grid import Grid
from core.operators.acquisition import acquisition_operator
from core.operators.kernels import KERNELS, resize_operator
from core.operators.kspace import Undersampling, centre_mask, fourier_operator, line_mask
from core.operators.linear import Compose, LinearOperator
from core.operators.masks import lesion_mask, slice_decimation, slice_mask
from core.settings.scans import Acquisition

SHAPE = (12, 15, 21)
AFFINE = np.diag([0.9, 1.0, 1.1, 1.0])
THICK = {axis: Grid(SHAPE, AFFINE).refine(axis, Fraction(2, 7)) for axis in range(3)}


def lesion() -> np.ndarray:
    return np.random.default_rng(3).random(SHAPE) < 0.2


OPERATORS: dict[str, LinearOperator] = {
    **{
        f"acquisition-{profile}-{gap}-axis{axis}": acquisition_operator(
            THICK[axis], THICK[axis].isotropic(1.0), Acquisition(slice_profile=profile, slice_gap=gap)
        )
        for profile in ("box", "gaussian", "point")
        for gap in (0.0, 0.3)
        for axis in range(3)
    },
    **{f"{kernel}-down": resize_operator(SHAPE, (Fraction(1, 2), 1, Fraction(3, 7)), kernel) for kernel in KERNELS},
    **{f"{kernel}-up": resize_operator(SHAPE, (2, 1.3, 1), kernel) for kernel in KERNELS},
    "slice-mask": slice_mask(SHAPE, 2, 4, 3),
    "slice-decimation": slice_decimation(SHAPE, 1, 4, 3),
    "lesion": lesion_mask(lesion()),
    "k-space-centre": Undersampling(centre_mask(SHAPE, (0.5, 0.4, 1.0)), SHAPE),
    "k-space-lines": Undersampling(line_mask(SHAPE, 1, 4, 0.2), SHAPE),
    "fourier-down": fourier_operator(SHAPE, (6, 15, 8)),
    "fourier-up": fourier_operator(SHAPE, (15, 15, 32)),
    "composed": Compose(
        (resize_operator(SHAPE, (1, 1, 0.5), "bicubic"), slice_mask((12, 15, 11), 2, 2), fourier_operator((12, 15, 11), SHAPE))
    ),
    "low-field-then-k-space": Compose(
        (slice_decimation(SHAPE, 2, 3, 0), Undersampling(line_mask((12, 15, 7), 0, 2, 0.3), (12, 15, 7)))
    ),
}


@pytest.fixture(params=OPERATORS, name="operator")
def _operator(request) -> LinearOperator:
    return OPERATORS[request.param]


def images(operator: LinearOperator, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """An image to go in, and one of the kind that comes out."""
    rng = np.random.default_rng(seed)
    into, out = rng.standard_normal(operator.shape_in), rng.standard_normal(operator.shape_out)
    if np.iscomplexobj(operator.forward(into)):
        out = out + 1j * rng.standard_normal(operator.shape_out)
    return into, out


def test_the_adjoint_passes_the_dot_product_test(operator):
    for seed in range(3):
        x, y = images(operator, seed)
        ax, aty = operator.forward(x), operator.adjoint(y)
        scale = np.linalg.norm(ax) * np.linalg.norm(y)
        assert abs(np.vdot(ax, y).real - np.vdot(x, aty).real) < 1e-13 * scale
        assert scale > 0


def test_it_is_linear(operator):
    (x, y), (other, out) = images(operator, 0), images(operator, 1)
    assert operator.forward(2.5 * x - other) == pytest.approx(2.5 * operator.forward(x) - operator.forward(other), abs=1e-12)
    assert operator.adjoint(2.5 * y - out) == pytest.approx(2.5 * operator.adjoint(y) - operator.adjoint(out), abs=1e-12)


def test_shapes_are_as_promised_and_single_precision_stays(operator):
    x, y = images(operator, 0)
    half = {np.dtype("f8"): np.float32, np.dtype("c16"): np.complex64}
    ax, aty = operator.forward(x.astype(np.float32)), operator.adjoint(y.astype(half[y.dtype]))
    assert (ax.shape, ax.dtype) == (operator.shape_out, half[y.dtype])
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
