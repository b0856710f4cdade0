"""The plan of a run: what will be done to each scan, its digest, what it will cost, and whether that fits.

A plan is a JSON value. It is written before any work begins, and every sidecar carries its digest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Literal

from pydantic import model_validator

from core.errors import InputError
from core.geometry.grid import SAME_STEP, Grid
from core.io.inventory.ledger import Account
from core.io.names import Entities, entities_of
from core.methods.base import Method
from core.methods.registry import build_method
from core.models.domain import Facts, facts_of
from core.models.scaling import Values
from core.operators.forward_model import ForwardModel
from core.operators.width import SliceWidth
from core.settings.base import Settings
from core.settings.run import RunSettings

FINER = 0.95  # of the restored voxels' edge: below it a scan is told to become coarser
DIGITS = 3  # of millimetres, to which people round the voxel sizes that they ask for


class Weights(Settings):
    """Weights that a run uses, resolved once: a cohort never mixes models."""

    folder: str
    sha256: str
    name: str = ""
    version: str = ""


@dataclass(frozen=True)
class Way:
    """A method with its options and its weights."""

    method: str
    options: Mapping[str, Any]
    weights: Weights | None

    def build(self) -> Method:
        """The method.

        Raises:
            UsageError: unknown method or options.
        """
        return build_method(self.method, dict(self.options), self.weights.folder if self.weights else None)


class Forecast(Settings):
    """What a scan or a cohort will cost: bytes of memory at the peak, bytes on disk, seconds of one core, stored objects.

    ``tile`` is the part of the memory that the tile in hand takes, on a GPU where there is one; ``stages`` are the seconds
    of a scan by stage.
    """

    memory: int
    tile: int = 0
    disk: int
    seconds: float
    objects: int
    stages: dict[str, float] = {}


class LabelImage(Settings):
    """A mask or a label map that is carried onto a scan's restored grid: where it lies, its path in the output, its bytes."""

    uri: str
    stem: str
    sha256: str


class MaskImage(Settings):
    """A mask beside a scan, on its grid: not 0 where nothing was measured (a lesion that is to be filled, a hole)."""

    uri: str
    sha256: str


class ScanPlan(Settings):
    """What will be done to one scan.

    Attributes:
        key: unique name in the cohort.
        uris: input files (a DICOM series is one folder, or several, or its files).
        relative: the input's path in its dataset.
        kind: the reader's name.
        stem: path of the restored image in the output, without extension.
        group: scans with the same group are restored together (``--fuse``); else the key.
        entities: BIDS entities of its own name.
        metadata: allow-listed metadata of the input's sidecar.
        sha256: of the input bytes.
        source, target: canonical grids as JSON, before and after.
        doubt: in which its header contradicts itself, in words (see ``core.io.validation.Header``).
        forward: how the scan came from the anatomy.
        width: of its slices by its voxels, where nobody tells it.
        mode: one task a scan, or its tiles spread over workers.
        tiles: how many tiles the target grid is cut into.
        steps: how many steps its method makes at most; 0 for one that makes none.
        reference: the truth to score against.
        reference_sha256: of its bytes; empty where it is not there, or cannot be read.
        mask: beside it, where its method takes one.
        covariates: of the person, those that its method takes and that are known.
        labels: masks and labels beside it that are carried onto its restored grid.
        lowest, noise: as ``core.models.scaling.values_of`` has them, where its method hangs on them and another is at hand.
        method: that restores it, with its defaults; "": the run's.
        why: it is that one.
        outside: what of it lies outside the domain of the method or its model, where it is restored all the same.
        ingest_digest: what the measured image in the store depends on.
        restore_digest: what the restored image depends on.
        digest: what the exported files depend on; ``done()`` compares it.
        forecast: memory, disk, time and objects.
    """

    key: str
    uris: tuple[str, ...]
    relative: str
    kind: str
    stem: str
    group: str
    entities: dict[str, str] = {}
    metadata: dict[str, Any] = {}
    sha256: str
    source: dict[str, Any]
    target: dict[str, Any]
    doubt: str = ""
    forward: ForwardModel
    width: SliceWidth | None = None
    mode: Literal["scan", "tile"] = "scan"
    tiles: int = 1
    steps: int = 0
    reference: str | None = None
    reference_sha256: str = ""
    mask: MaskImage | None = None
    covariates: dict[str, float | str] | None = None
    labels: tuple[LabelImage, ...] = ()
    lowest: float | None = None
    noise: float | None = None
    method: str = ""
    why: str = ""
    outside: tuple[str, ...] = ()
    ingest_digest: str = ""
    restore_digest: str = ""
    digest: str = ""
    forecast: Forecast = Forecast(memory=0, disk=0, seconds=0, objects=0)

    @model_validator(mode="before")
    @classmethod
    def _of_before(cls, values: Any) -> Any:
        """Plans of before tell the slices alone, as ``acquisition``."""
        if not isinstance(values, dict) or "acquisition" not in values:
            return values
        rest = {name: value for name, value in values.items() if name != "acquisition"}
        return rest | {"forward": {"kind": "slice-profile"} | values["acquisition"]}

    @property
    def named(self) -> Entities:
        """Entities of its name in the output, which tells its contrast and agent whatever its own name looks like."""
        return entities_of(self.stem)

    @property
    def participant(self) -> str:
        """The label by which a participants.tsv knows the person: that of the scan's own name, else of its output's."""
        return self.entities.get("sub") or self.stem.partition("/")[0].removeprefix("sub-")

    @property
    def pieces(self) -> tuple[str, int]:
        """What its restoration is made of, and how many at most: steps, or tiles."""
        return ("steps", self.steps) if self.steps else ("tiles", self.tiles)

    @property
    def source_grid(self) -> Grid:
        """Canonical grid of the scan as measured."""
        return Grid.from_json(self.source)

    @property
    def target_grid(self) -> Grid:
        """Canonical grid of the restored scan."""
        return Grid.from_json(self.target)


