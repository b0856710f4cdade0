"""Least squares: the network adds to its input what the truth has beyond it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from core.training.batch import Batch
from core.training.objectives.base import Objective


class Regression(Objective):
    """The truth less its interpolation, in least squares."""

    def loss(self, module: str, batch: Batch, draw: torch.Generator, step: int) -> Tensor:  # noqa: ARG002
        """Mean squared error."""
        return nn.functional.mse_loss(self.restore(self.network, batch), batch.truth)

    def restore(self, network: nn.Module, batch: Batch) -> Tensor:
        """Input plus what the network adds."""
        restored: Tensor = batch.inputs + network(batch.inputs).float()
        return restored
