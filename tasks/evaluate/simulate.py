"""Make scans of low resolution from a cohort of sharp ones: each by itself, and all that can be made."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from core.engine.fit import check_disk
from core.engine.records import ScanRecord
from core.errors import InputError, IsovoxError, UsageError
from core.geometry.grid import Array, Grid
from core.io import bids, claim, files, nifti, participants, readers, simulated, space
from core.io.arrays.slabs import StoredAs
from core.io.bids import Refused, Source
from core.io.names import IMAGES
from core.noise import field_key
from core.operators.forward import Beside, Degraded
from core.settings.simulate import SimulateSettings
from core.tissues import Tissues, maps_of_labels
from tasks.bounded import Dispatch, Piece, code, in_order, read_work, reason, serially, write_work
from tasks.events import Advanced, Tell, nobody

SUPERIOR = 2
RINGING = 0.1  # of the brightest voxel, below 0


@dataclass(frozen=True)
class Job:
    """A simulation.

    Attributes:
        settings: of all scans.
        labels: URIs of label images by the person and session they are of; one under "" is for every scan.
        stems: path of each scan's simulation in the output, by key; more scans than one may want the same.
        shared: the paths that more scans than one want.
        sources: the scans.
    """

    settings: SimulateSettings
    labels: dict[str, str] = field(default_factory=dict)
    stems: dict[str, str] = field(default_factory=dict)
    shared: frozenset[str] = frozenset()
    sources: tuple[Source, ...] = ()

    @property
    def axis(self) -> int:
        """Along which slices become thick."""
        return SUPERIOR if self.settings.axis == "auto" else "RAS".index(self.settings.axis)


def find(settings: SimulateSettings, keys: Container[str] | None = None) -> tuple[Job, list[Source | Refused]]:
    """The scans to degrade and how.

    Args:
        settings: which cohort, where to, how.
        keys: of the scans, where not all that fit the selection are meant.

    Raises:
        UsageError: no such input, nothing that fits the selection, an output within the input, or two label images for a scan.
    """
    claim.check(settings.out, [settings.input], "simulate")
    scans = [scan for scan in bids.discover(settings.input, settings.selection) if keys is None or scan.key in keys]
    job = job_of(settings, [scan for scan in scans if isinstance(scan, Source)])
    if keys is None:  # an evaluation of another cohort makes all it compares anew
        _check_input(settings, job.sources, job.stems)
    return replace(job, labels=_label_images(settings.labels)), scans


def job_of(settings: SimulateSettings, sources: Sequence[Source]) -> Job:
    """Of these scans, without label images."""
    axis = "S" if settings.axis == "auto" else settings.axis
    label, contrast = simulated.label_of(settings.degradation, axis), settings.degradation.contrast
    stems = {source.key: simulated.stem_of(source, label, contrast) for source in sources}
    shared = frozenset(stem for stem, count in Counter(stems.values()).items() if count > 1)
    return Job(settings, {}, stems, shared, tuple(sources))


def bytes_left(job: Job) -> int:
    """Bytes of the scans that are not there yet, as they are before they are packed."""
    left = [source for source in job.sources if not files.exists(files.join(job.settings.out, f"{job.stems[source.key]}.nii.gz"))]
    return sum(_size(job, source) for source in left)


def _size(job: Job, source: Source) -> int:
    """Bytes of a simulated scan's voxels; 0 where none can be made, as its record will say."""
    try:
        grid = readers.header(source.kind, source.uris, job.settings.trust).grid
        return 4 * math.prod(job.settings.degradation.forward.degraded_grid(grid, job.axis).shape)
    except (IsovoxError, OSError):
        return 0


def _check_room(job: Job) -> None:
    """Refuse a simulation for which its disk has no room.

    Raises:
        PlanError: disk-too-small.
    """
    if not files.is_remote(job.settings.out):  # whose headers need not be read for it
        check_disk(bytes_left(job), space.room(job.settings.out), f"{len(job.sources)} simulated scans")


def _check_input(settings: SimulateSettings, sources: Sequence[Source], stems: Mapping[str, str]) -> None:
    """Refuse an output that holds simulations by the same names of scans of another input.

    Raises:
        UsageError: out-other-input.
    """
    former = {source.key: simulated.other_truth(settings.out, stems[source.key], source, settings.input) for source in sources}
    if scans := [key for key, truth in former.items() if truth]:
        before = files.parent_of(former[scans[0]] or "")
        raise claim.refuse_input(settings.out, before, settings.input, scans)


