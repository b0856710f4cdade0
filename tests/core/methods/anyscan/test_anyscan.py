"""The network that is told of the slices: its inputs in training and when it restores, its examples, its loss, and a training."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from core.errors import UsageError
from core.geometry.grid import Array, Box, Grid
from core.methods import registry
from core.methods.anyscan import presets
from core.methods.anyscan.examples import RANGES, Scans, _cut
from core.methods.anyscan.inputs import CHANNELS, SUB, Units, network_inputs, slab_grid
from core.methods.anyscan.recipe import RECIPE, Laplace
from core.methods.base import Measured
from core.models.calibration import Stretch, note_stretches
from core.models.domain import read_domain
from core.models.mock import write_mock
from core.networks import build
from core.operators.forward_model import SliceProfile
from core.settings.train import Training
from core.stats import scan_stats
from core.training.batch import Batch
from core.training.data.drawn_slices import coarse_grid, measured
from core.training.data.subjects import Subject, occupancy
from core.training.loop import Trainer
from core.training.losses import psnr
from core.training.recipe import Context, Draw, Trained

BOX = SliceProfile()
PLAIN = Units(0.0, 1.0, 0.01)


def anatomy(n: int = 64) -> tuple[Array, Grid]:
    """Smooth structures in a ball."""
    draw = np.random.default_rng(0)
    places = np.stack(np.meshgrid(*[np.linspace(-1, 1, n)] * 3, indexing="ij"))
    image = np.clip(gaussian_filter(draw.normal(size=(n,) * 3), 2) * 8 + 0.5, 0.05, 1)
    return np.where((places**2).sum(0) < 0.9, image, 0).astype(np.float32), Grid((n, n, n), np.eye(4))


def subject(name: str) -> Subject:
    image, grid = anatomy()
    image = image * 200

    def read(box: Box) -> Array:
        return image[box.slices]

    return Subject(name, name, grid, 200.0, occupancy(read, grid), None, read, {}, 2.0)


def draw(length: int = 8) -> Draw:
    return Draw("train", [subject("a"), subject("b")], BOX, 16, 0, length)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_correction_brings_the_interpolation_nearer_to_the_truth(axis: int) -> None:
    image, grid = anatomy()
    coarse = coarse_grid(grid, axis, 4.0, 0.3)
    scan = measured(image, grid, coarse, BOX, 0.0, np.random.default_rng(0))
    shown = network_inputs(scan, coarse, grid, BOX, PLAIN)
    wanted = torch.from_numpy(image)[None]
    rough, repaired = (float(psnr(torch.from_numpy(made)[None], wanted)) for made in (shown[0], shown[:2].sum(0)))
    assert shown.shape == (CHANNELS, *grid.shape)
    assert repaired > rough + 0.3


def test_what_is_told_of_the_slices() -> None:
    image, grid = anatomy()
    coarse = coarse_grid(grid, 2, 4.0, 0.0)
    scan = measured(image, grid, coarse, BOX, 0.0, np.random.default_rng(0))
    how = SliceProfile(slice_gap=0.25)
    _, _, distance, spacing, width, noise = network_inputs(scan, coarse, grid, how, PLAIN)
    np.testing.assert_allclose(distance[0, 0, :8], [0.375, 0.125, 0.125, 0.375] * 2, atol=1e-6)
    assert (spacing == 0.5).all()
    assert (width == 0.75).all()
    np.testing.assert_allclose(noise, 0.2, rtol=1e-6)


def test_a_crop_is_shown_what_the_whole_scan_shows_there() -> None:
    """Slices beyond the patch count: without them a patch's ends would look like the ends of the scan."""
    image, grid = anatomy()
    coarse = coarse_grid(grid, 2, 3.0, 0.5)
    scan = measured(image, grid, coarse, BOX, 0.0, np.random.default_rng(0))
    whole = network_inputs(scan, coarse, grid, BOX, PLAIN)
    crop, patch = Box((0, 0, 3), (64, 64, 17)), Box((0, 0, 24), (64, 64, 40))
    part = network_inputs(scan[crop.slices], coarse.crop(crop), grid.crop(patch), BOX, PLAIN)
    np.testing.assert_allclose(part, whole[:, :, :, 24:40], atol=4e-3)  # four slices of context


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2), st.floats(1.2, 8), st.floats(0, 1), st.integers(0, 40), st.integers(1, 20))
def test_the_networks_grid_is_of_whole_slices_around_the_patch(
    axis: int, spacing: float, phase: float, first: int, n: int
) -> None:
    fine = Grid((64, 64, 64), np.diag([1.0, 1.0, 1.0, 1.0]))
    coarse = coarse_grid(fine, axis, spacing, phase)
    start, stop = [0, 0, 0], [64, 64, 64]
    start[axis], stop[axis] = first, first + n
    patch = fine.crop(Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2])))
    grid = slab_grid(coarse, patch)
    assert grid.shape[axis] % SUB == 0
    scale, offset = coarse.index_map(grid)[axis]
    places = scale * np.arange(grid.shape[axis]) + offset
    parts = (np.arange(grid.shape[axis]) % SUB + 0.5) / SUB - 0.5  # of a slice, from its centre
    np.testing.assert_allclose(places - np.rint(places - parts), parts, atol=1e-6)
    first_voxel, last_voxel = (coarse.index_map(patch)[axis][0] * at + coarse.index_map(patch)[axis][1] for at in (0, n - 1))
    inside = (-1, coarse.shape[axis])  # beyond that the scan tells nothing
    assert places[0] <= np.clip(first_voxel, *inside) + 1e-6
    assert places[-1] >= np.clip(last_voxel, *inside) - 1e-6
    assert [grid.shape[at] for at in range(3) if at != axis] == [64, 64]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_network_that_adds_nothing_gives_the_corrected_interpolation(axis: int, tmp_path: Path) -> None:
    model = str(tmp_path / "model")
    write_mock(model, presets.tiny(), residual=False)
    method = registry.build_method("anyscan", {}, model)
    with torch.no_grad():
        for part in (method._unflipped().image, method._unflipped().error):
            part.weight.zero_()
            part.bias.zero_()
    image, grid = anatomy(40)
    coarse = coarse_grid(grid, axis, 4.0, 0.3)
    scan = measured(image, grid, coarse, BOX, 0.0, np.random.default_rng(0)) * 50 - 10
    whole = Measured(scan, coarse, scan_stats(scan), BOX, (0, 0))
    made, half_width = method.restore([whole], grid)
    shown = network_inputs(scan, coarse, grid, BOX, Units.of(whole.stats))[:2].sum(0)
    wanted = shown * Units.of(whole.stats).scale + Units.of(whole.stats).background
    assert np.abs(made - wanted).max() < 0.06 * np.ptp(wanted)
    assert np.abs(made - wanted).mean() < 0.002 * np.ptp(wanted)
    np.testing.assert_allclose(half_width, math.log(10) * Units.of(whole.stats).scale, rtol=1e-5)  # of a Laplace error of scale 1
    note_stretches(model, [Stretch(spacing=2, stretch=1.0, persons=1), Stretch(spacing=6, stretch=3.0, persons=1)])
    again = registry.build_method("anyscan", {}, model)
    assert again.depends_on != method.depends_on
    np.testing.assert_allclose(again.restore([whole], grid)[1], 2 * half_width, rtol=1e-5)  # slices lie 4 mm apart
    finer = grid.isotropic(0.5)
    np.testing.assert_allclose(again.restore([whole], finer)[1], 2 * half_width.max(), rtol=1e-5)  # whatever the voxels


