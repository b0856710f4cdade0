"""How the scans that were found become a plan: the method of each, its target, its digests and its cost."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, Literal

from core import __version__
from core.digest import digest_of
from core.engine.consistency import REVISION, unrepaired
from core.engine.pace import Pace, first_pace, seconds_at
from core.engine.plan import (
    FINER,
    CohortPlan,
    Forecast,
    Refusal,
    ScanPlan,
    Way,
    Weights,
    facts_of_scan,
    outside_domain,
    voxel_size_of,
)
from core.errors import InputError, IsovoxError, counted
from core.geometry.grid import fused_grid
from core.io import readers
from core.io.arrays.store import BLOCK_PLANES, object_count
from core.methods.base import Method
from core.methods.iterative import IterativeMethod
from core.methods.registry import candidates, method_entry, pickers, resolve
from core.models.domain import Facts, disagreements, unknown
from core.models.scaling import values_of
from core.settings.run import RunSettings
from core.settings.scans import TilingSettings
from core.stats import RunningStatistics

PAGES_VOXEL, PAGES = 2, 18_000_000  # bytes of a scan's pages a restored voxel, and at most
SMALL_COHORT = 2  # with fewer scans than this a worker, the tiles of one scan spread over the workers


def restoration_settings(
    settings: RunSettings, way: Way, revision: int = 1, depends_on: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The settings that the restored voxels depend on, and nothing else (not where it runs, nor which scans).

    Args:
        settings: of the run.
        way: in which a scan is restored.
        revision: of the method; told only where it is not the first.
        depends_on: what else the method's numbers depend on; told only where there is any.
    """
    return {
        "isovox": __version__,
        "method": way.method,
        "method_options": way.options,
        "weights": way.weights.sha256 if way.weights else None,
        "voxel_size": settings.voxel_size,
        "fuse": settings.fuse,
        "trust": settings.trust,
        "slices": settings.slices.digested(),
        "tiling": settings.tiling.model_dump(mode="json", exclude={"mode"}),
        "seed": settings.seed,
        **({"repair": True} if settings.repair else {}),
        **({"revision": revision} if revision != 1 else {}),
        **({"depends_on": depends_on} if depends_on else {}),
    }


def _of_method(settings: RunSettings, way: Way, method: Method) -> dict[str, Any]:
    """The same, of a method that was built.

    A switch that says what the method does anyway counts as not said: a form sends every switch that it shows.
    """
    fields = type(method).Settings.model_fields
    said = {name: value for name, value in way.options.items() if not (isinstance(value, bool) and value is fields[name].default)}
    return restoration_settings(settings, dataclasses.replace(way, options=said), method.revision, method.depends_on)


def _restored_from(scan: ScanPlan) -> list[Any]:
    """What of a scan its restored voxels depend on, as digests know it; what lies beside it only where it is there."""
    mask = [{"mask": scan.mask.sha256}] if scan.mask else []
    return [scan.sha256, scan.forward.digested(), *mask, *([{"covariates": scan.covariates}] if scan.covariates else [])]


def _of_repair(scan: ScanPlan, settings: RunSettings, method: Method) -> list[Any]:
    """The revision of the repair, of a scan that is repaired; and of what it does of a mask, of a scan that has one."""
    if not settings.repair or unrepaired(method, scan.forward):
        return []
    return [{"repair": REVISION, **({"masked": 1} if scan.mask else {})}]


def _with_digests(scans: Sequence[ScanPlan], settings: RunSettings, how: str, method: Method) -> list[ScanPlan]:
    """The scans of one group, each with the digests of its stages."""
    flags = settings.outside_domain and method.domain.stated
    together = [_restored_from(scan) for scan in scans]
    checks = {"quality": settings.quality.digested()}
    result = []
    for scan in scans:
        ingest = digest_of([scan.sha256, settings.trust, scan.source, __version__])
        restore = digest_of([how, together, scan.key, scan.target, *_of_repair(scan, settings, method)])
        beside: list[Any] = [{"reference": scan.reference_sha256}] if scan.reference_sha256 else []
        beside += [scan.outside] if flags else []
        beside += [image.model_dump(mode="json", exclude={"uri"}) for image in scan.labels]
        export = digest_of([restore, checks, scan.stem, scan.reference, scan.metadata, *beside])
        result.append(scan.model_copy(update={"ingest_digest": ingest, "restore_digest": restore, "digest": export}))
    return result


