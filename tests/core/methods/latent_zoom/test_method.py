"""The five methods: linear codecs interpolate as pixels do, codebooks, noise, exact places, the measured slices held."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from core.diffusion.declared import build_schedule
from core.diffusion.samplers import ddim, plms
from core.engine.consistency import repaired
from core.engine.restore import Source, restore_scan, restore_tiles
from core.errors import UsageError, WeightsError
from core.geometry.blend import gather
from core.geometry.grid import Box, Grid
from core.geometry.slices import SliceStack, brackets
from core.methods.base import Measured, Method
from core.methods.latent_zoom import latent, mock
from core.methods.latent_zoom.method import LatentZoom
from core.methods.latent_zoom.networks import CodesBetween
from core.methods.latent_zoom.presets import SCHEDULE
from core.methods.latent_zoom.window import Window, around
from core.methods.latent_zoom.zoom import MADE_FINER, SHARP, coarse_grid, is_coarse
from core.methods.registry import build_method, check_options
from core.methods.slicewise import Slice
from core.operators.forward_model import SliceProfile
from core.settings.scans import TilingSettings
from core.stats import scan_stats

ALL = ["latent-zoom", "pixel-zoom", "bicubic-ae", "srgan-si", "wdsr-si"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folders = {name: str(tmp_path_factory.mktemp(name)) for name in ALL}
    for name, folder in folders.items():
        mock.write(folder, name)
    return folders


def scan(spacing: tuple[float, float, float], shape: tuple[int, int, int], seed: int = 0) -> Measured:
    grid = Grid(shape, np.diag([*spacing, 1.0]))
    where = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    image = 100 * np.exp(-2 * (where**2).sum(axis=0)) + np.random.default_rng(seed).uniform(0, 5, shape)
    return Measured(image.astype(np.float32), grid, scan_stats(image.astype(np.float32)), SliceProfile())


def whole(method: Method, measured: Measured, target: Grid) -> np.ndarray:
    tiling = method.tiling(measured.grid, target, TilingSettings())
    return np.concatenate([a[0] for _, a in restore_scan(method, [Source.in_memory(measured)], target, tiling, 7)], axis=2)


def lerped(measured: Measured, target: Grid) -> np.ndarray:
    """Along the slices linearly, the outer half slices as the outermost ones."""
    own, wanted = (grid.world(np.array([[0, 0, k] for k in range(grid.shape[2])]))[:, 2] for grid in (measured.grid, target))
    return np.apply_along_axis(lambda column: np.interp(wanted, own, column), 2, measured.image)


@pytest.mark.parametrize("name", ALL)
def test_a_scan_whose_air_is_below_zero_is_restored_as_its_magnitudes_are(models: dict[str, str], name: str) -> None:
    plain = scan((4, 4, 3), (24, 24, 6))
    plain.image[:8] = 0
    plain = replace(plain, stats=scan_stats(plain.image))
    image = (plain.image - np.float32(40)) / np.float32(20)
    method = build_method(name, {"steps": 2, "quantise": "none"} if name in ALL[:2] else {}, models[name])
    wanted, got = (
        method.restore([each], each.grid.isotropic(1.0))[0]
        for each in (plain, replace(plain, image=image, stats=scan_stats(image)))
    )
    inside = np.s_[:, 4:-4, 4:-4]  # what lies beyond the scan is 0 to interpolation
    np.testing.assert_allclose(20 * got[inside] + 40, wanted[inside], atol=0.05)


# -- a linear autoencoder -----------------------------------------------------------------------------------------------------


@pytest.fixture
def linear(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pixels to channels and back: a linear autoencoder without loss."""
    monkeypatch.setattr(latent, "encode", lambda _, image: nn.functional.pixel_unshuffle(image, 4))
    monkeypatch.setattr(latent, "decode", lambda _, codes: nn.functional.pixel_shuffle(codes, 4))


FEW = {"steps": 2, "axes": ["axial"]}
PLAIN = {"quantise": "none", "deblur": False, "begin": "noise", "between": "lerp"}


