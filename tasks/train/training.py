"""A training from a cohort in its store, stage by stage, to the model with its card."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from core.errors import UsageError
from core.geometry.grid import Array, Box, Grid
from core.io import files
from core.io.participants import amiss, people
from core.methods import registry
from core.models.domain import write_domain
from core.models.scaling import background
from core.models.tested import evaluated
from core.settings.degradation import Degradation
from core.settings.train import TrainSettings
from core.stats import ScanStats
from tasks.events import Advanced, Tell, nobody
from tasks.tracking.tracker import flat
from tasks.train import pretrained
from tasks.train.card import Learned, card
from tasks.train.domain import domain_of
from tasks.train.intake import Cohort, Place
from tasks.train.noted import read_values, remember
from tasks.train.run_log import Log

if TYPE_CHECKING:
    from torch.utils.data import Dataset

    from core.io.arrays.store import Store
    from core.networks.preset import Preset
    from core.tissues import Tissues
    from core.training.batch import Batch
    from core.training.data.subjects import Subject
    from core.training.events import Event
    from core.training.loop import Progress, Trainer
    from core.training.objectives.base import Objective
    from core.training.recipe import Context, Recipe, Stage


def tissues_on_slices(image: Array, grid: Grid, how: Degradation) -> tuple[Tissues, Tissues, Tissues]:
    """The tissues of a whole scan, by the axis of its slices as bright as they are on them.

    Args:
        image: float32 (x, y, z) on ``grid``.
        grid: of the scan.
        how: by which scans are degraded.
    """
    from core.tissues import Tissues

    tissues, forward = Tissues.fit(image, contrast=how.contrast), how.forward
    x, y, z = (forward.on_slices(tissues, image, grid, axis) for axis in range(3))
    return x, y, z


def subject(place: Place, name: str, key: str, how: Degradation, covariates: Mapping[str, float | str]) -> Subject:
    """A scan of the store to draw patches from, of a person of whom so much is known."""
    from core.training.data.subjects import Subject, occupancy

    path = f"{key}/measured"
    grid, attrs = place.store.grid(path), place.store.attrs(path)
    stats = ScanStats(**attrs["stats"])
    lower = background(stats)
    read = partial(_above, lower, place.store, path)
    tissues = tissues_on_slices(read(), grid, how) if how.forward.needs_tissues else None
    occupied = occupancy(read, grid)
    return Subject(name, key, grid, stats.upper - lower, occupied, tissues, read, covariates, stats.noise_sd)


def _above(lower: float, store: Store, path: str, box: Box | None = None) -> Array:
    """The voxels of a box, or all, over an intensity."""
    image = store.read(path, box)
    return image - np.float32(lower) if lower else image


def check_stages(settings: TrainSettings) -> None:
    """Refuse steps or a learning rate of a stage that the recipe does not have, and patches that its networks cannot take.

    Raises:
        UsageError: stage-unknown, patch-unfit.
    """
    recipe, patch = registry.recipe(settings.recipe), settings.training.patch
    stages = [stage.role for stage in recipe.stages]
    sizes = recipe.networks(settings.preset)
    for multiple in (sizes[role].multiple * sizes[role].across for role in stages):
        if patch and patch % multiple:
            wanted = f"patches with edges of a multiple of {multiple} voxels for {settings.recipe} {settings.preset}"
            raise UsageError("patch-unfit", wanted, str(patch), "choose another --patch, or leave it out")
    for name in settings.training.stages:
        if name not in stages:
            raise registry.unknown("stage-unknown", name, stages, f"choose a stage of {settings.recipe}")


@dataclass(frozen=True)
class Learning:
    """What a process must know to train; it can be sent to another.

    Attributes:
        settings: of the training.
        uri: folder of the training.
        people: keys of the images by the persons' names.
        split: persons by their part.
        tracking_uri: of MLflow.
    """

    settings: TrainSettings
    uri: str
    people: dict[str, list[str]]
    split: dict[str, list[str]]
    tracking_uri: str

    @property
    def name(self) -> str:
        """Of the model."""
        return self.settings.name or self.settings.recipe

    @property
    def recipe(self) -> Recipe:
        """How the networks are trained."""
        return registry.recipe(self.settings.recipe)

    @property
    def presets(self) -> dict[str, Preset]:
        """Sizes of the networks by role; of those that restore what they were trained with alone, the patch that was said."""
        said, sizes = self.settings.training.patch, self.recipe.networks(self.settings.preset)
        if said is None:
            return sizes
        return {role: replace(size, patch=said // size.across) if size.only_as_trained else size for role, size in sizes.items()}

    def label(self, stage: Stage) -> str:
        """What files and figures of a stage are called by: its role; empty where the recipe has one stage."""
        return stage.role if len(self.recipe.stages) > 1 else ""

    @property
    def before(self) -> list[pretrained.Lineage]:
        """The model that the training began with; none of one that began with random weights."""
        return [pretrained.lineage(Place(self.uri).pretrained)] if self.settings.pretrained else []

    def subjects(self, part: str) -> list[Subject]:
        """All images of the persons of a part."""
        place, how = Place(self.uri), self.settings.degradation
        known = {} if amiss(self.settings.cohort) else people(self.settings.cohort)  # what is amiss was told as it began
        return [subject(place, name, key, how, known.get(name, {})) for name in self.split[part] for key in self.people[name]]

    def log(self) -> Log:
        """MLflow's run of this training, known again by where its folder lies, from wherever that was named."""
        key = hashlib.sha256(files.absolute(self.uri).encode()).hexdigest()[:16]
        params = flat(self.settings.model_dump(mode="json", exclude={"out", "tracking_uri", "compute"}))
        return Log(self.tracking_uri, self.name, key, params)