def _with_targets(scans: Sequence[ScanPlan], settings: RunSettings) -> list[ScanPlan]:
    """The scans of one group with their target grid: each its own, or one for all where they are fused."""
    if settings.fuse:
        grids = [scan.source_grid for scan in scans]
        common = fused_grid(grids, voxel_size_of(grids, settings), [scan.key for scan in scans]).to_json()
        return [scan.model_copy(update={"target": common}) for scan in scans]
    sizes = [voxel_size_of([scan.source_grid], settings) for scan in scans]
    targets = [scan.source_grid.isotropic(size, scan.forward.centres) for scan, size in zip(scans, sizes, strict=True)]
    return [scan.model_copy(update={"target": target.to_json()}) for scan, target in zip(scans, targets, strict=True)]


def _cost(scan: ScanPlan, group: Sequence[ScanPlan], method: Method, tiling: TilingSettings, pace: Pace) -> Forecast:
    measured = sum(math.prod(member.source_grid.shape) for member in group)
    restored = math.prod(scan.target_grid.shape)
    grids = scan.source_grid, scan.target_grid
    working = method.working(method.tiling(*grids, tiling).tile(0).read.shape, *grids)
    stages = seconds_at(pace, scan.target_grid.shape)
    return Forecast(
        memory=round(4 * measured + method.bytes_per_voxel * restored * len(group) + working + 300e6),
        tile=round(working),
        disk=round(
            4 * (2 * math.prod(scan.source_grid.shape) + (2 + 2 * len(method.maps)) * restored)
            + min(PAGES_VOXEL * restored, PAGES)
        ),
        seconds=sum(stages.values()),
        objects=3 * object_count(scan.source_grid) + (scan.tiles if scan.mode == "tile" else 0) + 10,
        stages=stages,
    )


def _with_costs(group: Sequence[ScanPlan], method: Method, settings: RunSettings, pace: Pace, *, spread: bool) -> list[ScanPlan]:
    result = []
    for member in group:
        tiles = len(method.tiling(member.source_grid, member.target_grid, settings.tiling))
        tiled = settings.tiling.mode == "tile" or (settings.tiling.mode == "auto" and spread)
        mode: Literal["scan", "tile"] = "tile" if tiled and tiles > 1 and len(group) == 1 else "scan"
        steps = method.total() if isinstance(method, IterativeMethod) else 0
        scan = member.model_copy(update={"tiles": tiles, "mode": mode, "steps": steps})
        result.append(scan.model_copy(update={"forecast": _cost(scan, group, method, settings.tiling, pace)}))
    return result


def _chosen(
    scans: Sequence[ScanPlan], settings: RunSettings, methods: Mapping[str, Method], models: Mapping[str, str]
) -> tuple[tuple[ScanPlan, ...], tuple[Refusal, ...]]:
    """The scans with the method that restores each, and those that none is for.

    Scans that are restored together have one method.
    """
    inside: list[ScanPlan] = []
    outside: list[Refusal] = []
    for _, members in groupby(sorted(scans, key=lambda scan: (scan.group, scan.key)), key=lambda scan: scan.group):
        group = list(members)
        method, why, reasons = _choice([facts_of_scan(scan, settings) for scan in group], settings, methods, models)
        own = "" if method == settings.method else method
        if not reasons or settings.outside_domain:
            update = {"method": own, "why": why, "outside": tuple(reasons)}
            inside += [_without_beside(scan.model_copy(update=update), own) for scan in group]
        else:
            error = outside_domain(settings, reasons)
            outside += [Refusal(key=scan.key, uri=scan.uris[0], code=error.code, reason=str(error)) for scan in group]
    place = {scan.key: at for at, scan in enumerate(scans)}
    inside.sort(key=lambda scan: place[scan.key])
    outside.sort(key=lambda refusal: place[refusal.key])
    return tuple(inside), tuple(outside)


def _looked_at(scans: Sequence[ScanPlan], settings: RunSettings, methods: Mapping[str, Method]) -> dict[str, ScanPlan]:
    """Scans, by their keys, with what their values tell, where their method hangs on that and another may take its place.

    Each is read once here, and no other: not what another method restores, nor where no method could take its place.
    """
    if settings.method not in pickers() and (settings.fallback is None or settings.outside_domain):
        return {}
    hang = {name for name, method in methods.items() if method.domain.of_values}
    return {scan.key: _with_values(scan, settings) for scan in scans if (scan.method or settings.method) in hang}


