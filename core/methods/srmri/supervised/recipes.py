"""How the supervised networks are trained: on sharp slices and the same reduced by one of five kernels, in absolute error.

The learning rate halves after a half and after three quarters of the steps. SRCNN learns in squared error (its paper); ESRGAN
beside a discriminator for the second half of the steps, with LPIPS in the place of its own features of VGG, or gradients where
VGG's weights cannot be had; the card says which. All learn by Adam; SRCNN's authors went down the plain gradient, by a tenth of
the rate in the last layer, which takes far more examples.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from core.methods.srmri.examples import Reduced
from core.methods.srmri.supervised.presets import NETWORKS, sizes, takes
from core.models.bundle import save_model
from core.training.batch import Batch
from core.training.losses import psnr
from core.training.objectives.adversarial import Adversarial
from core.training.objectives.base import Objective
from core.training.objectives.perceptual import perceptual
from core.training.recipe import Context, Draw, Recipe, Stage, Trained

SLOPE = 0.2  # of the discriminator's LeakyReLU
HALVED = (0.5, 0.75)  # of the steps
CONTENT, ADVERSARIAL = 1e-2, 5e-3  # beside a perceptual term of 1


def _interpolated(batch: Batch) -> Tensor:
    return functional.interpolate(batch.inputs, batch.truth.shape[-2:], mode="bicubic")


def halvings(done: float) -> float:
    """Share of the learning rate after a share of the steps."""
    return 0.5 ** sum(done >= place for place in HALVED)


class Finer(Objective):
    """The sharp slice of a reduced one.

    Args:
        network: that learns.
        squared: whether the error is squared, else absolute.
    """

    def __init__(self, network: nn.Module, *, squared: bool = False) -> None:
        super().__init__(network)
        self.error = functional.mse_loss if squared else functional.l1_loss

    def pace(self, done: float) -> float:
        """See ``halvings``."""
        return halvings(done)

    def loss(self, module: str, batch: Batch, draw: torch.Generator, step: int) -> Tensor:  # noqa: ARG002
        """Mean error."""
        return self.error(self.restore(self.network, batch), batch.truth)

    def restore(self, network: nn.Module, batch: Batch) -> Tensor:
        """The finer slices."""
        restored: Tensor = network(batch.inputs)
        return restored.float()

    def figures(self, held: Batch, restored: Tensor) -> dict[str, Tensor]:
        """PSNR in dB of them, and of the interpolated slices."""
        return {"psnr": psnr(restored, held.truth), "psnr_cubic": psnr(_interpolated(held), held.truth)}


class FinerAdversarial(Adversarial):
    """The same, then a perceptual term beside a relativistic discriminator, weighed as published (Wang et al. 2018, eq. 3)."""

    def __init__(self, network: nn.Module, discriminator: nn.Module, warmup: int) -> None:
        super().__init__(network, discriminator, warmup, ADVERSARIAL, CONTENT)
        name, self._distance = perceptual()
        self.about = f"Perceptual term: {name}; it weighs 1 beside {CONTENT} absolute and {ADVERSARIAL} adversarial"

    def pace(self, done: float) -> float:
        """See ``halvings``."""
        return halvings(done)

    def perceptual(self, restored: Tensor, truth: Tensor) -> Tensor:
        """The perceptual distance of slices in 0..1, the 99.9th percentile."""
        return self._distance(restored * 2 - 1, truth * 2 - 1)

    def restore(self, network: nn.Module, batch: Batch) -> Tensor:
        """The finer slices."""
        restored: Tensor = network(batch.inputs)
        return restored.float()

    def figures(self, held: Batch, restored: Tensor) -> dict[str, Tensor]:
        """As of ``Finer``."""
        return {"psnr": psnr(restored, held.truth), "psnr_cubic": psnr(_interpolated(held), held.truth)}

    def shown(self, held: Batch, restored: Tensor) -> Sequence[Tensor]:  # noqa: ARG002 - slices are not drawn
        """None."""
        return ()


def discriminator(width: int = 32) -> nn.Sequential:
    """A logit a region, for slices of any size: three halvings, normalised by groups."""
    steps: list[nn.Module] = [nn.Conv2d(1, width, 3, padding=1), nn.LeakyReLU(SLOPE)]
    for channels in (width, 2 * width, 4 * width):
        steps += [nn.Conv2d(channels, 2 * channels, 4, stride=2, padding=1), nn.GroupNorm(8, 2 * channels), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*steps, nn.Conv2d(8 * width, 1, 3, padding=1))


def _absolute(network: nn.Module, _: Context) -> Objective:
    return Finer(network)


def _squared(network: nn.Module, _: Context) -> Objective:
    return Finer(network, squared=True)


def _adversarial(network: nn.Module, context: Context) -> Objective:
    return FinerAdversarial(network, discriminator(), warmup=context.training.steps // 2)


def pairs_of_slices(draw: Draw, context: Context) -> Dataset[Batch]:
    """Reduced and sharp slices."""
    return Reduced(draw, int(context.preset.config["scale"]))


def write(folder: str, trained: Trained) -> None:
    """Write the network; its sides are those of reduced slices."""
    (preset,), (weights,) = trained.presets.values(), trained.weights.values()
    save_model(folder, preset.network, preset.config, weights, trained.card, multiple=takes(preset))


OBJECTIVES = {"srcnn": _squared, "esrgan-2d": _adversarial}


def _recipe(method: str) -> Recipe:
    stage = Stage(OBJECTIVES.get(method, _absolute), examples=pairs_of_slices)
    return Recipe(method, method, sizes(method), [stage], write, degrades=False)


SRCNN, DDBPN, CARN, SWINIR, RCAN, ESRGAN = (_recipe(method) for method in NETWORKS)
