"""The network method: patches of the interpolated scan through a network, whatever memory and precision do."""

from __future__ import annotations

import math
import weakref
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from core.engine.restore import Source, restore_scan, restore_tiles
from core.errors import GridError, RestorationError, UsageError, WeightsError
from core.geometry.grid import Box, Grid
from core.geometry.resample import interpolate
from core.methods import patch_network as module
from core.methods.base import Measured, Piece
from core.methods.network.method import AnyNetwork
from core.methods.patch_network import FLIPS, NetworkSettings, fitting, over_flips, predict
from core.methods.registry import build_method
from core.models.bundle import save_model
from core.models.cache import load_count
from core.networks import build
from core.operators.forward_model import SliceProfile
from core.settings.scans import TilingSettings
from core.stats import ScanStats

torch = pytest.importorskip("torch")
UNET = {"spatial_dims": 3, "in_channels": 1, "out_channels": 1, "channels": [4, 8, 8], "strides": [2, 2], "num_res_units": 1}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    torch.manual_seed(0)
    folder = str(tmp_path_factory.mktemp("model"))
    save_model(folder, "UNet", UNET, build("UNet", UNET).state_dict(), "# For tests\n", multiple=4)
    return folder


def measured(shape=(17, 14, 6)) -> Measured:
    image = np.random.default_rng(0).gamma(2, 50, shape).astype(np.float32)
    stats = ScanStats(0, float(image.max()), float(np.percentile(image, 99.9)), 100, 50, 5)
    return Measured(image, Grid(shape, np.diag([1, 1, 3, 1.0])), stats, SliceProfile(slice_profile="box", slice_gap=0))


def restored(method, scan, **wanted):
    target = scan.grid.isotropic(1.0)
    tiling = method.tiling(scan.grid, target, TilingSettings(**({"patch": 8, "overlap": 4} | wanted)))
    parts = restore_scan(method, [Source.in_memory(scan)], target, tiling, 8)
    return np.concatenate([arrays[0] for _, arrays in parts], axis=2), target


def swap(monkeypatch, network):
    monkeypatch.setattr(module, "load_network", lambda *_: network)


@pytest.mark.parametrize("shape", [(17, 14, 6), (40, 37, 9), (5, 3, 1), (1, 1, 1)])
def test_an_identity_network_gives_the_cubic_interpolation_of_the_whole_scan(monkeypatch, model, shape):
    swap(monkeypatch, lambda batch: batch)
    scan = measured(shape)
    image, target = restored(AnyNetwork(NetworkSettings(model=model)), scan)
    np.testing.assert_allclose(image, interpolate(scan.image, scan.grid, target, 3), atol=3e-6 * scan.stats.maximum)


def test_the_network_sees_the_scan_in_units_of_its_upper_value(monkeypatch, model):
    seen = []
    swap(monkeypatch, lambda batch: (seen.append(float(batch.max())), batch * 0 + 0.5)[1])
    scan = measured()
    image, _ = restored(AnyNetwork(NetworkSettings(model=model)), scan)
    np.testing.assert_allclose(image, 0.5 * scan.stats.upper, rtol=1e-6)
    assert 0.5 < max(seen) < 2


@pytest.mark.parametrize("offset", [-200.0, -2000.0])
def test_a_scan_that_was_shifted_below_zero_is_restored_as_it_was_before(model, offset):
    """Z-scores, and scans of values below 0 alone: the network is shown what it would have been shown of the magnitudes."""
    scan = measured()
    image, _ = restored(AnyNetwork(NetworkSettings(model=model)), replace(scan, image=scan.image - scan.image.min()))
    moved = replace(scan, image=scan.image - scan.image.min() + np.float32(offset))
    figures = {name: getattr(scan.stats, name) + offset for name in ("minimum", "maximum", "upper")}
    shifted, _ = restored(AnyNetwork(NetworkSettings(model=model)), replace(moved, stats=replace(scan.stats, **figures)))
    np.testing.assert_allclose(shifted - offset, image, atol=1e-5 * max(scan.stats.upper, -offset))