@pytest.mark.parametrize("factor", [4, 5, 4.5, 7, 11])
def test_codes_of_a_linear_autoencoder_interpolate_as_the_slices_do(models: dict[str, str], linear: None, factor: float) -> None:
    measured = scan((1, 1, factor), (11, 14, 6))
    target = measured.grid.isotropic(1.0)
    method = build_method("latent-zoom", PLAIN, models["latent-zoom"])
    np.testing.assert_allclose(whole(method, measured, target), lerped(measured, target), atol=1e-4)


@pytest.mark.parametrize("factor", [5, 4.5])
def test_a_ramp_along_the_axis_lies_at_its_places_in_the_world(models: dict[str, str], linear: None, factor: float) -> None:
    measured = scan((1, 1, factor), (8, 8, 7))
    measured.image[...] = measured.grid.world(np.array([[0, 0, k] for k in range(7)]))[:, 2]
    target = measured.grid.isotropic(1.0)
    made = whole(build_method("latent-zoom", PLAIN, models["latent-zoom"]), measured, target)
    places = target.world(np.array([[0, 0, k] for k in range(target.shape[2])]))[:, 2]
    expected = places.clip(measured.image.min(), measured.image.max())  # the outer half slices are the outermost slices
    np.testing.assert_allclose(made[3, 3], expected, atol=1e-4)


def test_a_sharp_scan_of_pixel_zoom_is_interpolated_linearly(models: dict[str, str]) -> None:
    measured = scan((1, 1, 5), (9, 10, 5))
    target = measured.grid.isotropic(1.0)
    made = whole(
        build_method("pixel-zoom", {"quantise": "none", "deblur": False, "begin": "noise"}, models["pixel-zoom"]),
        measured,
        target,
    )
    np.testing.assert_allclose(made, lerped(measured, target), atol=1e-4)


@pytest.mark.parametrize(("spacing", "changes"), [((1, 1, 4), False), ((4, 4, 4), True)])
def test_slices_that_were_sharp_already_are_not_sharpened(
    models: dict[str, str], spacing: tuple[float, float, float], *, changes: bool
) -> None:
    measured = scan(spacing, (8, 8, 3))
    methods = (build_method("latent-zoom", FEW | {"deblur": deblur}, models["latent-zoom"]) for deblur in (True, False))
    made, plain = (whole(method, measured, measured.grid.isotropic(1.0)) for method in methods)
    assert (made.tobytes() != plain.tobytes()) == changes


@pytest.mark.parametrize("name", ALL)
def test_a_slice_between_two_is_made_of_these_alone(models: dict[str, str], name: str) -> None:
    """So that it is all the same whether other slices are left out as well."""
    measured = scan((4, 4, 2), (8, 8, 6))
    target = measured.grid.isotropic(1.0)
    between = np.flatnonzero(brackets(measured.grid, target, 2).below == 2)
    method, others = build_method(name, FEW if name in ALL[:2] else {"axes": ["axial"]}, models[name]), measured.image.copy()
    others[..., [0, 1, 4, 5]] = 7
    made, again = (whole(method, each, target)[..., between] for each in (measured, replace(measured, image=others)))
    assert made.tobytes() == again.tobytes()
    assert made.std() > 0


