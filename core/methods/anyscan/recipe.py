"""How the network is trained: squared errors over those of the interpolation, and the likelihood of errors for their scale."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from core.methods.anyscan import presets
from core.methods.anyscan.examples import RANGES, scans
from core.methods.anyscan.network import SMALLEST
from core.training.batch import Batch
from core.training.losses import psnr
from core.training.objectives.base import Objective
from core.training.recipe import Context, Recipe, Stage, write_network

SHARE = 0.01  # of the likelihood in the loss; it teaches the last layer of the error alone
FAINT = 1e-5  # squared error, in units of the upper value, of which examples without detail are not made more than they are


class Laplace(Objective):
    """The image in relative squared errors, their scale by the Laplace likelihood -log p = |e| / b + log b (Kendall & Gal 2017).

    Each example counts by what the network makes of it for the better: thick slices and strong contrasts, whose errors are a
    hundred times those of others, would else be all that is learnt (after 800 steps: 0.9 dB over cubic for 0.6).
    """

    def loss(self, module: str, batch: Batch, draw: torch.Generator, step: int) -> Tensor:  # noqa: ARG002
        """Squared errors over those of the corrected interpolation, and a share of the likelihood of the errors as they are."""
        output = self.network(batch.inputs).float()
        error, logarithm = output[:, :1] - batch.truth, output[:, 1:].clamp_min(SMALLEST)
        rough = _mean_square(batch.inputs[:, :1] + batch.inputs[:, 1:2] - batch.truth)
        likelihood = (error.detach().abs() * (-logarithm).exp() + logarithm).mean()
        loss: Tensor = (_mean_square(error) / (rough + FAINT)).mean() + SHARE * likelihood
        return loss

    def restore(self, network: nn.Module, batch: Batch) -> Tensor:
        """The image, without its error."""
        restored: Tensor = network(batch.inputs)[:, :1].float()
        return restored

    def figures(self, held: Batch, restored: Tensor) -> dict[str, Tensor]:
        """PSNR in dB of it, of the interpolation, and of the interpolation with its smooth correction."""
        rough = held.inputs[:, :1]
        repaired = rough + held.inputs[:, 1:2]
        truth = held.truth
        return {"psnr": psnr(restored, truth), "psnr_cubic": psnr(rough, truth), "psnr_repaired": psnr(repaired, truth)}

    def shown(self, held: Batch, restored: Tensor) -> Sequence[Tensor]:
        """As of networks with one channel."""
        return super().shown(Batch(held.inputs[:, :1], held.truth), restored)


def _mean_square(error: Tensor) -> Tensor:
    """Of each example of a batch."""
    return error.square().flatten(1).mean(1)


def _laplace(network: nn.Module, _: Context) -> Objective:
    return Laplace(network)


RECIPE = Recipe(
    "anyscan",
    "anyscan",
    {"large": presets.large, "small": presets.small, "tiny": presets.tiny},
    [Stage(_laplace, examples=scans)],
    partial(write_network, residual=False),
    drawn=RANGES,
)
