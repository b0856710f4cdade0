"""What an objective is: the modules that learn, their losses and optimisers, its figures, and the choice of weights."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from core.training.batch import Batch
from core.training.losses import psnr

EPSILON = 1e-8  # of Adam
VOLUMES = 5  # axes of a batch of volumes
CONTRAST = 2.0  # of errors in pictures


class Objective(nn.Module, ABC):
    """Modules that learn, and their losses.

    Attributes:
        network: the one that will restore; its moving average is validated and kept.
        trained: names of the submodules that learn, in the order in which they take their steps.
        about: what the loss is made of where its class alone does not say it, a sentence without a full stop; empty for most.
        betas: of Adam.
        begins: step from which validations are compared; those before neither end a training nor leave weights behind it.
        kept: which weights of the network are kept, in words.
        keeps_last: whether those of the last validation are kept, rather than those with the highest score.
    """

    trained: ClassVar[tuple[str, ...]] = ("network",)
    kept: ClassVar[str] = "the best by the validation's PSNR"
    keeps_last: ClassVar[bool] = False
    betas: ClassVar[tuple[float, float]] = (0.9, 0.99)
    about: str = ""
    begins: int = 0

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, module: str, batch: Batch, draw: torch.Generator, step: int) -> Tensor:
        """The loss; by this name processes that train together are told when gradients are due."""
        return self.loss(module, batch, draw, step)

    def learning(self, step: int) -> tuple[str, ...]:  # noqa: ARG002 - all of them, all the time
        """The trained modules that take a step at step ``step``."""
        return self.trained

    def optimizer(self, module: str, learning_rate: float) -> Optimizer:
        """The optimiser of a trained module; its state must be tensors, which go into the checkpoint."""
        return Adam(getattr(self, module).parameters(), learning_rate, self.betas, EPSILON)

    def pace(self, done: float) -> float:
        """Share of the learning rate after a share of the steps, from 0 to 1: half a cosine, from 1 down to a hundredth."""
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done))

    @abstractmethod
    def loss(self, module: str, batch: Batch, draw: torch.Generator, step: int) -> Tensor:
        """A trained module's loss, a scalar.

        Args:
            module: one of ``trained``.
            batch: to learn from.
            draw: for what is random; on the CPU, so that every device draws alike.
            step: number of the step, from 0.
        """

    @abstractmethod
    def restore(self, network: nn.Module, batch: Batch) -> Tensor:
        """What a network (the trained one or its average) makes of inputs and conditions; the truth is not looked at."""

    def figures(self, held: Batch, restored: Tensor) -> dict[str, Tensor]:
        """Figures of what was restored, each (n,), told beside loss and score; PSNR in dB of it and of its input."""
        return {"psnr": psnr(restored, held.truth), "psnr_cubic": psnr(held.inputs, held.truth)}

    def shown(self, held: Batch, restored: Tensor) -> Sequence[Tensor]:
        """Volumes (n, 1, x, y, z) that are drawn side by side: input, restored, truth and both errors; none of other shapes."""
        truth = held.truth
        if not restored.shape == truth.shape == held.inputs.shape or restored.ndim != VOLUMES:
            return ()
        errors = [0.5 + CONTRAST * (image - truth) for image in (held.inputs, restored)]
        return held.inputs, restored, truth, *errors

    def score(self, network: nn.Module, batch: Batch, restored: Tensor) -> Tensor:  # noqa: ARG002
        """What weights are chosen by: PSNR of each example in dB, (n,); the higher, the better.

        Args:
            network: of the weights.
            batch: held-out examples.
            restored: what ``restore`` made of them.
        """
        return psnr(restored, batch.truth)
