"""Scan mode and tile mode make the same predictions and give the same bits; a bad tile is named."""

from __future__ import annotations

import re
import tracemalloc
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.banding import evened
from core.engine.restore import Source, restore_scan, restore_tiles
from core.errors import RestorationError
from core.geometry.blend import gather
from core.geometry.grid import Box, Grid
from core.geometry.tiles import patches
from core.io.arrays.store import Store
from core.methods.base import Measured, Method
from core.methods.network.method import AnyNetwork
from core.models.bundle import save_model
from core.networks import build
from core.operators.forward_model import SliceProfile
from core.settings.scans import TilingSettings
from core.stats import ScanStats, scan_stats
from tests.core.test_banding import banded, thick

STATS = ScanStats(-3, 3, 2.5, 1, 1, 0.1)
MEASURED, TILES, RESTORED = "scan/measured", "scan/probe/tiles", "scan/probe/restored"


class Probe(Method):
    """Nearest voxels, plus the sum and a stride of the crop that it was given: any other crop or layout shows in the bits."""

    name = "probe"
    fuses = True

    def __init__(self, batch=1, poison=-1):
        super().__init__()
        self.batch, self.poison, self.calls = batch, poison, 0

    def tiling(self, _, target, wanted):
        return patches(target.shape, wanted.patch, wanted.overlap, wanted.window)

    def source_box(self, source, target, tile):
        places = source.index_map(target.crop(tile.read))
        first = [max(0, round(b) - 1) for _, b in places]
        last = [min(n, round(a * (m - 1) + b) + 2) for (a, b), m, n in zip(places, tile.read.shape, source.shape, strict=True)]
        return Box(tuple(min(a, n - 1) for a, n in zip(first, source.shape, strict=True)), tuple(max(b, 1) for b in last))

    def restore(self, measured, target):
        self.calls += 1
        results = []
        for scan in measured:
            places = scan.grid.index_map(target)
            at = [
                np.clip(np.rint(a * np.arange(m) + b).astype(int), 0, n - 1)
                for (a, b), m, n in zip(places, target.shape, scan.image.shape, strict=True)
            ]
            results.append(scan.image[np.ix_(*at)] + np.float32(100) * scan.image.sum() + np.float32(scan.image.strides[0]))
        if self.calls == self.poison:
            results[-1][0, 0, 0] = np.inf
        return results


def measured(shape, seed=0, spacing=(1, 1, 3)) -> Measured:
    image = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return Measured(image, Grid(shape, np.diag([*spacing, 1.0])), STATS, SliceProfile(slice_profile="box", slice_gap=0))


def by_scan(method, sources, target, tiling, thickness):
    parts = list(restore_scan(method, sources, target, tiling, thickness))
    assert [box.start[2] for box, _ in parts] == list(range(0, target.shape[2], thickness))
    assert all(array.shape == box.shape for box, arrays in parts for array in arrays)
    return [np.concatenate(arrays, axis=2) for arrays in zip(*(arrays for _, arrays in parts), strict=True)]


def by_tile(folder, method, scan, *, target, tiling, thickness):
    """One scan through a store: tiles in any order, each by itself; then blocks, last first."""
    store = Store(str(folder / "c.zarr"))
    store.create(MEASURED, scan.grid, {}, 2)
    for box in store.blocks(MEASURED):
        store.write_block(MEASURED, box, scan.image[box.slices])
    source = Source(scan.grid, lambda box: Measured(store.read(MEASURED, box), scan.grid.crop(box), scan.stats, scan.forward))
    store.scratch(TILES, tiling, {})
    store.create(RESTORED, target, {}, thickness)
    tiles = list(tiling.tiles())
    for number in np.random.default_rng(1).permutation(len(tiles)):
        for tile, (array,) in restore_tiles(method, [source], target, [tiles[number]]):
            store.write_tile(TILES, tile, array)
    for box in reversed(store.blocks(RESTORED)):
        store.write_block(RESTORED, box, gather(box, tiling, partial(store.read_tile, TILES)))
    store.finish(RESTORED, "digest")
    return store.read(RESTORED)


@settings(max_examples=20, deadline=None)
@given(
    st.tuples(st.integers(1, 14), st.integers(1, 14), st.integers(1, 6)),
    st.builds(TilingSettings, patch=st.integers(8, 12), overlap=st.integers(0, 4), window=st.sampled_from(["hann", "gaussian"])),
    st.integers(1, 5),
    st.integers(1, 20),
)
@example((1, 9, 1), TilingSettings(patch=8, overlap=0), 1, 1)  # axes of length 1, whose strides may be any
def test_scan_mode_and_tile_mode_give_the_same_bits(tmp_path_factory, shape, wanted, batch, thickness):
    scan = measured(shape)
    target = scan.grid.isotropic(1.0)
    method = Probe(batch)
    tiling = method.tiling(scan.grid, target, wanted)
    (whole,) = by_scan(method, [Source.in_memory(scan)], target, tiling, thickness)
    assert method.calls == len(tiling)
    tiled = by_tile(tmp_path_factory.mktemp("tiles"), Probe(), scan, target=target, tiling=tiling, thickness=thickness)
    assert whole.tobytes() == tiled.tobytes()


def test_a_network_gives_the_same_bits_in_both_modes(tmp_path):
    import torch

    torch.manual_seed(0)
    unet = {"spatial_dims": 3, "in_channels": 1, "out_channels": 1, "channels": [4, 8], "strides": [2], "num_res_units": 1}
    save_model(str(tmp_path / "model"), "UNet", unet, build("UNet", unet).state_dict(), "", residual=True, multiple=2)
    method = AnyNetwork(AnyNetwork.Settings(model=str(tmp_path / "model")))
    scan = measured((21, 18, 7))
    target = scan.grid.isotropic(1.0)
    tiling = method.tiling(scan.grid, target, TilingSettings(patch=12, overlap=4))
    (whole,) = by_scan(method, [Source.in_memory(scan)], target, tiling, 5)
    tiled = by_tile(tmp_path, method, scan, target=target, tiling=tiling, thickness=8)
    assert len(tiling) > 8
    assert whole.tobytes() == tiled.tobytes()