def shown(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """What the autoencoder is shown from now on."""
    seen: list[Tensor] = []
    encode = latent.encode
    monkeypatch.setattr(latent, "encode", lambda network, image: (seen.append(image), encode(network, image))[1])
    return seen


def test_scaled_by_slices_each_is_shown_from_black_to_white_and_comes_back(
    models: dict[str, str], linear: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = scan((1, 1, 4), (8, 8, 6))
    measured.image[:, :, 1:] *= np.array([1, 2, 5, 1, 9], np.float32)
    measured.image[:, :, 3] = 7  # blank
    target = measured.grid.isotropic(1.0)
    seen = shown(monkeypatch)
    made = whole(build_method("latent-zoom", PLAIN | {"scaling": "slice"}, models["latent-zoom"]), measured, target)
    ranges = {(round(float(image.min()), 3), round(float(image.max()), 3)) for image in seen}
    assert ranges == {(-1.0, 1.0), (-1.0, -1.0)}
    scale, offset = measured.grid.index_map(target)[2]
    own = [n for n in range(target.shape[2]) if (scale * n + offset) % 1 == 0]
    assert not own  # slices of 4 voxels lie between voxels: at the ends alone the outermost slices come back as they are
    np.testing.assert_allclose(made[:, :, 0], measured.image[:, :, 0], atol=1e-3)
    np.testing.assert_allclose(made[:, :, -1], measured.image[:, :, -1], atol=1e-3)
    blank = made[:, :, 13:15]  # halves of blank slices and their neighbours
    assert np.isfinite(blank).all()


def test_eight_bits_cut_levels_off(models: dict[str, str], linear: None) -> None:
    measured = scan((1, 1, 4), (8, 8, 4))
    target = measured.grid.isotropic(1.0)
    plain, cut = (
        whole(build_method("latent-zoom", PLAIN | {"eight_bits": how}, models["latent-zoom"]), measured, target) * 255
        for how in (False, True)
    )
    levels = cut / measured.stats.upper
    np.testing.assert_allclose(levels, levels.round(), atol=1e-3)
    lost = plain.clip(0, 255 * measured.stats.upper) / measured.stats.upper - levels
    assert -1e-3 < lost.min() < 0.1
    assert 1 < lost.max() < 2 + 1e-3  # twice cut off


@pytest.mark.parametrize("factor", [5, 11])
def test_each_slice_is_decoded_once_and_none_is_drawn_where_they_are_sharp(
    models: dict[str, str], monkeypatch: pytest.MonkeyPatch, factor: int
) -> None:
    counts: list[int] = []
    decode = latent.decode
    monkeypatch.setattr(latent, "decode", lambda network, codes: (counts.append(len(codes)), decode(network, codes))[1])
    monkeypatch.setattr(latent, "denoiser", lambda *_: pytest.fail("a sharp slice was drawn"))
    measured = scan((1, 1, factor), (8, 8, 14))
    target = measured.grid.isotropic(1.0)
    method = build_method("latent-zoom", {}, models["latent-zoom"])
    assert len(list(method.tiling(measured.grid, target, TilingSettings()).tiles())) > 1
    whole(method, measured, target)
    assert sum(counts) == target.shape[2] == 14 * factor


@pytest.mark.parametrize("name", ALL)
def test_slabs_hold_the_same_number_of_slices_however_many_lie_between_two(models: dict[str, str], name: str) -> None:
    """What is in memory at once, measured slices, codes and restored slices, does not grow with the factor."""
    method = build_method(name, {"axes": ["axial"]}, models[name])
    largest = []
    for factor in (2, 5, 11):
        measured = scan((1, 1, factor), (8, 8, 70))
        target = measured.grid.isotropic(1.0)
        tiles = list(method.tiling(measured.grid, target, TilingSettings()).tiles())
        seen = (method.source_box(measured.grid, target, tile).shape[2] for tile in tiles)
        largest.append((max(tile.read.shape[2] for tile in tiles), max(seen)))
    (slices, *same), fewer = zip(*largest, strict=True)
    assert slices == method.thickness
    assert same == [slices, slices]
    assert list(fewer) == sorted(fewer, reverse=True)


# -- the codebook -------------------------------------------------------------------------------------------------------------


def test_a_codebook_that_holds_the_codes_changes_nothing_and_snaps_what_lies_between() -> None:
    entries = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 2, 0], [1, 2, 3]])
    codes = entries[torch.tensor([[0, 1, 2], [3, 2, 1]])].permute(2, 0, 1)[None]
    assert torch.equal(latent.quantised(codes, entries), codes)
    moved = latent.quantised(codes + 0.2, entries)
    assert torch.equal(moved, codes)
    middles = latent.quantised((codes + codes.flip(3)) / 2, entries)
    assert all(any(torch.equal(place, entry) for entry in entries) for place in middles[0].flatten(1).T)


