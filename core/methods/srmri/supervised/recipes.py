"""How the supervised networks are trained: on sharp slices and the same reduced by one of five kernels, in absolute error.

The learning rate halves after a half and after three quarters of the steps. SRCNN learns in squared error (its paper); ESRGAN
beside a discriminator for the second half of the steps. Its perceptual term there, features of VGG, is replaced by edges at three
scales (``edges_apart``): those weights learned from photographs, and are not ours. All learn by Adam; SRCNN's authors went down
the plain gradient, by a tenth of the rate in the last layer, which takes far more examples.
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
from core.training.recipe import Context, Draw, Recipe, Stage, Trained

SLOPE = 0.2  # of the discriminator's LeakyReLU
HALVED = (0.5, 0.75)  # of the steps
SCALES, TINY = 3, 1e-8  # of edges; so that the root has a slope where nothing is


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


def edges_apart(first: Tensor, second: Tensor) -> Tensor:
    """Mean absolute difference of gradient sizes (Prewitt) of slices (n, 1, h, w), at whole, half and quarter size."""
    line = torch.tensor([1.0, 0.0, -1.0]).to(first) / 3
    kernels = torch.stack([line.expand(3, 3), line.expand(3, 3).T])[:, None]
    total = first.new_zeros(())
    for _ in range(SCALES):
        sizes = [functional.conv2d(x, kernels).square().sum(1).add(TINY).sqrt() for x in (first, second)]
        total = total + (sizes[0] - sizes[1]).abs().mean() / SCALES
        first, second = functional.avg_pool2d(first, 2), functional.avg_pool2d(second, 2)
    return total


class FinerAdversarial(Adversarial):
    """The same, then beside a relativistic discriminator and edges (see ``Adversarial`` and ``edges_apart``)."""

    about = "Perceptual term: edges at three scales, in place of VGG's features"

    def pace(self, done: float) -> float:
        """See ``halvings``."""
        return halvings(done)

    def perceptual(self, restored: Tensor, truth: Tensor) -> Tensor:
        """Edges."""
        return edges_apart(restored, truth)

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
