"""How DiffusionIQT is trained: it tells the truth from the truth under noise; the rows of the paper's table 2."""

from __future__ import annotations

from core.methods.diffusion_iqt.presets import sizes
from core.networks import build
from core.networks.preset import Preset
from core.training.objectives import Diffusion, Objective
from core.training.recipe import Recipe


def _diffusion(preset: Preset, steps: int) -> Objective:  # noqa: ARG001 - as every recipe
    return Diffusion(build(preset.network, preset.config))


def _row(name: str, *, deep_feature: bool, cross_batch: bool) -> Recipe:
    presets = sizes(deep_feature=deep_feature, cross_batch=cross_batch)
    return Recipe(name, "diffusion-iqt", presets, _diffusion, residual=False, kept=Diffusion.kept)


FULL = _row("diffusion-iqt", deep_feature=True, cross_batch=True)
DEEP = _row("diffusion-iqt-deep", deep_feature=True, cross_batch=False)
BASE = _row("diffusion-iqt-base", deep_feature=False, cross_batch=False)
