"""Training a method's network on a cohort."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from prefect import flow

from core.config import TrainSettings
from core.io import files
from core.io.bids import discover
from core.io.lock import cohort_lock
from core.io.weights import save_model
from flows.home import home, tracking_uri
from flows.progress import bars
from tasks import training
from tasks.registry import register
from tasks.tracking import flat

if TYPE_CHECKING:
    from core.training.loop import Trainer
    from tasks.training import Cohort, Log, Place


def where(settings: TrainSettings) -> Place:
    """The folder of a training."""
    how = settings.degradation
    name = f"{settings.name or settings.method}-{settings.preset}-{how.operator}-{how.factor}"
    return training.Place(settings.out or str(home() / "training" / name))


@flow(name="train-network", validate_parameters=True)
def train_network(settings: TrainSettings) -> str:
    """Train, or go on with a training that was stopped; at its end the model is in the registry, as a challenger.

    Args:
        settings: what to train, on what, and how.

    Returns:
        what came of it, in a line.

    Raises:
        UsageError: no scans, a split that shares persons, or a folder of another training.
        RestorationError: the loss is no longer finite.
    """
    from core.training.data import split_subjects

    place = where(settings)
    with cohort_lock(files.join(place.uri, "lock.json")):
        with bars({"scans": _count(settings)}) as advance:
            cohort = training.ingest(place, settings, advance)
        split = split_subjects(list(cohort.people), settings.split.validation, settings.split.test)
        training.remember(place, settings, split)
        with _log(place, settings) as log:
            trainer = _trainer(place, settings, cohort, split)
            _learn(trainer, place, log)
            return _finish(trainer, place, settings, cohort, split, log)


def _count(settings: TrainSettings) -> int:
    return len(discover(settings.cohort, settings.selection))


@contextmanager
def _log(place: Place, settings: TrainSettings) -> Iterator[Log]:
    key = hashlib.sha256(place.uri.encode()).hexdigest()[:16]
    params = flat(settings.model_dump(mode="json", exclude={"out", "tracking_uri"}))
    log = training.Log(tracking_uri(settings.tracking_uri), settings.name or settings.method, key, params)
    try:
        yield log
    except BaseException:
        with suppress(Exception):
            log.end("FAILED", None)
        raise


def _trainer(place: Place, settings: TrainSettings, cohort: Cohort, split: dict[str, list[str]]) -> Trainer:
    import torch

    from core.networks.presets import preset
    from core.training.data import Pairs
    from core.training.loop import Trainer
    from core.training.objectives import objective

    how, chosen = settings.training, preset(settings.method, settings.preset)
    torch.manual_seed(how.seed)
    size = how.patch or chosen.block
    pairs = how.steps * how.batch * how.accumulate
    parts = {name: training.subjects(place, cohort, split[name], settings.degradation) for name in ("train", "validation")}
    return Trainer(
        objective(settings.method, chosen, steps=how.steps),
        how,
        Pairs(parts["train"], settings.degradation, size, how.seed, pairs),
        Pairs(parts["validation"], settings.degradation, size, how.seed + 1, how.validation_pairs),
        place.checkpoint,
        "cuda" if torch.cuda.is_available() else "cpu",
    )


def _learn(trainer: Trainer, place: Place, log: Log) -> None:
    """Run the loop with bars, curve and pictures."""
    from core.training.loop import Watch

    def validated(figures: dict[str, float], patches: Any) -> None:
        files.write_json(place.curve, trainer.progress.history)
        with suppress(Exception):  # a server that is not there does not end a training
            log.figures(figures)
            log.picture(training.triptych(*patches), f"{int(figures['step']):07d}")

    with bars({"steps": trainer.settings.steps}) as advance:
        advance("steps", trainer.progress.step)
        trainer.run(Watch(lambda _: advance("steps", 1), validated))


def _finish(
    trainer: Trainer, place: Place, settings: TrainSettings, cohort: Cohort, split: dict[str, list[str]], log: Log
) -> str:
    """Write the model with its card and register it; a training that is to go on writes none."""
    from core.networks.presets import preset
    from flows.home import tracking_uri

    progress = trainer.progress
    said = f"step {progress.step} of {settings.training.steps}, best {progress.best:.2f} dB at step {progress.best_step}"
    if progress.best_step == 0:
        log.end("FINISHED", None)
        return f"{said}; no validation yet, so no model: run the same command to go on"
    chosen = preset(settings.method, settings.preset)
    parameters = sum(one.numel() for one in trainer.best.parameters())
    text = training.card(settings, cohort, split, progress, parameters)
    save_model(
        place.model,
        chosen.network,
        chosen.config,
        trainer.best.state_dict(),
        text,
        residual=trainer.objective.residual,
        slices_last=True,
        multiple=chosen.block if settings.method == "diffusion-iqt" else chosen.multiple,
    )
    log.end("FINISHED", place.model)
    version = register(place.model, settings.name or settings.method, tracking_uri(settings.tracking_uri), alias="challenger")
    return f"{said}; models:/{version.name}/{version.version} registered as challenger, {place.model}"
