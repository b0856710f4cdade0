"""The model whose weights a training begins with: beside the training, fit for its networks, and blind to those held out."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from core.errors import UsageError, listed
from core.io import files
from core.models import bundle as bundles
from core.models.card import TrainingData, read_card
from core.settings.base import Settings
from tasks.train.prints import Print

if TYPE_CHECKING:
    from torch import nn

    from core.networks.preset import Preset
    from core.training.recipe import Recipe, Stage


class Lineage(Settings):
    """What is to be said of a model that another began with.

    Attributes:
        title: of its card, else the name of its folder.
        digest: of the whole model.
        data: cohorts that it has seen; empty where it has no card.
        sha256: of the files that it was trained on by their keys; empty where it does not say.
        voxels: digests of their voxels, likewise; empty of a model that was trained before these were noted.
    """

    title: str
    digest: str
    data: tuple[TrainingData, ...] = ()
    sha256: dict[str, str] = {}
    voxels: dict[str, str] = {}

    def describe(self) -> str:
        """A sentence."""
        seen = "" if self.sha256 else " It does not say which files those were trained on."
        return f"It began with the weights of {self.title} ({self.digest[:12]}).{seen}"


def is_kept(place: str) -> bool:
    """Whether a model lies there already."""
    return files.exists(files.join(place, bundles.CONFIG))


def keep(folder: str, place: str) -> None:
    """Copy a model beside the training that begins with it, once: a name in the registry may mean another one later.

    Args:
        folder: of the model, local or s3://.
        place: where it is kept.

    Raises:
        WeightsError: no model, or weights that are not what its config says.
    """
    if is_kept(place):
        return
    bundle = bundles.read_bundle(folder)
    bundles.check_files(folder, bundle)
    names = [name for name in bundles.files_of(folder, bundle) if name != bundles.CONFIG]
    for name in [*names, bundles.CONFIG]:  # last: without it there is no model
        files.write_atomic(files.join(place, name), files.read_bytes(files.join(folder, name)))


def lineage(folder: str) -> Lineage:
    """What a model's files say of its own training.

    Args:
        folder: of the model.

    Raises:
        WeightsError: split-unreadable, card-unreadable.
    """
    card, seen = read_card(folder), bundles.read_split(folder) or {}
    return Lineage(
        title=card.title if card else files.name_of(folder),
        digest=bundles.read_bundle(folder).digest,
        data=card.data if card else (),
        sha256=seen.get("sha256", {}),
        voxels=seen.get("voxels", {}),
    )


def check_fit(folder: str, networks: Mapping[str, Preset], stages: Sequence[Stage] = ()) -> None:
    """Refuse a model of other networks.

    Args:
        folder: of the model.
        networks: that are to be trained, by role.
        stages: that train them; what they measured for a network may be another in the model.

    Raises:
        UsageError: pretrained-unfit.
        WeightsError: no model.
    """
    parts = bundles.read_bundle(folder).parts
    for role, size in networks.items():
        before = [(stage, said(folder, stage)) for stage in stages if stage.role == role and role in parts]
        preset = before[0][0].fitted(size, before[0][1]) if before else size
        wanted = {"network": preset.network, "config": json.loads(json.dumps(preset.config))}
        got = {"network": parts[role].network, "config": parts[role].config} if role in parts else "none"
        if got != wanted:
            remedy = "name a model that was trained by this recipe in this size, or another --preset"
            raise UsageError("pretrained-unfit", f"the {role} {_said(wanted)} in {folder}", _said(got), remedy)


def check_taught(folder: str, recipe: Recipe, size: str) -> None:
    """Refuse a model whose networks were taught to tell something else than the recipe teaches them now.

    What that is the recipe says in a model's config: so these very weights are written as it would write them.

    Args:
        folder: of the model, as ``check_fit`` found it fit.
        recipe: by which it is to be trained.
        size: of the recipe's networks.

    Raises:
        UsageError: pretrained-unfit.
        WeightsError: weights that are not what its config says.
    """
    from core.training.recipe import Trained

    bundle, networks = bundles.read_bundle(folder), recipe.networks(size)
    sizes = {stage.role: stage.fitted(networks[stage.role], said(folder, stage)) for stage in recipe.stages}
    weights = {role: bundles.read_part(folder, bundle.parts[role]) for role in sizes}
    with tempfile.TemporaryDirectory() as scratch:
        recipe.write(scratch, Trained(sizes, weights, ""))
        now, before = _taught(bundles.read_bundle(scratch)), _taught(bundle)
    if others := [name for name in now if now[name] != before[name]]:
        wanted, got = (", ".join(f"{name} {each[name]}" for name in others) for each in (now, before))
        remedy = "name a model that was trained by this recipe as it is now, or leave out --pretrained"
        raise UsageError("pretrained-unfit", f"a model in {folder} that was taught {wanted}", got, remedy)


def _taught(bundle: bundles.Bundle) -> dict[str, Any]:
    """What the networks of a model tell, and of what they are told, by words for people."""
    schedule, prior = bundle.schedule, bundle.prior
    told_sigma = schedule is not None and schedule.get("kind") == "geometric"  # the noise itself, of whichever range
    return {
        "prediction": bundle.prediction or ("eps" if schedule else None),
        "schedule": "geometric" if told_sigma else schedule,
        "residual": bundle.residual,
        "conditions": [each.model_dump() for each in prior.conditions] if prior else [],
    }


def said(folder: str, stage: Stage) -> dict[str, float]:
    """What a model's config says of that which a stage measures for its network: weights go with it."""
    config = bundles.read_bundle(folder).parts[stage.role].config
    return {name: config[name] for name in stage.arguments if name in config}