def _label_images(uri: str | None) -> dict[str, str]:
    if uri is None:
        return {}
    if IMAGES.search(uri):
        return {"": uri}
    named = bids.label_images(uri)
    for image in named:
        if isinstance(image, Refused):
            raise UsageError(image.code, "label images that can be read", image.reason, "correct or remove it")
    images = [image for image in named if isinstance(image, Source)]
    if gone := [image.uris[0] for image in images if not files.exists(image.uris[0])]:
        raise UsageError("file-missing", "label images that can be read", f"none at {files.name_of(gone[0])}", "check the path")
    groups = Counter(image.group for image in images)
    if twice := [group for group, count in groups.items() if count > 1]:
        raise UsageError("labels-ambiguous", "one label image for each scan", f"several of {twice[0]}", "name them in a table")
    return {image.group: image.uris[0] for image in images}


def load(source: Source, settings: SimulateSettings) -> tuple[Array, Grid, StoredAs]:
    """A scan through the gate."""
    return readers.load(source.kind, source.uris, settings.trust)


def _tissues(job: Job, source: Source, image: Array, grid: Grid) -> tuple[Tissues, Array | None]:
    """The tissues of a scan, and their maps where a label image tells them."""
    uri = job.labels.get(source.group) or job.labels.get("")
    if uri is None and job.labels:
        got, remedy = f"none for {source.group}", "add one, or leave the scan out (--exclude)"
        raise InputError("labels-missing", "a label image for each person and session", got, remedy)
    if uri is None:
        return Tissues.fit(image, contrast=job.settings.degradation.contrast), None
    labels, on, _ = readers.load_at(uri, job.settings.trust)
    if on.shape != grid.shape or not np.allclose(on.affine, grid.affine, atol=1e-2):
        got = f"{on.shape} at {files.name_of(uri)}"
        raise InputError("labels-grid", f"labels on the scan's grid {grid.shape}", got, "resample the label image to the scan")
    maps = maps_of_labels(labels)
    return Tissues.of_maps(image, maps), maps


def _check_magnitude(image: Array, operator: str) -> None:
    """Refuse an image, such as of z-scores, whose signs a simulated scan would lose; some ringing below 0 is none."""
    low, high = float(image.min()), float(image.max())
    if low < -RINGING * high:
        wanted = f"magnitudes for {operator}: no voxels below 0 by more than {RINGING:.0%} of the brightest"
        remedy = "give the scan as it was before its intensities were normalised, or add a constant to all voxels"
        raise InputError("voxels-negative", wanted, f"{low:.4g} to {high:.4g}", remedy)


def _degrade(job: Job, source: Source, sha256: str, image: Array, grid: Grid) -> tuple[Degraded, dict[str, Any]]:
    """The degraded scan, and what was drawn and found for it."""
    how = job.settings.degradation
    number = () if how.scanner is None else (how.scanner,)  # scanners see a person through noise of their own
    forward, draw = how.forward, np.random.default_rng((*field_key(job.settings.seed, sha256), *number))
    if forward.magnitude:
        _check_magnitude(image, how.operator)
    if not forward.needs_tissues:
        made = forward.degrade(image, grid, job.axis, draw)
        return made, made.drawn
    tissues, maps = _tissues(job, source, image, grid)
    made = forward.degrade(image, grid, job.axis, draw, Beside(forward.on_slices(tissues, image, grid, job.axis, maps), maps))
    return made, made.drawn | {"Tissues": tissues.to_json() | {"From": "fit" if maps is None else "labels"}}


def _digest(job: Job, source: Source, sha256: str) -> str:
    uri = job.labels.get(source.group) or job.labels.get("")
    forward = job.settings.degradation.forward
    settings = job.settings.model_dump(mode="json", include={"degradation", "trust"}) | {"axis": job.axis}
    drawn: dict[str, Any] = {} if forward.linear else {"seed": job.settings.seed}
    if forward.needs_tissues:
        drawn |= {"noise": "of the slices", "labels": files.sha256(uri) if uri else None}
    return simulated.simulation_digest(sha256, settings | drawn)