def test_distances_in_parts_find_the_same_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = torch.Generator().manual_seed(0)
    codes, entries = torch.randn(2, 3, 9, 7, generator=draw), torch.randn(16, 3, generator=draw)
    at_once = latent.quantised(codes, entries)
    monkeypatch.setattr(latent, "CHUNK", 5)
    assert torch.equal(latent.quantised(codes, entries), at_once)
    brute = (codes.movedim(1, -1)[..., None, :] - entries).square().sum(-1).argmin(-1)
    assert torch.equal(at_once, entries[brute].movedim(-1, 1))


def test_quantised_before_between_or_not_at_all_are_three_results(models: dict[str, str]) -> None:
    measured = scan((1, 1, 4), (12, 12, 4))
    target = measured.grid.isotropic(1.0)
    made = [
        whole(build_method("latent-zoom", PLAIN | {"quantise": how}, models["latent-zoom"]), measured, target)
        for how in ("after", "before", "none")
    ]
    assert not any(np.allclose(a, b, atol=1e-4) for a, b in ((made[0], made[1]), (made[1], made[2]), (made[0], made[2])))


# -- diffusion ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sampler", "tolerance"), [(ddim, 0.06), (plms, 0.02)])
def test_samplers_on_the_papers_table_carry_a_normal_code_along_its_flow(sampler: Any, tolerance: float) -> None:
    """Codes N(m, s^2): the flow maps quantiles, x_0 = a_0 m + sd_0 / sd_T (x_T - a_T m)."""
    schedule, mean, sd = build_schedule(SCHEDULE), 0.4, 0.7
    spread = {t: np.hypot(schedule.alpha_sigma(t)[0] * sd, schedule.alpha_sigma(t)[1]) for t in (996.0, 0.0)}

    def denoise(x: Tensor, t: float) -> Tensor:
        alpha, sigma = schedule.alpha_sigma(t)
        gain = alpha * sd**2 / (alpha**2 * sd**2 + sigma**2)
        return mean + gain * (x - alpha * mean)

    start = torch.linspace(-2, 2, 9, dtype=torch.float64)
    times = latent.times(200, clean=False)
    assert times[0] == 996.0
    made = sampler(denoise, start, schedule, times, lambda _: start)
    ends = [schedule.alpha_sigma(t)[0] * mean for t in (996.0, 0.0)]
    expected = ends[1] + spread[0.0] / spread[996.0] * (start - ends[0])
    torch.testing.assert_close(made, expected, atol=tolerance, rtol=0)


def test_times_end_at_the_first_entry_or_at_the_clean_code() -> None:
    assert latent.times(200, clean=False)[-2:] == [1.0, 0.0]
    assert latent.times(200, clean=True)[-2:] == [1.0, -1.0]


@pytest.mark.parametrize("first", [2, 3, 50, 300, 999])
def test_any_count_of_steps_that_all_the_schedule_takes_is_laid_below_an_earlier_time_too(first: int) -> None:
    for steps in [*range(2, 27), 30, 50, 100, 150, 200, 250, 500]:
        if steps in {3, 9}:  # by these the grid leaves the schedule itself
            continue
        assert latent.times(steps, clean=False)[0] < 1000
        times = latent.times(steps, clean=False, first=first)
        assert all(t == int(t) for t in times)
        assert all(a > b for a, b in pairwise(times))
        assert (times[0] < first, times[-1]) == (True, 0.0)
    assert len(latent.times(200, clean=True, first=300)) == 201
    assert latent.times(200, clean=True, first=300)[-1] == -1.0
    assert latent.times(10, clean=False, first=300)[:2] == [271.0, 241.0]  # as ever where the samplers' own grid fits
    with pytest.raises(UsageError, match="Ask for 250"):
        latent.times(333, clean=False)


def test_a_regression_is_gone_on_with_in_the_papers_200_steps(models: dict[str, str]) -> None:
    method = build_method("latent-zoom", {"begin": "regression", "steps": 200}, models["latent-zoom"])
    assert isinstance(method, LatentZoom)
    assert len(method.sampling.times) == 201
    assert method.sampling.times[0] == 299.0


