"""What a worker runs: one stage of one scan (or of the scans of a person that are fused), told by URIs and keys alone.

Each function is idempotent: it skips what its done-marker says is there, and what it writes is whole or absent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from typing import Any, Literal, TypeVar

import numpy as np

from core.engine.consistency import explained_by, repair_of, unrepaired
from core.engine.iterate import Checkpoint, Driver, thinned
from core.engine.plan import CohortPlan, ScanPlan, facts_of_scan, outside_domain
from core.engine.restore import Restore, Source, restore_scan
from core.errors import InputError, StoreError
from core.geometry.grid import Array, Box, Grid, Orientation
from core.geometry.tiles import Tiling
from core.io import files, readers
from core.io.arrays.slabs import Slab, StoredAs
from core.io.arrays.store import BLOCK_PLANES, Store
from core.io.output import Output
from core.io.unchanged import check_unchanged
from core.methods.base import Measured, Method, Piece
from core.methods.iterative import Beside, IterativeMethod
from core.models.domain import disagreements
from core.models.scaling import values_of
from core.noise import Key, field_key
from core.operators.linear import Kept
from core.stats import RunningStatistics, ScanStats
from tasks.restore import maps
from tasks.restore.masks import read_mask
from tasks.restore.progress import Reporter, check_wanted

T = TypeVar("T")
DAMAGED = {"block-torn", "block-missing", "image-missing", "image-unfinished"}


@dataclass(frozen=True)
class Job:
    """One piece of work.

    Attributes:
        out: output folder or s3:// prefix.
        plan: digest of the plan that lies there.
        keys: the scans, one or those that are fused.
        first, stop: numbers of tiles, or of blocks, in tile mode.
        seconds: what the stages before took, by name.
        run: of the lock on the output, names the run that sent it; empty where none did.
    """

    out: str
    plan: str
    keys: tuple[str, ...]
    first: int = 0
    stop: int = 0
    seconds: tuple[tuple[str, float], ...] = ()
    run: str = ""


@lru_cache(maxsize=2)
def read_plan(out: str, digest: str) -> CohortPlan:
    """The plan in the output folder.

    Raises:
        StoreError: it is not the plan of that digest.
    """
    plan = CohortPlan.model_validate(files.read_json(Output(out).plan))
    if plan.digest != digest:
        raise StoreError("plan-changed", f"plan {digest[:12]}", f"{plan.digest[:12]} in {out}", "start the run again")
    return plan


@lru_cache(maxsize=2)
def _by_key(out: str, digest: str) -> dict[str, ScanPlan]:
    return {scan.key: scan for scan in read_plan(out, digest).scans}


def scans_of(job: Job) -> list[ScanPlan]:
    """The plans of the job's scans."""
    return [_by_key(job.out, job.plan)[key] for key in job.keys]


@lru_cache(maxsize=4)
def _method(out: str, plan: str, own: str) -> Method:
    planned = read_plan(out, plan)
    return planned.way(next(scan for scan in planned.scans if scan.method == own)).build()


def method_of(job: Job) -> Method:
    """The method that restores the job's scans, built once a process."""
    return _method(job.out, job.plan, scans_of(job)[0].method)


def store_of(job: Job) -> Store:
    """The cohort's store."""
    return Store(Output(job.out).store)


def path_of(job: Job, scan: ScanPlan, what: str) -> str:
    """Where an image of a scan lies in the store: "measured", "restored", "consistency", "tiles" or "assembled"."""
    return f"{scan.key}/measured" if what == "measured" else f"{scan.key}/{method_of(job).name}/{what}"


def steadily(job: Job, work: Callable[[], T]) -> T:
    """Do work, again after a fault of the storage that may pass, with back-off."""
    return files.retrying(work, attempts=read_plan(job.out, job.plan).settings.compute.retries + 1)


def timed(work: Callable[[], object]) -> float:
    """Seconds that work took."""
    start = time.monotonic()
    work()
    return round(time.monotonic() - start, 3)


# -- ingest -----------------------------------------------------------------------------------------------------------------


