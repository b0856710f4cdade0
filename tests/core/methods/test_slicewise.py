"""Slices through the engine: bits kept, ends mirrored, any batch and order alike, noise of the slice, axes averaged."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from core.diffusion.samplers import ddim, prior
from core.diffusion.schedules import Cosine, continuous_times
from core.engine.restore import Source, restore_scan, restore_tiles
from core.errors import RestorationError
from core.geometry.blend import gather
from core.geometry.grid import Box, Grid
from core.geometry.slices import SliceStack
from core.geometry.tiles import Tile
from core.io.arrays.store import Store
from core.methods.base import Measured
from core.methods.interpolation.method import Linear
from core.methods.slicewise import Slice, SliceMethod, in_parts, padded, slice_noise
from core.noise import axis_key, field_key, normal
from core.operators.forward_model import SliceProfile
from core.settings.scans import TilingSettings
from core.stats import scan_stats

KEY = field_key(7, "sub-01_T1w")
WANTED = TilingSettings()
Axes = tuple[int, ...]


class Toy(SliceMethod):
    """Slices along given axes, as they are."""

    name = "toy"

    def __init__(self, axes: Axes = (2,), thickness: int = 4, weights: Sequence[float] | None = None) -> None:
        super().__init__()
        self.along, self.thickness, self.shares = axes, thickness, weights  # type: ignore[misc]
        self.seen: list[tuple[int, ...]] = []

    def axes(self, source: Grid) -> Axes:  # noqa: ARG002
        return self.along

    def weights(self, source: Grid) -> Sequence[float] | None:  # noqa: ARG002
        return self.shares

    def encode(self, planes: Tensor, slices: Sequence[Slice]) -> Tensor:
        assert len(planes) == len(slices)
        self.seen.append(tuple(planes.shape))
        return planes[:, self.neighbours : self.neighbours + 1]


class Below(Toy):
    """The slice below each."""

    neighbours = 1

    def encode(self, planes: Tensor, slices: Sequence[Slice]) -> Tensor:  # noqa: ARG002
        return planes[:, :1]


def convolutions(channels: int) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(channels, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1, stride=2), nn.ReLU()]
    return nn.Sequential(*layers, nn.Upsample(scale_factor=2), nn.Conv2d(32, 1, 3, padding=1)).eval()


class Convolved(Toy):
    """A network that needs even sides, over slices and two neighbours."""

    neighbours = 2

    def encode(self, planes: Tensor, slices: Sequence[Slice]) -> Tensor:  # noqa: ARG002
        return padded(convolutions(5), 8)(planes)


class Sampled(Toy):
    """DDIM from the posterior of voxels that scatter normally, by ``SD``, around the interpolated ones."""

    SD = 3.0

    def encode(self, planes: Tensor, slices: Sequence[Slice]) -> Tensor:
        schedule, shape = Cosine(), (planes.shape[2], planes.shape[3])
        noise = slice_noise(slices, 1, shape, "cpu")

        def denoise(x: Tensor, t: float) -> Tensor:
            alpha, sigma = schedule.alpha_sigma(t)
            gain = alpha * self.SD**2 / (alpha**2 * self.SD**2 + sigma**2)
            return planes + (x - planes * alpha) * gain

        return ddim(denoise, prior(schedule, noise), schedule, continuous_times(60), noise)


class Between(Toy):
    """The scan's own slices as two-channel codes, half and twice the values; those between by their mean."""

    between = True

    def encode(self, planes: Tensor, slices: Sequence[Slice]) -> Tensor:
        self.seen += [(one.place,) for one in slices]
        return torch.cat([planes / 2, planes * 2], 1)

    def decode(self, codes: Tensor, slices: Sequence[Slice]) -> Tensor:  # noqa: ARG002
        return (codes[:, :1] * 2 + codes[:, 1:] / 2) / 2


def measured(shape: tuple[int, int, int] = (11, 9, 10), voxels: tuple[float, float, float] = (1, 1, 1)) -> Measured:
    image = np.random.default_rng(0).gamma(2, 50, shape).astype(np.float32)
    grid = Grid(shape, np.diag([*voxels, 1.0]))
    return Measured(image, grid, scan_stats(image), SliceProfile(), KEY)