def test_a_residual_network_adds_to_its_input(monkeypatch, model, tmp_path):
    save_model(str(tmp_path), "UNet", UNET, build("UNet", UNET).state_dict(), "", residual=True, multiple=4)
    swap(monkeypatch, lambda batch: batch)
    once, _ = restored(AnyNetwork(NetworkSettings(model=model)), measured())
    twice, _ = restored(AnyNetwork(NetworkSettings(model=str(tmp_path))), measured())
    np.testing.assert_allclose(twice, 2 * once, rtol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.tuples(*[st.integers(1, 30)] * 3), st.integers(8, 20))
def test_patches_suit_the_network_and_their_sources_lie_in_the_scan(model, shape, patch):
    seen = set()
    method = AnyNetwork(NetworkSettings(model=model))
    with pytest.MonkeyPatch.context() as patched:
        swap(patched, lambda batch: (seen.add(tuple(batch.shape[2:])), batch)[1])
        scan = measured(shape)
        image, target = restored(method, scan, patch=patch)
    assert image.shape == target.shape
    assert all(n % 4 == 0 for size in seen for n in size)
    tiling = method.tiling(scan.grid, target, TilingSettings(patch=patch, overlap=4))
    for tile in tiling.tiles():
        box = method.source_box(scan.grid, target, tile)
        assert Box.whole(shape).intersect(box) == box
        assert all(n <= math.ceil(patch / 4) * 4 for n in tile.read.shape)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_network_for_upright_patches_sees_the_slices_along_its_last_axis(monkeypatch, tmp_path, axis):
    save_model(str(tmp_path), "UNet", UNET, build("UNet", UNET).state_dict(), "", slices_last=True, multiple=4)
    seen = []
    swap(monkeypatch, lambda batch: (seen.append(batch.clone()), batch)[1])
    spacing, shape = [1.0, 1.0, 1.0], [13, 11, 10]
    spacing[axis], shape[axis] = 3.0, 5
    image = np.random.default_rng(0).gamma(2, 50, shape).astype(np.float32)
    scan = Measured(image, Grid(tuple(shape), np.diag([*spacing, 1])), measured().stats, SliceProfile())
    target = scan.grid.isotropic(1.0)
    (array,) = AnyNetwork(NetworkSettings(model=str(tmp_path))).restore([scan], target)
    np.testing.assert_allclose(array, interpolate(image, scan.grid, target, 3), rtol=1e-5, atol=1e-3)
    steps = [float(seen[0].diff(dim=dim).abs().mean()) for dim in (2, 3, 4)]
    assert steps[2] < 0.8 * min(steps[:2])


@pytest.mark.parametrize("slices_last", [False, True])
def test_a_halo_gives_the_whole_volume(tmp_path, slices_last):
    network = UNET | {"norm": None, "channels": [4, 8], "strides": [2]}
    state = build("UNet", network).state_dict()
    save_model(str(tmp_path), "UNet", network, state, "", residual=True, multiple=2, slices_last=slices_last)
    method = AnyNetwork(NetworkSettings(model=str(tmp_path)))
    scan = measured((60, 21, 17))
    whole, target = restored(method, scan, patch=96)
    halved, _ = restored(method, scan, patch=40, window="halo")
    assert len(method.tiling(scan.grid, target, TilingSettings(patch=40, window="halo"))) > 3
    np.testing.assert_allclose(halved, whole, atol=2e-6 * scan.stats.maximum)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_halo_is_as_wide_as_the_network_sees_along_each_axis_of_the_scan(tmp_path, axis):
    """A network that sees 1, 2 and 4 voxels far: along which axis of the scan depends on how its slices lie."""
    network = UNET | {"norm": None, "channels": [4, 4], "strides": [1], "kernel_size": [1, 3, 5], "up_kernel_size": [3, 3, 5]}
    save_model(str(tmp_path), "UNet", network, build("UNet", network).state_dict(), "", multiple=1, slices_last=True)
    method = AnyNetwork(NetworkSettings(model=str(tmp_path)))
    spacing, shape = [1.0, 1.0, 1.0], [33, 31, 30]
    spacing[axis], shape[axis] = 3.0, 11
    image = np.random.default_rng(0).gamma(2, 50, shape).astype(np.float32)
    scan = Measured(image, Grid(tuple(shape), np.diag([*spacing, 1])), measured().stats, SliceProfile())
    whole, target = restored(method, scan, patch=96)
    cut, _ = restored(method, scan, patch=20, window="halo")
    assert len(method.tiling(scan.grid, target, TilingSettings(patch=20, window="halo"))) > 3
    np.testing.assert_allclose(cut, whole, atol=2e-6 * scan.stats.maximum)