def test_a_scan_mirrored_along_all_axes_gives_the_mirrored_volume(tmp_path: Path) -> None:
    model = str(tmp_path / "model")
    write_mock(model, presets.tiny(), residual=False)
    image, grid = anatomy(32)
    coarse = coarse_grid(grid, 2, 4.0, 0)
    scan = measured(image, grid, coarse, BOX, 0.0, np.random.default_rng(0))
    differ = {}
    for flips in (1, 2):
        method = registry.build_method("anyscan", {"flips": flips}, model)
        both = (Measured(shown, coarse, scan_stats(scan), BOX, (0, 0)) for shown in (scan, np.flip(scan).copy()))
        made, mirrored = (method.restore([shown], grid)[0] for shown in both)
        differ[flips] = float(np.abs(made - np.flip(mirrored)).max())
    assert differ[2] < 1e-5
    assert differ[1] > 1e-3
    assert registry.build_method("anyscan", {}, model).passes == 2  # as it is where nothing is said


def test_a_scan_below_zero_gets_its_background_at_zero() -> None:
    image, _ = anatomy()
    units = Units.of(scan_stats(image * 2 - 1))
    assert units.floor == -1
    assert (units.background, units.scale) == pytest.approx((-1, 2 * np.percentile(image, 99.9)), rel=1e-4)
    assert Units.of(scan_stats(image)).background == 0
    assert Units.of(scan_stats(image)).scale == pytest.approx(np.percentile(image, 99.9), rel=1e-4)