@pytest.mark.parametrize("steps", [20, 50])
def test_without_noise_a_loop_of_diffusers_gives_the_very_codes(models: dict[str, str], steps: int) -> None:
    """On step counts that divide 1000, its scheduler as the model's file has it."""
    from diffusers import DDIMScheduler

    method = build_method("latent-zoom", {}, models["latent-zoom"])
    assert isinstance(method, LatentZoom)
    network: Any = method.network("denoiser")
    schedule = build_schedule(SCHEDULE)
    draw = torch.Generator().manual_seed(0)
    start, seen = torch.randn(1, 3, 8, 8, generator=draw), torch.rand(1, 1, 8, 8, generator=draw) * 2 - 1
    scheduler = DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=SCHEDULE["first"],
        beta_end=SCHEDULE["last"],
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        timestep_spacing="leading",
    )
    scheduler.set_timesteps(steps)
    theirs = start
    with torch.no_grad():
        for t in scheduler.timesteps:
            noise = network(torch.cat([theirs, seen], 1), t).sample
            theirs = scheduler.step(noise, t, theirs, eta=0.0).prev_sample
        denoise = latent.denoiser(network, seen, schedule)
        ours = ddim(denoise, start, schedule, latent.times(steps, clean=False), lambda _: start, eta=0.0)
    torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=2e-4)


def noise_of(method: LatentZoom, places: list[int]) -> Tensor:
    measured = scan((4, 4, 4), (5, 6, 8))
    stack = SliceStack(measured.grid, 2)
    slices = [Slice(place, stack, place, measured, measured.grid) for place in places]
    return method._noise(slices, (5, 6))(3)


def test_noise_is_that_of_the_slice_or_the_same_along_the_axis(models: dict[str, str]) -> None:
    own, shared = (build_method("latent-zoom", {"noise": how}, models["latent-zoom"]) for how in ("slice", "shared"))
    assert isinstance(own, LatentZoom)
    assert isinstance(shared, LatentZoom)
    assert torch.equal(noise_of(own, [2, 3])[1], noise_of(own, [3, 5])[0])
    assert not torch.equal(*noise_of(own, [2, 3]))
    assert torch.equal(*noise_of(shared, [2, 3]))
    assert torch.equal(noise_of(shared, [2])[0], noise_of(shared, [5])[0])


# -- coarse scans -------------------------------------------------------------------------------------------------------------


def test_a_coarse_voxel_lies_over_four_by_four_of_the_target() -> None:
    fine = Grid((10, 7, 3), np.diag([1.0, 1, 1, 1]))
    grid = coarse_grid(fine, 2)
    assert grid.shape == (3, 2, 3)
    assert fine.index_map(grid) == ((4.0, 1.5), (4.0, 1.5), (1.0, 0.0))
    assert is_coarse(Grid((3, 3, 3), np.diag([3.0, 3, 9, 1])), fine, 2)
    assert not is_coarse(Grid((3, 3, 3), np.diag([3.0, 1, 9, 1])), fine, 2)
    assert is_coarse(Grid((3, 3, 3), np.diag([3.0, 1, 9, 1])), fine, 1)


@pytest.mark.parametrize("name", [*(pytest.param(name, marks=pytest.mark.slow) for name in ALL[:2]), *ALL[2:]])
def test_scan_mode_equals_tile_mode_on_a_scan_that_is_coarse_everywhere(name: str, models: dict[str, str]) -> None:
    measured = scan((4, 4, 4.5), (6, 7, 10))
    target = measured.grid.isotropic(1.0)
    quick = {"steps": 2} if name.endswith("zoom") else {}
    method = build_method(name, quick | {"axes": ["axial", "sagittal"]}, models[name])
    tiling = method.tiling(measured.grid, target, TilingSettings())
    tiles = {tile.index: tile for tile in tiling.tiles()}
    made = {
        index: next(iter(restore_tiles(method, [Source.in_memory(measured)], target, [tiles[index]])))[1][0]
        for index in reversed(tiles)
    }
    image = whole(method, measured, target)
    assert image.shape == target.shape
    assert np.isfinite(image).all()
    assert gather(Box.whole(target.shape), tiling, lambda tile: made[tile.index]).tobytes() == image.tobytes()


