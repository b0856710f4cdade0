"""Find the scans of a cohort and plan what will be done to each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from types import MappingProxyType

import psutil

from core.engine.fit import check_fits, check_not_mixed
from core.engine.pace import Pace, median_pace, pace_of
from core.engine.plan import CohortPlan, Refusal, ScanPlan, Weights
from core.engine.planning import complete
from core.errors import InputError, IsovoxError, UsageError
from core.io import bids, files, participants, readers, simulated, space
from core.io.bids import Refused, Source
from core.io.claim import check_apart, check_free
from core.io.derivatives import bids_stem
from core.io.output import Output
from core.methods.registry import build_method, method_entry, methods, pickers
from core.operators.sidecar import read_forward
from core.settings.run import RunSettings
from tasks.events import Advanced, Began, Tell, nobody
from tasks.pipeline.beside import with_beside
from tasks.pipeline.earlier import as_planned
from tasks.pipeline.labels import with_labels
from tasks.pipeline.other_input import check_input
from tasks.pipeline.widths import notes as width_notes
from tasks.pipeline.widths import width_of

LONGEST_NAME = 215  # bytes: file systems allow 255, and maps are named after the image


@lru_cache(maxsize=4096)
def _known_digest(uri: str, size: int, changed: int) -> str:  # noqa: ARG001 - a file that changed is hashed anew
    return files.sha256(uri)


def _digest(uris: tuple[str, ...]) -> str:
    """The sha256 of the input; a local file is hashed once a process."""
    if len(uris) == 1 and not files.is_remote(uris[0]) and Path(uris[0]).is_file():
        stat = Path(uris[0]).stat()
        return _known_digest(uris[0], stat.st_size, stat.st_mtime_ns)
    return files.sha256_all(uris)


def _truth_digest(reference: str | None) -> str:
    """The sha256 of a truth; empty where there is none, or it cannot be read, as its scan's record will say."""
    with suppress(OSError, IsovoxError):
        return _digest(readers.image_at(reference).uris) if reference else ""
    return ""


def _check_name(stem: str) -> None:
    """Refuse a scan whose outputs file systems could not name."""
    name = f"{files.name_of(stem)}.nii.gz"
    if (size := len(name.encode(errors="surrogateescape"))) > LONGEST_NAME:
        wanted = f"a name of at most {LONGEST_NAME} bytes for the restored image"
        raise InputError("name-too-long", wanted, f"{size}: {name[:40]}…", "shorten the name of the scan")


def _plan_scan(source: Source, settings: RunSettings, references: dict[str, str]) -> ScanPlan:
    _check_name(source.stem)
    header = readers.scan_header(source.kind, source.uris, settings.trust)
    grid = header.grid
    sha256 = _digest(source.uris)
    width = width_of(source, grid, sha256, settings)
    reference = source.reference or _reference_of(source, references, settings.input)
    before = next((scan for scan in as_planned(sha256, settings) if scan.noise is not None), None)
    return ScanPlan(
        key=source.key,
        uris=source.uris,
        relative=source.relative,
        kind=source.kind,
        stem=source.stem,
        group=source.group if settings.fuse else source.key,
        entities=source.entities,
        metadata=source.sidecar,
        sha256=sha256,
        source=grid.to_json(),
        target=grid.to_json(),
        doubt=header.doubt,
        forward=read_forward(source.sidecar | source.simulation, grid, settings.slices, width),
        width=width,
        reference=reference,
        reference_sha256=_truth_digest(reference),
        lowest=before.lowest if before else None,
        noise=before.noise if before else None,
    )


def _reference_of(source: Source, references: dict[str, str], root: str) -> str | None:
    """The truth of a scan: of the same name, or of the name or the place that its simulation tells."""
    entities = simulated.truth_entities(source.entities)
    truth_key = files.name_of(bids_stem(entities)) if {"sub", "suffix"} <= set(entities) else source.key
    if reference := references.get(source.key) or references.get(truth_key):
        return reference
    truth = simulated.truth_of(source.uris[0], root) if references and source.kind != "dicom" else None
    return next((uri for uri in references.values() if truth and files.real(uri) == files.real(truth)), None)


