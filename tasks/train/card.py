"""The card of a model that was trained."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core import __version__
from core.io import files
from core.settings.train import Training, TrainSettings

CARD = """# {name}

A {settings.recipe} network ({settings.preset}, {parameters:,} parameters), trained by isovox {version}.

## Intended use
Research: brain MRI degraded as by `{degraded.kind}` ({told}), onto isotropic voxels. Not a medical device; not for diagnosis.

## Data
Cohort `{cohort}`: {scans} scans. {licence}

{parts}

## Training
{stages}

## Figures
Validation, {how.validation_pairs} patches: {figures}.

## Limits
Other contrasts, scanners, slice profiles and factors than those above, and pathology that the cohort does not show, were not
seen in training. What the network adds is inferred, not measured: look at the consistency figures.
"""


@dataclass(frozen=True)
class Learned:
    """What a stage came to.

    Attributes:
        role: of its network.
        step: steps taken.
        best_step: of the weights that are kept; 0: none yet.
        figures: of the validation of these weights.
        kept: which weights are kept, in words.
    """

    role: str
    step: int
    best_step: int
    figures: Mapping[str, float]
    kept: str


def card(
    settings: TrainSettings, scans: int, split: Mapping[str, Sequence[str]], learned: Sequence[Learned], weights: int
) -> str:
    """The model card, Markdown.

    Args:
        settings: of the training.
        scans: that were taken in.
        split: persons by their part.
        learned: what the stages came to; the figures are the last one's.
        weights: parameters of all networks.
    """
    forward = settings.degradation.forward
    return CARD.format(
        name=settings.name or settings.recipe,
        settings=settings,
        how=settings.training,
        degraded=forward,
        told=forward.describe(),
        parameters=weights,
        version=__version__,
        cohort=files.name_of(settings.cohort),
        scans=scans,
        licence=_licence(settings.cohort),
        parts="\n".join(f"- {part}: {', '.join(names) or 'none'}" for part, names in split.items()),
        stages="\n".join(_stage(one, settings.training, several=len(learned) > 1) for one in learned),
        figures=told(learned[-1].figures),
    )


def _stage(one: Learned, how: Training, *, several: bool) -> str:
    head = f"- {one.role}: " if several else ""
    batch = how.batch * how.accumulate
    return f"{head}{one.step} steps, batch {batch}, seed {how.seed}; the weights are those of step {one.best_step}:\n{one.kept}."


def told(figures: Mapping[str, float]) -> str:
    """Figures of a validation in words."""
    if "psnr" in figures:
        cubic = f" (cubic interpolation {figures['psnr_cubic']:.2f} dB)" if "psnr_cubic" in figures else ""
        return f"PSNR {figures['psnr']:.2f} dB{cubic}"
    return ", ".join(f"{name} {value:.4g}" for name, value in figures.items() if name not in {"step", "loss"})


def _licence(cohort: str) -> str:
    try:
        told = files.read_json(files.join(cohort, "dataset_description.json"))
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return "The cohort names no licence."
    return f"Licence: {told.get('License', 'not named')}. {told.get('DatasetDOI', '')}".strip()
