"""Sampling in tiles is sampling the whole: the same bits in the voxels that they share."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor

from core.diffusion.samplers import (
    SAMPLERS,
    Langevin,
    ddim,
    predictor_corrector,
    prior,
    stacked,
    ve_ancestral,
    voxel_noise,
)
from core.diffusion.schedules import Cosine, Discrete, Geometric, continuous_times, ddim_times, ve_times
from core.geometry.grid import Box
from core.noise import field_key, normal

KEY = field_key(7, "sub-01_T1w")
WHOLE = Box.whole((23, 19, 29))
TILES = [Box((0, 0, 0), (8, 8, 8)), Box((3, 5, 7), (14, 18, 28)), Box((22, 18, 1), (23, 19, 2))]
VE = Geometric(0.05, 20.0)
corrected = partial(predictor_corrector, corrector=Langevin(repeats=2, measured=False))
RUNS = {
    **{name: (sampler, Cosine(), continuous_times(6)) for name, sampler in SAMPLERS.items() if name != "predictor-corrector"},
    "ddim on a table, eta 0.5": (partial(ddim, eta=0.5), Discrete.scaled_linear(1000, 0.0015, 0.0205), ddim_times(5)),
    "corrector first": (corrected, VE, ve_times(5)),
    "predictor first": (partial(corrected, predictor=ve_ancestral, corrector_first=False, noisy_end=True), VE, ve_times(5)),
}


def denoise(x: Tensor, t: float) -> Tensor:
    """Pointwise, not linear, of the four operations alone."""
    return x * 0.3 * t + (x * x + 1) / (x * x + 3)


def sample(run, noise) -> Tensor:
    sampler, schedule, times = run
    return sampler(denoise, prior(schedule, noise), schedule, times, noise, clamp=partial(torch.clamp, min=-0.72))


@pytest.mark.parametrize("name", RUNS)
def test_the_sample_of_a_tile_is_the_crop_of_the_volumes(name: str) -> None:
    whole = sample(RUNS[name], voxel_noise(WHOLE, KEY, "cpu"))
    assert whole.isfinite().all()
    assert whole.std() > 0.01
    for box in TILES:
        tile = sample(RUNS[name], voxel_noise(box, KEY, "cpu"))
        assert tile.numpy().tobytes() == whole[box.slices].contiguous().numpy().tobytes()


@pytest.mark.parametrize("name", RUNS)
def test_a_batch_of_tiles_is_each_of_them(name: str) -> None:
    boxes = [Box((0, 0, 0), (5, 6, 7)), Box((9, 4, 11), (14, 10, 18))]
    noises = [voxel_noise(box, KEY, "cpu") for box in boxes]
    batch = sample(RUNS[name], stacked(noises))
    assert batch.shape == (2, 1, 5, 6, 7)
    for made, noise in zip(batch, noises, strict=True):
        assert made[0].numpy().tobytes() == sample(RUNS[name], noise).numpy().tobytes()


def test_samples_of_the_same_noise_are_the_same_and_of_another_key_are_not() -> None:
    run = RUNS["ancestral"]
    one, same, other = (sample(run, voxel_noise(WHOLE, key, "cpu")) for key in (KEY, KEY, field_key(8, "sub-01_T1w")))
    assert one.equal(same)
    assert one.isclose(other).float().mean() < 0.01


def test_the_noise_is_that_of_the_voxels() -> None:
    noise = voxel_noise(TILES[1], KEY, "cpu")
    assert noise(3).numpy().tobytes() == normal(TILES[1], KEY, 3).tobytes()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", RUNS)
def test_a_gpu_makes_the_bits_of_the_cpu(name: str) -> None:
    made = [sample(RUNS[name], voxel_noise(TILES[1], KEY, device)).cpu() for device in ("cpu", "cuda")]
    assert made[0].numpy().tobytes() == made[1].numpy().tobytes()
