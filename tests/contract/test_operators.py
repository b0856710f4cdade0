"""The contract of forward models: what every member of the union must keep, found by going through the union."""

from __future__ import annotations

from itertools import permutations, product
from typing import get_args

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

from core.geometry.grid import Box, Grid, Orientation
from core.operators.autograd import as_torch
from core.operators.bsrgan_light import BsrganLight
from core.operators.forward import Beside, Forward
from core.operators.forward_model import ForwardModel, forward_of
from core.operators.linear import Mask, Separable
from core.operators.sidecar import fields_of, read_forward
from core.tissues import Tissues

SHAPE = (12, 15, 21)
SHARP = Grid(SHAPE, np.array([[0.9, 0.1, 0.02, -30], [-0.1, 1.1, 0.05, 12], [0, -0.04, 1.0, 5], [0, 0, 0, 1.0]]))
TISSUES = Tissues((10.0, 60.0, 100.0), (5.0, 5.0, 5.0), (0.2, 0.4, 0.4), 60.0, 100.0)
MASK = np.random.default_rng(3).random(SHAPE) < 0.2
MEMBERS: tuple[type[Forward], ...] = get_args(get_args(ForwardModel)[0])
OTHER = {
    "slice_profile": "point",
    "slice_gap": 0.3,
    "phase": 2,
    "kernel": "lanczos3",
    "centre": 0.3,
    "contrast": "FLAIR",
    "every": 2,
    "curve": (1.3, 0.9, 0.8),
    "bias": 0.2,
    "pattern": 4,
    "width": (1.2, 1.6),
    "voxel": (1.25, 1.5),
    "noise": 0.03,
}


def variants(member: type[Forward]) -> list[Forward]:
    """A member with a factor of 3, plainly and with a different value in every other field of its own."""
    factor = {"factor": 3} if "factor" in member.model_fields else {}
    other = {name: value for name, value in OTHER.items() if name in member.model_fields}
    return [member(axis="S", **factor), *([member(axis="S", **factor | other)] if other else [])]


ALL = [one for member in MEMBERS for one in variants(member)]


@pytest.fixture(params=ALL, ids=lambda one: one.describe().replace(" ", "-"), name="forward")
def _forward(request) -> Forward:
    return request.param


def at(forward: Forward, axis: int) -> Forward:
    return forward.model_copy(update={"axis": "RAS"[axis]})


def beside(forward: Forward, grid: Grid = SHARP) -> Beside:
    mask = MASK[tuple(slice(n) for n in grid.shape)] if forward.needs_mask else None
    return Beside(TISSUES, np.zeros((3, *grid.shape), np.float32), mask)


def operator_of(forward: Forward, axis: int = 2, grid: Grid = SHARP):
    """A between the sharp grid and that of the degraded scan."""
    return at(forward, axis).operator(forward.degraded_grid(grid, axis), grid, beside(forward, grid).mask)


def test_every_member_is_named_once_and_every_field_tried():
    kinds = [member.model_fields["kind"].default for member in MEMBERS]
    assert len(set(kinds)) == len(kinds) == 9
    for member in MEMBERS:
        tried = [one.model_dump() for one in ALL if isinstance(one, member)]
        for name in set(member.model_fields) - {"kind", "axis", "factor"}:
            assert len({values[name] for values in tried}) == 2, f"{member.__name__}.{name}"


@pytest.mark.parametrize("axis", range(3))
def test_the_adjoint_passes_the_dot_product_test(forward, axis):
    operator = operator_of(forward, axis)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        x, y = rng.standard_normal(operator.shape_in), rng.standard_normal(operator.shape_out)
        ax, aty = operator.forward(x), operator.adjoint(y)
        scale = np.linalg.norm(ax) * np.linalg.norm(y)
        assert scale > 0
        assert abs(np.vdot(ax, y) - np.vdot(x, aty)) < 1e-12 * scale


def test_the_adjoint_is_exact_for_turned_scans_too(forward):
    turn = np.array([[0.96, -0.28, 0, 3], [0.28, 0.96, 0, -7], [0, 0, 1, 2], [0, 0, 0, 1]])
    coarse = forward.degraded_grid(SHARP, 2)
    mask = beside(forward).mask
    operator = forward.operator(Grid(coarse.shape, turn @ coarse.affine), SHARP, mask)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal(operator.shape_in), rng.standard_normal(operator.shape_out)
    assert np.vdot(operator.forward(x), y) == pytest.approx(np.vdot(x, operator.adjoint(y)), rel=1e-12)


def test_single_precision_is_kept_and_close(forward):
    operator, rng = operator_of(forward), np.random.default_rng(0)
    x, y = rng.standard_normal(operator.shape_in), rng.standard_normal(operator.shape_out)
    ax, aty = operator.forward(x.astype(np.float32)), operator.adjoint(y.astype(np.float32))
    assert (ax.dtype, aty.dtype) == (np.float32, np.float32)
    assert ax == pytest.approx(operator.forward(x), abs=1e-5)
    assert aty == pytest.approx(operator.adjoint(y), abs=1e-5)


def test_it_comes_back_from_json(forward):
    adapter = TypeAdapter(ForwardModel)
    assert adapter.validate_json(adapter.dump_json(forward)) == forward
    again = forward_of(forward.digested())
    operator, same = (one.operator(forward.degraded_grid(SHARP, 2), SHARP, beside(forward).mask) for one in (forward, again))
    x = np.random.default_rng(0).random(SHAPE)
    assert np.array_equal(operator.forward(x), same.forward(x))


