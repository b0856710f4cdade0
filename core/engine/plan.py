"""The plan of a run: what will be done to each scan, its digest, what it will cost, and whether that fits.

A plan is a JSON value. It is written before any work begins, and every sidecar carries its digest.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import Any, Literal

from pydantic import model_validator

from core import __version__
from core.digest import digest_of
from core.errors import InputError, IsovoxError
from core.geometry.grid import Grid, fused_grid
from core.io.ledger import Account
from core.io.store import object_count
from core.methods.base import Method
from core.methods.iterative import IterativeMethod
from core.methods.registry import build_method
from core.models.domain import Domain, Facts, disagreements, facts_of, unknown
from core.operators.forward_model import ForwardModel
from core.settings.base import Settings
from core.settings.run import RunSettings
from core.settings.scans import TilingSettings

SMALL_COHORT = 2  # with fewer scans than this a worker, the tiles of one scan spread over the workers


class Weights(Settings):
    """Weights that a run uses, resolved once: a cohort never mixes models."""

    folder: str
    sha256: str
    name: str = ""
    version: str = ""


class Forecast(Settings):
    """What a scan or a cohort will cost: bytes of memory at the peak, bytes on disk, seconds of one core, stored objects.

    ``tile`` is the part of the memory that the tile in hand takes, on a GPU where there is one.
    """

    memory: int
    tile: int = 0
    disk: int
    seconds: float
    objects: int


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
        entities: BIDS entities.
        metadata: allow-listed metadata of the input's sidecar.
        sha256: of the input bytes.
        source, target: canonical grids as JSON, before and after.
        forward: how the scan came from the anatomy.
        mode: one task a scan, or its tiles spread over workers.
        tiles: how many tiles the target grid is cut into.
        steps: how many steps its method makes at most; 0 for one that makes none.
        reference: the truth to score against.
        mask: beside it, where its method takes one.
        covariates: of the person, those that its method takes and that are known.
        labels: masks and labels beside it that are carried onto its restored grid.
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
    forward: ForwardModel
    mode: Literal["scan", "tile"] = "scan"
    tiles: int = 1
    steps: int = 0
    reference: str | None = None
    mask: MaskImage | None = None
    covariates: dict[str, float | str] | None = None
    labels: tuple[LabelImage, ...] = ()
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
    """What a run will do; ``digest`` names it, ``notes`` are what the user should know, ``files`` what became of the input's."""

    version: str
    settings: RunSettings
    settings_digest: str
    weights: Weights | None
    scans: tuple[ScanPlan, ...]
    refused: tuple[Refusal, ...]
    notes: tuple[str, ...] = ()
    files: Account = Account()
    digest: str = ""

    def scan(self, key: str) -> ScanPlan:
        """The plan of one scan."""
        return next(scan for scan in self.scans if scan.key == key)

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


def restoration_settings(settings: RunSettings, weights: Weights | None, revision: int = 1) -> dict[str, Any]:
    """The settings that the restored voxels depend on, and nothing else (not where it runs, nor which scans).

    Args:
        settings: of the run.
        weights: resolved weights of a network method.
        revision: of the method; told only where it is not the first.
    """
    return {
        "isovox": __version__,
        "method": settings.method,
        "method_options": settings.method_options,
        "weights": weights.sha256 if weights else None,
        "voxel_size": settings.voxel_size,
        "fuse": settings.fuse,
        "trust": settings.trust,
        "slices": settings.slices.digested(),
        "tiling": settings.tiling.model_dump(mode="json", exclude={"mode"}),
        "seed": settings.seed,
        **({"revision": revision} if revision != 1 else {}),
    }


def _restored_from(scan: ScanPlan) -> list[Any]:
    """What of a scan its restored voxels depend on, as digests know it; what lies beside it only where it is there."""
    mask = [{"mask": scan.mask.sha256}] if scan.mask else []
    return [scan.sha256, scan.forward.digested(), *mask, *([{"covariates": scan.covariates}] if scan.covariates else [])]


def _with_digests(scans: Sequence[ScanPlan], settings: RunSettings, how: str, domain: Domain) -> list[ScanPlan]:
    """The scans of one group, each with the digests of its stages."""
    flags = settings.outside_domain and domain.stated
    together = [_restored_from(scan) for scan in scans]
    checks = {"quality": settings.quality.model_dump(mode="json")}
    result = []
    for scan in scans:
        ingest = digest_of([scan.sha256, settings.trust, scan.source, __version__])
        restore = digest_of([how, together, scan.key, scan.target])
        more = [*([scan.outside] if flags else []), *(image.model_dump(mode="json", exclude={"uri"}) for image in scan.labels)]
        export = digest_of([restore, checks, scan.stem, scan.reference, scan.metadata, *more])
        result.append(scan.model_copy(update={"ingest_digest": ingest, "restore_digest": restore, "digest": export}))
    return result


def _with_targets(scans: Sequence[ScanPlan], settings: RunSettings) -> list[ScanPlan]:
    """The scans of one group with their target grid: each its own, or one for all where they are fused."""
    if settings.fuse:
        common = fused_grid([scan.source_grid for scan in scans], settings.voxel_size).to_json()
        return [scan.model_copy(update={"target": common}) for scan in scans]
    targets = [scan.source_grid.isotropic(settings.voxel_size, scan.forward.centres) for scan in scans]
    return [scan.model_copy(update={"target": target.to_json()}) for scan, target in zip(scans, targets, strict=True)]