def _references(settings: RunSettings) -> dict[str, str]:
    """The truth by key, from the folder that the settings name."""
    if settings.reference is None:
        return {}
    sources = [scan for scan in bids.discover(settings.reference) if isinstance(scan, Source)]
    if not sources:
        raise UsageError("reference-empty", f"scans in {settings.reference}", "none", "name the folder of the truth")
    return {source.key: source.uris[0] for source in sources}


def _paces(settings: RunSettings) -> dict[str, dict[str, float]]:
    """Seconds a million restored voxels by method and stage, of earlier runs into the same output with the same options."""
    paces: dict[str, list[Pace]] = {}
    for record in Output(settings.out).records():
        options = record.provenance.get("Settings", {}).get("method_options")
        if options == settings.method_options and record.seconds:
            paces.setdefault(record.method, []).append(pace_of(record.seconds, record.provenance["Target"]["shape"]))
    return {method: median_pace(known) for method, known in paces.items()}


def _check_settings(settings: RunSettings, weights: Weights | None) -> None:
    if settings.fallback:
        method_entry(settings.fallback)
    if settings.method in pickers():
        return
    method = build_method(settings.method, settings.method_options, weights.folder if weights else None)
    if settings.fuse and not method.fuses:
        able = ", ".join(name for name, entry in methods().items() if entry.takes.scans == "several")
        raise UsageError(
            "cannot-fuse", f"a method that fuses ({able})", settings.method, "leave out --fuse, or choose such a method"
        )


def plan_scans(
    sources: Iterable[Source | Refused], settings: RunSettings, tell: Tell = nobody
) -> tuple[list[ScanPlan], list[Refusal]]:
    """Look at each scan's header; those that the gate refuses are told apart with their reason.

    Of thick slices of which nobody tells the width the voxels are looked at, too.
    """
    references = _references(settings)
    scans: list[ScanPlan] = []
    refused: list[Refusal] = []
    for source in _of_one_person(list(sources)) if settings.fuse else sources:
        tell(Advanced("scans"))
        if isinstance(source, Refused):
            refused.append(Refusal(key=source.key, uri=source.uri, code=source.code, reason=source.reason))
            continue
        try:
            scans.append(files.retrying(partial(_plan_scan, source, settings, references), settings.compute.retries + 1))
        except InputError as error:
            refused.append(Refusal(key=source.key, uri=source.uris[0], code=error.code, reason=str(error)))
        except OSError as error:
            if files.is_remote(source.uris[0]):  # of a storage all scans are lost, and a later call finds them
                raise
            refused.append(_unread(source, error))
    return scans, refused


def _unread(source: Source, error: OSError) -> Refusal:
    """The refusal of a scan of which this machine cannot read a file: a damaged disk, or no permission."""
    got = f"{error.strerror or type(error).__name__} of {files.name_of(str(error.filename or source.uris[0]))}"
    reason = InputError("file-unreadable", "files that can be read", got, "check the disk and the permissions, or copy it anew")
    return Refusal(key=source.key, uri=source.uris[0], code=reason.code, reason=str(reason))


def _of_one_person(sources: Sequence[Source | Refused]) -> Iterator[Source | Refused]:
    """The scans; those of groups in which not all are of one person by evidence are refused: fused, they would be nobody."""
    groups: dict[str, list[Source]] = defaultdict(list)
    for source in sources:
        if isinstance(source, Source):
            groups[source.group].append(source)
    for source in sources:
        group = groups[source.group] if isinstance(source, Source) else []
        if len(group) < 2 or set.intersection(*(set(other.evidence) for other in group)):
            yield source
            continue
        names = ", ".join(other.key for other in group[:4]) + (" …" if len(group) > 4 else "")
        wanted = "scans of one person by BIDS names, a column participant_id, or DICOM's study or frame of reference"
        error = InputError("fuse-unproven", wanted, f"{names} of one folder", "name their person, or leave out --fuse")
        yield Refused(source.key, group[0].uris[0], error.code, str(error))


