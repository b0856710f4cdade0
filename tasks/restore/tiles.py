"""Tile mode: the tiles of one scan as work of their own, which any number of workers share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from core.engine.plan import ScanPlan
from core.engine.restore import restore_tiles
from core.geometry.blend import gather
from tasks.restore.maps import path_of_map
from tasks.restore.work import (
    Job,
    create_restored,
    finish_restored,
    is_repaired,
    lazily,
    mended,
    method_of,
    path_of,
    repaired_blocks,
    restored,
    scans_of,
    steadily,
    store_of,
    tiling_of,
    timed,
)


def prepare_tiles(job: Job) -> tuple[int, int]:
    """The template of the scan's tiles and of its restored image; how many tiles and blocks there are to do (0, 0: none)."""
    (scan,) = scans_of(job)
    if restored(job):
        return 0, 0
    tiling, store = tiling_of(job, scan), store_of(job)
    for tiles, _ in _images(job, scan):
        store.scratch(tiles, tiling, {"of": scan.restore_digest})
    create_restored(job)
    store.create(_assembled(job, scan), scan.target_grid, {"of": scan.restore_digest})
    return len(tiling), len(store.blocks(path_of(job, scan, "restored")))


def _images(job: Job, scan: ScanPlan) -> list[tuple[str, str]]:
    """Where the tiles of the restored image and of each map lie, and where they are put together."""
    tiles, restored = path_of(job, scan, "tiles"), path_of(job, scan, "restored")
    names = method_of(job).maps
    return [(tiles, _assembled(job, scan)), *((f"{tiles}-{name}", path_of_map(restored, name)) for name in names)]


def _assembled(job: Job, scan: ScanPlan) -> str:
    """Where the tiles are put together: in the restored image, or in one of their own that is repaired into it."""
    return path_of(job, scan, "assembled" if is_repaired(job, scan) else "restored")


def restore_some_tiles(job: Job) -> float:
    """Tile mode: predict the tiles first to stop and write each as its own chunk; seconds it took."""
    return timed(lambda: mended(job, lambda: steadily(job, lambda: _restore_some_tiles(job))))


def _restore_some_tiles(job: Job) -> None:
    (scan,) = scans_of(job)
    tiling, store, paths = tiling_of(job, scan), store_of(job), [tiles for tiles, _ in _images(job, scan)]
    wanted = map(tiling.tile, range(job.first, job.stop))
    missing = [tile for tile in wanted if not all(store.has_tile(path, tile) for path in paths)]
    for tile, arrays in restore_tiles(method_of(job), [lazily(job, scan)], scan.target_grid, missing):
        for path, array in zip(paths, arrays, strict=True):
            store.write_tile(path, tile, array)


def assemble_blocks(job: Job) -> float:
    """Tile mode: gather the output blocks first to stop from the tiles that touch them; seconds it took."""
    return timed(lambda: steadily(job, lambda: _assemble_blocks(job)))


def _assemble_blocks(job: Job) -> None:
    (scan,) = scans_of(job)
    tiling, store = tiling_of(job, scan), store_of(job)
    for tiles, image in _images(job, scan):
        for box in store.blocks(image)[job.first : job.stop]:
            if not store.has_block(image, box):
                store.write_block(image, box, gather(box, tiling, partial(store.read_tile, tiles)))


def finish_tiles(job: Job) -> float:
    """Tile mode: repair the restored image, mark it as done and drop the tiles; seconds it took."""
    (scan,), store = scans_of(job), store_of(job)

    def finish() -> None:
        repairs: dict[str, dict[str, Any]] = {}
        if is_repaired(job, scan):
            made, path = _assembled(job, scan), path_of(job, scan, "restored")
            blocks = ((box, [store.read(made, box)]) for box in store.blocks(made))
            for box, (array,) in repaired_blocks(job, blocks, repairs):
                store.write_block(path, box, array)
        finish_restored(job, repairs)
        scratch = {_assembled(job, scan), *(tiles for tiles, _ in _images(job, scan))}
        for path in scratch - {path_of(job, scan, "restored")}:
            store.remove(path)

    return timed(finish)


def parts(job: Job, count: int, size: int) -> Sequence[Job]:
    """The job cut into jobs of ``size`` tiles or blocks each."""
    return [replace(job, first=start, stop=min(start + size, count)) for start in range(0, count, size)]