# -- training ---------------------------------------------------------------------------------------------------------------


def context_of(learning: Learning, stage: Stage) -> Context:
    """What a stage can build on: the best networks of the stages before, and a folder that is of these alone."""
    import torch

    from core.training.recipe import Context

    place, stages = Place(learning.uri), list(learning.recipe.stages)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    before = stages[: stages.index(stage)]
    earlier = {done.role: trained(learning, done)[0].network.to(device) for done in before}
    built_on = [files.sha256(place.checkpoint(learning.label(done))) for done in before]
    name = "-".join([stage.role, *(digest[:12] for digest in built_on)])
    return Context(
        learning.presets[stage.role],
        stage.training(learning.settings.training),
        earlier,
        place.made(name),
        place.made("shared"),
        device,
        measured_by(learning, stage),
        learning.presets,
    )


def _measured_file(learning: Learning, stage: Stage) -> str:
    return files.join(Place(learning.uri).made("shared"), f"measured-{stage.role}.json")


def measured_by(learning: Learning, stage: Stage) -> dict[str, float]:
    """What a stage measured of its examples, by name; empty where it measures nothing, or did not when it began."""
    uri = _measured_file(learning, stage)
    return read_values(uri) if stage.measures and files.exists(uri) else {}


def _measure(learning: Learning, stage: Stage, examples: Dataset[Batch]) -> None:
    """Measure the examples of a stage that wants it and has not begun; every process finds the same."""
    begun = files.exists(Place(learning.uri).checkpoint(learning.label(stage)))
    if stage.measures and not begun and not measured_by(learning, stage):
        before = pretrained.said(Place(learning.uri).pretrained, stage) if learning.settings.pretrained else {}
        files.write_json(_measured_file(learning, stage), {**stage.measures(examples), **before})


def trained(learning: Learning, stage: Stage) -> tuple[Objective, Progress]:
    """A stage's objective with the best network of its checkpoint, in evaluation mode, and how far the stage is."""
    from core.training import checkpoint
    from core.training.loop import Progress

    objective = stage.begin(context_of(learning, stage))
    uri = Place(learning.uri).checkpoint(learning.label(stage))
    stored = checkpoint.load(uri, {"best": objective.network}, {})
    objective.eval().requires_grad_(requires_grad=False)
    return objective, Progress.from_json(stored) if stored else Progress()


def trainer_of(learning: Learning, stage: Stage) -> Trainer:
    """A stage's training as far as its checkpoint says it is."""
    import torch

    from core.training.loop import Trainer
    from core.training.recipe import Draw

    forward, context = learning.settings.degradation.forward, context_of(learning, stage)
    how = context.training
    size, length = how.patch or context.preset.block, how.steps * how.batch * how.accumulate

    def drawn(part: str, seed: int, count: int) -> Dataset[Batch]:
        return stage.examples(Draw(part, learning.subjects(part), forward, size, seed, count), context)

    examples = drawn("train", how.seed, length)
    _measure(learning, stage, examples)
    torch.manual_seed(how.seed)
    objective = stage.begin(replace(context, measured=measured_by(learning, stage)))
    if learning.settings.pretrained:
        pretrained.begin(Place(learning.uri).pretrained, stage.role, objective.network)
    return Trainer(
        objective,
        how,
        examples,
        drawn("validation", how.seed + 1, how.validation_pairs),
        Place(learning.uri).checkpoint(learning.label(stage)),
        context.device,
    )