# -- within what is not black ---------------------------------------------------------------------------------------------------


def bordered(border: int, depth: int = 0) -> Measured:
    """A scan of sharp slices with black around it, and ``depth`` black slices above."""
    inside = scan((1, 1, 3), (20, 24, 4))
    image = np.pad(inside.image + np.float32(1), ((border, border), (border, border), (0, depth)))
    return Measured(image, Grid(image.shape, np.diag([1.0, 1, 3, 1])), scan_stats(inside.image), SliceProfile())


def test_what_is_black_around_a_scan_changes_nothing_and_stays_black(models: dict[str, str]) -> None:
    made = {}
    for border in (32, 48):
        measured = bordered(border)
        made[border] = whole(build_method("latent-zoom", {}, models["latent-zoom"]), measured, measured.grid.isotropic(1.0))
    np.testing.assert_array_equal(made[32], made[48][16:-16, 16:-16])
    assert made[32][32:-32, 32:-32].std() > 0.1
    assert not made[32][:8].any()


def test_a_black_slice_is_not_drawn_and_nothing_changes_without_black(
    models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[int, ...]] = []
    make = latent.denoiser
    monkeypatch.setattr(latent, "denoiser", lambda net, seen, *how: (drawn.append(tuple(seen.shape)), make(net, seen, *how))[1])
    measured = scan((4, 4, 4), (9, 10, 6))
    measured.image[...] += 1
    target = measured.grid.isotropic(1.0)
    boxed, plain = (
        whole(build_method("latent-zoom", {"steps": 2, "box": how}, models["latent-zoom"]), measured, target)
        for how in (True, False)
    )
    assert boxed.tobytes() == plain.tobytes()
    drawn.clear()
    measured.image[..., 2:] = 0
    made = whole(build_method("latent-zoom", {"steps": 2}, models["latent-zoom"]), measured, target)
    assert len(drawn) < len(range(6))
    assert not made[..., -8:].any()


def test_a_window_has_its_margin_and_sides_that_are_multiples_where_there_is_room() -> None:
    seen = torch.zeros(2, 1, 20, 9, dtype=torch.bool)
    seen[0, 0, 6, 4] = seen[1, 0, 8, 5] = True
    window = around(seen, seen.shape)
    assert (window.start, window.stop) == ((4, 1), (12, 9))
    assert window.cut(torch.arange(180.0).reshape(1, 1, 20, 9)).shape == (1, 1, 8, 8)
    assert around(seen & False, seen.shape).empty
    assert Window.all_of(seen).whole


# -- beyond the paper -----------------------------------------------------------------------------------------------------------


def test_sampling_begins_at_the_codes_of_a_regression_under_the_noise_of_its_time(
    models: dict[str, str], linear: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = build_method("latent-zoom", PLAIN | {"begin": "regression", "steps": 10, "begin_time": 300}, models["latent-zoom"])
    assert isinstance(method, LatentZoom)
    finer = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Upsample(scale_factor=4)).requires_grad_(requires_grad=False)
    monkeypatch.setattr(method, "network", lambda _: finer)
    schedule, noise = build_schedule(SCHEDULE), torch.randn(1, 16, 5, 6)
    assert (method.sampling.times[0], method.sampling.times[-2:]) == (271.0, [1.0, -1.0])
    planes = torch.rand(1, 1, 5, 6)
    alpha, sigma = schedule.alpha_sigma(271.0)
    start = method._regressed(planes, lambda _: noise)
    assert start.shape == noise.shape
    code = (start - noise * sigma) / alpha
    torch.testing.assert_close(code, code[:, :1].expand_as(code), atol=1e-5, rtol=0)  # each 4 x 4 of the regression is one value