def _with_values(scan: ScanPlan, settings: RunSettings) -> ScanPlan:
    """A scan with what its values tell, for which all of it is read; as it is where it cannot be read: ingest will tell."""
    if scan.lowest is not None and scan.noise is not None:
        return scan
    statistics = RunningStatistics(scan.source_grid.shape)
    try:
        for slab in readers.slabs(scan.kind, scan.uris, BLOCK_PLANES, settings.trust):
            statistics.take(slab.box, slab.image)
    except InputError:
        return scan
    return scan.model_copy(update=values_of(statistics.stats()))


def _without_beside(scan: ScanPlan, own: str) -> ScanPlan:
    """A scan that has a method of its own without the mask and covariates that the run's method takes and that one does not."""
    if not own:
        return scan
    takes = method_entry(own).takes
    update: dict[str, Any] = {} if takes.mask != "none" else {"mask": None}
    return scan.model_copy(update=update if takes.covariates else update | {"covariates": None})


def _choice(
    group: Sequence[Facts], settings: RunSettings, methods: Mapping[str, Method], models: Mapping[str, str]
) -> tuple[str, str, list[str]]:
    """The method of a group, why it is that one, and what of the group it is not for."""
    picker = pickers().get(settings.method)
    if picker is not None:
        return (*best(resolve(picker.where)(group[0], models), group, methods), [])
    domain = methods[settings.method].domain
    reasons = list(dict.fromkeys(reason for facts in group for reason in disagreements(domain, facts)))
    if not reasons or settings.fallback is None or settings.outside_domain:
        return settings.method, "", reasons
    why = f"outside what {settings.method} is for: {'; '.join(reasons)}"
    beyond = [reason for facts in group for reason in disagreements(methods[settings.fallback].domain, facts)]
    return settings.fallback, why, beyond


def best(ranked: Sequence[tuple[str, str]], group: Sequence[Facts], methods: Mapping[str, Method]) -> tuple[str, str]:
    """The first of ranked methods that is for a group of scans, and why; the last one where none before it is.

    Args:
        ranked: by name, each with why; as a picker gives them.
        group: what is known of each scan of the group.
        methods: those that can take part.
    """
    passed_over = []
    for name, why in ranked[:-1]:
        unfit = _unfit(methods[name], group) if name in methods else "its model is not there"
        if not unfit:
            return name, why
        passed_over.append(f"{name} {why}, but: {unfit}")
    name, why = ranked[-1]
    return name, "; ".join([why, *passed_over] if why else passed_over)


def _unfit(method: Method, group: Sequence[Facts]) -> str:
    """Why a method is not for scans; empty where all that its domain states is known of them and agrees.

    A model that does not say which scans it is for is not chosen: whoever wants it names it.
    """
    if len(group) > 1 and not method.fuses:
        return "it does not fuse"
    if _says_nothing(method):
        return "its model does not say which scans it is for"
    reasons = [reason for facts in group for reason in disagreements(method.domain, facts)]
    reasons += [f"{name} is not told" for facts in group for name in unknown(method.domain, facts)]
    return "; ".join(dict.fromkeys(reasons))


def _says_nothing(method: Method) -> bool:
    """Whether a method has a model that does not say which scans it is for."""
    return bool(getattr(method.settings, "model", None)) and not method.domain.stated


def _notes(methods: Mapping[str, Method], scans: Sequence[ScanPlan], settings: RunSettings) -> tuple[str, ...]:
    """What the handshake could not look at."""
    method = methods.get(settings.method)
    if method is None:
        return ()
    if _says_nothing(method):
        return (f"the model of {method.name} does not say which scans it is for: none is refused by it",)
    own = [scan for scan in scans if not scan.method]
    open_points = Counter(name for scan in own for name in unknown(method.domain, facts_of_scan(scan, settings)))
    return tuple(f"not told of {n} scans, and so not held against the model: {name}" for name, n in open_points.items())