@pytest.mark.parametrize("depth", [1, 12])
def test_a_voxel_far_below_the_air_moves_neither_channel_elsewhere(depth: int) -> None:
    image, grid = anatomy(40)
    coarse = coarse_grid(grid, 2, 4.0, 0.0)
    scan = measured(image, grid, coarse, BOX, 0.0, np.random.default_rng(0))
    faulty = scan.copy()
    faulty[0, 0, 0] = -depth
    shown, wanted = (network_inputs(each, coarse, grid, BOX, Units.of(scan_stats(each)))[:2] for each in (faulty, scan))
    assert np.abs(shown - wanted).max() < 1e-3


@pytest.mark.parametrize("times", [10, 1e4])
def test_a_voxel_far_brighter_than_all_others_is_restored_around_it(times: float) -> None:
    image, grid = anatomy(40)
    coarse = coarse_grid(grid, 2, 4.0, 0.0)
    plain = measured(image, grid, coarse, BOX, 0.0, np.random.default_rng(0)) * 1000
    faulty = plain.copy()
    faulty[20, 20, 5] = times * np.percentile(plain, 99.9)
    method = registry.build_method("anyscan", {}, str(registry.shipped("anyscan")))
    wanted, (made, half_width) = (
        method.restore([Measured(each, coarse, scan_stats(each), BOX, (0, 0))], grid) for each in (plain, faulty)
    )
    upper = scan_stats(faulty).upper
    assert np.isfinite(made).all()
    assert -0.5 * upper < made.min() < made.max() < 6 * upper
    assert half_width.max() <= math.log(10) * method.calibration.at(4.0) * upper * 1.001  # an error of the whole range
    far = np.linalg.norm(np.stack(np.indices(grid.shape)) - np.array([20, 20, 22])[:, None, None, None], axis=0)
    moved = np.abs(made - wanted[0]) / upper
    assert moved[far > 18].max() < 0.01
    assert moved[far > 15].max() < 0.03
    assert np.sqrt(np.mean(moved[far > 15] ** 2)) < 0.001