def _slabs(job: Job, scan: ScanPlan) -> Iterator[Slab]:
    """The scan as its store is cut."""
    trust = read_plan(job.out, job.plan).settings.trust
    check_unchanged(scan.uris, scan.sha256)
    return readers.slabs(scan.kind, scan.uris, BLOCK_PLANES, trust)


def write_image(store: Store, path: str, image: Array, grid: Grid, attrs: dict[str, Any], digest: str) -> None:
    """Write a whole image and its done-marker."""
    store.create(path, grid, attrs)
    for box in store.blocks(path):
        store.write_block(path, box, image[box.slices])
    store.finish(path, digest)


def write_slabs(store: Store, path: str, slabs: Iterator[Slab]) -> dict[str, Any]:
    """Write a scan slab by slab; its statistics and how it was stored, to be kept with it."""
    statistics = RunningStatistics(store.grid(path).shape)
    stored: dict[str, Any] = {}
    for slab in slabs:
        statistics.take(slab.box, slab.image)
        store.write_block(path, slab.box, slab.image)
        stored = asdict(slab.stored.orientation) | {"code": slab.stored.code}
        del slab  # before the next is read
    return {"stats": asdict(statistics.stats()), "stored": stored}


def _ingest(job: Job, scan: ScanPlan) -> None:
    store, path = store_of(job), path_of(job, scan, "measured")
    if store.done(path, scan.ingest_digest):
        return
    slabs = _slabs(job, scan)
    store.create(path, scan.source_grid, {"of": scan.ingest_digest})
    try:
        stats = write_slabs(store, path, slabs)
    except InputError:  # what is wrong with a scan may come to light at its end
        store.remove(path)
        raise
    store.finish(path, scan.ingest_digest, stats)


def outside_of(job: Job, scan: ScanPlan) -> list[str]:
    """What of an ingested scan lies outside the domain of the method or its model, its values included."""
    stats = store_of(job).attrs(path_of(job, scan, "measured"))["stats"]
    values = values_of(ScanStats(**stats))
    return disagreements(method_of(job).domain, facts_of_scan(scan, read_plan(job.out, job.plan).settings, values))


def _ingest_inside(job: Job, scan: ScanPlan) -> None:
    """Ingest a scan; refuse it where its values show that the method or its model is not for it.

    Of scans that are fused the fault names the one that has it, for all of them fail by it.
    """
    settings = read_plan(job.out, job.plan).settings
    try:
        _ingest(job, scan)
        if not settings.outside_domain and (reasons := outside_of(job, scan)):
            raise outside_domain(settings, reasons)
    except InputError as error:
        if len(job.keys) == 1:
            raise
        got = f"{error.got} in {scan.key} of the {len(job.keys)} scans that are fused"
        raise InputError(error.code, error.wanted, got, error.remedy) from error


def ingest(job: Job) -> float:
    """Read the scans through the gate into the store; seconds it took.

    Raises:
        InputError: naming what is wrong with a scan.
    """
    return timed(lambda: [steadily(job, partial(_ingest_inside, job, scan)) for scan in scans_of(job)])


def measured_of(job: Job, scan: ScanPlan) -> Measured:
    """A scan as measured, from the store."""
    store, path = store_of(job), path_of(job, scan, "measured")
    stats = ScanStats(**store.attrs(path)["stats"])
    grid, key, mask = store.grid(path), _noise_key(job, scan), _mask_of(job, scan)
    return Measured(store.read(path), grid, stats, scan.forward, key, mask, scan.covariates)


def _mask_of(job: Job, scan: ScanPlan) -> Kept | None:
    """The mask beside a scan, on its grid; None where it has none."""
    trust = read_plan(job.out, job.plan).settings.trust
    return read_mask(scan.mask, trust, scan.source_grid.shape) if scan.mask else None


def _noise_key(job: Job, scan: ScanPlan) -> Key:
    """Of what methods draw for a scan: by the run's seed and the scan's bytes."""
    return field_key(read_plan(job.out, job.plan).settings.seed, scan.sha256)


def stored_as(job: Job, scan: ScanPlan) -> StoredAs:
    """How the scan lay in its file."""
    lay = store_of(job).attrs(path_of(job, scan, "measured"))["stored"]
    return StoredAs(Orientation(tuple(lay["order"]), tuple(lay["flips"])), lay["code"])