def _simulate(job: Job, source: Source) -> ScanRecord:
    """Make one scan, image first, sidecar last; nothing where it is there already."""
    start, out, stem = time.monotonic(), job.settings.out, job.stems[source.key]
    if stem in job.shared:
        raise InputError("entities-duplicate", "one scan for each simulation", f"several for {stem}", "rename all but one")
    sha256 = files.sha256_all(source.uris)
    digest = _digest(job, source, sha256)
    record = ScanRecord(key=source.key, state="skipped", digest=digest, method=job.settings.degradation.operator)
    if simulated.is_done(out, stem, digest):
        return record
    image, grid, stored = load(source, job.settings)
    degraded, facts = _degrade(job, source, sha256, image, grid)
    written = nifti.save(files.join(out, f"{stem}.nii.gz"), degraded.image, degraded.grid, stored)
    facts |= {"Seed": job.settings.seed, "TruthSHA256": sha256, "SHA256": written, "Digest": digest}
    content = simulated.sidecar(source, out, job.axis, job.settings.degradation.forward, grid, facts)
    files.write_json(files.join(out, f"{stem}.json"), content)
    seconds = {"simulate": time.monotonic() - start}
    return record.model_copy(update={"state": "done", "seconds": seconds, "outputs": {f"{stem}.nii.gz": written}})


def _failed(key: str, named: str, why: str) -> ScanRecord:
    return ScanRecord(key=key, state="failed", code=named, reason=why)


def simulate_one(job: Job, source: Source) -> ScanRecord:
    """Make one scan; what goes wrong with it is told, not raised."""
    try:
        return files.retrying(lambda: _simulate(job, source), 1 + job.settings.compute.retries)
    except (IsovoxError, OSError, MemoryError) as error:
        return _failed(source.key, code(error), reason(error))


def simulate_piece(piece: Piece) -> ScanRecord:
    """What a worker runs: make the scan of that number."""
    job = read_work(Job, piece)
    return simulate_one(job, job.sources[piece.number])


def simulate(
    settings: SimulateSettings,
    tell: Tell = nobody,
    dispatch: Dispatch = serially,
    keys: Container[str] | None = None,
) -> list[ScanRecord]:
    """Make scans of low resolution from all scans of a cohort; those that are there are skipped.

    What the cohort's participants.tsv says of their persons is taken over, beside what that of the output says of others.

    Args:
        settings: which cohort, where to, how.
        tell: hears of each scan.
        dispatch: runs the work; see ``tasks.bounded.in_order``.
        keys: of the scans, where not all that fit the selection are meant.

    Returns:
        one record a scan, in the order of their keys.

    Raises:
        UsageError: no such input, nothing that fits the selection, a setting that cannot be meant, or a participants.tsv that is
            no table.
        PlanError: disk-too-small.
    """
    job, scans = find(settings, keys)
    _check_room(job)
    known, there = participants.lines_in(settings.input), participants.lines_in(settings.out)
    claim.begin(settings.out, "simulate")
    about = settings.model_dump(mode="json", include={"degradation", "seed", "axis"})
    simulated.write_dataset_files(settings.out, settings.input, about)
    made = iter(_simulated(job, tell, dispatch))
    tell(Advanced("scans", len(scans) - len(job.sources)))
    records = [_failed(scan.key, scan.code, scan.reason) if isinstance(scan, Refused) else next(made) for scan in scans]
    if (both := there.with_people(known, _persons(job, records))) is not there:
        participants.write_lines(settings.out, both)
    return records


def _persons(job: Job, records: Sequence[ScanRecord]) -> dict[str, str]:
    """Labels of the persons in the cohort whose scans are there, by their labels in the output."""
    there = {record.key for record in records if record.state != "failed"}
    return {
        job.stems[source.key].partition("/")[0].removeprefix("sub-"): source.participant
        for source in job.sources
        if source.key in there
    }


def _simulated(job: Job, tell: Tell, dispatch: Dispatch) -> list[ScanRecord]:
    """Records of the job's sources."""
    uri = files.join(job.settings.out, "isovox", "simulation.json")
    pieces = write_work(uri, job, len(job.sources))
    workers = job.settings.compute.workers
    outcomes = in_order(dispatch, simulate_piece, pieces, workers=workers, on_done=lambda _: tell(Advanced("scans")))
    files.remove(uri)
    both = zip(job.sources, outcomes, strict=True)
    return [
        _failed(source.key, code(outcome), reason(outcome)) if isinstance(outcome, BaseException) else outcome
        for source, outcome in both
    ]
