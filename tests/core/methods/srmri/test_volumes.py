"""Data steps against dense solutions, and both ways of sampling on small scans."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from core.diffusion.schedules import Geometric
from core.engine.iterate import Checkpoint
from core.errors import RestorationError
from core.geometry.grid import Grid
from core.methods import registry
from core.methods.base import Measured
from core.methods.iterative import IterativeMethod, State
from core.methods.samples import drawn
from core.methods.srmri import mock
from core.methods.srmri.sampling import few_steps, slice_walk
from core.methods.srmri.sampling.data_step import Exact, Iterated
from core.methods.srmri.sampling.few_steps import Pace, volume_of
from core.methods.srmri.sampling.kernel_operator import KernelOperator, SlicesOperator
from core.methods.srmri.sampling.planes import parts_of, plane_operators
from core.methods.srmri.sampling.sampler import Rules
from core.methods.srmri.score_model import ScoreModel
from core.methods.srmri.score_network import NCSNpp
from core.methods.srmri.zero_shot.kernel import reduced
from core.models.scaling import UPPER
from core.operators.forward_model import ForwardModel, InPlane, KSpace, SliceProfile
from core.stats import scan_stats
from tests.core.engine.driving import drive
from tests.phantoms import brain

PACE = Pace(4, 0.4, 0.01, 8.0, 0.3)


def scan(how: ForwardModel, axis: int = 2, shape: tuple[int, int, int] = (18, 20, 16)) -> tuple[Measured, Grid]:
    target = Grid(shape, np.eye(4))
    image, _ = brain(shape)
    seen = how.degrade(image, target, axis, np.random.default_rng(0))
    return Measured(seen.image, seen.grid, scan_stats(seen.image), how, (1, 2)), target


def model(neighbours: int = 0) -> ScoreModel:
    torch.manual_seed(0)
    network = NCSNpp(8, (1, 1), 1, neighbours=neighbours, planes=True, preconditioned=True).eval()
    mock._wake(network)
    return ScoreModel(network.requires_grad_(requires_grad=False), Geometric(0.01, 46.0), 2)


@pytest.mark.parametrize("how", [SliceProfile(factor=4), InPlane(axis="S"), KSpace(axis="A")])
def test_the_exact_data_step_is_the_minimum_and_conjugate_gradients_reach_it(how: ForwardModel) -> None:
    measured, target = scan(how, 1 if how.kind == "k-space" else 2)
    operator, _ = parts_of(measured.operator(target))
    estimate = np.random.default_rng(1).standard_normal(target.shape, np.float32)
    made = Exact(operator, measured.image)(estimate, 0.05)
    slope = operator.adjoint(operator.forward(made) - measured.image) + np.float32(0.05) * (made - estimate)
    assert float(np.abs(slope).max()) < 1e-4 * float(np.abs(measured.image).max())
    iterated = Iterated([(operator, measured.image)], 60)(estimate, 0.05)
    np.testing.assert_allclose(iterated, made, atol=2e-3)


def test_levels_fall_as_in_edm() -> None:
    sigmas = Pace(15, 0.4, 0.01, 8.0, 0.3).sigmas()
    assert (len(sigmas), sigmas[-1]) == (16, 0.0)
    assert (sigmas[0], sigmas[14]) == (pytest.approx(0.4), pytest.approx(0.01))
    roots = np.diff(np.array(sigmas[:-1]) ** (1 / 7))
    np.testing.assert_allclose(roots, roots[0])


def test_few_levels_keep_what_was_measured_and_take_both_planes_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    measured, target = scan(InPlane(axis="S"))
    problem = volume_of(model(1), [measured], target)
    assert problem.axes == (2, 0)
    state = few_steps.begin(problem, PACE)
    axes, pulled = [], []
    volume, step = ScoreModel.volume, Exact.__call__
    monkeypatch.setattr(
        ScoreModel, "volume", lambda self, x, sigma, axis, ends: (axes.append(axis), volume(self, x, sigma, axis, ends))[1]
    )
    monkeypatch.setattr(Exact, "__call__", lambda self, image, trust: (pulled.append(trust), step(self, image, trust))[1])
    for _ in range(PACE.levels):
        state.count(few_steps.advance(problem, PACE, state, state.step))
    assert axes == [2, 0, 2, 0]
    assert len(pulled) == PACE.levels
    (image,) = few_steps.images_of(problem, state)
    assert problem.data.residual(UPPER.apply(image, measured.stats)) < state.figures["residual"][-1][1]


def test_scans_of_one_person_are_one_data_term() -> None:
    first, target = scan(SliceProfile(factor=4), 2)
    second, _ = scan(SliceProfile(factor=4, axis="R"), 0)
    problem = volume_of(model(), [first, second], target)
    assert isinstance(problem.data, Iterated)
    estimate = np.zeros(target.shape, np.float32)
    both, alone = problem.data(estimate, 0.1), volume_of(model(), [first], target).data(estimate, 0.1)
    assert problem.data.residual(both) < problem.data.residual(alone)


def walked(measured: Measured, target: Grid, rules: Rules, levels: int = 3) -> np.ndarray:
    stack = slice_walk.stack_of(model(), rules, levels, measured, target)
    state: State = slice_walk.begin(stack)
    for _ in range(levels):
        state.count(slice_walk.advance(stack, state, state.step))
    return slice_walk.image_of(stack, state)


@pytest.mark.parametrize("slices", [1, 2, 20])
def test_slices_mirrored_beyond_the_ends_have_noise_of_their_own(slices: int) -> None:
    """The network takes noise that two of its channels share for what is there."""
    measured, target = scan(InPlane(axis="S"), shape=(48, 48, slices))
    stack = slice_walk.stack_of(model(1), Rules("dps"), 5, measured, target)
    assert (stack.axis, len(stack.raised), len(stack.operators)) == (2, slices + 2, slices + 2)
    for place, meant in ((0, min(1, slices - 1)), (slices + 1, max(0, slices - 2))):
        np.testing.assert_array_equal(stack.raised[place], stack.raised[1 + meant])
        np.testing.assert_array_equal(stack.seen[place], stack.seen[1 + meant])
    begun = slice_walk.begin(stack)
    noise = begun.arrays[slice_walk.SLICES].reshape(slices + 2, -1) / stack.sigmas[0]
    apart = np.corrcoef(noise) - np.eye(slices + 2)
    assert np.abs(apart).max() < 0.1
    plain = slice_walk.begin(slice_walk.stack_of(model(0), Rules("dps"), 5, measured, target))
    np.testing.assert_array_equal(begun.arrays[slice_walk.SLICES][1:-1], plain.arrays[slice_walk.SLICES])


@pytest.mark.parametrize("axis", [0, 2])
def test_so_they_have_where_a_volume_is_walked_in_few_levels(axis: int) -> None:
    measured, target = scan(InPlane(axis="S"))
    problem = volume_of(model(1), [measured], target)
    clean, noise = problem.start, few_steps.noise_of(problem, 3)
    ends = np.moveaxis(few_steps.beyond(problem, clean + np.float32(0.2) * noise, axis, 3, 0.2), axis, 0)
    planes, noise = (np.moveaxis(each, axis, 0) for each in (clean, noise))
    for end, place in zip(ends, (1, len(planes) - 2), strict=True):
        own = (end - planes[place]) / 0.2
        assert own.std() == pytest.approx(1, rel=0.15)
        assert abs(np.corrcoef(own.ravel(), noise[place].ravel())[0, 1]) < 0.2


def test_operators_lie_on_the_device_of_the_model() -> None:
    measured, target = scan(InPlane(axis="S"))
    operator, *_ = plane_operators(measured, target, 2, "meta")
    assert {operator.rows.device.type, operator.columns.device.type} == {"meta"}
    seen = operator(torch.zeros(1, 1, 18, 20, device="meta"))
    assert (operator.inverse(seen).device.type, tuple(seen.shape)) == ("meta", (1, 1, 9, 10))


@pytest.mark.parametrize("pull", ["score-sde", "dps", "mcg", "srmri"])
def test_a_slice_alone_is_as_among_others(pull: str) -> None:
    from core.geometry.grid import Box

    measured, target = scan(InPlane(axis="S"))
    rules = Rules(pull, ancestral=True)  # type: ignore[arg-type]
    whole = walked(measured, target, rules)
    alone = walked(measured.crop(Box((0, 0, 0), (9, 10, 1))), target.crop(Box((0, 0, 0), (18, 20, 1))), rules)
    assert np.isfinite(whole).all()
    assert alone.tobytes() == np.ascontiguousarray(whole[:, :, :1]).tobytes()


@pytest.mark.parametrize(("name", "options"), [("srmri", {"levels": 2}), ("dps", {"scales": 2})])
def test_samples_are_told_by_mean_and_spread(tmp_path: Path, name: str, options: dict[str, object]) -> None:
    """As of as many restorations, each with noise of its own."""
    mock.write(str(tmp_path), name)
    measured, target = scan(InPlane(axis="S"), shape=(16, 18, 16))
    method = registry.build_method(name, {**options, "samples": 3}, str(tmp_path))
    assert isinstance(method, IterativeMethod)
    assert (method.total(), method.passes, set(method.about_maps)) == (6, 3, {"sd"})
    problem = method.prepare([measured], target)
    state = method.start(problem)
    assert len(list(method.steps(problem, state))) == 6
    (mean,), (spread,) = method.result(problem, state), method.beside(problem, state).maps["sd"]
    alone = registry.build_method(name, options, str(tmp_path))
    each = np.stack([alone.restore(drawn([measured], number), target)[0] for number in range(3)]).astype(np.float64)
    assert float(each.std(0).max()) > 0.01 * float(each.mean())
    np.testing.assert_allclose(mean, each.mean(0), rtol=1e-4, atol=1e-5 * float(each.max()))
    np.testing.assert_allclose(spread, each.std(0, ddof=1), rtol=1e-3, atol=1e-5 * float(each.max()))


def test_samples_go_on_from_a_kept_state_with_the_same_bits(tmp_path: Path) -> None:
    mock.write(str(tmp_path / "model"), "srmri")
    measured, target = scan(InPlane(axis="S"), shape=(16, 18, 16))
    method = registry.build_method("srmri", {"levels": 2, "samples": 3}, str(tmp_path / "model"))
    assert isinstance(method, IterativeMethod)
    (whole,), _ = drive(method, [measured], target)
    problem = method.prepare([measured], target)
    state = method.start(problem)
    for _ in zip(range(3), method.steps(problem, state), strict=False):  # within the second sample
        pass
    Checkpoint(str(tmp_path / "state"), "digest", 0).save(state)
    (resumed,), _ = drive(method, [measured], target, Checkpoint(str(tmp_path / "state"), "digest", 1e9))
    assert resumed.tobytes() == whole.tobytes()


def test_rho_is_told_where_there_is_a_gradient() -> None:
    measured, target = scan(InPlane(axis="S"), shape=(8, 12, 1))
    stack = slice_walk.stack_of(model(), Rules("srmri", 2, 0.1), 3, measured, target)
    state = slice_walk.begin(stack)
    told = []
    for _ in range(2):
        figures = slice_walk.advance(stack, state, state.step)
        told.append(figures.get("rho"))
        state.count(figures)
    assert told == [pytest.approx(0.1 * 24**0.5), None]


def uneven() -> KernelOperator:
    """Of slices of 13 by 10 pixels, by a kernel that lies askew."""
    kernel = torch.rand(13, 13, generator=torch.Generator().manual_seed(0)).cumsum(0)
    return KernelOperator(kernel / kernel.sum(), 2, (13, 10))


def test_the_operator_of_a_found_kernel_is_the_reduction_with_its_adjoint_and_inverse() -> None:
    each = uneven()
    every, draw = SlicesOperator(each, 1, 3), np.random.default_rng(0)
    x, y = draw.standard_normal(every.shape_in, np.float32), draw.standard_normal(every.shape_out, np.float32)
    assert (every.shape_in, every.shape_out) == ((13, 3, 10), (7, 3, 5))
    seen = every.forward(x)
    torch.testing.assert_close(torch.from_numpy(seen[:, 1]), reduced(torch.from_numpy(x[None, None, :, 1]), each.kernel, 2)[0, 0])
    assert np.vdot(seen, y) == pytest.approx(np.vdot(x, every.adjoint(y)), rel=1e-4)
    narrow = KernelOperator(torch.tensor([[0.0, 0, 0], [0, 0.4, 0.1], [0, 0.3, 0.2]]), 2, (12, 10))
    slices = torch.rand(1, 1, 6, 5, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(narrow(narrow.inverse(slices)), slices, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("srmri", {"levels": 2}),
        ("srmri", {"sampler": "slices", "scales": 2}),
        ("score-sde", {"scales": 2}),
        ("dps", {"scales": 2}),
    ],
)
def test_samplers_take_the_kernel_that_is_found_in_the_scan(tmp_path: Path, method: str, options: dict[str, object]) -> None:
    """What is told by the forward model has no say then: here, that there is another kernel."""
    mock.write(str(tmp_path), method)
    measured, target = scan(InPlane(axis="S"), shape=(12, 16, 2))
    blind = registry.build_method(method, options | {"kernel_steps": 2}, str(tmp_path))
    made = []
    for how in (measured, replace(measured, forward=InPlane(axis="S", kernel="box"))):
        problem = blind.prepare([how], target)  # type: ignore[attr-defined]
        state = blind.start(problem)  # type: ignore[attr-defined]
        assert len(list(blind.steps(problem, state))) == 4  # type: ignore[attr-defined]
        assert set(state.arrays) == {"kernel", few_steps.IMAGE if options.get("levels") else slice_walk.SLICES}
        made.append(blind.result(problem, state)[0])  # type: ignore[attr-defined]
        assert blind.beside(problem, state).pictures["kernel"][0].shape == (13, 13)  # type: ignore[attr-defined]
    assert np.isfinite(made[0]).all()
    assert made[0].tobytes() == made[1].tobytes()
    known = registry.build_method(method, options, str(tmp_path)).restore([measured], target)[0]
    assert not np.array_equal(known, made[0])


def test_a_kernel_is_searched_in_one_whole_scan_with_a_slice_for_each_restored_one(tmp_path: Path) -> None:
    mock.write(str(tmp_path), "srmri")
    measured, target = scan(InPlane(axis="S"), shape=(12, 16, 2))
    blind = registry.build_method("srmri", {"kernel_steps": 1, "levels": 1}, str(tmp_path))
    with pytest.raises(RestorationError, match=r"kernel-scans: expected one scan.*, but got 2\. Restore them apart"):
        blind.restore([measured, measured], target)
    masked = replace(measured, mask=np.zeros(measured.grid.shape, bool))
    with pytest.raises(RestorationError, match=r"kernel-mask: expected a scan without a mask.*Leave out the mask"):
        blind.restore([masked], target)
    slices = registry.build_method("dps", {"kernel_steps": 1, "scales": 2}, str(tmp_path))
    with pytest.raises(RestorationError, match=r"slices-coupled: expected one measured .*, but got 2 .* without a search"):
        slices.restore([measured], Grid((24, 32, 4), target.affine @ np.diag([0.5, 0.5, 0.5, 1])))


@pytest.mark.parametrize("name", ["srmri", "dps", "kernelgan-zssr"])
def test_slices_that_are_not_reduced_alike_along_both_axes_are_refused_before_any_step(tmp_path: Path, name: str) -> None:
    """Where KernelGAN's one factor of both axes is not the scan's, its crops would be cut from a scan that was made coarser."""
    mock.write(str(tmp_path), "srmri")
    model = None if name == "kernelgan-zssr" else str(tmp_path)
    blind = registry.build_method(name, {"kernel_steps": 1}, model)
    target = Grid((24, 32, 24), np.eye(4))
    for sizes, told in (
        ((1, 1, 4), "1 times along R and 4 times along S"),  # thick slices
        ((2, 1, 1.5), "2 times along R and 1.5 times along S"),
        ((3, 1, 3), "3 times along R and 3 times along S"),
        ((1, 1, 1), "1 times along R and 1 times along S"),
    ):
        shape = (int(24 / sizes[0]), 32, int(24 / sizes[2]))
        grid = Grid(
            shape,
            target.affine
            @ np.array(
                [[s * (i == j) if j < 3 else (s - 1) / 2 for j in range(4)] for i, s in enumerate(sizes)] + [[0, 0, 0, 1]]
            ),
        )
        image = np.random.default_rng(0).random(shape, np.float32)
        coarse = Measured(image, grid, scan_stats(image), InPlane(axis="A"), (1, 2))
        with pytest.raises(
            RestorationError, match=rf"kernel-factor: expected .* 2 or 4 times .*, but got {told}\. Choose a voxel size"
        ):
            blind.prepare([coarse], target)  # type: ignore[attr-defined]


def test_slices_that_measured_ones_mix_are_refused() -> None:
    measured, target = scan(SliceProfile(factor=4), 2)
    with pytest.raises(RestorationError, match=r"slices-coupled: expected one measured .*, but got 4 .* Use the method"):
        plane_operators(measured, target, 2)


@pytest.mark.parametrize(
    ("how", "pull"), [(InPlane(axis="S"), "score-sde"), (InPlane(axis="S"), "srmri"), (KSpace(axis="A"), "mcg")]
)
def test_samplers_of_slices_take_a_mask_on_a_reduced_scan(how: ForwardModel, pull: str) -> None:
    measured, target = scan(how, 1 if how.kind == "k-space" else 2, (12, 16, 2))
    hole = np.zeros(measured.grid.shape, bool)
    hole[2:4, 3:5] = True
    blanked = replace(measured, image=np.where(hole, np.float32(0), measured.image), mask=hole)
    made = walked(blanked, target, Rules(pull, ancestral=True))  # type: ignore[arg-type]
    assert np.isfinite(made).all()
    if pull == "score-sde" and how.kind == "in-plane":  # what was measured is put in place last of all
        np.testing.assert_allclose(blanked.operator(target).forward(made), blanked.image, atol=1e-3 * float(made.max()))


def test_turned_scans_are_refused_with_a_remedy_for_every_sampler() -> None:
    measured, target = scan(InPlane(axis="S"), shape=(12, 16, 2))
    c, s = np.cos(0.3), np.sin(0.3)
    turned = Grid(target.shape, np.array([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]) @ target.affine)
    with pytest.raises(RestorationError, match=r"not-separable: .*turned\. Use the method srmri with few levels \(sampler=few\)"):
        slice_walk.stack_of(model(), Rules("srmri"), 3, measured, turned)


def test_authors_and_paper_orders_differ() -> None:
    measured, target = scan(InPlane(axis="S"), shape=(12, 12, 2))
    assert not np.array_equal(*(walked(measured, target, Rules("srmri", predictor_first=first)) for first in (True, False)))


@pytest.mark.parametrize("first", [False, True])
def test_slices_see_neighbours_with_the_noise_that_the_network_is_told(monkeypatch: pytest.MonkeyPatch, *, first: bool) -> None:
    measured, target = scan(InPlane(axis="S"), shape=(12, 16, 4))
    stack = slice_walk.stack_of(model(1), Rules("score-sde", predictor_first=first, ancestral=True), 6, measured, target)
    looks: list[tuple[float, float]] = []

    def clean(_: ScoreModel, slabs: torch.Tensor, sigma: float, axis: int) -> torch.Tensor:
        assert axis == stack.axis
        looks.append((sigma, float(slabs[:, [0, 2]].std())))
        return torch.zeros_like(slabs[:, :1])

    monkeypatch.setattr(ScoreModel, "expected", clean)
    state = slice_walk.begin(stack)
    for _ in range(2):
        state.count(slice_walk.advance(stack, state, state.step))
    assert len(looks) == 2 * 2 * len(stack.raised)
    for sigma, noise in looks:
        assert noise == pytest.approx(sigma, rel=0.5)  # levels are 5 times apart
