"""A training from a cohort in its store to the model with its card."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from core import __version__
from core.errors import UsageError
from core.geometry.grid import Array
from core.io import files
from core.methods import registry
from core.settings.degradation import Degradation
from core.settings.train import TrainSettings
from core.stats import ScanStats
from tasks.tracking.tracker import flat
from tasks.train.intake import Cohort, Place
from tasks.train.run_log import Log, triptych

if TYPE_CHECKING:
    from core.networks.preset import Preset
    from core.tissues import Tissues
    from core.training.data import Subject
    from core.training.loop import Progress, Trainer

CARD = """# {name}

A {settings.method} network ({settings.preset}, {parameters:,} parameters), trained by isovox {version}.

## Intended use
Research: brain MRI degraded as by `{degraded.kind}` ({told}), onto isotropic voxels. Not a medical device; not for diagnosis.

## Data
Cohort `{cohort}`: {scans} scans. {licence}

{parts}

## Training
{progress.step} steps, batch {batch}, seed {how.seed}; the weights are those of step {progress.best_step}:
{kept}.

## Figures
Validation, {how.validation_pairs} patches: PSNR {psnr:.2f} dB (cubic interpolation {cubic:.2f} dB).

## Limits
Other contrasts, scanners, slice profiles and factors than those above, and pathology that the cohort does not show, were not
seen in training. What the network adds is inferred, not measured: look at the consistency figures.
"""


def _tissues(read: Callable[[], Array], contrast: Literal["T1w", "FLAIR"]) -> Tissues:
    from core.tissues import Tissues

    image = read()
    return Tissues.fit(image, contrast=contrast)


def subject(place: Place, name: str, key: str, how: Degradation) -> Subject:
    """A scan of the store to draw patches from."""
    from core.training.data import Subject, occupancy

    path = f"{key}/measured"
    grid, attrs = place.store.grid(path), place.store.attrs(path)
    read = partial(place.store.read, path)
    tissues = _tissues(read, how.contrast) if how.operator == "low-field" else None
    return Subject(name, key, grid, ScanStats(**attrs["stats"]).upper, occupancy(read, grid), tissues, read)


def remember(place: Place, settings: TrainSettings, split: dict[str, list[str]]) -> None:
    """Note what is trained; another training's folder is refused.

    Raises:
        UsageError: where the folder is of a training with other settings or another split.
    """
    said = settings.model_dump(mode="json", exclude={"out", "tracking_uri", "cohort", "compute"})
    how = said["training"] | {"minutes": None, "loaders": 0, "checkpoint_minutes": 0}
    told = {"settings": said | {"training": how}, "split": split}
    if files.exists(place.settings) and (before := files.read_json(place.settings)) != told:
        changed = ", ".join(_differing(before, told))
        remedy = "train into another --out, or with the settings of before"
        raise UsageError("other-training", f"the training that {place.uri} holds", f"other values of {changed}", remedy)
    files.write_json(place.settings, told)
    files.write_json(place.split, split)


def _differing(before: Any, after: Any, at: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        keys = sorted(before.keys() | after.keys())
        return [one for key in keys for one in _differing(before.get(key), after.get(key), f"{at}.{key}" if at else key)]
    return [] if before == after else [at]


def card(settings: TrainSettings, cohort: Cohort, split: dict[str, list[str]], progress: Progress, parameters: int) -> str:
    """The model card, Markdown."""
    best, forward = progress.kept, settings.degradation.forward
    return CARD.format(
        name=settings.name or settings.method,
        settings=settings,
        how=settings.training,
        degraded=forward,
        told=forward.describe(),
        parameters=parameters,
        version=__version__,
        cohort=files.name_of(settings.cohort),
        scans=sum(map(len, cohort.people.values())),
        licence=_licence(settings.cohort),
        parts="\n".join(f"- {part}: {', '.join(names) or 'none'}" for part, names in split.items()),
        progress=progress,
        batch=settings.training.batch * settings.training.accumulate,
        kept=registry.recipe(settings.method).kept,
        psnr=best.get("psnr", float("nan")),
        cubic=best.get("psnr_cubic", float("nan")),
    )


def _licence(cohort: str) -> str:
    try:
        told = files.read_json(files.join(cohort, "dataset_description.json"))
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return "The cohort names no licence."
    return f"Licence: {told.get('License', 'not named')}. {told.get('DatasetDOI', '')}".strip()


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
        return self.settings.name or self.settings.method

    @property
    def preset(self) -> Preset:
        """The network's size."""
        return registry.recipe(self.settings.method).preset(self.settings.preset)

    def subjects(self, part: str) -> list[Subject]:
        """All images of the persons of a part."""
        place, how = Place(self.uri), self.settings.degradation
        return [subject(place, name, key, how) for name in self.split[part] for key in self.people[name]]

    def log(self) -> Log:
        """MLflow's run of this training."""
        key = hashlib.sha256(self.uri.encode()).hexdigest()[:16]
        params = flat(self.settings.model_dump(mode="json", exclude={"out", "tracking_uri", "compute"}))
        return Log(self.tracking_uri, self.name, key, params)


