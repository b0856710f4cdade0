"""What samplers keep of a normal posterior's spread, held against closed forms and against samples."""

from __future__ import annotations

import math

import pytest
import torch

from core.diffusion.samplers import SAMPLERS, ancestral, ddim
from core.diffusion.schedules import Cosine, continuous_times
from core.diffusion.spread import FAITHFUL, POSTERIORS, kept, spread_kept
from core.methods.diffusion_iqt.method import DiffusionIQTSettings

COSINE, TWENTY = Cosine(), continuous_times(20)
TABLE = {  # of standard deviations 1, .25, .1, .05, .03 at 20 steps
    "ancestral": (0.90, 0.80, 0.65, 0.48, 0.36),
    "ddim": (0.94, 0.88, 0.77, 0.68, 0.70),
    "dpm-solver++": (1.01, 1.14, 1.12, 0.96, 0.89),
    "renoise": (0.67, 0.62, 0.55, 0.43, 0.30),
}


@pytest.mark.parametrize("name", TABLE)
def test_each_keeps_what_an_exact_denoiser_lets_it(name) -> None:
    made = [spread_kept(SAMPLERS[name], COSINE, TWENTY, sd) for sd in POSTERIORS]
    assert made == pytest.approx(TABLE[name], abs=0.006)


def test_of_20_steps_one_alone_is_faithful_enough_for_a_map() -> None:
    faithful = {name for name in TABLE if FAITHFUL[0] <= kept(SAMPLERS[name], COSINE, TWENTY)[0]}
    assert faithful == {"dpm-solver++"}
    assert kept(SAMPLERS["dpm-solver++"], COSINE, TWENTY)[1] <= FAITHFUL[1]


def test_the_option_says_what_each_keeps() -> None:
    said = str(DiffusionIQTSettings.model_fields["sampler"].description)
    assert DiffusionIQTSettings.model_fields["steps"].default == len(TWENTY) - 1
    for name in TABLE:
        assert f"'{name}' {kept(SAMPLERS[name], COSINE, TWENTY)[0]:.2f}" in said


def test_many_steps_keep_it_all() -> None:
    assert spread_kept(ddim, COSINE, continuous_times(2000), 0.25) == pytest.approx(1, abs=0.01)


def test_samples_have_that_spread() -> None:
    draw, sd = torch.Generator().manual_seed(0), 0.1
    noises = torch.randn(40, 200_000, generator=draw, dtype=torch.float64)

    def denoise(x: torch.Tensor, t: float) -> torch.Tensor:
        alpha, sigma = COSINE.alpha_sigma(t)
        return x * (alpha * sd**2 / (alpha**2 * sd**2 + sigma**2))

    samples = ancestral(denoise, noises[0], COSINE, TWENTY, lambda number: noises[number])
    assert float(samples.std()) / sd == pytest.approx(spread_kept(ancestral, COSINE, TWENTY, sd), abs=4 / math.sqrt(2 * 200_000))