def whole(method: SliceMethod, scan: Measured, target: Grid) -> np.ndarray:
    tiling = method.tiling(scan.grid, target, WANTED)
    blocks = restore_scan(method, [Source.in_memory(scan)], target, tiling, 3)
    return np.concatenate([arrays[0] for _, arrays in blocks], axis=2)


AXES: list[Axes] = [(0,), (1,), (2,), (0, 1), (2, 0), (0, 1, 2)]


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("thickness", [1, 4, 99])
def test_slices_that_stay_as_they_are_give_the_very_bits(axes: Axes, thickness: int) -> None:
    scan = measured()
    scan.image[0, 0, 0] = -0.0
    assert whole(Toy(axes, thickness), scan, scan.grid).tobytes() == scan.image.tobytes()


@pytest.mark.parametrize("axes", AXES)
def test_a_constant_stays_constant_on_a_finer_grid(axes: Axes) -> None:
    scan = measured((11, 9, 4), (1, 1, 4))
    scan.image[:] = 50
    target = scan.grid.isotropic(1.0)
    made = whole(Toy(axes), scan, target)
    assert made.shape == target.shape
    np.testing.assert_allclose(made, 50, rtol=1e-6)


def test_planes_are_whole_and_go_alone_on_a_cpu() -> None:
    scan, method = measured(), Toy((1,))
    whole(method, scan, scan.grid)
    assert method.seen == [(1, 1, 11, 10)] * 9


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("thickness", [1, 3, 99])
def test_the_neighbours_are_the_slices_beside_and_mirrored_at_the_ends_of_the_volume_alone(axis: int, thickness: int) -> None:
    scan = measured()
    below = np.take(scan.image, [1, *range(scan.image.shape[axis] - 1)], axis=axis)
    assert whole(Below((axis,), thickness), scan, scan.grid).tobytes() == below.tobytes()


@pytest.mark.parametrize("make", [Toy, Below, Convolved, Sampled, Between])
@pytest.mark.parametrize("axes", [(2,), (0,), (1, 2), (0, 1, 2)])
def test_scan_mode_equals_tile_mode_in_any_order_bit_for_bit(make: type[Toy], axes: Axes, tmp_path: Path) -> None:
    scan, method = measured((11, 9, 4), (1, 1, 2.5)), make(axes)
    target = scan.grid.isotropic(1.0)
    tiling, store = method.tiling(scan.grid, target, WANTED), Store(str(tmp_path / "c.zarr"))
    store.scratch("tiles", tiling, {})
    for tile in reversed(list(tiling.tiles())):
        ((_, (array,)),) = restore_tiles(method, [Source.in_memory(scan)], target, [tile])
        store.write_tile("tiles", tile, array)
    blocks = [Box((0, 0, a), (11, 9, min(a + 4, target.shape[2]))) for a in range(0, target.shape[2], 4)]
    gathered = [gather(box, tiling, partial(store.read_tile, "tiles")) for box in reversed(blocks)]
    assert np.concatenate(gathered[::-1], axis=2).tobytes() == whole(method, scan, target).tobytes()


@pytest.mark.parametrize("make", [Convolved, Sampled])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_slice_alone_is_the_slice_in_any_slab(make: type[Toy], axis: int) -> None:
    scan = measured((21, 19, 18))
    alone = whole(make((axis,), 1), scan, scan.grid)
    assert alone.std() > 0.01
    for thickness in (2, 5, 99):
        assert whole(make((axis,), thickness), scan, scan.grid).tobytes() == alone.tobytes()


@pytest.mark.parametrize("weights", [None, (1.0, 2.0, 5.0)])
def test_several_axes_are_the_weighted_mean_of_each(weights: tuple[float, ...] | None) -> None:
    scan = measured((11, 9, 4), (1, 1, 2.5))
    target = scan.grid.isotropic(1.0)
    each = [whole(Sampled((axis,)), scan, target) for axis in range(3)]
    made = whole(Sampled((0, 1, 2), weights=weights), scan, target)
    np.testing.assert_allclose(made, np.average(each, axis=0, weights=weights), rtol=1e-5)
    (called,) = Sampled((0, 1, 2), weights=weights).restore([scan], target)
    np.testing.assert_allclose(called, made, atol=0.02)  # one slab feels the whole scan