def test_finer_slices_take_more_memory() -> None:
    method = registry.build_method("anyscan", {}, str(registry.shipped("anyscan")))
    target = Grid((96, 96, 96), np.eye(4))
    forecast = [
        method.working((64, 64, 64), Grid((96, 96, 96 // mm), np.diag([1, 1, mm, 1.0])), target) / 2**20 for mm in (8, 4, 2)
    ]
    assert forecast == pytest.approx([169, 205, 290], rel=0.12)  # as measured


def test_an_example_depends_on_its_number_alone_and_keeps_what_it_knows(tmp_path: Path) -> None:
    examples = Scans(draw(), str(tmp_path))
    first = [examples[number] for number in (3, 0)]
    again = Scans(draw(), str(tmp_path))[3]
    assert torch.equal(again.inputs, first[0].inputs)
    assert torch.equal(again.truth, first[0].truth)
    assert first[0].inputs.shape == (CHANNELS, 16, 16, 6 * SUB)
    assert first[0].truth.shape == (1, 16, 16, 6 * SUB)
    assert not torch.equal(first[0].inputs, first[1].inputs)
    assert list((tmp_path / "looks").iterdir())


def test_inputs_of_examples_are_near_their_truth() -> None:
    examples = Scans(draw(), "")
    found = [examples[number] for number in range(8)]
    assert all(one.inputs.isfinite().all() for one in found)
    assert np.mean([float(psnr(one.inputs[:1], one.truth)) for one in found]) > 15


def test_a_scan_ends_within_some_examples_as_it_does_where_it_is_restored() -> None:
    """Beyond the last slice's own half the distance to the nearest centre is more than half of that of slices."""
    examples = Scans(draw(), "")
    beyond = [(examples[number].inputs[2] > 0.5).any(dim=(0, 1)).numpy() for number in range(48)]
    ends = [places for places in beyond if places.any()]
    assert 0.1 < len(ends) / len(beyond) < 0.5
    assert all(places.sum() == SUB for places in ends)
    assert all(places[:SUB].all() or places[-SUB:].all() for places in ends)


@pytest.mark.parametrize("above", [False, True])
def test_a_scan_is_cut_one_slice_within_what_the_network_is_shown(*, above: bool) -> None:
    image, grid = anatomy(40)
    coarse = coarse_grid(grid, 2, 4.0, 0.0)
    scan = measured(image, grid, coarse, BOX, 0.0, np.random.default_rng(0))
    target = coarse.crop(Box((0, 0, 3), (*coarse.shape[:2], 7))).refine(2, SUB)
    short, kept = _cut(scan, coarse, target, 2, above=above)
    assert kept.shape[2] == (6 if above else coarse.shape[2] - 4)
    np.testing.assert_array_equal(short, scan[..., :6] if above else scan[..., 4:])
    scale, offset = kept.index_map(target)[2]
    places = scale * np.arange(target.shape[2]) + offset
    beyond = (places < -0.5) | (places > kept.shape[2] - 0.5)
    assert beyond.sum() == SUB
    assert beyond[-SUB:].all() if above else beyond[:SUB].all()


def test_nobody_to_learn_from_is_refused() -> None:
    with pytest.raises(UsageError, match=r"at least one subject.*got none"):
        Scans(replace(draw(), subjects=[]), "")


def network(channels: int = 8) -> torch.nn.Module:
    torch.manual_seed(0)
    return build("AnyScanNet", {"in_channels": CHANNELS, "channels": channels, "blocks": 1})


def test_examples_count_by_what_they_gain_whatever_their_contrast() -> None:
    draw, inputs = torch.Generator(), torch.zeros(2, CHANNELS, 4, 4, 8)
    truth = torch.rand(2, 1, 4, 4, 8)
    inputs[:, :1] = 0.5 * truth
    faint = Batch(torch.cat([inputs[:1], inputs[1:] / 10]), torch.cat([truth[:1], truth[1:] / 10]))

    class Halved(torch.nn.Module):
        """What lacks, but for a half of it; certain errors."""

        def forward(self, given: torch.Tensor) -> torch.Tensor:
            return torch.cat([given[:, :1] * 1.5, torch.zeros_like(given[:, :1])], 1)

    assert float(Laplace(Halved()).loss("network", faint, draw, 0)) == pytest.approx(0.25, abs=0.01)


def test_the_error_does_not_teach_the_image() -> None:
    net = network()
    net(torch.rand(1, CHANNELS, 8, 8, 16))[:, 1].sum().backward()
    assert net.get_submodule("head").weight.grad.count_nonzero() == 0
    assert net.get_submodule("error").weight.grad.count_nonzero() > 0


def test_the_likelihood_is_least_where_the_scale_is_the_mean_error() -> None:
    class Fixed(torch.nn.Module):
        def __init__(self, logarithm: float) -> None:
            super().__init__()
            self.logarithm = logarithm

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return torch.cat([inputs[:, :1], torch.full_like(inputs[:, :1], self.logarithm)], 1)

    batch = Batch(torch.zeros(1, CHANNELS, 4, 4, 4), torch.full((1, 1, 4, 4, 4), 0.05))
    losses = [float(Laplace(Fixed(np.log(b))).loss("network", batch, torch.Generator(), 0)) for b in (0.03, 0.05, 0.08)]
    assert losses[1] < min(losses[0], losses[2])


def test_a_training_ends_with_a_model_of_its_method_better_than_nothing(tmp_path: Path) -> None:
    how = Training(steps=16, batch=2, validate_every=8, learning_rate=2e-3, warmup=1, ema=0.5)
    torch.manual_seed(0)
    objective = RECIPE.stages[0].begin(Context(presets.tiny(), how))
    trainer = Trainer(objective, how, Scans(draw(32), ""), Scans(draw(8), ""), str(tmp_path / "checkpoint.safetensors"), "cpu")
    trainer.run()
    first, last = trainer.progress.history[0], trainer.progress.history[-1]
    assert last["psnr"] > last["psnr_cubic"]
    assert last["psnr"] > first["psnr"] - 0.05
    RECIPE.write(str(tmp_path / "model"), Trained({"network": presets.tiny()}, {"network": objective.network.state_dict()}, "x"))
    assert registry.build_method("anyscan", {}, str(tmp_path / "model")).name == "anyscan"


def test_the_small_network_has_a_million_weights() -> None:
    small = presets.small()
    count = sum(one.numel() for one in build(small.network, small.config).parameters())
    assert 1.0e6 < count < 1.2e6


def test_the_uncertainty_of_the_model_that_comes_along_is_calibrated_for_t1w_alone() -> None:
    method = registry.build_method("anyscan", {}, str(registry.shipped("anyscan")))
    told = {look: method.about_maps_of(look)["uncertainty"]["Description"] for look in ("T1w", "FLAIR")}
    assert told["T1w"].startswith("Calibrated for T1w")
    assert told["FLAIR"].startswith("Nominal: calibrated for T1w, not for FLAIR")
    assert "contrasts" not in str(method.depends_on)  # words make no maps anew


def test_the_ranges_say_what_scans_the_model_is_for() -> None:
    assert RANGES.domain.slice_spacing == (2.0, 8.0)
    assert RANGES.domain.slice_gap == (0.0, 0.3)
    shipped = registry.shipped("anyscan")
    assert shipped is not None
    beside = read_domain(str(shipped))
    for name in ("slice_spacing", "slice_gap", "slice_profiles", "in_plane", "orientations", "noise"):
        assert getattr(beside, name) == getattr(RANGES.domain, name)
    assert "2 to 8 mm" in RANGES.describe()