@pytest.mark.parametrize(("option", "role"), [({"begin": "regression"}, "regression"), ({"between": "learned"}, "between")])
def test_a_model_without_what_an_option_needs_is_refused(tmp_path: Path, option: dict[str, str], role: str) -> None:
    mock.write(str(tmp_path), "latent-zoom")
    config = tmp_path / "config.json"
    kept = json.loads(config.read_text())
    del kept["parts"][role]
    config.write_text(json.dumps(kept))
    method = build_method("latent-zoom", option, str(tmp_path))
    with pytest.raises(
        WeightsError, match=f"model-unfit: expected a model of latent-zoom with autoencoder, denoiser, {role}, but"
    ):
        _ = method.bundle


def test_what_a_model_has_learned_beyond_the_paper_is_used_unless_it_is_left_or_samples_tell_a_spread(tmp_path: Path) -> None:
    mock.write(str(tmp_path), "latent-zoom")

    def ways(**options: object) -> tuple[str, str]:
        method = build_method("latent-zoom", options, str(tmp_path))
        assert isinstance(method, LatentZoom)
        return method.begin, method.between_two

    assert ways() == ("regression", "learned")
    assert ways(begin="noise", between="lerp") == ("noise", "lerp")
    assert ways(samples=4) == ("noise", "learned")
    config = tmp_path / "config.json"
    kept = json.loads(config.read_text())
    for role in ("regression", "between"):
        del kept["parts"][role]
    config.write_text(json.dumps(kept))
    assert ways() == ("noise", "lerp")


def test_codes_between_begin_as_the_lerp_and_end_at_the_two_whatever_was_learned() -> None:
    torch.manual_seed(0)
    network = CodesBetween(3, 8, 1)
    below, above = torch.randn(2, 3, 5, 6), torch.randn(2, 3, 5, 6)
    share = torch.tensor([0.25, 0.6]).reshape(-1, 1, 1, 1)
    assert torch.equal(network(below, above, share), below - (below - above) * share)
    nn.init.normal_(network.tail.weight)
    assert not torch.allclose(network(below, above, share), below - (below - above) * share, atol=0.1)
    assert torch.equal(network(below, above, torch.zeros(2, 1, 1, 1)), below)
    torch.testing.assert_close(network(below, above, torch.ones(2, 1, 1, 1)), above)


def test_learned_codes_between_change_new_slices_alone(models: dict[str, str]) -> None:
    measured = scan((1, 1, 3), (16, 16, 4))
    grid = measured.grid
    target = Grid((16, 16, 7), np.diag([1.0, 1, 1.5, 1]))
    assert grid.index_map(target)[2] == (0.5, 0.0)
    lerped_codes, learned = (
        whole(build_method("latent-zoom", PLAIN | {"between": how}, models["latent-zoom"]), measured, target)
        for how in ("lerp", "learned")
    )
    np.testing.assert_array_equal(lerped_codes[..., ::2], learned[..., ::2])
    assert np.abs(lerped_codes[..., 1::2] - learned[..., 1::2]).max() > 1e-3


def test_it_says_which_slices_were_sharp_already(models: dict[str, str]) -> None:
    for spacing, words in (((1, 1, 4), SHARP), ((4, 4, 4), MADE_FINER)):
        measured = scan(spacing, (6, 6, 6))
        method = build_method("latent-zoom", {}, models["latent-zoom"])
        assert method.about(measured.grid, measured.grid.isotropic(1.0), {}) == {"axial": words}


# -- the measured slices ------------------------------------------------------------------------------------------------------