def test_fused_scans_come_back_one_array_each_and_each_tile_is_predicted_once():
    scans = [measured((12, 11, 5), 0), measured((12, 11, 4), 1)]
    target = scans[0].grid.isotropic(1.0)
    method = Probe(batch=3)
    tiling = method.tiling(scans[0].grid, target, TilingSettings(patch=8, overlap=2))
    together = by_scan(method, [Source.in_memory(scan) for scan in scans], target, tiling, 4)
    assert method.calls == len(tiling)
    for scan, image in zip(scans, together, strict=True):
        (alone,) = by_scan(Probe(), [Source.in_memory(scan)], target, tiling, 4)
        assert image.tobytes() == alone.tobytes()


def test_a_tile_that_is_not_finite_fails_by_its_name():
    scan = measured((12, 11, 5))
    target = scan.grid.isotropic(1.0)
    method = Probe(batch=2, poison=3)
    tiles = list(method.tiling(scan.grid, target, TilingSettings(patch=8, overlap=2)).tiles())
    done = restore_tiles(method, [Source.in_memory(scan)], target, tiles)
    assert [next(done)[0], next(done)[0]] == tiles[:2]
    where = re.escape(f"tile 2 (voxels {tiles[2].read.start} to")
    with pytest.raises(RestorationError, match=rf"not-finite: expected 1 finite .* for {where}"):
        next(done)


def test_what_a_method_says_of_its_failure_is_kept_and_the_tile_added():
    class Failing(Probe):
        def restore(self, _, __):
            raise RestorationError("out-of-memory", "memory", "none", "use smaller patches")

    scan = measured((4, 4, 4))
    tile = next(iter(patches((4, 4, 4), 8, 0, "hann").tiles()))
    with pytest.raises(
        RestorationError, match=r"out-of-memory: expected memory, but got none, in tile 0 .*\. Use smaller patches"
    ):
        next(restore_tiles(Failing(), [Source.in_memory(scan)], scan.grid, [tile]))


def test_a_prediction_of_another_shape_or_type_is_refused():
    class Wrong(Probe):
        def restore(self, _, target):
            return [np.zeros(target.shape)]

    scan = measured((4, 4, 4))
    tile = next(iter(patches((4, 4, 4), 8, 0, "hann").tiles()))
    with pytest.raises(RestorationError, match=r"prediction-shape: expected 1 finite float32 arrays \(4, 4, 4\).*float64"):
        next(restore_tiles(Wrong(), [Source.in_memory(scan)], scan.grid, [tile]))


def peak_of_streaming(planes: int) -> int:
    scan = measured((40, 40, planes), spacing=(1, 1, 1))
    method = Probe()
    tiling = method.tiling(scan.grid, scan.grid, TilingSettings(patch=16, overlap=4))
    tracemalloc.start()
    try:
        for _ in restore_scan(method, [Source.in_memory(scan)], scan.grid, tiling, 16):
            pass
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_planes():
    short, long = peak_of_streaming(128), peak_of_streaming(512)
    layer = 40 * 40 * 16 * 4
    assert long - short < 3 * layer  # of the 24 layers that there are more
    assert (
        long < 20 * layer
    )  # overlap makes a layer of tiles 1.8 times as large; it is held twice over while the next one is made


def test_layers_give_the_bits_of_the_whole_and_each_is_read_once():
    scan = measured((30, 20, 12), spacing=(1, 1, 2))
    target = scan.grid.isotropic(1.0)
    tiling = Probe().tiling(scan.grid, target, TilingSettings(patch=10, overlap=4))
    read = []

    def layer(box):
        read.append(box)
        return scan.crop(box)

    whole = by_scan(Probe(), [Source.in_memory(scan)], target, tiling, 4)
    assert by_scan(Probe(), [Source.by_layers(scan.grid, layer)], target, tiling, 4)[0].tobytes() == whole[0].tobytes()
    assert len(read) == len(set(read)) == len(tiling.axes[2]) < len(tiling)
    assert {(box.start[:2], box.stop[:2]) for box in read} == {((0, 0), (30, 20))}
    assert all(box.shape[2] < 12 for box in read)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_method_that_evens_gets_each_crop_as_of_the_scan_without_its_banding(axis):
    """Bands are told by the whole scan, whatever part of it a tile sees; other methods get the scan as it is."""
    image, _ = thick(axis)
    grid = Grid(image.shape, np.diag([*(4.0 if at == axis else 1.0 for at in range(3)), 1.0]))
    dark = banded(image, grid, 0.1)
    scan, target = Measured(dark, grid, scan_stats(dark), SliceProfile()), grid.isotropic(2.0)
    even = replace(scan, image=evened(dark, grid, scan.stats)[0])
    method = Probe()
    tiling = method.tiling(grid, target, TilingSettings(patch=16, overlap=4))

    def made(measured: Measured, *, evens: bool) -> list[np.ndarray]:
        method.evens = evens
        return [arrays[0] for _, arrays in restore_tiles(method, [Source.in_memory(measured)], target, tiling.tiles())]

    assert not np.array_equal(even.image, dark)
    np.testing.assert_array_equal(made(scan, evens=True), made(even, evens=False))
    assert not np.array_equal(made(scan, evens=False), made(scan, evens=True))