def lazily(job: Job, scan: ScanPlan, how: Callable[[Grid, Callable[[Box], Measured]], Source] = Source) -> Source:
    """A scan of which only what is asked for is read."""
    store, path = store_of(job), path_of(job, scan, "measured")
    grid, stats = store.grid(path), ScanStats(**store.attrs(path)["stats"])
    key, mask = _noise_key(job, scan), _mask_of(job, scan)

    def read(box: Box) -> Measured:
        part = None if mask is None else mask[box.slices]
        return Measured(store.read(path, box), grid.crop(box), stats, scan.forward, key, part, scan.covariates)

    return how(grid, read)


# -- restore, scan mode -----------------------------------------------------------------------------------------------------


def tiling_of(job: Job, scan: ScanPlan) -> Tiling:
    """How the method cuts the scan's target grid."""
    wanted = read_plan(job.out, job.plan).settings.tiling
    return method_of(job).tiling(scan.source_grid, scan.target_grid, wanted)


def restored(job: Job) -> bool:
    """Whether the restored images are there and whole."""
    return all(maps.whole(store_of(job), path_of(job, scan, "restored"), scan.restore_digest) for scan in scans_of(job))


def is_repaired(job: Job, scan: ScanPlan) -> bool:
    """Whether a scan's restored image is brought to agree with it, see ``core.engine.consistency``."""
    return read_plan(job.out, job.plan).settings.repair and not unrepaired(method_of(job), scan.forward)


def repaired_blocks(
    job: Job, blocks: Iterator[tuple[Box, list[Array]]], repairs: dict[str, dict[str, Any]]
) -> Iterator[tuple[Box, list[Array]]]:
    """The blocks of the images that a method made, after what their scans say was added to them.

    How, and why not where it was not, is put into ``repairs`` by the scans' keys.
    """
    scans, boxes = scans_of(job), []
    images = [np.empty(scan.target_grid.shape, np.float32) for scan in scans]
    for box, arrays in blocks:
        boxes.append(box)
        for image, array in zip(images, arrays, strict=True):
            image[box.slices] = array
        del arrays, array  # before the next block is made
    for number, scan in enumerate(scans):
        if is_repaired(job, scan):
            explained = explained_by(method_of(job), measured_of(job, scan))
            repair = repair_of(images[number], scan.target_grid, explained)
            images[number] = repair.image
            repairs[scan.key] = {"rounds": repair.rounds, "unneeded": repair.unneeded}
    for box in boxes:
        yield box, [image[box.slices] for image in images]


def create_restored(job: Job) -> None:
    """The templates of the restored images, and of the maps that the method gives with them."""
    for scan in scans_of(job):
        path = path_of(job, scan, "restored")
        store_of(job).create(path, scan.target_grid, {"of": scan.restore_digest})
        maps.create(store_of(job), path, method_of(job).maps, scan.restore_digest)


def finish_restored(job: Job, repairs: dict[str, dict[str, Any]], driver: Driver | None = None) -> None:
    """Mark the restored images as done, with their maps, their repairs and what their steps told, where a driver made them."""
    beside, steps = (driver.beside, driver.figures) if driver else (Beside(), {})
    extra: dict[str, Any] = {"steps": thinned(steps)} if steps else {}
    if driver and driver.step_seconds is not None:
        extra["pace"] = {"step_seconds": float(f"{driver.step_seconds:.4g}")}
    for number, scan in enumerate(scans_of(job)):
        path = path_of(job, scan, "restored")
        written = maps.finish(store_of(job), path, method_of(job).maps, scan.restore_digest)
        written |= maps.write_maps(store_of(job), path, beside, number, scan.restore_digest)
        written |= {"repair": repairs[scan.key]} if scan.key in repairs else {}
        store_of(job).finish(path, scan.restore_digest, extra | written)


def told_of(job: Job, scan: ScanPlan, what: Literal["steps", "figures", "pictures", "pace", "repair"]) -> dict[str, Any]:
    """What the steps that restored a scan told, what is told beside them, their pace, or its repair; empty where none is."""
    attributes: dict[str, Any] = store_of(job).attrs(path_of(job, scan, "restored")).get(what, {})
    return attributes