def test_a_halo_larger_than_the_patch_is_refused_with_what_would_do(tmp_path):
    network = UNET | {"norm": None}
    save_model(str(tmp_path), "UNet", network, build("UNet", network).state_dict(), "", multiple=4)
    method = AnyNetwork(NetworkSettings(model=str(tmp_path)))
    with pytest.raises(GridError, match=r"halo-too-large: .* Make the patch larger"):
        restored(method, measured((60, 21, 17)), patch=8, window="halo")


@pytest.mark.parametrize(("free", "each", "wanted"), [(1000, 100, 8), (50, 100, 1), (10**9, 100, 64)])
def test_a_gpu_is_filled_by_what_one_patch_takes(monkeypatch, free, each, wanted):
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: None)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: 7)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 7)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 7 + each)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free, free))
    seen = []
    assert fitting(lambda part: seen.append(len(part)), torch.zeros(5, 1, 2, 2, 2)) == wanted
    assert seen == [1]


@pytest.mark.slow
def test_a_compiled_network_gives_the_same(model):
    scan = measured()
    plain, _ = restored(AnyNetwork(NetworkSettings(model=model)), scan)
    fast, _ = restored(AnyNetwork(NetworkSettings(model=model, compiled=True)), scan)
    np.testing.assert_allclose(fast, plain, atol=1e-5 * scan.stats.maximum)


def test_memory_that_runs_out_halves_the_batch_and_changes_no_number(model):
    network = build("UNet", UNET)
    batch = torch.linspace(0, 1, 7 * 512).reshape(7, 1, 8, 8, 8)
    sizes = []

    def hungry(part):
        sizes.append(len(part))
        if len(part) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return network(part)

    with torch.no_grad():
        wanted, size = predict(network, batch, 1)
        assert size == 1
        got, size = predict(hungry, batch, 16)
    assert sizes == [7, 3, 1, 1, 1, 1, 1, 1, 1]
    assert size == 1
    assert torch.equal(got, wanted)


def test_what_a_failed_attempt_took_is_given_back_before_the_next(model):
    held: list[weakref.ref] = []

    def hungry(part):
        assert not any(ref() is not None for ref in held)
        taken = torch.zeros(len(part), 10)
        held.append(weakref.ref(taken))
        if len(part) > 1:
            raise MemoryError
        return part

    predict(hungry, torch.zeros(8, 1, 2, 2, 2), 8)
    assert len(held) == 3 + 8


def test_one_patch_that_does_not_fit_fails_with_a_remedy(monkeypatch, model):
    def hungry(batch):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried")

    swap(monkeypatch, hungry)
    wanted = r"out-of-memory: expected memory for one patch \(8, 8, 8\), but got none left, in tile 0 .*smaller patches"
    with pytest.raises(RestorationError, match=wanted):
        restored(AnyNetwork(NetworkSettings(model=model)), measured())


def test_another_fault_of_the_network_is_not_taken_for_memory():
    def broken(batch):
        raise RuntimeError("sizes of tensors must match")

    with pytest.raises(RuntimeError, match="sizes of tensors"):
        predict(broken, torch.zeros(4, 1, 2, 2, 2), 4)


class Overflowing(torch.nn.Module):
    """Doubles its input by a detour beyond the range of float16 (65504) where a patch is bright."""

    def __init__(self):
        super().__init__()
        self.up, self.down = torch.nn.Conv3d(1, 1, 1, bias=False), torch.nn.Conv3d(1, 1, 1, bias=False)
        torch.nn.init.constant_(self.up.weight, 2.0**16 / 1.01)
        torch.nn.init.constant_(self.down.weight, 2.0**-15 * 1.01)

    def forward(self, batch):
        return self.down(self.up(batch))


def test_a_patch_that_overflows_in_half_precision_is_done_again_in_float32(monkeypatch, model):
    network = Overflowing().requires_grad_(requires_grad=False)
    scan = measured()
    dim = Measured(scan.image * np.float32(0.1), scan.grid, scan.stats, scan.forward)
    target = scan.grid.isotropic(1.0)
    swap(monkeypatch, network)
    exact = AnyNetwork(NetworkSettings(model=model))
    half = AnyNetwork(NetworkSettings(model=model, precision="float16"))
    work = [Piece([one], target, Box.whole(target.shape)) for one in (dim, scan)]
    (dim_exact,), (bright_exact,) = exact.restore_many(work)
    (dim_half,), (bright_half,) = half.restore_many(work)
    assert (bright_half == bright_exact).all()  # redone
    assert (dim_half != dim_exact).any()  # left in half precision, which it suits
    np.testing.assert_allclose(dim_half, dim_exact, rtol=0.01, atol=0.01)


