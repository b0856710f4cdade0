"""Models as a folder: parts by role, each a safetensors file and the network that it fills, with what is needed to ask them.

    config.json         how it is built; comes last, so that a folder without it is no model
    <role>.safetensors  numbers of each part ("model.safetensors" where a model of version 1 has one network)
    domain.json         which scans it is for (``core.models.domain``)
    calibration.json    how its uncertainty is stretched (``core.models.calibration``), where it tells any
    card.json, README.md, split.json    what else there is to know

Version 1 knows one network. What it can say is still written so, with the digest of before.
The digest is that of ``config.json``: domain and card say when to use a model, the restored voxels do not depend on them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from core.diffusion.predictions import Prediction
from core.digest import digest_of
from core.errors import WeightsError
from core.io import files
from core.models import calibration
from core.models import card as cards
from core.models import domain as domains
from core.models.card import Card
from core.models.generative import GenerativePrior
from core.models.scaling import Scaling
from core.models.weights import LAYOUT, TENSORS, check_file, packed, read_tensors, refuse_pickles
from core.operators.forward_model import forward_of
from core.settings.base import Settings, wrong

if TYPE_CHECKING:
    from torch import Tensor

CONFIG = "config.json"
SPLIT = "split.json"  # on which persons a model was trained; may lack
NETWORK = "network"  # role of the part of a model that has one
SHA256 = "[0-9a-f]{64}"


class Part(Settings):
    """A network of a bundle.

    Attributes:
        network: name that ``core.networks.build`` knows.
        config: its arguments.
        sha256: of its tensors' file.
        file: name of that file in the bundle's folder.
    """

    network: str
    config: dict[str, Any]
    sha256: str = Field(pattern=SHA256)
    file: str = Field(pattern=r"^[\w.-]+\.safetensors$")


class _First(Settings):
    """``config.json`` of version 1, whose dump is what its digest hashes: fields and their order stay."""

    version: Literal[1] = 1
    network: str
    config: dict[str, Any]
    residual: bool = False
    slices_last: bool = False
    multiple: int = Field(16, ge=1)
    sha256: str = Field(pattern=SHA256)


class Bundle(Settings):
    """What ``config.json`` says of a model.

    Attributes:
        version: of this format.
        parts: its networks by role ("autoencoder", "denoiser", "decoder"; "network" where there is but one).
        residual: the network gives what is to be added to its input, rather than the restored image itself.
        slices_last: the network was trained on patches whose last axis is that of the slices; others are turned so.
        multiple: the network takes patches whose edges are multiples of this many voxels.
        schedule: of diffusion, as ``core.diffusion.schedules.to_json`` says it; None where there is none.
        prediction: what the denoiser predicts; None where there is none.
        scaling: how intensities are brought into the networks' units; None: by the scan's 99.9th percentile.
        forward: the forward model that it was trained for, as ``forward_of`` reads it; None where that
            is not told.
        prior: of a model that makes images of itself, where they lie and what it is told of a person; None of others.
    """

    version: Literal[1, 2] = 2
    parts: dict[str, Part] = Field(min_length=1)
    residual: bool = False
    slices_last: bool = False
    multiple: int = Field(16, ge=1)
    schedule: dict[str, Any] | None = None
    prediction: Prediction | None = None
    scaling: Scaling | None = None
    forward: dict[str, Any] | None = None
    prior: GenerativePrior | None = None

    @field_validator("forward")
    @classmethod
    def _is_known(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        """Refuse a forward model that there is not; its kind is always written."""
        return None if value is None else {"kind": forward_of(value).kind} | value

    @property
    def digest(self) -> str:
        """The sha256 (hex) of the whole model: how it is built, and its numbers."""
        if self.version == 1:
            return hashlib.sha256(self._first().model_dump_json().encode()).hexdigest()
        return digest_of(self.model_dump(mode="json", exclude_defaults=True))

    @property
    def part(self) -> Part:
        """The part of a model that has one.

        Raises:
            WeightsError: it has several.
        """
        if len(self.parts) > 1:
            got = f"the parts {', '.join(self.parts)}"
            raise WeightsError("model-unfit", "a model of one network", got, "name another model, or the method that it is for")
        return next(iter(self.parts.values()))

    @property
    def network(self) -> str:
        """Name of the network of a model that has one; see ``part``."""
        return self.part.network

    @property
    def config(self) -> dict[str, Any]:
        """Arguments of the network of a model that has one; see ``part``."""
        return self.part.config

    @property
    def sha256(self) -> str:
        """Of the tensors' file; of all of them, by role, where there are several."""
        hashes = {role: part.sha256 for role, part in self.parts.items()}
        return self.part.sha256 if len(hashes) == 1 else digest_of(hashes)

    def _first(self) -> _First:
        """The same as version 1 says it."""
        place = {"residual": self.residual, "slices_last": self.slices_last, "multiple": self.multiple}
        return _First(network=self.network, config=self.config, sha256=self.sha256, **place)

    def to_json(self) -> dict[str, Any]:
        """The content of ``config.json``."""
        if self.version == 1:
            return self._first().model_dump(mode="json")
        return {"version": 2} | self.model_dump(mode="json", exclude_defaults=True)

    @classmethod
    def from_json(cls, value: Any) -> Bundle:
        """What ``config.json`` says, of either version.

        Raises:
            ValidationError: it cannot be meant.
        """
        if isinstance(value, dict) and value.get("version") == 2:
            return cls.model_validate(value)
        first = _First.model_validate(value)
        part = Part(network=first.network, config=first.config, sha256=first.sha256, file=TENSORS)
        place = {"residual": first.residual, "slices_last": first.slices_last, "multiple": first.multiple}
        return cls(version=1, parts={NETWORK: part}, **place)