def begin(learning: Learning, before: str | None, cohort: Cohort) -> None:
    """Note what is trained, and keep the model that it begins with; a training that is refused is not noted.

    Args:
        learning: what to train.
        before: folder of the model to begin with; None: there is none.
        cohort: that is trained on.

    Raises:
        UsageError: pretrained-saw, of a model that has seen the persons who validate, or those of the test; other-training.
        WeightsError: weights that are not what its config says.
    """
    place, split = Place(learning.uri), learning.split
    if before:
        pretrained.check_unseen(before, cohort.prints_of([*split["validation"], *split["test"]]))
    remember(place, learning.settings, split, cohort)
    if before:
        pretrained.keep(before, place.pretrained)


def learn(learning: Learning, tell: Tell = nobody) -> None:
    """Train all stages to the end, with curves and pictures in MLflow; the first of several processes writes them.

    Args:
        learning: what to train.
        tell: hears of steps as they are taken.
    """
    minutes, started, log = learning.settings.training.minutes, None, None
    for stage in learning.recipe.stages:
        trainer = trainer_of(learning, stage)
        started = time.monotonic() if started is None else started  # what is prepared first takes none of the minutes
        log = learning.log() if log is None and trainer.rank == 0 else log
        tell(Advanced("steps", trainer.progress.step))
        left = None if minutes is None else minutes - (time.monotonic() - started) / 60
        curve = Place(learning.uri).curve(learning.label(stage))
        trainer.run(partial(_hear, trainer, curve, learning.label(stage), log, tell), left)
        if not trainer.finished:
            break


def _measured(learning: Learning) -> dict[str, dict[str, float]]:
    """By role, of the stages that measured anything."""
    measured = {stage.role: measured_by(learning, stage) for stage in learning.recipe.stages}
    return {role: figures for role, figures in measured.items() if figures}


def _hear(trainer: Trainer, curve: str, label: str, log: Log | None, tell: Tell, event: Event) -> None:
    """Tell bars, file and MLflow of an event."""
    from core.training.events import StepTaken

    if isinstance(event, StepTaken):
        tell(Advanced("steps"))
    elif log is not None:
        files.write_json(curve, trainer.progress.history)
        log.validated(event, label)


# -- the model --------------------------------------------------------------------------------------------------------------


def finished(learning: Learning, cohort: Cohort) -> Learned:
    """Write the model with its card from the checkpoints; none before the first validation of every stage.

    Args:
        learning: what was trained.
        cohort: on what.

    Returns:
        how far the training came: the last stage's, or that of the first without a validation.
    """
    from core.training.recipe import Trained

    objectives, learned = [], []
    for stage in learning.recipe.stages:
        objective, progress = trained(learning, stage)
        objectives.append(objective)
        total = stage.training(learning.settings.training).steps
        words = objective.kept, total, objective.about
        learned.append(Learned(stage.role, progress.step, progress.best_step, progress.kept, *words))
        if not progress.best_step:
            return learned[-1]
    count = sum(parameter.numel() for objective in objectives for parameter in objective.network.parameters())
    text = card(
        learning.settings,
        sum(map(len, cohort.people.values())),
        learning.split,
        learned,
        count,
        degraded=learning.recipe.degrades,
        drawn=learning.recipe.drawn,
        before=learning.before,
    )
    weights = {part.role: objective.network.state_dict() for part, objective in zip(learned, objectives, strict=True)}
    place = Place(learning.uri)
    seen = [key for name in learning.split["train"] for key in cohort.people[name]]
    forward = learning.settings.degradation.forward if learning.recipe.degrades else None
    sizes = {
        stage.role: stage.fitted(learning.presets[stage.role], measured_by(learning, stage)) for stage in learning.recipe.stages
    }
    with evaluated(place.model):
        write_domain(place.model, domain_of(place.store, seen, len(learning.split["train"]), forward, learning.recipe.drawn))
        learning.recipe.write(place.model, Trained(sizes, weights, text, _measured(learning)))
    split = {"people": learning.split, "cohort": files.name_of(learning.settings.cohort)}
    digests = pretrained.learned_from([cohort.prints[key] for key in seen], learning.before)
    files.write_json(place.model_split, split | digests)
    return learned[-1]
