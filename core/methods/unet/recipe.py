"""How the U-Nets are trained: in least squares, on what the interpolation lacks."""

from __future__ import annotations

from core.methods.unet import presets
from core.networks import build
from core.networks.preset import Preset
from core.training.objectives import Objective, Regression, prepared
from core.training.recipe import Recipe


def _plain(preset: Preset, steps: int) -> Objective:  # noqa: ARG001 - as every recipe
    return Regression(prepared(build(preset.network, preset.config)))


def _residual(preset: Preset, steps: int) -> Objective:  # noqa: ARG001 - as every recipe
    return Regression(build(preset.network, preset.config))


UNET = Recipe(
    "unet-3d",
    "unet-3d",
    {"paper": presets.unet_paper, "small": presets.unet_small, "tiny": presets.unet_tiny},
    _plain,
    residual=True,
    kept=Regression.kept,
)
RESUNET = Recipe(
    "resunet-3d",
    "resunet-3d",
    {"paper": presets.resunet_paper, "small": presets.resunet_small, "tiny": presets.resunet_tiny},
    _residual,
    residual=True,
    kept=Regression.kept,
)
