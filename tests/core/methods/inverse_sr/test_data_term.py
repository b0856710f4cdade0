"""What scans say of an image: gain and offset, losses, features, gradients, conjugate gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from core.errors import RestorationError
from core.geometry.grid import Grid
from core.methods.inverse_sr.search import data_term
from core.methods.inverse_sr.search.cg import WIDTH, Equation, pull
from core.methods.inverse_sr.search.data_term import DataTerm, Lpips, Observation, features_of, gradients, line_through
from core.operators.forward_model import InPlane, KSpace, SliceProfile
from core.operators.repair import smooth_covariance
from core.operators.solve import conjugate_gradients

SHARP = Grid((6, 8, 16), np.eye(4))
DRAW = np.random.default_rng(0)
KINDS = [SliceProfile(factor=4), InPlane(factor=2), KSpace(axis="A")]


def observed(forward=KINDS[0], dtype=np.float64, kept=None):
    grid = forward.degraded_grid(SHARP, 2)
    values = DRAW.random(grid.shape).astype(dtype)
    return Observation(forward.operator(grid, SHARP), values, np.ones(grid.shape, bool) if kept is None else kept, 2)


def image(dtype=torch.float64):
    return torch.rand(SHARP.shape, dtype=dtype, generator=torch.Generator().manual_seed(1))


def test_gain_and_offset_are_those_of_the_scan():
    seen = DRAW.random((4, 5, 6))
    gain, offset = line_through(seen, 1.7 * seen - 0.3, np.ones(seen.shape, bool))
    assert (gain, offset) == (pytest.approx(1.7), pytest.approx(-0.3))


def test_gain_and_offset_are_least_squares_over_what_counts():
    seen, values, kept = DRAW.random((4, 5, 6)), DRAW.random((4, 5, 6)) + 0.5, DRAW.random((4, 5, 6)) > 0.3
    values += seen
    a, b = np.linalg.lstsq(np.stack([seen[kept], np.ones(kept.sum())], 1), values[kept], rcond=None)[0]
    assert line_through(seen, values, kept) == (pytest.approx(a), pytest.approx(b))


@pytest.mark.parametrize(("slope", "gain"), [(-1.0, 0.25), (0.0, 0.25), (9.0, 4.0)])
def test_an_image_cannot_be_made_flat_or_turned_over_to_fit(slope, gain):
    seen = DRAW.random((4, 5, 6))
    assert line_through(seen, slope * seen, np.ones(seen.shape, bool))[0] == gain
    assert line_through(np.ones((4, 5, 6)), seen, np.ones(seen.shape, bool)) == (1.0, pytest.approx(seen.mean() - 1))


def test_the_scan_of_an_image_has_no_loss_in_any_unit():
    one = observed()
    truth = image()
    scan = Observation(one.operator, 2 * one.operator.forward(truth.numpy()) + 0.1, one.kept, 2)
    terms = DataTerm([scan], gradients)(truth)
    assert float(terms.pixels) < 1e-12
    assert float(terms.features) < 1e-12
    assert terms.lines[0] == (pytest.approx(2), pytest.approx(0.1))


def test_the_loss_is_the_mean_over_what_was_measured():
    kept = np.zeros((6, 8, 4), bool)
    kept[1:5, 2:7, 1:3] = True
    one = observed(kept=kept)
    rest = (one.operator.forward(image().numpy()) - one.values)[kept]
    assert float(DataTerm([one], fitted=False)(image()).pixels) == pytest.approx(np.abs(rest).mean())
    assert float(DataTerm([one], norm="l2", fitted=False)(image()).pixels) == pytest.approx(np.square(rest).mean())


def test_what_does_not_count_changes_nothing():
    kept = DRAW.random((6, 8, 4)) > 0.4
    one = observed(kept=kept)
    other = Observation(one.operator, np.where(kept, one.values, 7.0), kept, 2)
    for features in (gradients, Lpips(lambda a, b: (a - b).abs().mean())):
        first, second = (DataTerm([each], features)(image()) for each in (one, other))
        assert (float(first.pixels), float(first.features)) == (float(second.pixels), float(second.features))


def test_losses_and_gradients_of_several_scans_add():
    scans = [observed(forward) for forward in KINDS]
    parts = [
        torch.autograd.functional.jacobian(lambda x, one=one: DataTerm([one], gradients)(x).pixels, image()) for one in scans
    ]
    both = torch.autograd.functional.jacobian(lambda x: DataTerm(scans, gradients)(x).pixels, image())
    torch.testing.assert_close(both, sum(parts))


@pytest.mark.parametrize("forward", KINDS, ids=lambda one: one.kind)
def test_gradients_are_those_of_finite_differences(forward):
    term = DataTerm([observed(forward)], gradients, fitted=False)
    x, step = image(), 1e-6 * torch.randn(SHARP.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))

    def loss(x):
        terms = term(x)
        return terms.pixels + terms.features

    slope = float((torch.autograd.functional.jacobian(loss, x) * step).sum())
    assert float(loss(x + step) - loss(x - step)) / 2 == pytest.approx(slope, rel=1e-5)


def test_gradients_within_slices_know_a_shift_of_one_slice_from_none():
    """A slice that is brighter as a whole differs in no gradient within it; one that is moved does."""
    values, kept = image(), torch.ones(SHARP.shape, dtype=torch.float64)
    brighter = values + torch.arange(16, dtype=torch.float64)
    assert float(gradients(brighter, values, kept, 2)) < 1e-12
    assert float(gradients(values.roll(1, 0), values, kept, 2)) > 0.1
    assert float(gradients(brighter, values, kept, 0)) > 0.1


def test_features_are_those_that_were_asked_for():
    assert features_of("none", 1.0) is None
    assert features_of("gradients", 1.0) is gradients


def test_a_scan_beside_the_window_is_refused():
    with pytest.raises(RestorationError, match=r"outside-prior: expected at least 32 measured voxels .*, but got 0\. Look"):
        observed(kept=np.zeros((6, 8, 4), bool))


@pytest.mark.parametrize("forward", KINDS, ids=lambda one: one.kind)
def test_the_pull_ends_at_the_optimum(forward):
    one, trust, kept = observed(forward), 0.1, DRAW.random(observed(forward).values.shape) > 0.3
    equation = Equation(one.operator, one.values, kept)
    start = image().numpy()
    found = pull([equation, equation], start, trust, 400)
    smooth = 2 * equation.lacking(found)
    for axis, n in enumerate(smooth.shape):
        smooth = np.moveaxis(np.tensordot(smooth_covariance(n, WIDTH), smooth, (1, axis)), 0, axis)
    np.testing.assert_allclose(trust * (found - start), smooth, atol=1e-7)


def test_a_voxel_that_alone_was_measured_moves_most_of_the_way_and_takes_its_neighbours_along():
    forward = SliceProfile(slice_profile="point", factor=4)
    grid = Grid((6, 8, 4), np.diag([1, 1, 4.0, 1]))
    start, kept = image().numpy(), np.zeros(grid.shape, bool)
    kept[3, 4, 1] = True
    equation = Equation(forward.operator(grid, SHARP), np.ones(grid.shape), kept)
    moved = pull([equation], start, 0.25, 50) - start
    assert moved[3, 4, 4] == pytest.approx((1 - start[3, 4, 4]) / 1.25)
    assert moved[3, 6, 5] / moved[3, 4, 4] == pytest.approx(np.exp(-(2**2 + 1) / (2 * WIDTH**2)))


def test_conjugate_gradients_solve_a_system_in_as_many_steps_as_it_has_unknowns():
    matrix = DRAW.random((12, 12))
    matrix = matrix @ matrix.T + np.eye(12)
    right = DRAW.random(12)
    np.testing.assert_allclose(conjugate_gradients(lambda x: matrix @ x, right, 14), np.linalg.solve(matrix, right), rtol=1e-8)
    np.testing.assert_array_equal(conjugate_gradients(lambda x: matrix @ x, np.zeros(12), 5), np.zeros(12))


def test_lpips_goes_where_the_images_are(monkeypatch):
    moved = []

    class Network(torch.nn.Module):
        net = staticmethod(lambda a, b, normalize: (a - b).abs() * normalize)

        def to(self, device):
            moved.append(device.type)
            return self

    monkeypatch.setattr("core.evaluation.metrics.perceptual.vgg", Network)
    distance = data_term._network.__wrapped__()
    for device in ("cpu", "meta"):
        assert distance(*(torch.ones(1, 3, 4, 4, device=device) for _ in range(2))).device.type == device
    assert moved == ["cpu", "meta"]
