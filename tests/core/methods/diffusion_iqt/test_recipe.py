"""Z-scores: the network's units, what it learns in them, and that neither figures nor results are in them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from core.geometry.grid import Array, Box, Grid
from core.methods.diffusion_iqt import recipe as module
from core.methods.diffusion_iqt.recipe import MEAN, SCHEDULE, SD, UNITS, ZScores, z_scores
from core.models.scaling import Scaling
from core.operators.forward_model import SliceProfile
from core.stats import ScanStats
from core.training.batch import Batch
from core.training.data.pairs import Pairs
from core.training.data.subjects import Subject, occupancy


class Knows(nn.Module):
    """Gives the same volumes whatever it is shown."""

    def __init__(self, volumes: torch.Tensor) -> None:
        super().__init__()
        self.volumes = volumes

    def forward(self, x: torch.Tensor, scan: torch.Tensor, log_snr: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        return self.volumes


def scored(batch: Batch) -> Batch:
    return ZScores(nn.Identity()).scored(batch)


@pytest.fixture
def batch() -> Batch:
    truth = torch.rand((2, 1, 6, 6, 6), generator=torch.Generator().manual_seed(0))
    return Batch(truth * 0.5, truth)


def test_a_model_scales_scans_as_its_examples_were() -> None:
    image = np.linspace(0, 1200, 24, dtype=np.float32).reshape(2, 3, 4)
    scaled = UNITS.apply(image, ScanStats(0, 1200, 1000, 400, 300, 5))
    np.testing.assert_allclose(scaled, (image / 1000 - MEAN) / SD, atol=1e-5)


def test_who_knows_the_truth_has_no_loss_and_gives_it_back(batch) -> None:
    objective = ZScores(Knows(scored(batch).truth))
    assert float(objective.loss("network", batch, torch.Generator().manual_seed(1), 0)) == 0
    left = SCHEDULE.alpha_sigma(0.0)[1] * SD
    assert float((objective.restore(objective.network, batch) - batch.truth).abs().max()) < 5 * left


def test_the_score_is_a_psnr_in_the_examples_units(batch) -> None:
    objective = ZScores(Knows(scored(Batch(batch.inputs, batch.truth + 0.1)).truth))
    torch.testing.assert_close(objective.score(objective.network, batch, batch.truth), torch.full((2,), 20.0), atol=1e-3, rtol=0)


def test_nothing_darker_than_the_background_is_told(batch) -> None:
    objective = ZScores(Knows(torch.full((2, 1, 6, 6, 6), -9.0)))
    assert float(objective.restore(objective.network, batch).abs().max()) < 5 * SCHEDULE.alpha_sigma(0.0)[1] * SD
    wanted = (scored(batch).truth - UNITS.low).square().mean()
    torch.testing.assert_close(objective.loss("network", batch, torch.Generator(), 0), wanted)


def test_noise_is_as_strong_as_brains_are() -> None:
    """Of z-scores: mean 0 and standard deviation 1 where the examples have the cohort's."""
    image = MEAN + SD * torch.randn((1, 1, 40, 40, 40), generator=torch.Generator().manual_seed(2))
    z = scored(Batch(image, image)).truth
    assert (float(z.mean()), float(z.std())) == (pytest.approx(0, abs=0.02), pytest.approx(1, abs=0.02))
    assert module.FULL.networks("tiny")


def test_units_are_those_of_the_trainings_own_examples() -> None:
    """Mean 0 and standard deviation 1 of what is learned from, and a scan is scaled by the bundle as its examples were."""
    draw = torch.Generator().manual_seed(3)
    truths = [0.5 + 0.1 * torch.randn((1, 8, 8, 8), generator=draw) for _ in range(70)]
    units = Scaling(**z_scores([Batch(truth * 0, truth) for truth in truths]))
    z = ZScores(nn.Identity(), units).scored(Batch(torch.stack(truths), torch.stack(truths))).truth
    assert (float(z.mean()), float(z.std())) == (pytest.approx(0, abs=0.02), pytest.approx(1, abs=0.02))
    image = np.linspace(0, 1200, 24, dtype=np.float32).reshape(2, 3, 4)
    scaled = units.apply(image, ScanStats(0, 1200, 1000, 400, 300, 5))
    np.testing.assert_allclose(scaled, (image / 1000 - 0.5) / 0.1, rtol=0.05, atol=0.05)
    assert (module.FULL.stages[0].measures, UNITS.low) == (z_scores, -MEAN / SD)


def test_the_first_examples_stand_for_all():
    """Each example is drawn from all persons anew: the first 64 are no person's own, and others have the same units."""
    grid, draw = Grid((24, 24, 24), np.eye(4)), np.random.default_rng(6)

    def person(number: int) -> Subject:
        image = np.asarray((40 + 5 * number) * (draw.random(grid.shape) > 0.4), np.float32)

        def read(box: Box) -> Array:
            return image[box.slices]

        return Subject(str(number), str(number), grid, 100.0, occupancy(read, grid), None, read)

    pairs = Pairs([person(number) for number in range(12)], SliceProfile(factor=4), 8, 0, 128)
    ours, others = Scaling(**z_scores(pairs)), Scaling(**z_scores([pairs[n] for n in range(64, 128)]))
    alone = Scaling(**z_scores(Pairs(pairs.subjects[:1], pairs.how, 8, 0, 64)))
    width = ours.high - ours.low
    assert others.high - others.low == pytest.approx(width, rel=0.05)
    assert others.low / (others.high - others.low) == pytest.approx(ours.low / width, abs=0.02)
    assert abs((alone.high - alone.low) / width - 1) > 0.2