def test_the_sample_has_the_posteriors_mean_and_its_scatter_is_the_noise_of_the_slices() -> None:
    scan = measured((24, 20, 18))
    made = whole(Sampled((1,)), scan, scan.grid)
    scatter = (made - scan.image) / Sampled.SD
    field = np.moveaxis(normal(Box((0, 0, 0), (20, 24, 18)), axis_key(KEY, 1), 0), 0, 1)
    np.testing.assert_allclose(scatter, field, rtol=0.05, atol=0.05)
    assert abs(scatter.mean()) < 0.05
    assert 0.95 < scatter.std() < 1.05


def slices_at(places: Sequence[int], axis: int = 2) -> list[Slice]:
    scan = measured()
    return [Slice(place, SliceStack(scan.grid, axis), 0, scan, scan.grid) for place in places]


def test_noise_belongs_to_the_slice_and_its_axis() -> None:
    batch = slice_noise(slices_at([3, 4, 7]), 3, (6, 5), "cpu")
    assert batch(2).shape == (3, 3, 6, 5)
    for n, place in enumerate([3, 4, 7]):
        assert slice_noise(slices_at([place]), 3, (6, 5), "cpu")(2).equal(batch(2)[n : n + 1])
    values = [batch(0), batch(1), slice_noise(slices_at([3, 4, 7], axis=0), 3, (6, 5), "cpu")(0)]
    flat = torch.cat([value.flatten() for value in values])
    assert len(flat.unique()) == len(flat)  # no slice, channel, step or axis repeats another's


def test_a_network_sees_whole_multiples_and_nobody_else_does() -> None:
    shapes = []

    def network(planes: Tensor, level: float) -> Tensor:
        shapes.append((*planes.shape, level))
        return planes * 2

    planes = torch.rand(2, 3, 11, 16)
    assert padded(network, 8)(planes, 0.5).equal(planes * 2)
    assert shapes == [(2, 3, 16, 16, 0.5)]


def test_a_slice_shows_the_measured_slice_at_its_place_to_operators() -> None:
    scan = measured((11, 9, 4), (1, 1, 2.5))
    seen: list[tuple[int, Measured, Grid]] = []

    class Asking(Toy):
        def encode(self, planes: Tensor, slices: Sequence[Slice]) -> Tensor:
            seen.extend((one.place, one.data(), one.grid) for one in slices)
            return planes

    target = scan.grid.isotropic(1.0)
    whole(Asking((1,)), scan, target)
    assert [place for place, _, _ in seen] == list(range(9))
    for place, data, grid in seen:
        assert grid.shape == (11, 1, 10)
        np.testing.assert_array_equal(data.image, scan.image[:, place : place + 1])
        assert data.grid.shape == (11, 1, 4)
        np.testing.assert_allclose(data.grid.affine[1, 3], grid.affine[1, 3])
        assert data.stats == scan.stats
    with pytest.raises(
        RestorationError, match=r"slices-apart: expected measured slices at .* axis 2, but got slice 0 at .*\. Work along"
    ):
        whole(Asking((2,)), scan, target)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_between_the_scans_own_are_linear_where_nothing_is_done_to_them(axis: int) -> None:
    shape, voxels = [9, 9, 9], [1.0, 1.0, 1.0]
    shape[axis], voxels[axis] = 5, 3.0
    scan = measured((shape[0], shape[1], shape[2]), (voxels[0], voxels[1], voxels[2]))
    target = scan.grid.isotropic(1.0)
    made = whole(Between((axis,), 4), scan, target)
    (linear,) = Linear().restore([scan], target)
    inner = [slice(None)] * 3
    inner[axis] = slice(1, -1)  # beyond the outermost slices the nearest is kept, where Linear mirrors
    np.testing.assert_allclose(made[tuple(inner)], linear[tuple(inner)], rtol=1e-5)
    at = [slice(None)] * 3
    at[axis] = slice(1, None, 3)
    assert np.ascontiguousarray(made[tuple(at)]).tobytes() == scan.image.tobytes()