@pytest.mark.parametrize("axis", range(3))
def test_it_comes_back_from_a_sidecar(forward, axis):
    coarse = forward.degraded_grid(SHARP, axis)
    found = read_forward(fields_of(at(forward, axis), axis, SHARP.spacing[axis]), coarse)
    named = found if found.axis else at(found, coarse.slice_axis)
    assert named == at(forward, axis)


@pytest.mark.parametrize("axis", range(3))
def test_a_degraded_image_is_the_operator_applied(forward, axis):
    """Contrast, bias and noise aside: no tissue changes, there is no bias, and noise of an SNR without end is none."""
    if isinstance(forward, BsrganLight):
        pytest.skip("each slice has an A of its own, which is drawn; what they have in common is tested by itself")
    forward = forward.model_copy(update={"bias": 0.0}) if "bias" in type(forward).model_fields else forward

    class Silent:
        def multivariate_normal(self, *_):
            return 1e12, 1e12

        def standard_normal(self, shape, dtype):
            return np.zeros(shape, dtype)

    image = np.random.default_rng(1).random(SHAPE, dtype=np.float32) * 100
    made = forward.degrade(image, SHARP, axis, Silent(), beside(forward))
    assert made.image.dtype == np.float32
    assert made.image.shape == made.grid.shape
    expected = np.abs(operator_of(forward, axis).forward(image))  # images are magnitudes
    assert made.image == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("axis", range(3))
def test_a_constant_stays_constant_where_it_was_measured(forward, axis):
    seen = operator_of(forward, axis).forward(np.full(SHAPE, 7.0))
    measured = ~MASK if forward.needs_mask else np.ones(seen.shape, bool)
    assert seen[measured] == pytest.approx(7.0, abs=1e-9)
    assert (seen[~measured] == 0).all()


@pytest.mark.parametrize("axis", range(3))
def test_a_crop_of_the_columns_is_degraded_like_the_whole(forward, axis):
    """Along the axes on which nothing acts."""
    image = np.random.default_rng(2).random(SHAPE, dtype=np.float32)
    acted = {one for one, factor in enumerate(forward.factors(axis)) if factor > 1} | ({axis} if not forward.local else set())
    acted |= set(at(forward, axis).averaged(forward.degraded_grid(SHARP, axis)))
    cut = tuple(slice(None) if one in acted else slice(2, n - 3) for one, n in enumerate(SHAPE))
    operator = operator_of(forward, axis)
    part = image[cut]
    mask = MASK[cut] if forward.needs_mask else None
    box = [(one.start or 0) for one in cut]
    affine = SHARP.affine @ np.block([[np.eye(3), np.array(box)[:, None]], [np.zeros((1, 3)), np.ones((1, 1))]])
    grid = Grid(part.shape, affine)
    alone = at(forward, axis).operator(forward.degraded_grid(grid, axis), grid, mask)
    assert alone.forward(np.ascontiguousarray(part)) == pytest.approx(operator.forward(image)[cut], abs=1e-5)


def test_a_scan_in_any_of_48_orientations_sees_the_same(forward):
    coarse, image = forward.degraded_grid(SHARP, 2), np.random.default_rng(4).random(SHAPE)
    mask = beside(forward).mask
    whole = at(forward, 2).operator(coarse, SHARP, mask).forward(image)
    for order, flips in list(product(permutations(range(3)), product([False, True], repeat=3)))[::5]:
        turn = Orientation(order, flips)
        turned = at(forward, 2).operator(coarse.reorient(turn), SHARP.reorient(turn), None if mask is None else turn.apply(mask))
        assert turned.forward(turn.apply(image)) == pytest.approx(turn.apply(whole), abs=1e-9)


def test_a_mask_beside_the_scan_is_zero_and_nothing_else_changes(forward):
    coarse = forward.degraded_grid(SHARP, 2)
    hole = np.random.default_rng(5).random(coarse.shape) < 0.3
    image = np.random.default_rng(6).random(SHAPE)
    seen = forward.operator(coarse, SHARP, hole).forward(image)
    assert (seen[hole] == 0).all()
    if not forward.needs_mask:
        assert np.array_equal(seen[~hole], forward.operator(coarse, SHARP).forward(image)[~hole])


def test_it_is_told_in_words(forward):
    said = forward.describe()
    assert said
    assert not set(said) & set("{}<>_")
    assert "None" not in said
    assert ("×3" in said) == ("factor" in type(forward).model_fields)
    assert len({one.describe() for one in ALL}) == len(ALL)
    assert "axis" in forward.digested()


def test_plain_ones_are_separable_so_that_solvers_may_be_exact(forward):
    operator = operator_of(forward)
    assert isinstance(operator, Separable) or isinstance(operator.steps[-1], Mask)


def test_gradients_through_it_are_those_of_finite_differences(forward):
    """Of the data term of a search, |A x - y|^2, once and twice."""
    small = SHARP.crop(Box((0, 0, 0), (4, 4, 6)))
    apply = as_torch(operator_of(forward, grid=small))
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(2, 1, *small.shape, dtype=torch.float64, generator=rng, requires_grad=True)
    y = torch.rand(apply(x).shape, dtype=torch.float64, generator=rng)
    assert torch.autograd.gradcheck(lambda image: (apply(image) - y).square().sum(), (x,))
    assert torch.autograd.gradgradcheck(lambda image: (apply(image) - y).square().sum(), (x,))
