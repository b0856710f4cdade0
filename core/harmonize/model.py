"""All that a cohort was harmonised by, as one model, for a registry and for next month's scans.

harmonizer.json     all numbers but those of maps, and the sha256 of these
maps.safetensors    of maps, where they were made
README.md           card
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal

from pydantic import SerializerFunctionWrapHandler, ValidationError, model_serializer

from core.errors import UsageError, WeightsError
from core.harmonize.images.intensity import Normaliser
from core.harmonize.images.volume import VolumeModel
from core.harmonize.voxelwise import FILE as ARRAYS
from core.harmonize.voxelwise import Maps, check
from core.io import files
from core.settings.base import Settings
from core.settings.harmonize import VolumeSteps

FILE, CARD = "harmonizer.json", "README.md"
GEOMETRY = ("contrast", "method", "voxel_size", "field_of_view")
RESTORATION = ("method_options", "slices", "trust")  # beside the geometry and the weights, how scans were restored
LATER = ("volume", "maps", "restoration")  # what came later is written where it is set


class Harmonizer(Settings):
    """What was fitted on a cohort, and on scans restored how.

    Attributes:
        version: of this format.
        contrast: of the scans.
        method: by which they were restored.
        voxel_size: mm.
        field_of_view: mm an axis.
        intensity: ``Normaliser.to_json``; None where intensities were left as they are.
        combat: ``Combat.to_json``; None where features were.
        volume: ``VolumeModel.to_json``; None where no step was wanted beside intensities.
        maps: what ``Maps.pack`` says beside the arrays; None where no maps were made.
        sites: scans a site that it was fitted on.
        restoration: settings of ``RESTORATION``, and the digest of the method's weights; None of a model of before.
    """

    version: Literal[1] = 1
    contrast: Literal["T1w", "T2w", "FLAIR"]
    method: str
    voxel_size: float
    field_of_view: tuple[float, float, float]
    intensity: dict[str, Any] | None = None
    combat: dict[str, Any] | None = None
    sites: dict[str, int] = {}
    volume: dict[str, Any] | None = None
    maps: dict[str, Any] | None = None
    restoration: dict[str, Any] | None = None

    @model_serializer(mode="wrap")
    def _set_ones(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A harmoniser without further steps keeps the digest that it had before there were any."""
        return {name: value for name, value in write(self).items() if name not in LATER or value is not None}

    @property
    def sha256(self) -> str:
        """The sha256 (hex) of all its numbers, those of maps by their own."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    @property
    def digest(self) -> str:
        """The same: there is nothing beside the numbers."""
        return self.sha256

    @property
    def normaliser(self) -> Normaliser | None:
        """What maps intensities."""
        return None if self.intensity is None else Normaliser.from_json(self.intensity)

    @property
    def volumes(self) -> VolumeModel:
        """All that maps a volume."""
        if self.volume is None:
            return VolumeModel(VolumeSteps(), self.contrast, normaliser=self.normaliser)
        return VolumeModel.from_json(self.volume, self.contrast, self.normaliser)

    def check_same(self, **wanted: Any) -> None:
        """Refuse scans that are restored otherwise than those it was fitted on; what it does not know is not compared.

        Raises:
            UsageError: naming what differs.
        """
        known = {name: getattr(self, name) for name in GEOMETRY} | (self.restoration or {})
        if other := [name for name in known if name in wanted and wanted[name] != known[name]]:
            fitted_on = ", ".join(f"{name} {known[name]}" for name in other)
            got = ", ".join(f"{name} {wanted[name]}" for name in other)
            raise UsageError("harmonizer-other", f"scans as the model was fitted on: {fitted_on}", got, "give the same settings")


def save(folder: str, harmonizer: Harmonizer, card: str, arrays: bytes = b"") -> Harmonizer:
    """Write a harmoniser, its maps' ``arrays`` where it has some; the JSON comes last, so that a folder without it is none."""
    files.write_atomic(files.join(folder, CARD), card.encode())
    if harmonizer.maps is not None:
        check(arrays, harmonizer.maps)
        files.write_atomic(files.join(folder, ARRAYS), arrays)
    files.write_atomic(files.join(folder, FILE), harmonizer.model_dump_json(indent=1).encode())
    return harmonizer


def files_of(harmonizer: Harmonizer) -> tuple[str, ...]:
    """Names of a harmoniser's files."""
    return (FILE, CARD) if harmonizer.maps is None else (FILE, CARD, ARRAYS)


def is_harmonizer(folder: str) -> bool:
    """Whether a folder holds a harmoniser."""
    return files.exists(files.join(folder, FILE))


def read(folder: str) -> Harmonizer:
    """The harmoniser in a folder.

    Raises:
        WeightsError: there is none, or one that cannot be meant, or other maps than its own.
    """
    try:
        harmonizer = Harmonizer.model_validate(files.read_json(files.join(folder, FILE)))
    except FileNotFoundError:
        remedy = "name OUT/isovox/harmonizer of an isovox harmonize, or models:/NAME/VERSION as it printed it"
        raise WeightsError("harmonizer-missing", f"a folder with {FILE}", folder, remedy) from None
    except (ValueError, ValidationError) as error:
        raise WeightsError("harmonizer-unreadable", f"a harmoniser's {FILE}", str(error)[:200], "fit it again") from error
    harmonizer.volumes  # noqa: B018 - refuses one that cannot be read
    if harmonizer.maps is not None:
        check(_arrays(folder), harmonizer.maps)
    return harmonizer


def read_maps(folder: str, harmonizer: Harmonizer) -> Maps | None:
    """The maps of a harmoniser that lies in a folder; None where it has none.

    Raises:
        WeightsError: they are not there, or others.
    """
    return None if harmonizer.maps is None else Maps.unpack(_arrays(folder), harmonizer.maps)


def _arrays(folder: str) -> bytes:
    try:
        return files.read_bytes(files.join(folder, ARRAYS))
    except FileNotFoundError:
        raise WeightsError("maps-missing", f"{ARRAYS} beside {FILE}", folder, "copy the model again") from None