def test_a_planted_lesion_survives_and_an_empty_place_stays_empty(
    models: dict[str, str], linear: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even of a decoder that loses half of all contrast, for what the measured slices say is added."""
    monkeypatch.setattr(latent, "decode", lambda _, codes: nn.functional.pixel_shuffle(codes, 4) / 2)
    healthy = scan((1, 1, 3), (14, 14, 9))
    spot = np.zeros(healthy.image.shape, np.float32)
    spot[4:8, 4:8, 3:6] = 40
    stats = replace(healthy.stats, maximum=float((healthy.image + spot).max()))  # else the healthy scan's: nothing else differs
    ill = replace(healthy, image=healthy.image + spot, stats=stats)
    target = healthy.grid.isotropic(1.0)
    method = build_method("latent-zoom", PLAIN, models["latent-zoom"])
    made = {name: whole(method, each, target) for name, each in {"ill": ill, "healthy": healthy}.items()}
    assert (made["ill"] - made["healthy"])[5:7, 5:7, 11:16].mean() < 0.55 * 40
    planted = repaired(made["ill"], target, ill) - repaired(made["healthy"], target, healthy)
    assert planted[5:7, 5:7, 11:16].mean() > 0.8 * 40
    assert abs(planted[10:, 10:].mean()) < 0.1 * 40
    assert abs(planted[4:8, 4:8, :5].mean()) < 0.1 * 40


def test_a_model_of_another_method_is_refused(models: dict[str, str]) -> None:
    measured = scan((1, 1, 4), (8, 8, 4))
    method = build_method("latent-zoom", {}, models["wdsr-si"])
    with pytest.raises(
        WeightsError,
        match=r"model-unfit: expected a model of latent-zoom with autoencoder, denoiser, but got one with network\. ",
    ):
        whole(method, measured, measured.grid.isotropic(1.0))


@pytest.mark.parametrize("name", ["latent-zoom", "pixel-zoom"])
def test_several_samples_come_with_their_spread_by_a_faithful_sampler(models: dict[str, str], name: str) -> None:
    measured = scan((4, 4, 4), (4, 4, 3))
    target = measured.grid.isotropic(1.0)
    told = build_method(name, {"samples": 3}, models[name]).about_maps["sd"]
    assert (told["Sampler"], told["SpreadFaithful"], told["SpreadKept"]) == ("plms", True, [0.86, 1.08])
    quick = build_method(name, {"samples": 2, "steps": 2}, models[name])
    mean, sd = quick.restore([measured], target)
    assert mean.shape == sd.shape == target.shape
    assert sd.mean() > 0
    tiling = quick.tiling(measured.grid, target, TilingSettings())
    spreads = [arrays[1] for _, arrays in restore_scan(quick, [Source.in_memory(measured)], target, tiling, 7)]
    np.testing.assert_array_equal(np.concatenate(spreads, axis=2), sd)


@pytest.mark.parametrize("name", ALL)
def test_half_precision_is_near(models: dict[str, str], name: str) -> None:
    measured = scan((4, 4, 2), (10, 9, 4))
    target = measured.grid.isotropic(1.0)
    options = {"steps": 4, "quantise": "none"} if name in {"latent-zoom", "pixel-zoom"} else {}
    plain, half = (build_method(name, options | {"precision": each}, models[name]) for each in ("float32", "bfloat16"))
    made, near = whole(plain, measured, target), whole(half, measured, target)
    assert np.abs(near - made).max() > 0
    assert np.abs(near - made).mean() < 0.02 * measured.stats.upper


@pytest.mark.parametrize("how", [{"begin": "noise"}, {"samples": 2}])
def test_steps_that_the_sampler_has_no_grid_for_are_refused_before_any_scan(how: dict[str, Any]) -> None:
    check_options("latent-zoom", {"steps": 200, **how})
    with pytest.raises(UsageError, match=r"ddim-grid"):
        check_options("latent-zoom", {"steps": 333, **how})


@pytest.mark.parametrize("name", ["latent-zoom", "pixel-zoom"])
def test_slices_that_are_sharp_already_are_restored_once_and_their_map_says_that_nothing_was_drawn(
    models: dict[str, str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sharp = scan((1, 1, 4), (12, 8, 4))
    one, three = (build_method(name, {"steps": 4, "samples": samples}, models[name]) for samples in (1, 3))
    seen, encode = [], type(three).encode
    monkeypatch.setattr(type(three), "encode", lambda self, *given: seen.append(1) or encode(self, *given))
    image, sd = three.restore([sharp], sharp.grid.isotropic(1.0))
    assert len(seen) == 4
    assert not sd.any()
    assert image.shape == sd.shape
    assert "nothing is drawn" in three.about_maps["sd"]["Description"]
    assert one.about_maps == {}


def test_pixel_zoom_has_no_option_of_codes_between_slices(models: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="method-options"):
        build_method("pixel-zoom", {"between": "learned"}, models["pixel-zoom"])