def trainer_of(learning: Learning) -> Trainer:
    """The training as far as its checkpoint says it is."""
    import torch

    from core.training.data import Pairs
    from core.training.loop import Trainer

    settings, how, chosen = learning.settings, learning.settings.training, learning.preset
    forward = settings.degradation.forward
    torch.manual_seed(how.seed)
    size, pairs = how.patch or chosen.block, how.steps * how.batch * how.accumulate
    return Trainer(
        registry.recipe(settings.method).objective(chosen, how.steps),
        how,
        Pairs(learning.subjects("train"), forward, size, how.seed, pairs),
        Pairs(learning.subjects("validation"), forward, size, how.seed + 1, how.validation_pairs),
        Place(learning.uri).checkpoint,
        "cuda" if torch.cuda.is_available() else "cpu",
    )


def learn(learning: Learning, advance: Callable[[str, int], None] = lambda *_: None) -> None:
    """Train to the end, with curve and pictures in MLflow; the first of several processes writes them.

    Args:
        learning: what to train.
        advance: told ("steps", how many) as they are taken.
    """
    from core.training.loop import Watch

    trainer, place = trainer_of(learning), Place(learning.uri)
    log = learning.log() if trainer.rank == 0 else None

    def validated(figures: dict[str, float], patches: Any) -> None:
        if log is None:
            return
        files.write_json(place.curve, trainer.progress.history)
        with suppress(Exception):  # a server that is not there does not end a training
            log.figures(figures)
            log.picture(triptych(*patches), f"{int(figures['step']):07d}")

    advance("steps", trainer.progress.step)
    trainer.run(Watch(lambda _: advance("steps", 1), validated))


def finished(learning: Learning, cohort: Cohort) -> Progress:
    """Write the model with its card from the checkpoint; none before the first validation.

    Args:
        learning: what was trained.
        cohort: on what.

    Returns:
        how far the training came.
    """
    from core.models.bundle import save_model
    from core.networks import build
    from core.training import checkpoint
    from core.training.loop import Progress

    place, chosen, settings = Place(learning.uri), learning.preset, learning.settings
    best = build(chosen.network, chosen.config)
    progress = Progress.from_json(checkpoint.load(place.checkpoint, {"best": best}, {}) or Progress().to_json())
    if progress.best_step:
        parameters = sum(one.numel() for one in best.parameters())
        text = card(settings, cohort, learning.split, progress, parameters)
        residual = registry.recipe(settings.method).residual
        save_model(
            place.model,
            chosen.network,
            chosen.config,
            best.state_dict(),
            text,
            residual=residual,
            slices_last=True,
            multiple=chosen.takes,
        )
        seen = [key for name in learning.split["train"] for key in cohort.people[name]]
        told = {"people": learning.split, "cohort": files.name_of(settings.cohort)}
        files.write_json(place.model_split, told | {"sha256": {key: cohort.sha256[key] for key in seen}})
    return progress
