"""Training a method's network on a cohort."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from prefect import flow

from core.io import claim, participants
from core.io.lock import cohort_lock
from core.io.output import Output
from core.methods.registry import recipe
from core.settings.train import TrainSettings
from flows.registry import bring_own, registry
from flows.runs.address import tell_addresses
from flows.runs.beside import counted_beside
from flows.runs.group import with_group
from flows.runs.home import home, tracking_uri, training_folder
from flows.runs.names import flow_run_name
from flows.runs.progress import bars, note, waiting
from flows.weights import resolve_model
from infra.dispatch import run_bounded
from infra.processes.ranks import gpu_count, run_ranks
from tasks.registry.models import Models
from tasks.train import degrading, intake, pretrained, training
from tasks.train.domain import thick

if TYPE_CHECKING:
    from tasks.train.intake import Cohort
    from tasks.train.run_log import Log
    from tasks.train.training import Learning


@dataclass(frozen=True)
class Outcome:
    """What came of a training.

    Attributes:
        text: in a line.
        failed: why, by key of each scan that could not be taken.
    """

    text: str
    failed: Mapping[str, str]


@flow(name="train", flow_run_name=flow_run_name, validate_parameters=True)
def train_network(settings: TrainSettings) -> Outcome:
    """Train, or go on with a training that was stopped; at its end the model is in the registry.

    It is a challenger there, or champion where its name has none yet.

    Args:
        settings: what to train, on what, and how.

    Returns:
        what came of it, and the scans that could not be taken.

    Raises:
        UsageError: a degradation that the recipe ignores, no scans, a split that shares persons or scans, a folder of another
            training, or a model to begin with that is not there, does not fit or has seen who validates or who is of the test.
        RestorationError: the loss is no longer finite.
        ClusterError: the cluster cannot be had.
    """
    settings = with_group(settings)
    training.check_stages(settings)
    degrading.check_asked(settings, defaults=False)
    place = intake.Place(training_folder(settings))
    claim.check(place.uri, [settings.cohort], "train")
    with cohort_lock(Output(place.uri).lock):
        claim.begin(place.uri, "train")
        before = _pretrained(settings, place)
        if amiss := participants.amiss(settings.cohort):
            note(amiss)
        cohort = _ingest(place, settings)
        split = intake.divided(cohort, settings)
        if rough := thick(place.store, [key for name in split["train"] for key in cohort.people[name]]):
            note(rough)
        learning = training.Learning(settings, place.uri, cohort.people, split, tracking_uri(settings.tracking_uri))
        training.begin(learning, before, cohort)
        waiting("opening the training's records in MLflow")
        with _told(learning) as log:
            tell_addresses(note, log.page)
            _learn(learning)
            return Outcome(_finish(learning, cohort, log), cohort.failed)


def _ingest(place: intake.Place, settings: TrainSettings) -> Cohort:
    """The cohort in the training's store, taken in where the settings say that work runs."""
    beside = counted_beside(settings.compute, settings.cohort, settings.selection)
    with beside as (pool, scans), bars("taking in", {"scans": scans}, told_at=Output(place.uri).course) as tell:
        cohort = intake.ingest(place, settings, tell, partial(run_bounded, pool))
    for key, why in cohort.failed.items():  # before the hours of training
        note(f"failed {key}: {why}")
    return cohort


def _pretrained(settings: TrainSettings, place: intake.Place) -> str | None:
    """The folder of the model to begin with: the copy beside the training, else what its name means now; None: there is none."""
    if settings.pretrained is None or pretrained.is_kept(place.pretrained):
        return settings.pretrained and place.pretrained
    if settings.pretrained.startswith("models:"):
        bring_own(settings.pretrained.removeprefix("models:/").partition("@")[0], registry(settings.tracking_uri))
    folder = resolve_model(settings.pretrained, settings.tracking_uri).folder
    trained = recipe(settings.recipe)
    pretrained.check_fit(folder, trained.networks(settings.preset), trained.stages)
    pretrained.check_taught(folder, trained, settings.preset)
    return folder


@contextmanager
def _told(learning: Learning) -> Iterator[Log]:
    """MLflow's run of the training, closed however it ends."""
    log = learning.log()
    try:
        yield log
    except BaseException:
        with suppress(Exception):
            log.end("FAILED", None)
        raise


def _learn(learning: Learning) -> None:
    """Train on the CPU, on the GPU, or on all GPUs that there are."""
    steps = sum(stage.training(learning.settings.training).steps for stage in learning.recipe.stages)
    with bars("training", {"steps": steps}, told_at=Output(learning.uri).course) as tell:
        if (count := gpu_count()) > 1:
            run_ranks(count, training.learn, learning, tell)
        else:
            training.learn(learning, tell)


def _finish(learning: Learning, cohort: Cohort, log: Log) -> str:
    """The model in the registry; a training that is to go on leaves none."""
    learned = training.finished(learning, cohort)
    progress = f"{learned.role}: " if len(learning.recipe.stages) > 1 else ""
    progress += f"step {learned.step} of {learned.total}"
    if learned.best_step == 0:
        log.end("FINISHED", None)
        return f"{progress}; no validation yet, so no model: run the same command to go on"
    model = intake.Place(learning.uri).model
    log.end("FINISHED", model)
    models = Models(learning.tracking_uri, home() / "models")
    bring_own(learning.name, models)  # it, not the first that is trained, is to be surpassed
    chosen = "psnr" if "psnr" in learned.figures else "score"
    stage = f"{learned.role}/" if len(learning.recipe.stages) > 1 else ""  # its own figure, not the system's
    version = models.add(model, learning.name, {f"{stage}validation_{chosen}": learned.figures[chosen]})
    result = f"kept step {learned.best_step}, validation {learned.figures[chosen]:.2f}" + (" dB" if chosen == "psnr" else "")
    result += f" (cubic interpolation {learned.figures['psnr_cubic']:.2f})" if "psnr_cubic" in learned.figures else ""
    return f"{progress}, {result}; {version.uri} ({', '.join(version.aliases) or 'no alias'}), {model}"
