"""KernelGAN and ZSSR: networks as counted, kernels by their definition, schedules, and what both find in small images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import nn

from core.geometry.grid import Grid
from core.methods import registry
from core.methods.base import Measured
from core.methods.iterative import IterativeMethod, State
from core.methods.srmri.zero_shot import kernel_gan, zssr
from core.methods.srmri.zero_shot.crops import Crops
from core.methods.srmri.zero_shot.kernel import centre, centre_of_mass, cleaned, composed, raised, reduced, spreads, twice
from core.methods.srmri.zero_shot.kernel_gan import Discriminator, Generator, Search, border_mask
from core.methods.srmri.zero_shot.zssr import Study, Undo
from core.operators.forward_model import InPlane
from core.stats import scan_stats
from tests.phantoms import brain


def gaussian(down: float, right: float, turned: float = 0.0, size: int = 13) -> np.ndarray:
    """A kernel for a factor of 2 that moves nothing."""
    places = np.arange(size) - centre(size, 2)
    rows, columns = np.meshgrid(places, places, indexing="ij")
    u = np.cos(turned) * rows + np.sin(turned) * columns
    v = np.cos(turned) * columns - np.sin(turned) * rows
    kernel = np.exp(-(u**2) / (2 * down**2) - v**2 / (2 * right**2))
    return np.asarray(kernel / kernel.sum(), np.float32)


def leaves(side: int, seed: int = 0, count: int = 3000) -> np.ndarray:
    """Discs of all sizes, one on the other: the same at any scale."""
    draw, image = np.random.default_rng(seed), np.zeros((side, side), np.float32)
    least, most = 1.0, side / 4
    for _ in range(count):
        radius = (most**-2 + draw.random() * (least**-2 - most**-2)) ** -0.5
        at = draw.random(2) * side
        box = tuple(slice(max(0, int(place - radius)), min(side, int(place + radius) + 2)) for place in at)
        rows, columns = np.ogrid[box]
        image[box][(rows - at[0]) ** 2 + (columns - at[1]) ** 2 < radius**2] = draw.random()
    return image


def seen(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    return reduced(torch.from_numpy(image)[None, None], torch.from_numpy(kernel), 2)[0, 0].numpy()


@pytest.mark.parametrize(("made", "count"), [(Generator, 150_656), (Discriminator, 24_705), (Undo, 222_336)])
def test_they_have_as_many_weights_as_their_authors(made: type[nn.Module], count: int) -> None:
    assert sum(each.numel() for each in made().parameters()) == count


def test_the_kernel_of_layers_is_the_layers_one_after_the_other() -> None:
    torch.manual_seed(0)
    layers = [torch.randn(3, 1, 7, 7), torch.randn(4, 3, 5, 5), torch.randn(1, 4, 3, 3)]
    layers = [layer.double() for layer in layers]
    x = torch.rand(1, 1, 20, 24, dtype=torch.float64)
    wanted = x
    for layer in layers[:-1]:
        wanted = nn.functional.conv2d(wanted, layer)
    wanted = nn.functional.conv2d(wanted, layers[-1], stride=2)
    torch.testing.assert_close(nn.functional.conv2d(x, composed(layers), stride=2), wanted)


def test_a_cleaned_kernel_moves_nothing() -> None:
    rough = np.roll(gaussian(1.5, 1.0), (1, -1), (0, 1)) + np.random.default_rng(0).normal(0, 1e-4, (13, 13)).astype(np.float32)
    kernel = cleaned(rough)
    assert kernel.sum() == pytest.approx(1, abs=1e-6)
    assert kernel.min() >= 0
    np.testing.assert_allclose(centre_of_mass(torch.from_numpy(kernel)), 6.5, atol=0.02)
    ramp = np.broadcast_to(np.arange(60, dtype=np.float32), (60, 60)).copy()
    np.testing.assert_allclose(seen(ramp, kernel)[10:20, 10:20], ramp[:10, 20:40:2] + 0.5, atol=0.02)


def test_a_factor_of_four_is_twice_the_factor_of_two() -> None:
    kernel = gaussian(1.2, 0.9)
    image = leaves(96, count=400)
    again = seen(seen(image, kernel), kernel)
    four = reduced(torch.from_numpy(image)[None, None], torch.from_numpy(twice(kernel)), 4)[0, 0].numpy()
    np.testing.assert_allclose(four[6:-6, 6:-6], again[6:-6, 6:-6], atol=1e-5)
    np.testing.assert_allclose(centre_of_mass(torch.from_numpy(twice(kernel))), centre(37, 4), atol=1e-4)
    down, right = spreads(kernel)
    np.testing.assert_allclose(spreads(twice(kernel)), (5**0.5 * down, 5**0.5 * right), rtol=1e-4)


def test_the_mask_spares_the_middle_and_weighs_the_corners_most() -> None:
    mask = border_mask().numpy()
    assert not mask[2:-2, 2:-2].any()
    assert mask[0, 0] == pytest.approx(30 * (1 - np.exp(-72 / (2 * 13**2))), rel=1e-6)
    assert mask.max() == mask[0, 0]


def test_the_bicubic_part_falls_once_it_has_been_found_three_times_in_a_row() -> None:
    state = State({}, {"bicubic": 5.0, "in_a_row": 0, "alike_at": 0})
    weights = {}
    near, far = 0.5 * kernel_gan.ALIKE, 2 * kernel_gan.ALIKE
    for error in [near, near, far, near, near, near, *[1.0] * 994]:
        kernel_gan._schedule(state, error)
        state.step += 1
        weights[state.step] = float(state.values["bicubic"])  # type: ignore[arg-type]
    assert state.values["alike_at"] == 6
    assert [weights[n] for n in (199, 200, 400, 600, 800, 1000)] == pytest.approx([5.0, 0.05, 5e-4, 5e-6, 5e-6, 5e-6])


def test_a_blob_is_not_taken_for_the_bicubic_kernel() -> None:
    """An image has so little in high frequencies that a wide blob errs by a tenth of its variance only."""
    smooth = gaussian_filter(leaves(64), 0.5)
    shown = torch.from_numpy(2 * smooth[None, None] - 1)
    bicubic = kernel_gan._bicubic(shown, (26, 26))
    line = torch.exp(-((torch.arange(13.0) - 6.5) ** 2) / (2 * 1.45**2))
    blob = (torch.outer(line, line) / line.sum() ** 2)[None, None]
    seen = torch.nn.functional.conv2d(shown, blob, stride=2)
    share = float((seen - bicubic).square().mean() / bicubic.var())
    assert kernel_gan.ALIKE < share < 0.2


def test_the_rate_falls_where_errors_fall_no_more_but_not_soon_after_it_fell() -> None:
    study = Study.of(leaves(24, count=50)[None], 2, (0,))
    state = State({zssr.ERRORS: np.array([5.0, 4.0, 3.01, 2.0, 1.0])}, {"rate": 1e-3, zssr.CHANGED: 0})
    study._slow(state, 300)
    assert state.values["rate"] == 1e-3  # they fall as on a line
    state.arrays[zssr.ERRORS] = np.array([9.0, 1.0, 1.2, 0.9, 1.1, 1.0])
    study._slow(state, 250)
    assert state.values["rate"] == 1e-3  # too soon
    study._slow(state, 300)
    assert (state.values["rate"], state.values[zssr.CHANGED]) == (pytest.approx(1e-4), 300)
    study._slow(state, 500)
    assert state.values["rate"] == pytest.approx(1e-4)
    study._slow(state, 600)
    assert not study.done(state)
    study._slow(state, 900)
    assert study.done(state)


def test_crops_come_from_where_there_is_something_to_see() -> None:
    slices = np.zeros((3, 60, 60), np.float32)
    slices[1, 40:50, 40:50] = 1
    crops, draw = Crops(slices), np.random.default_rng(0)
    drawn = [crops.draw(draw, 20)[0] for _ in range(100)]
    assert sum(float(crop.max()) == 1 for crop in drawn) > 90
    assert crops.weights.mean() == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize("number", range(8))
def test_a_slice_that_is_turned_comes_back(number: int) -> None:
    x = torch.rand(1, 1, 4, 6)
    torch.testing.assert_close(zssr._turned(zssr._turned(x, number), number, back=True), x, rtol=0, atol=0)


def test_back_projection_brings_a_slice_onto_the_scan() -> None:
    kernel = torch.from_numpy(gaussian(0.9, 0.9))
    coarse = torch.from_numpy(seen(leaves(64, count=300), kernel.numpy()))[None, None]
    start = raised(coarse, (64, 64))
    apart = [float((reduced(zssr.projected(start, coarse, kernel, 2, n), kernel, 2) - coarse).square().mean()) for n in (0, 1, 2)]
    assert apart[0] > 2 * apart[1] > 3 * apart[2]


@pytest.mark.slow
def test_a_planted_kernel_is_found_in_an_image_that_it_reduced_at_every_scale() -> None:
    """After 300 steps: those that follow favour sparse kernels, and leave it narrower."""
    image, kernel = leaves(2048, count=20_000), gaussian(2.0, 1.4, 0.4)
    for _ in range(3):
        image = seen(image, kernel)
    search, state = Search.of(image[None], (0,)), State({})
    search.begin(state)
    for _ in range(300):
        state.count(search.step(state))
    made = cleaned(search.kernel(state))
    np.testing.assert_allclose(spreads(made), spreads(kernel), rtol=0.2)
    assert np.corrcoef(made.ravel(), kernel.ravel())[0, 1] > 0.95
    assert np.corrcoef(made.T.ravel(), kernel.ravel())[0, 1] < np.corrcoef(made.ravel(), kernel.ravel())[0, 1] - 0.02


def test_a_network_gains_over_interpolation_on_an_image_that_is_alike_at_all_scales() -> None:
    sharp, kernel = leaves(96, 3), gaussian(0.9, 0.9)
    coarse = seen(sharp, kernel)
    study = Study.of(coarse[None], 2, (0,))
    state = State({})
    study.begin(state)
    for made in range(150):
        study.step(state, torch.from_numpy(kernel), made)
    planes = torch.from_numpy(coarse)[None, None]
    fine = study.restored(state, planes, torch.from_numpy(kernel), 1, 2)[0, 0].numpy()
    error, cubic = (float(np.square(image - sharp).mean()) for image in (fine, raised(planes, sharp.shape)[0, 0].numpy()))
    assert 10 * np.log10(cubic / error) > 1.0


@pytest.mark.parametrize("factor", [2, 4])
def test_a_scan_reduced_within_its_slices_is_restored_with_its_kernel_told(factor: int) -> None:
    sharp, _ = brain((40, 44, 3))
    target = Grid(sharp.shape, np.eye(4))
    how = InPlane(axis="S", factor=factor)
    scan = how.degrade(sharp, target, 2, np.random.default_rng(0))
    measured = Measured(scan.image, scan.grid, scan_stats(scan.image), how)
    method = registry.build_method("kernelgan-zssr", {"kernel_steps": 3, "steps": 3, "turns": 8})
    assert isinstance(method, IterativeMethod)
    problem = method.prepare([measured], target)
    np.testing.assert_allclose(problem.unknown.slices * scan_stats(scan.image).upper, np.moveaxis(scan.image, 2, 0), rtol=1e-5)
    state = method.start(problem)
    assert len(list(method.steps(problem, state))) == 6
    (image,) = method.result(problem, state)
    assert (image.shape, image.dtype) == (target.shape, np.float32)
    beside = method.beside(problem, state)
    (figures,), (kernel,) = beside.figures, beside.pictures["kernel"]
    assert (kernel.shape, float(kernel.sum())) == ((13, 13) if factor == 2 else (37, 37), pytest.approx(1, abs=1e-5))
    assert figures["kernel_factor"] == factor
    assert set(figures) >= {"kernel_sd_rows", "kernel_sd_columns", "kernel_bicubic_at"}
