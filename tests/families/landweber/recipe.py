"""How the prior is trained: the features first, then the correction on features that no longer learn."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from core.models.bundle import Filled, save_bundle
from core.training.batch import Batch
from core.training.objectives.base import Objective
from core.training.recipe import Context, Recipe, Stage, Trained
from landweber.presets import tiny


class Correcting(Objective):
    """Squared error of the inputs plus what the network adds.

    Args:
        network: that learns.
        correct: what it adds to inputs, of the network and the inputs.
    """

    def __init__(self, network: nn.Module, correct: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__(network)
        self.correct = correct

    def loss(self, module: str, batch: Batch, draw: torch.Generator, step: int) -> Tensor:  # noqa: ARG002 - draws nothing
        """Mean squared error."""
        return nn.functional.mse_loss(self.restore(self.network, batch), batch.truth)

    def restore(self, network: nn.Module, batch: Batch) -> Tensor:
        """The inputs, corrected."""
        return batch.inputs + self.correct(network, batch.inputs)


def _features(network: nn.Module, _: Context) -> Objective:
    return Correcting(network, lambda network, image: network(image).mean(1, keepdim=True))


def _correction(network: nn.Module, context: Context) -> Objective:
    features = context.earlier["features"]
    return Correcting(network, lambda network, image: network(features(image)))


def write(folder: str, trained: Trained) -> None:
    """Write the model of two parts."""
    parts = {role: Filled(preset.network, preset.config, trained.weights[role]) for role, preset in trained.presets.items()}
    save_bundle(folder, parts, trained.card)


LANDWEBER = Recipe(
    "landweber",
    "landweber",
    {"tiny": tiny},
    [Stage(_features, role="features"), Stage(_correction, role="correction")],
    write,
)