def plan_cohort(
    settings: RunSettings,
    weights: Weights | None = None,
    others: Mapping[str, Weights] | None = None,
    *,
    paces: Mapping[str, Pace] = MappingProxyType({}),
    tell: Tell = nobody,
) -> CohortPlan:
    """Find the scans and plan the run; nothing is written.

    Args:
        settings: of the run.
        weights: of its method.
        others: of methods that single scans may have, by their names.
        paces: by method, as this machine had them; they come before what the output tells.
        tell: hears of how many scans there are, and of each that was looked at.

    Raises:
        UsageError: no such input, method or option, or nothing that fits the selection.
    """
    _check_settings(settings, weights)
    check_apart(settings.out, [settings.input, *([settings.reference] if settings.reference else [])])
    discovery = bids.survey(settings.input, settings.selection, settings.out)
    tell(Began("scans", len(discovery.scans)))
    scans, refused = plan_scans(discovery.scans, settings, tell)
    scans, unfit = with_beside(scans, discovery, settings)
    refused += unfit
    earlier = _paces(settings)
    known = {name: {**earlier.get(name, {}), **paces.get(name, {})} for name in {*earlier, *paces}}
    plan = complete(settings, scans, refused, weights, known, others)
    if settings.carry_labels:  # beside the scans that are restored, not beside one that the method is not for
        scans = with_labels(plan.scans, {each.key for each in plan.refused}, discovery.ledger, settings)
        plan = complete(settings, scans, plan.refused, weights, known, others)
    discovery.ledger.refuse({refusal.key for refusal in plan.refused})
    notes = (*plan.notes, *width_notes(plan.scans, settings.slices), *_withheld(discovery.scans))
    notes += (amiss,) if (amiss := participants.amiss(settings.input)) else ()
    return plan.model_copy(update={"files": discovery.ledger.account(), "notes": notes})


def _withheld(scans: Sequence[Source | Refused]) -> tuple[str, ...]:
    """What was left out of the descriptions of DICOM series, in numbers alone."""
    counts = [scan.withheld for scan in scans if isinstance(scan, Source) and scan.withheld]
    if not counts:
        return ()
    words = "1 word" if sum(counts) == 1 else f"{sum(counts)} words"
    return (f"SeriesDescription of {len(counts)} series: {words} left out that may name a person",)


def check_plan(plan: CohortPlan, gpu: int | None = None) -> None:
    """Refuse a plan that this machine or this output cannot take.

    Args:
        plan: the plan.
        gpu: bytes of memory of the smallest GPU that works; None where none does.

    Raises:
        PlanError: memory-too-small, gpu-too-small, disk-too-small, mixed-settings.
        UsageError: as ``check_free`` and ``check_input``.
    """
    out = Output(plan.settings.out)
    check_free(out.uri, "run", [scan.stem for scan in plan.scans])
    restored = [record for record in out.records() if record.outputs]
    check_input(plan, restored)
    check_not_mixed(plan, {record.key: record.provenance.get("SettingsDigest", "") for record in restored})
    here = plan.settings.compute.cluster in {"in-process", "local", "cuda"}
    memory = psutil.virtual_memory().available if here else 1 << 62
    digests = {record.key: record.digest for record in restored}
    done = {scan.key for scan in plan.scans if digests.get(scan.key) == scan.digest}
    check_fits(plan, memory, space.room(plan.settings.out), gpu, done)


def unfinished(plan: CohortPlan) -> set[str]:
    """Keys of the scans that are not done with the plan's digests, or whose report is missing."""
    out = Output(plan.settings.out)
    return {scan.key for scan in plan.scans if not (out.done(scan.key, scan.digest) and out.reported(scan.key))}