class Refusal(Settings):
    """A scan that the gate refused, with its named reason."""

    key: str
    uri: str
    code: str
    reason: str


class CohortPlan(Settings):
    """What a run will do; ``digest`` names it, ``notes`` are what the user should know, ``files`` what became of the input's.

    ``weights`` are those of the run's method, ``others`` those of methods that single scans have of their own, by their names;
    ``depends_on`` is what else the numbers of methods depend on, such as the version of a program, by their names.
    """

    version: str
    settings: RunSettings
    settings_digest: str
    weights: Weights | None
    others: dict[str, Weights] = {}
    scans: tuple[ScanPlan, ...]
    refused: tuple[Refusal, ...]
    notes: tuple[str, ...] = ()
    files: Account = Account()
    depends_on: dict[str, dict[str, Any]] = {}
    digest: str = ""

    def scan(self, key: str) -> ScanPlan:
        """The plan of one scan."""
        return next(scan for scan in self.scans if scan.key == key)

    def way(self, scan: ScanPlan) -> Way:
        """How a scan is restored."""
        if scan.method:
            return Way(scan.method, {}, self.others.get(scan.method))
        return Way(self.settings.method, self.settings.method_options, self.weights)

    def groups(self) -> list[tuple[ScanPlan, ...]]:
        """The scans by group, in order: one scan each, or the scans of a person that are fused."""
        ordered = sorted(self.scans, key=lambda scan: (scan.group, scan.key))
        return [tuple(group) for _, group in groupby(ordered, key=lambda scan: scan.group)]

    @property
    def planned(self) -> int:
        """How many scans the run accounts for: those to restore and those refused."""
        return len(self.scans) + len(self.refused)

    @property
    def forecast(self) -> Forecast:
        """The whole run: the largest scan's memory for each worker, and the sum of the rest."""
        each = [scan.forecast for scan in self.scans]
        workers = min(self.settings.compute.workers, max(1, len(self.groups())))
        return Forecast(
            memory=max((cost.memory for cost in each), default=0) * workers,
            tile=max((cost.tile for cost in each), default=0),
            disk=sum(cost.disk for cost in each),
            seconds=sum(cost.seconds for cost in each) / workers,
            objects=sum(cost.objects for cost in each),
        )


def voxel_size_of(grids: Sequence[Grid], settings: RunSettings) -> float:
    """Edge of the restored voxels, mm, of scans that are restored together: as set, or the smallest that they have.

    It is that of the scans to the last digit, also where it was set to that size rounded: of 288 voxels of 0.8680556 mm, voxels
    of 0.868 mm are 289 in the same field of view, each half a voxel beside those that were measured.

    Args:
        grids: of the scans.
        settings: of the run.
    """
    sizes, size = [size for grid in grids for size in grid.spacing], settings.voxel_size
    if size == "auto":
        return min(sizes)
    rounded = [own for own in sizes if round(own, DIGITS) == size and abs(own / size - 1) >= SAME_STEP]
    return min(rounded, default=size)


def facts_of_scan(scan: ScanPlan, settings: RunSettings, values: Values | None = None) -> Facts:
    """What is known of a scan that a domain may speak of.

    Args:
        scan: as planned.
        settings: of the run.
        values: its own, once it was read.
    """
    suffix, stripped = scan.named.get("suffix"), scan.metadata.get("SkullStripped")
    size, values = voxel_size_of([scan.source_grid], settings), values or {"lowest": scan.lowest, "noise": scan.noise}
    facts = facts_of(scan.source_grid, scan.forward, voxel_size=size, suffix=suffix, skull_stripped=stripped, **values)
    return replace(facts, repaired=settings.repair, agent=scan.named.get("ce"))


def outside_domain(settings: RunSettings, reasons: Sequence[str]) -> InputError:
    """The error of a scan that the method or its model is not for.

    Args:
        settings: of the run.
        reasons: what disagrees, by name and figures.
    """
    remedy = "choose another --method or a --fallback for such scans, or restore it all the same, flagged, by --outside-domain"
    return InputError("outside-domain", f"a scan that {settings.method} is for", "; ".join(reasons), remedy)
