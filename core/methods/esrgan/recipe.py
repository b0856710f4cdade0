"""How the generator is trained: in least absolute error first, then with a relativistic discriminator."""

from __future__ import annotations

from core.methods.esrgan import presets
from core.networks import build
from core.networks.preset import Preset
from core.training.objectives import Adversarial, Objective
from core.training.recipe import Recipe


def _adversarial(preset: Preset, steps: int) -> Objective:
    """The generator alone for the first half of the steps."""
    network = build(preset.network, preset.config)
    return Adversarial(network, build("ESRGANDiscriminator", {}), warmup=steps // 2)


ESRGAN = Recipe(
    "esrgan-3d",
    "esrgan-3d",
    {"paper": presets.paper, "small": presets.small, "tiny": presets.tiny},
    _adversarial,
    residual=True,
    kept=Adversarial.kept,
)