def test_own_slices_come_in_the_rows_and_columns_that_the_network_takes() -> None:
    class Finer(Between):
        """Makes slices twice as fine by repeating their voxels."""

        def plane_grid(self, source: Grid, target: Grid, axis: int) -> Grid:
            grid = super().plane_grid(source, target, axis)
            for other in {0, 1, 2} - {axis}:
                grid = grid.refine(other, Fraction(1, 2))
            return grid

        def decode(self, codes: Tensor, slices: Sequence[Slice]) -> Tensor:
            return super().decode(codes, slices).repeat_interleave(2, 2).repeat_interleave(2, 3)

    scan = measured((6, 5, 5), (2, 2, 4))
    made = whole(Finer((2,)), scan, scan.grid.isotropic(1.0))
    assert made.shape == (12, 10, 20)
    repeated = whole(Between((2,)), scan, scan.grid.refine(2, 4)).repeat(2, 0).repeat(2, 1)
    np.testing.assert_allclose(made, repeated, rtol=1e-5)


def test_each_slab_encodes_the_slices_that_it_lies_between_once() -> None:
    scan = measured((9, 9, 5), (1, 1, 3))
    method = Between((2,), 6)
    whole(method, scan, scan.grid.isotropic(1.0))
    assert [place for (place,) in method.seen] == [0, 1, 2, 1, 2, 3, 4, 3, 4]


def test_by_default_the_axis_is_the_scans_own() -> None:
    class Own(SliceMethod):
        name = "own"

        def encode(self, planes: Tensor, slices: Sequence[Slice]) -> Tensor:  # noqa: ARG002
            return planes

    thick = (((3, 1, 1), 0), ((1, 3, 1), 1), ((1, 1, 3), 2), ((0.5, 0.7, 5), 2))
    thin = (((1, 3, 3), 0), ((1.7, 0.9, 2), 1), ((3.5, 3.5, 2), 2), ((2, 2, 1), 2))  # pixels are what was reduced
    for voxels, axis in (*thick, *thin, ((1, 1, 1), 2)):
        assert Own().axes(measured(voxels=voxels).grid) == (axis,)


def test_where_memory_runs_out_batches_are_halved_down_to_one() -> None:
    sizes = []

    def work(start: int, stop: int, fits: int) -> Tensor:
        sizes.append(stop - start)
        if stop - start > fits:
            raise MemoryError
        return torch.arange(start, stop)[:, None, None, None].float()

    assert torch.cat(in_parts(partial(work, fits=2), 9, 9)).flatten().tolist() == list(range(9))
    assert sizes == [9, 4, 2, 2, 2, 2, 1]
    with pytest.raises(RestorationError, match=r"out-of-memory: expected memory for one slice, but got none left\. Use"):
        in_parts(partial(work, fits=0), 9, 9)


def test_restored_slices_of_another_shape_are_refused_with_the_tile() -> None:
    class Larger(Toy):
        def encode(self, planes: Tensor, slices: Sequence[Slice]) -> Tensor:  # noqa: ARG002
            return planes.repeat(1, 2, 1, 1)

    scan = measured()
    with pytest.raises(
        RestorationError, match=r"plane-shape: expected restored slices \(1, 1, 11, 9\), but got \(1, 2, 11, 9\), in tile 0"
    ):
        whole(Larger(), scan, scan.grid)


def test_what_a_slab_reads_lies_in_the_scan() -> None:
    scan = measured((11, 9, 4), (1, 1, 2.5))
    target = scan.grid.isotropic(1.0)
    for method in (Below((0, 1, 2)), Between((0, 1, 2))):
        for tile in method.tiling(scan.grid, target, WANTED).tiles():
            assert isinstance(tile, Tile)
            box = method.source_box(scan.grid, target, tile)
            assert box.intersect(Box.whole(scan.grid.shape)) == box
