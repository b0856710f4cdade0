"""How the generator is trained: in least absolute error first, then with a relativistic discriminator.

The adversarial part of "esrgan-3d" is small beside the absolute error. "esrgan-3d-ratio" weighs it as Wang et al. 2018 do, 5e-3
beside 1e-2; their perceptual part, of VGG's weights, neither has.
"""

from __future__ import annotations

from functools import partial

from torch import nn

from core.methods.esrgan import presets
from core.networks import build
from core.training.objectives.adversarial import WEIGHT, Adversarial
from core.training.objectives.base import Objective
from core.training.recipe import Context, Recipe, Stage, write_network

PUBLISHED = 5e-3 / 1e-2  # adversarial part over absolute error


def _adversarial(network: nn.Module, context: Context, weight: float) -> Objective:
    """The generator alone for the first half of the steps."""
    return Adversarial(network, build("ESRGANDiscriminator", {}), context.training.steps // 2, weight)


def _recipe(name: str, weight: float) -> Recipe:
    sizes = {"paper": presets.paper, "small": presets.small, "tiny": presets.tiny}
    stages = [Stage(partial(_adversarial, weight=weight))]
    return Recipe(name, "esrgan-3d", sizes, stages, partial(write_network, residual=True))


ESRGAN = _recipe("esrgan-3d", WEIGHT)
RATIO = _recipe("esrgan-3d-ratio", PUBLISHED)
