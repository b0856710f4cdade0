"""Restoring by DiffusionIQT: samples that depend on the scan, its voxels and its noise, and on nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from core.diffusion.samplers import START
from core.diffusion.schedules import Cosine
from core.engine.restore import Source, restore_scan
from core.errors import WeightsError
from core.geometry.grid import Box, Grid
from core.geometry.resample import interpolate
from core.methods import patch_network as module
from core.methods import registry
from core.methods.base import Measured, Piece
from core.methods.diffusion_iqt.method import DiffusionIQT, DiffusionIQTSettings
from core.models.bundle import save_model
from core.networks import build
from core.noise import normal, sample_key
from core.operators.forward_model import SliceProfile
from core.settings.scans import TilingSettings
from core.stats import ScanStats

torch = pytest.importorskip("torch")
VARIANTS = ("diffusion-iqt", "diffusion-iqt-deep", "diffusion-iqt-base")


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, str]:
    """The smallest network of each variant, with random weights."""
    made = {}
    for name in VARIANTS:
        chosen, made[name] = registry.recipe(name).preset("tiny"), str(tmp_path_factory.mktemp(name))
        torch.manual_seed(0)
        weights = build(chosen.network, chosen.config).state_dict()
        save_model(made[name], chosen.network, chosen.config, weights, "", slices_last=True, multiple=chosen.takes)
    return made


def measured(shape=(30, 26, 9), noise=(1, 2)) -> Measured:
    image = np.random.default_rng(0).gamma(2, 50, shape).astype(np.float32)
    stats = ScanStats(0, float(image.max()), float(np.percentile(image, 99.9)), 100, 50, 5)
    return Measured(image, Grid(shape, np.diag([1, 1, 3, 1.0])), stats, SliceProfile(), noise)


def method_of(model: str, **said) -> DiffusionIQT:
    return DiffusionIQT(DiffusionIQTSettings(model=model, **({"steps": 2} | said)))


def pieces(method: DiffusionIQT, scan: Measured) -> list[Piece]:
    target = scan.grid.isotropic(1.0)
    tiling = method.tiling(scan.grid, target, TilingSettings(patch=64, overlap=4))
    boxes = [(tile.read, method.source_box(scan.grid, target, tile)) for tile in tiling.tiles()]
    return [Piece([scan.crop(source)], target.crop(box), box) for box, source in boxes]


def restored(method: DiffusionIQT, scan: Measured) -> np.ndarray:
    target = scan.grid.isotropic(1.0)
    tiling = method.tiling(scan.grid, target, TilingSettings(patch=64, overlap=4))
    parts = restore_scan(method, [Source.in_memory(scan)], target, tiling, 8)
    return np.concatenate([arrays[0] for _, arrays in parts], axis=2)


@pytest.mark.parametrize("sampler", ["ancestral", "renoise", "ddim", "dpm-solver++"])
def test_a_network_that_sees_through_all_noise_gives_what_it_sees(monkeypatch, models, sampler):
    monkeypatch.setattr(module, "load_network", lambda *_: lambda x, scan, log_snr: scan)  # noqa: ARG005
    scan = measured()
    found = restored(method_of(models["diffusion-iqt"], sampler=sampler, steps=5), scan)
    wanted = interpolate(scan.image, scan.grid, scan.grid.isotropic(1.0), 3)
    left = Cosine().alpha_sigma(0.0)[1]  # the noise at the schedule's end, which not all samplers take out
    assert np.sqrt(np.mean((found - wanted) ** 2)) < 1.5 * left * scan.stats.upper


@pytest.mark.parametrize("name", VARIANTS)
def test_a_block_has_its_bits_alone_and_among_others(models, name):
    method = method_of(models[name])
    some = pieces(method, measured())[:3]
    together = [array for (array,) in method.restore_many(some)]
    for piece, among in zip(some, together, strict=True):
        ((alone,),) = method.restore_many([piece])
        assert np.isfinite(alone).all()
        np.testing.assert_array_equal(alone, among)


def test_a_scan_gets_the_same_sample_each_time_and_another_scan_another(models):
    method = method_of(models["diffusion-iqt"])
    scan = measured((24, 24, 8))
    once = restored(method, scan)
    np.testing.assert_array_equal(once, restored(method, scan))
    other = restored(method, replace(scan, noise=(3, 4)))
    assert np.abs(other - once).mean() > 1e-3 * scan.stats.upper


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_block_begins_with_the_noise_of_its_voxels_whatever_the_slices_axis(monkeypatch, models, axis):
    """The network sees blocks with the slices' axis last; turned back, what it begins with is a cut of one field."""
    seen = []
    monkeypatch.setattr(module, "load_network", lambda *_: lambda x, scan, log_snr: (seen.append(x.clone()), scan)[1])  # noqa: ARG005
    spacing, shape = [1.0, 1.0, 1.0], [24, 20, 22]
    spacing[axis], shape[axis] = 3.0, 7
    image = np.random.default_rng(0).gamma(2, 50, shape).astype(np.float32)
    scan = Measured(image, Grid(tuple(shape), np.diag([*spacing, 1])), measured().stats, SliceProfile(), (1, 2))
    method = method_of(models["diffusion-iqt-base"], steps=1)
    target = scan.grid.isotropic(1.0)
    (piece, *_) = [one for one in pieces(method, scan) if min(one.box.start[:2]) > 0 or one.box.start[2] > 0]
    method.restore_many([piece])
    begun = np.moveaxis(seen[0][0, 0].numpy(), 2, axis)
    field = normal(Box.whole(target.shape), (1, 2), START) * np.float32(Cosine().prior_sd)
    shared = Box.whole(begun.shape).intersect(Box.whole(piece.box.shape))
    np.testing.assert_allclose(begun[shared.slices], field[piece.box.slices][shared.slices], rtol=1e-5, atol=1e-6)


