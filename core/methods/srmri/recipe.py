"""How a score model is trained: on sharp slices alone, whatever a scan shows of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn
from torch.utils.data import Dataset

from core.diffusion.schedules import Geometric
from core.methods.srmri.examples import Slices
from core.methods.srmri.objectives import ScoreMatching
from core.methods.srmri.presets import SCORE, SIZES, facts_of
from core.models.bundle import Filled, save_bundle
from core.networks.preset import Preset
from core.training.batch import Batch
from core.training.objectives.base import Objective
from core.training.recipe import Context, Draw, Recipe, Stage, Trained

CORONAL = 1


def _by_role(preset: Callable[[], Preset]) -> dict[str, Preset]:
    return {SCORE: preset()}


def _matching(network: nn.Module, context: Context) -> Objective:
    schedule = facts_of(context.preset)["schedule"]
    return ScoreMatching(network, Geometric(schedule["first"], schedule["last"]))


def slices(draw: Draw, context: Context) -> Dataset[Batch]:
    """Sharp slices: of all three planes where the network is told which, else coronal ones."""
    config = context.preset.config
    axes = (0, 1, 2) if config.get("planes") else (CORONAL,)
    return Slices(draw, config.get("neighbours", 0), axes)


def write(folder: str, trained: Trained) -> None:
    """Write the score model."""
    (preset,), (weights,) = trained.presets.values(), trained.weights.values()
    save_bundle(folder, {SCORE: Filled(preset.network, preset.config, weights)}, trained.card, **facts_of(preset))


SCORE_MODEL = Recipe(
    "score-slices",
    "srmri",
    {size: partial(_by_role, preset) for size, preset in SIZES.items()},
    [Stage(_matching, SCORE, slices)],
    write,
    degrades=False,
)