def checkpoint_of(job: Job) -> Checkpoint:
    """Where the state of the job's restoration is kept."""
    first, compute = scans_of(job)[0], read_plan(job.out, job.plan).settings.compute
    return Checkpoint(Output(job.out).state(first.key), first.restore_digest, 60 * compute.state_minutes)


def _restore(job: Job) -> None:
    if restored(job):
        return
    method = method_of(job)
    out = Output(job.out)
    with Reporter(out.progress(job.keys[0]), check=partial(check_wanted, out.lock, job.run)) as tell:
        if isinstance(method, IterativeMethod):
            driver = Driver(method, checkpoint_of(job), partial(tell, "steps"))
            finish_restored(job, _restore_by(job, driver), driver)
            checkpoint_of(job).remove()
        else:
            counting = _counting(method, tell, len(tiling_of(job, scans_of(job)[0])))
            finish_restored(job, _restore_by(job, counting))


def _counting(method: Method, tell: Reporter, total: int) -> Restore:
    """The method's ``restore_many`` that tells how many tiles are done."""
    done = 0

    def restore(pieces: Sequence[Piece]) -> list[list[Array]]:
        nonlocal done
        made = method.restore_many(pieces)
        done += len(pieces)
        tell("tiles", done, total)
        return made

    return restore


def _without_maps(job: Job, blocks: Iterator[tuple[Box, list[Array]]]) -> Iterator[tuple[Box, list[Array]]]:
    """The blocks of the restored images; those of maps, which follow them, are written on the way."""
    scans, store = scans_of(job), store_of(job)
    for box, arrays in blocks:
        for number, name in enumerate(method_of(job).maps, start=1):
            for scan, array in zip(scans, arrays[number * len(scans) : (number + 1) * len(scans)], strict=True):
                store.write_block(maps.path_of_map(path_of(job, scan, "restored"), name), box, array)
        yield box, arrays[: len(scans)]
        del arrays  # before the next block is made


def _restore_by(job: Job, restore: Restore) -> dict[str, dict[str, Any]]:
    """Restore whole scans, block by block into the store; their repairs by key, see ``repaired_blocks``."""
    scans, store = scans_of(job), store_of(job)
    repairs: dict[str, dict[str, Any]] = {}
    sources = [lazily(job, scan, Source.by_layers) for scan in scans]
    create_restored(job)
    thickness = store.blocks(path_of(job, scans[0], "restored"))[0].shape[2]
    made = restore_scan(method_of(job), sources, scans[0].target_grid, tiling_of(job, scans[0]), thickness, restore)
    blocks = _without_maps(job, made)
    if any(is_repaired(job, scan) for scan in scans):
        blocks = repaired_blocks(job, blocks, repairs)
    for box, arrays in blocks:
        for scan, array in zip(scans, arrays, strict=True):
            store.write_block(path_of(job, scan, "restored"), box, array)
        del arrays, array  # before the next block is made
    return repairs


def restore(job: Job) -> float:
    """Scan mode: restore whole scans in memory, block by block into the store; seconds it took.

    Raises:
        RestorationError: naming the tile that the method has no finite answer for.
    """
    return timed(lambda: mended(job, lambda: steadily(job, lambda: _restore(job))))


def mended(job: Job, work: Callable[[], T]) -> T:
    """Do work; where the store turns out to be damaged, build what is damaged anew from its left neighbour, and again."""
    try:
        return work()
    except StoreError as error:
        if error.code not in DAMAGED:
            raise
    discard_damaged(job)
    for scan in scans_of(job):
        steadily(job, partial(_ingest, job, scan))
    steadily(job, lambda: _restore(job))
    return work()


def discard_damaged(job: Job) -> None:
    """Remove images that say they are done but are not whole."""
    store = store_of(job)
    for scan in scans_of(job):
        for what, digest in (("measured", scan.ingest_digest), ("restored", scan.restore_digest)):
            if not maps.whole(store, path_of(job, scan, what), digest):
                store.remove(path_of(job, scan, what))