def _cost(scan: ScanPlan, group: Sequence[ScanPlan], method: Method, tiling: TilingSettings, rate: float) -> Forecast:
    measured = sum(math.prod(member.source_grid.shape) for member in group)
    restored = math.prod(scan.target_grid.shape)
    tile = math.prod(method.tiling(scan.source_grid, scan.target_grid, tiling).tile(0).read.shape)
    working = method.bytes_per_tile_voxel * tile
    return Forecast(
        memory=round(4 * measured + method.bytes_per_voxel * restored * len(group) + working + 300e6),
        tile=round(working),
        disk=round(4 * (2 * math.prod(scan.source_grid.shape) + 2 * restored)),
        seconds=restored / rate,
        objects=3 * object_count(scan.source_grid) + (scan.tiles if scan.mode == "tile" else 0) + 10,
    )


def _with_costs(group: Sequence[ScanPlan], method: Method, settings: RunSettings, rate: float, *, spread: bool) -> list[ScanPlan]:
    result = []
    for member in group:
        tiles = len(method.tiling(member.source_grid, member.target_grid, settings.tiling))
        tiled = settings.tiling.mode == "tile" or (settings.tiling.mode == "auto" and spread)
        mode: Literal["scan", "tile"] = "tile" if tiled and tiles > 1 and len(group) == 1 else "scan"
        steps = method.total() if isinstance(method, IterativeMethod) else 0
        scan = member.model_copy(update={"tiles": tiles, "mode": mode, "steps": steps})
        result.append(scan.model_copy(update={"forecast": _cost(scan, group, method, settings.tiling, rate)}))
    return result


def facts_of_scan(scan: ScanPlan, settings: RunSettings, lowest: float | None = None) -> Facts:
    """What is known of a scan that a domain may speak of.

    Args:
        scan: as planned.
        settings: of the run.
        lowest: its smallest value over its 99.9th percentile, once it was read.
    """
    suffix, stripped = scan.entities.get("suffix"), scan.metadata.get("SkullStripped")
    size = settings.voxel_size
    return facts_of(scan.source_grid, scan.forward, voxel_size=size, suffix=suffix, skull_stripped=stripped, lowest=lowest)


def outside_domain(settings: RunSettings, reasons: Sequence[str]) -> InputError:
    """The error of a scan that the method or its model is not for.

    Args:
        settings: of the run.
        reasons: what disagrees, by name and figures.
    """
    remedy = "choose another --method, or restore it all the same, flagged, by --outside-domain"
    return InputError("outside-domain", f"a scan that {settings.method} is for", "; ".join(reasons), remedy)


def _handshake(
    scans: Sequence[ScanPlan], domain: Domain, settings: RunSettings
) -> tuple[tuple[ScanPlan, ...], tuple[Refusal, ...]]:
    """The scans that are restored, and those that the method or its model is not for."""
    inside: list[ScanPlan] = []
    outside: list[Refusal] = []
    for scan in scans:
        reasons = disagreements(domain, facts_of_scan(scan, settings))
        if not reasons or settings.outside_domain:
            inside.append(scan.model_copy(update={"outside": tuple(reasons)}))
        else:
            error = outside_domain(settings, reasons)
            outside.append(Refusal(key=scan.key, uri=scan.uris[0], code=error.code, reason=str(error)))
    return tuple(inside), tuple(outside)


def _notes(method: Method, scans: Sequence[ScanPlan], settings: RunSettings) -> tuple[str, ...]:
    """What the handshake could not look at."""
    if method.needs_model and not method.domain.stated:
        return (f"the model of {method.name} does not say which scans it is for: none is refused by it",)
    open_points = Counter(name for scan in scans for name in unknown(method.domain, facts_of_scan(scan, settings)))
    return tuple(f"not told of {n} scans, and so not held against the model: {name}" for name, n in open_points.items())


def _repeated(method: Method) -> tuple[str, ...]:
    """What options cost that have each tile restored several times."""
    return (f"each tile is restored {method.passes} times and averaged, as the options ask",) if method.passes > 1 else ()


def complete(
    settings: RunSettings,
    scans: Sequence[ScanPlan],
    refused: Sequence[Refusal],
    weights: Weights | None = None,
    rates: dict[str, float] | None = None,
) -> CohortPlan:
    """Turn the scans that were found into a plan.

    Args:
        settings: of the run.
        scans: what is known of each from its files (targets, digests and costs are filled in here).
        refused: scans that the gate refused.
        weights: resolved weights of a network method.
        rates: restored voxels a second as measured with these options, by method.

    Raises:
        UsageError: unknown method or options.
        GridError: scans that cannot be fused.
    """
    method = build_method(settings.method, settings.method_options, weights.folder if weights else None)
    how = digest_of(restoration_settings(settings, weights, method.revision))
    inside, outside = _handshake(scans, method.domain, settings)
    rate = (rates or {}).get(settings.method, method.voxels_per_second / method.passes)
    draft = CohortPlan(
        version=__version__,
        settings=settings,
        settings_digest=how,
        weights=weights,
        scans=inside,
        refused=(),
        notes=(*_notes(method, scans, settings), *_repeated(method)),
    )
    groups = draft.groups()
    spread = len(groups) < SMALL_COHORT * settings.compute.workers and settings.compute.cluster != "in-process"
    ready: list[ScanPlan] = []
    bad = [*refused, *outside]
    for group in groups:
        try:
            placed = _with_costs(_with_targets(group, settings), method, settings, rate, spread=spread)
            ready += _with_digests(placed, settings, how, method.domain)
        except IsovoxError as error:
            bad += [Refusal(key=scan.key, uri=scan.uris[0], code=error.code, reason=str(error)) for scan in group]
    digest = digest_of([how, [[scan.key, scan.digest] for scan in ready], [refusal.model_dump() for refusal in bad]])
    return draft.model_copy(update={"scans": tuple(ready), "refused": tuple(bad), "digest": digest})