def complete(
    settings: RunSettings,
    scans: Sequence[ScanPlan],
    refused: Sequence[Refusal],
    weights: Weights | None = None,
    paces: Mapping[str, Pace] | None = None,
    others: Mapping[str, Weights] | None = None,
) -> CohortPlan:
    """Turn the scans that were found into a plan.

    Args:
        settings: of the run.
        scans: what is known of each from its files (targets, digests and costs are filled in here).
        refused: scans that the gate refused.
        weights: resolved weights of a network method.
        paces: seconds a million restored voxels as measured with these options, by method and stage.
        others: resolved weights of the methods that single scans may have of their own, by their names.

    Raises:
        UsageError: unknown method or options.
        GridError: scans that cannot be fused.
    """
    others = others or {}
    wanted = [*candidates(settings.method), *([settings.fallback] if settings.fallback else [])]
    ways = {name: Way(name, {}, others.get(name)) for name in wanted if name in others or not method_entry(name).takes.model}
    if settings.method not in pickers():
        ways[settings.method] = Way(settings.method, settings.method_options, weights)
    methods = {name: way.build() for name, way in ways.items()}
    models = {name: model.sha256 for name, model in others.items()}
    inside, outside = _chosen(scans, settings, methods, models)
    if looked_at := _looked_at(inside, settings, methods):
        inside, outside = _chosen([looked_at.get(scan.key, scan) for scan in scans], settings, methods, models)
    used = {scan.method or settings.method for scan in inside}
    draft = CohortPlan(
        version=__version__,
        settings=settings,
        settings_digest=digest_of(_digested(settings, ways, methods)),
        weights=weights,
        others={name: model for name, model in others.items() if name in used},
        depends_on={name: dict(methods[name].depends_on) for name in sorted(used) if methods[name].depends_on},
        scans=inside,
        refused=(),
        notes=(
            *_notes(methods, inside, settings),
            *_coarser(inside, settings),
            *_repeated(methods, settings),
            *_choices(inside),
        ),
    )
    groups = draft.groups()
    spread = len(groups) < SMALL_COHORT * settings.compute.workers and settings.compute.cluster != "in-process"
    ready: list[ScanPlan] = []
    bad = [*refused, *outside]
    for group in groups:
        name = draft.way(group[0]).method
        method, how = methods[name], digest_of(_of_method(settings, ways[name], methods[name]))
        pace = {**first_pace(method), **(paces or {}).get(name, {})}
        try:
            placed = _with_costs(_with_targets(group, settings), method, settings, pace, spread=spread)
            ready += _with_digests(placed, settings, how, method)
        except IsovoxError as error:
            bad += [Refusal(key=scan.key, uri=scan.uris[0], code=error.code, reason=str(error)) for scan in group]
    how = draft.settings_digest
    digest = digest_of([how, [[scan.key, scan.digest] for scan in ready], [refusal.model_dump() for refusal in bad]])
    return draft.model_copy(update={"scans": tuple(ready), "refused": tuple(bad), "digest": digest})


def _coarser(scans: Sequence[ScanPlan], settings: RunSettings) -> tuple[str, ...]:
    """How many scans lose resolution, and how they would keep it."""
    if settings.voxel_size == "auto":
        return ()
    finest = sorted(min(scan.source_grid.spacing) for scan in scans)
    lost = [size for size in finest if size < FINER * settings.voxel_size]
    if not lost:
        return ()
    sizes = " to ".join(dict.fromkeys(f"{size:.3g}" for size in (lost[0], lost[-1])))
    what = f"{counted(len(lost), 'scan')} {'has' if len(lost) == 1 else 'have'} voxels"
    return (f"{what} of {sizes} mm, which become {settings.voxel_size:g} mm; --voxel-size auto keeps each scan's smallest",)


def _repeated(methods: Mapping[str, Method], settings: RunSettings) -> tuple[str, ...]:
    """That each tile is restored several times, and costs as much."""
    passes = methods[settings.method].passes if settings.method in methods else 1
    return (f"each tile is restored {passes} times, flipped, and averaged",) if passes > 1 else ()


def _digested(settings: RunSettings, ways: Mapping[str, Way], methods: Mapping[str, Method]) -> Any:
    """What the settings' digest holds: of a method its settings, of a choice those of all that it chooses from."""
    if settings.method in methods and not settings.fallback:
        return _of_method(settings, ways[settings.method], methods[settings.method])
    return [settings.method, *(_of_method(settings, ways[name], methods[name]) for name in sorted(ways))]


def _choices(scans: Sequence[ScanPlan]) -> list[str]:
    """Of scans with methods of their own, how many have which, and why."""
    alike = Counter((scan.method, scan.why) for scan in scans if scan.method)
    return [f"{counted(n, 'scan')} by {method}: {why}" for (method, why), n in alike.items()]