@dataclass(frozen=True)
class Filled:
    """A network with its numbers, to be written.

    Attributes:
        network: name for ``core.networks.build``.
        config: its arguments.
        tensors: by name.
    """

    network: str
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]


def save_bundle(folder: str, parts: Mapping[str, Filled], card: Card | str, **facts: Any) -> Bundle:
    """Write a model.

    Args:
        folder: where, local or s3://.
        parts: its networks by role.
        card: what it is for, what it was trained on, its licence.
        **facts: fields of ``Bundle`` beside ``parts`` (residual, schedule, …).

    Returns:
        what ``config.json`` says.

    Raises:
        ValidationError: facts that cannot be meant.
    """
    written = {role: packed(filled.tensors) for role, filled in parts.items()}
    single = len(parts) == 1 and NETWORK in parts
    bundle = _meant(parts, {role: sha256 for role, (_, sha256) in written.items()}, facts, first=single)
    for role, (content, _) in written.items():
        files.write_atomic(files.join(folder, bundle.parts[role].file), content)
    cards.write_card(folder, card)
    files.write_json(files.join(folder, CONFIG), bundle.to_json())
    return bundle


def _meant(parts: Mapping[str, Filled], sha256: Mapping[str, str], facts: dict[str, Any], *, first: bool) -> Bundle:
    """The bundle that is to be written: of version 1 where that can say it all."""

    def named(file: str) -> dict[str, Part]:
        return {
            role: Part(network=filled.network, config=dict(filled.config), sha256=sha256[role], file=file.format(role=role))
            for role, filled in parts.items()
        }

    bundle = Bundle(version=2, parts=named("{role}.safetensors"), **facts)
    plain = not any(getattr(bundle, name) is not None for name in ("schedule", "prediction", "scaling", "forward", "prior"))
    return bundle.model_copy(update={"version": 1, "parts": named(TENSORS)}) if first and plain else bundle


def save_model(
    folder: str, network: str, config: dict[str, Any], state_dict: Mapping[str, Tensor], card: Card | str, **facts: Any
) -> Bundle:
    """Write a model of one network; see ``save_bundle``.

    Args:
        folder: where, local or s3://.
        network: name for ``core.networks.build``.
        config: its arguments.
        state_dict: its weights.
        card: what the model is for, what it was trained on, its licence.
        **facts: fields of ``Bundle`` beside ``parts``.
    """
    return save_bundle(folder, {NETWORK: Filled(network, config, state_dict)}, card, **facts)