def check_unseen(folder: str, held: Sequence[Print]) -> None:
    """Refuse a model that has learned from scans which the training holds out, as the same files or as the same voxels.

    A model that was trained before voxels were noted knows its files alone: that it has seen a scan which was packed anew since,
    or given another header, it cannot tell. Nor can one without a split tell whom it has seen.

    Args:
        folder: of the model.
        held: digests of the scans of the persons who validate, and of the test's.

    Raises:
        UsageError: pretrained-saw.
    """
    before = lineage(folder)
    seen = {*before.sha256.values(), *before.voxels.values()}
    if both := [scan.describe() for scan in held if scan.is_among(seen)]:
        wanted_scans = "a model that has not learned from the persons who are held out"
        remedy = "hold out others (--validation, --test), or begin with another model"
        raise UsageError("pretrained-saw", wanted_scans, f"one that has seen {listed(both)}", remedy)


def _said(network: Any) -> str:
    return network if isinstance(network, str) else f"{network['network']} {json.dumps(network['config'], sort_keys=True)}"


def begin(folder: str, role: str, network: nn.Module) -> None:
    """Give a network the weights of the model.

    Args:
        folder: of the model.
        role: of the network.
        network: as ``check_fit`` found it fit; takes them in its own precision.
    """
    network.load_state_dict(bundles.read_part(folder, bundles.read_bundle(folder).parts[role]))


def learned_from(own: Sequence[Print], before: Sequence[Lineage]) -> dict[str, dict[str, str]]:
    """The digests of all files ("sha256") and voxels that a model has learned from, by key; earlier models' bear their names.

    Args:
        own: scans of its training.
        before: the model that it began with.
    """
    sha256, voxels = {scan.key: scan.sha256 for scan in own}, {scan.key: scan.voxels for scan in own}
    return {
        "sha256": _with_earlier(sha256, {each.title: each.sha256 for each in before}),
        "voxels": _with_earlier(voxels, {each.title: each.voxels for each in before}),
    }


def _with_earlier(own: Mapping[str, str], before: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Digests by key, after those of models by their titles that are others."""
    seen = {f"{title}: {key}": digest for title, digests in before.items() for key, digest in digests.items()}
    return {key: digest for key, digest in seen.items() if digest not in own.values()} | dict(own)