def test_a_patch_that_is_not_finite_in_float32_either_fails_by_its_name(monkeypatch, model):
    swap(monkeypatch, lambda batch: batch / 0)
    scan = measured()
    method = AnyNetwork(NetworkSettings(model=model, precision="bfloat16"))
    target = scan.grid.isotropic(1.0)
    tile = list(method.tiling(scan.grid, target, TilingSettings(patch=8, overlap=2)).tiles())[3]
    with pytest.raises(RestorationError, match=r"not-finite: .*got NaN or infinity, in tile 3 \(voxels .*Check the model"):
        list(restore_tiles(method, [Source.in_memory(scan)], target, [tile]))


def test_scans_share_one_load_of_the_weights(tmp_path):
    save_model(str(tmp_path), "UNet", UNET, build("UNet", UNET).state_dict(), "", multiple=4)
    before = load_count()
    for _ in range(3):
        restored(AnyNetwork(NetworkSettings(model=str(tmp_path))), measured())
    assert load_count() - before == 1


def test_bits_do_not_depend_on_the_number_of_threads(model):
    threads = torch.get_num_threads()
    method = AnyNetwork(NetworkSettings(model=model))
    images = []
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            images.append(restored(method, measured((40, 37, 11)), patch=32)[0].tobytes())
    finally:
        torch.set_num_threads(threads)
    assert images[0] == images[1] == images[2]


def test_the_model_is_asked_for_by_name_and_checked(model, tmp_path):
    assert build_method("network", {"batch": 2}, model).settings == NetworkSettings(model=model, batch=2)
    with pytest.raises(UsageError, match="model-missing"):
        build_method("network")
    scan = measured()
    with pytest.raises(WeightsError, match="weights-missing"):
        restored(AnyNetwork(NetworkSettings(model=str(tmp_path / "none"))), scan)


def test_over_flips_a_network_treats_both_sides_alike(model):
    scan = measured((16, 12, 4))
    method = AnyNetwork(NetworkSettings(model=model, flips=8))
    plain = AnyNetwork(NetworkSettings(model=model))
    mirrored = replace(scan, image=np.ascontiguousarray(scan.image[::-1, :, ::-1]))
    (image, _), (other, _), (once, _) = (
        restored(*pair, patch=16) for pair in ((method, scan), (method, mirrored), (plain, scan))
    )
    np.testing.assert_allclose(other[::-1, :, ::-1], image, atol=1e-4 * scan.stats.upper)
    assert np.abs(once - image).max() > 1e-2 * scan.stats.upper


@pytest.mark.parametrize("count", [2, 4, 8])
def test_over_flips_other_tensors_stay_and_the_average_is_over_a_group(count):
    """What is flipped by one of them is restored to the same, flipped."""
    seen = []

    def network(image, level):
        seen.append(image.clone())
        assert level.tolist() == [3.0, 4.0]
        return image + torch.arange(3.0)

    image = torch.rand(2, 1, 2, 2, 3)
    averaged, levels = over_flips(network, FLIPS[count]), torch.tensor([3.0, 4.0])
    torch.testing.assert_close(averaged(image, levels), image + 1)
    assert len({tuple(flipped.flatten().tolist()) for flipped in seen}) == count
    uneven = over_flips(lambda x: x * torch.arange(24.0).reshape(2, 2, 6)[..., :3], FLIPS[count])
    for axes in FLIPS[count]:
        torch.testing.assert_close(uneven(image.flip(axes)), uneven(image).flip(axes))


def test_flips_cost_so_many_times_the_work_and_a_switch_of_before_is_all_of_them(model):
    made = [NetworkSettings(model=model, flips=flips) for flips in (1, 2, 4, 8, False, True)]
    assert [AnyNetwork(each).passes for each in made] == [1, 2, 4, 8, 1, 8]
    with pytest.raises(ValidationError, match="1, 2, 4 or 8"):
        NetworkSettings(model=model, flips=3)