def read_bundle(folder: str) -> Bundle:
    """What a model's ``config.json`` says.

    Raises:
        WeightsError: no such folder, pickles in place of a model, or a config that cannot be meant.
    """
    try:
        return Bundle.from_json(files.read_json(files.join(folder, CONFIG)))
    except (FileNotFoundError, NotADirectoryError):
        refuse_pickles(folder)
        raise WeightsError(
            "weights-missing", LAYOUT, folder, "name the folder of a model as isovox train or isovox models export writes it"
        ) from None
    except ValueError as error:
        raise WeightsError(
            "weights-config", f"a model's {CONFIG}", wrong(error), "copy the model again from where it came, or export it again"
        ) from error


def files_of(folder: str, bundle: Bundle) -> list[str]:
    """Names of the files in a folder that are a model's; whatever else lies there is not."""
    beside = (CONFIG, cards.README, cards.FILE, domains.FILE, calibration.FILE, SPLIT)
    tensors = [part.file for part in bundle.parts.values()]
    return [*tensors, *(name for name in beside if files.exists(files.join(folder, name)))]


def check_files(folder: str, bundle: Bundle) -> None:
    """Refuse a model whose weights are not the bytes that its config records; torch is not needed for this.

    Raises:
        WeightsError: a pickle, other bytes, or no file.
    """
    for part in bundle.parts.values():
        check_file(folder, part.sha256, part.file)


def read_part(folder: str, part: Part) -> dict[str, Tensor]:
    """The tensors of a part.

    Raises:
        WeightsError: a pickle, other bytes than were recorded, or no file.
    """
    return read_tensors(folder, part.sha256, part.file)


def read_split(folder: str) -> dict[str, Any] | None:
    """What a model says of the persons and scans that it was trained on; None where it says nothing.

    Args:
        folder: of the model, local or s3://.

    Returns:
        "people": labels by part, "cohort": its name, "sha256" and "voxels": digests by key; models of before say less, or
        labels by part alone.

    Raises:
        WeightsError: split-unreadable.
    """
    try:
        split: dict[str, Any] = files.read_json(files.join(folder, SPLIT))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise _no_split(folder, str(error)) from error
    for name in ("people", "sha256", "voxels"):
        if not isinstance(split, dict) or not isinstance(split.get(name, {}), dict):
            raise _no_split(folder, f"other than values by name{f' for {name}' * isinstance(split, dict)}")
    return split


def _no_split(folder: str, got: str) -> WeightsError:
    return WeightsError("split-unreadable", f"a model's {SPLIT} in {folder}", got, "copy the model again from where it came")


def check_beside(folder: str) -> None:
    """Refuse a model of which a file beside its config cannot be read: domain, calibration, card or split.

    Args:
        folder: of the model, local or s3://.

    Raises:
        WeightsError: domain-unreadable, calibration-unreadable, card-unreadable, split-unreadable.
    """
    for read in (domains.read_domain, calibration.read_calibration, cards.read_card, read_split):
        read(folder)


def halve(folder: str, out: str) -> Bundle:
    """Write a model once more with its weights in float16: half the bytes; it restores in float32 as before.

    Args:
        folder: of the model.
        out: where the half goes, local or s3://.

    Raises:
        WeightsError: no model, or weights that float16 cannot hold.
    """
    bundle = read_bundle(folder)
    parts = {role: Filled(part.network, part.config, _half(read_part(folder, part))) for role, part in bundle.parts.items()}
    facts = {name: getattr(bundle, name) for name in Bundle.model_fields if name not in {"version", "parts"}}
    for name in (domains.FILE, calibration.FILE, SPLIT):
        if files.exists(files.join(folder, name)):
            files.write_atomic(files.join(out, name), files.read_bytes(files.join(folder, name)))
    return save_bundle(out, parts, _half_card(folder), **facts)


def _half(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    halves = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    if bad := [name for name, tensor in halves.items() if not tensor.isfinite().all()]:
        raise WeightsError("weights-range", "weights within the range of float16", bad[0], "keep them in float32")
    return halves


def _half_card(folder: str) -> Card | str:
    sentence = "The weights are stored in float16."
    if (card := cards.read_card(folder)) is not None:
        return card.model_copy(update={"limits": f"{card.limits}\n\n{sentence}".strip()})
    return f"{cards.read_text(folder)}\n{sentence}\n"
