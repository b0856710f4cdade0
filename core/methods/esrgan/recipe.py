"""How the generator is trained: in least absolute error first, then with a relativistic discriminator."""

from __future__ import annotations

from functools import partial

from torch import nn

from core.methods.esrgan import presets
from core.networks import build
from core.training.objectives.adversarial import Adversarial
from core.training.objectives.base import Objective
from core.training.recipe import Context, Recipe, Stage, write_network


def _adversarial(network: nn.Module, context: Context) -> Objective:
    """The generator alone for the first half of the steps."""
    return Adversarial(network, build("ESRGANDiscriminator", {}), warmup=context.training.steps // 2)


ESRGAN = Recipe(
    "esrgan-3d",
    "esrgan-3d",
    {"paper": presets.paper, "small": presets.small, "tiny": presets.tiny},
    [Stage(_adversarial)],
    partial(write_network, residual=True),
)
