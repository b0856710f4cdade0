"""Adversarial training (Wang et al. 2018): absolute error first, then beside a relativistic average discriminator."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from core.training.batch import Batch
from core.training.losses import relativistic_discriminator_loss, relativistic_generator_loss
from core.training.objectives.regression import Regression

WEIGHT = 5e-3  # a hundredth of Wang et al. 2018, who have 5e-3 beside an absolute error of 1e-2, and a perceptual part of 1


class Adversarial(Regression):
    """A generator that adds to its input, and a discriminator that learns beside it.

    Args:
        network: the generator.
        discriminator: gives (n, …) logits of patches (n, 1, p, p, p).
        warmup: steps of the generator alone.
        weight: of the adversarial part beside the absolute error.
        content: of the absolute error itself there; alone it weighs 1.

    The last weights are kept: textures cost PSNR (Blau and Michaeli 2018), by which those before the discriminator would be best.
    """

    kept: ClassVar[str] = "the last, for the textures that a discriminator teaches cost PSNR"
    keeps_last: ClassVar[bool] = True
    trained: ClassVar[tuple[str, ...]] = ("network", "discriminator")

    def __init__(
        self, network: nn.Module, discriminator: nn.Module, warmup: int, weight: float = WEIGHT, content: float = 1.0
    ) -> None:
        super().__init__(network)
        self.discriminator, self.warmup, self.weight, self.content = discriminator, warmup, weight, content

    def learning(self, step: int) -> tuple[str, ...]:
        """The generator alone, then both."""
        return self.trained if step >= self.warmup else self.trained[:1]

    def perceptual(self, restored: Tensor, truth: Tensor) -> Tensor:  # noqa: ARG002 - none, unless a subclass has one
        """A part of the generator's loss beside the discriminator, a scalar."""
        return restored.new_zeros(())

    def loss(self, module: str, batch: Batch, draw: torch.Generator, step: int) -> Tensor:  # noqa: ARG002
        """Absolute and adversarial loss of the generator; relativistic loss of the discriminator."""
        if module == "network":
            restored = self.restore(self.network, batch)
            content = nn.functional.l1_loss(restored, batch.truth)
            if step < self.warmup:
                return content
            real, fake = self.discriminator(batch.truth).detach(), self.discriminator(restored)
            content = self.content * content + self.perceptual(restored, batch.truth)
            return content + self.weight * relativistic_generator_loss(real, fake)
        with torch.no_grad():
            restored = self.restore(self.network, batch)
        return relativistic_discriminator_loss(self.discriminator(batch.truth), self.discriminator(restored))
