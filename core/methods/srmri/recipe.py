"""How a score model is trained: on sharp slices alone, whatever a scan shows of them.

The largest noise is as strong as the training's slices are far from each other (Song & Ermon 2020, technique 1), and EDM's
scalings are for values as large as theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
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
LOOKED_AT = 256  # slices, between which distances are taken
MOST, LEAST_MOST = "largest_distance", 1.0  # of slices that are all alike
STRENGTH, LEAST_STRENGTH = "sigma_data", 0.05  # the network's argument; of slices that are black


def _by_role(preset: Callable[[], Preset]) -> dict[str, Preset]:
    return {SCORE: preset()}


def measured(examples: Dataset[Batch]) -> dict[str, float]:
    """The largest distance between two slices that are learned from (root of the sum of squares), and their root mean square.

    Args:
        examples: whose first are looked at; of slices with neighbours, the middle ones.
    """
    slices = [examples[n].truth for n in range(min(LOOKED_AT, len(examples)))]  # type: ignore[arg-type]
    pixels = torch.stack([each[len(each) // 2].flatten() for each in slices]).double()
    apart = float(torch.cdist(pixels, pixels, compute_mode="donot_use_mm_for_euclid_dist").max())
    return {MOST: max(LEAST_MOST, apart), STRENGTH: max(LEAST_STRENGTH, float(pixels.square().mean().sqrt()))}


def _matching(network: nn.Module, context: Context) -> Objective:
    schedule = facts_of(context.preset, context.measured.get(MOST))["schedule"]
    return ScoreMatching(network, Geometric(schedule["first"], schedule["last"]))


def slices(draw: Draw, context: Context) -> Dataset[Batch]:
    """Sharp slices: of all three planes where the network is told which, else coronal ones."""
    config = context.preset.config
    axes = (0, 1, 2) if config.get("planes") else (CORONAL,)
    return Slices(draw, config.get("neighbours", 0), axes)


def write(folder: str, trained: Trained) -> None:
    """Write the score model."""
    (preset,), (weights,) = trained.presets.values(), trained.weights.values()
    facts = facts_of(preset, trained.measured.get(SCORE, {}).get(MOST))
    save_bundle(folder, {SCORE: Filled(preset.network, preset.config, weights)}, trained.card, **facts)


SCORE_MODEL = Recipe(
    "score-slices",
    "srmri",
    {size: partial(_by_role, preset) for size, preset in SIZES.items()},
    [Stage(_matching, SCORE, slices, measures=measured, arguments=(STRENGTH,))],
    write,
    degrades=False,
)
