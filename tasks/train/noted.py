"""What a training notes of itself, by which the next call knows that it goes on with the same one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.errors import UsageError, WeightsError, listed
from core.io import files
from core.io.participants import amiss, people
from core.methods import registry
from core.models.generative import told
from core.settings.train import TrainSettings
from tasks.train.intake import Cohort, Place


def remember(place: Place, settings: TrainSettings, split: dict[str, list[str]], cohort: Cohort) -> None:
    """Note what is trained; another training's folder is refused.

    Where the cohort lies is not noted, but what its scans are, and their voxels' sizes in mm, which a header may be given anew:
    they may be moved, named otherwise above, or packed anew. Of participants.tsv it is noted what networks are told of persons.

    Args:
        place: of the training.
        settings: of the training.
        split: persons by their part.
        cohort: the scans; those of the test do not count, as nothing is learned from them.

    Raises:
        UsageError: other-training, where the folder is of one with other settings, another split, other scans or other persons.
        WeightsError: training-unreadable.
    """
    unsaid = set() if settings.pretrained else {"pretrained"}  # folders of before do not know it
    dumped = settings.model_dump(mode="json", exclude={"out", "tracking_uri", "cohort", "compute"} | unsaid)
    how = dumped["training"] | {"minutes": None, "loaders": 0, "checkpoint_minutes": 0}
    persons = [*split["train"], *split["validation"]]
    scans = {scan.key: scan.voxels for scan in cohort.prints_of(persons)}
    voxels = {key: _voxel(place, key) for name in persons for key in cohort.people.get(name, ())}
    stated = {"settings": dumped | {"training": how}, "split": split, "scans": scans, "voxels": voxels}
    stated |= {"participants": known} if (known := _told(settings, persons)) else {}
    before = stated | _before(place.settings) if files.exists(place.settings) else stated  # folders of before note less
    if changed := _differing(before, stated):
        remedy = "train into another --out, or with the settings, scans and participants.tsv of before"
        raise UsageError("other-training", f"the training that {place.uri} holds", f"other values of {listed(changed)}", remedy)
    files.write_json(place.settings, stated)
    files.write_json(place.split, split)


def _voxel(place: Place, key: str) -> list[float]:
    """Its size in mm to four digits: a header that was written anew may have others behind them."""
    return [float(f"{size:.4g}") for size in place.store.grid(f"{key}/measured").spacing]


def _told(settings: TrainSettings, persons: Sequence[str]) -> dict[str, dict[str, float]]:
    """What networks that are told of persons are told of each, to four digits; empty of networks that are told nothing."""
    priors = [preset.prior for preset in registry.recipe(settings.recipe).networks(settings.preset).values() if preset.prior]
    conditions = list({condition.name: condition for prior in priors for condition in prior.conditions}.values())
    if not conditions:
        return {}
    known, names = {} if amiss(settings.cohort) else people(settings.cohort), [condition.name for condition in conditions]
    values = {person: told(conditions, known.get(person, {}))[0] for person in persons}
    return {person: {name: float(f"{value:.4g}") for name, value in zip(names, of, strict=True)} for person, of in values.items()}


def _differing(before: Any, after: Any, at: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        keys = sorted(before.keys() | after.keys())
        return [
            difference for key in keys for difference in _differing(before.get(key), after.get(key), f"{at}.{key}" if at else key)
        ]
    return [] if before == after else [at]


def _before(uri: str) -> dict[str, Any]:
    """What was noted; what is called recipe now was called method once."""
    noted = read_values(uri)
    if isinstance(settings := noted.get("settings"), dict) and "method" in settings:
        settings["recipe"] = settings.pop("method")
    return noted


def read_values(uri: str) -> dict[str, Any]:
    """Values by name in a JSON file of a training, or of the model that it begins with.

    Args:
        uri: of the file.

    Raises:
        WeightsError: training-unreadable.
    """
    try:
        values = files.read_json(uri)
    except ValueError as error:
        raise _unreadable(uri, str(error)) from error
    if not isinstance(values, dict):
        raise _unreadable(uri, "other than values by name")
    return values


def _unreadable(uri: str, got: str) -> WeightsError:
    remedy = "copy it again, or train into another --out; settings.json may be removed where settings and scans are as before"
    return WeightsError("training-unreadable", f"a whole {files.name_of(uri)} in {files.parent_of(uri)}", got, remedy)
