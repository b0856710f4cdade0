"""The card of a model that was trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core import __version__
from core.io import files
from core.io.derivatives import described_by
from core.models.card import Card, Figure, TrainingData
from core.models.check import versions
from core.settings.train import Training, TrainSettings

if TYPE_CHECKING:
    from core.training.data.drawn_slices import SliceRanges
    from tasks.train.pretrained import Lineage

LIMITS = """Other contrasts, scanners, slice profiles and factors than those above, and pathology that the cohort does not show,
were not seen in training. What the network adds is inferred, not measured: look at the consistency figures."""


@dataclass(frozen=True)
class Learned:
    """What a stage came to.

    Attributes:
        role: of its network.
        step: steps taken.
        best_step: of the weights that are kept; 0: none yet.
        figures: of the validation of these weights.
        kept: which weights are kept, in words.
        total: steps that it takes at most.
        about: what its loss is made of, where its objective says so; else empty.
    """

    role: str
    step: int
    best_step: int
    figures: Mapping[str, float]
    kept: str
    total: int
    about: str = ""


def card(
    settings: TrainSettings,
    scans: int,
    split: Mapping[str, Sequence[str]],
    learned: Sequence[Learned],
    weights: int,
    *,
    degraded: bool = True,
    drawn: SliceRanges | None = None,
    before: Sequence[Lineage] = (),
) -> Card:
    """The model card.

    Args:
        settings: of the training.
        scans: that were taken in.
        split: persons by their part.
        learned: what the stages came to, each with its figures.
        weights: parameters of all networks.
        degraded: whether a forward model took part; else the networks learned what images are like.
        drawn: slices that examples drew for themselves, where the recipe does not ask the settings for them.
        before: the model that it began with; none: random weights.
    """
    forward, size = settings.degradation.forward, f"{settings.preset}, {weights:,} parameters"
    how = f"`{forward.kind}` ({forward.describe()})" if drawn is None else drawn.describe()
    of = f"brain MRI degraded as by {how}, onto isotropic voxels"
    purpose = f"Research: {of if degraded else 'what images like those below can be, for methods that search them'}."
    licence, source = _licence(settings.cohort)
    persons = {part: tuple(names) for part, names in split.items()}
    stages = [_stage(stage, settings.training, several=len(learned) > 1) for stage in learned]
    data = TrainingData(name=files.name_of(settings.cohort), licence=licence, source=source, scans=scans, persons=persons)
    return Card(
        title=settings.name or settings.recipe,
        summary=f"A {settings.recipe} network ({size}), trained by isovox {__version__}.",
        purpose=f"{purpose} Not a medical device; not for diagnosis.",
        data=(data, *(each for model in before for each in model.data)),
        training="\n".join([*stages, *(f"\n{model.describe()}" for model in before)]),
        figures=tuple(figure for stage in learned for figure in _figures(stage, settings, several=len(learned) > 1)),
        limits=LIMITS,
        versions=versions(),
    )


def _figures(stage: Learned, settings: TrainSettings, *, several: bool) -> Iterator[Figure]:
    """Figures of a stage's validation, which of several names it; of PSNR that of cubic interpolation beside it."""
    of, figures = f" of the {stage.role} alone" if several else "", stage.figures
    on = f"validation{of}, {settings.training.validation_pairs} patches"
    if "psnr" in figures:
        if "psnr_cubic" in figures:
            yield Figure(on=on, method="cubic", metric="PSNR dB", value=figures["psnr_cubic"])
        yield Figure(on=on, method=settings.recipe, metric="PSNR dB", value=figures["psnr"])
        return
    for name, value in figures.items():
        if name not in {"step", "loss"}:
            yield Figure(on=on, method=settings.recipe, metric=name, value=value)


def _stage(stage: Learned, how: Training, *, several: bool) -> str:
    head = f"- {stage.role}: " if several else ""
    batch = how.batch * how.accumulate
    steps = f"{stage.step} steps, batch {batch}, seed {how.seed}"
    about = f" {stage.about}." if stage.about else ""
    return f"{head}{steps}; the weights are those of step {stage.best_step}:\n{stage.kept}.{about}"


def _licence(cohort: str) -> tuple[str, str]:
    """Licence and DOI that a dataset names; empty where it names none."""
    description = described_by(cohort)
    return str(description.get("License", "")), str(description.get("DatasetDOI", ""))