def test_a_halo_cannot_be_had(models):
    grid = measured().grid
    with pytest.raises(WeightsError, match=r"reach-unbounded: .*normalises over its blocks"):
        method_of(models["diffusion-iqt"]).tiling(grid, grid, TilingSettings(window="halo"))


def test_several_samples_are_a_mean_and_a_map_by_a_sampler_that_keeps_the_spread(models):
    method = method_of(models["diffusion-iqt"], samples=3)
    piece = pieces(method, measured())[0]
    alone = method_of(models["diffusion-iqt"], sampler="dpm-solver++")
    keys = [sample_key((1, 2), number) for number in range(3)]
    each = [alone.restore_many([replace(piece, measured=[replace(piece.measured[0], noise=key)])])[0][0] for key in keys]
    ((mean, sd),) = method.restore_many([piece])
    np.testing.assert_allclose(mean, np.mean(each, 0), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(sd, np.std(each, 0, ddof=1), rtol=1e-3, atol=1e-2)
    assert keys[0] == (1, 2)
    assert (method.maps, method.passes) == (("sd",), 3 * alone.passes)


def test_a_map_says_its_sampler_and_what_it_keeps(models):
    told = method_of(models["diffusion-iqt"], samples=8, steps=20).about_maps["sd"]
    assert told["SpreadKept"] == [0.89, 1.14]
    assert told["SpreadFaithful"]
    assert (told["Samples"], told["Sampler"], told["Steps"]) == (8, "dpm-solver++", 20)
    assert told["Description"].startswith("Of 8 samples by dpm-solver++ in 20 steps, which keep 0.89 to 1.14 of a normal")
    few = method_of(models["diffusion-iqt"], samples=8, steps=20, sampler="ancestral").about_maps["sd"]
    assert few["SpreadKept"] == [0.36, 0.90]
    assert "too far from it" in few["Description"]
    assert method_of(models["diffusion-iqt"]).about_maps == {}
