"""Goal 7: the same bits for any number of workers, in any order, whatever the blocks; MONAI and TorchIO add up as they go."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from core.geometry.blend import blend, gather
from core.geometry.grid import Array, Box
from core.geometry.tiles import Tile, Tiling, patches
from tests.benchmarks.harness import Row, tell, within

SHAPE = (96, 112, 100)


def predict(tile: Tile) -> Array:
    """Tiles that disagree wherever they overlap."""
    return np.random.default_rng(tile.index).normal(size=tile.read.shape).astype(np.float32)


def scattered(tiling: Tiling, workers: int, thickness: int) -> Array:
    """Tiles and then blocks worked on in a random order, by so many workers."""
    rng = np.random.default_rng(workers)
    out = np.empty(tiling.shape, np.float32)
    boxes = [Box((0, 0, z), (*SHAPE[:2], min(z + thickness, SHAPE[2]))) for z in range(0, SHAPE[2], thickness)]
    with ThreadPoolExecutor(workers) as pool:
        tiles = [tiling.tile(int(n)) for n in rng.permutation(len(tiling))]
        held = dict(zip([tile.index for tile in tiles], pool.map(predict, tiles), strict=True))
        shuffled = [boxes[n] for n in rng.permutation(len(boxes))]
        for box, block in zip(
            shuffled, pool.map(lambda box: gather(box, tiling, lambda tile: held[tile.index]), shuffled), strict=True
        ):
            out[box.slices] = block
    return out


def rows() -> list[Row]:
    """Voxels that differ by a bit from one worker's volume in one piece."""
    tiling = patches(SHAPE, 32, 12, "hann")
    whole = blend(tiling, predict).view(np.uint32)
    found = {
        workers: int(np.count_nonzero(scattered(tiling, workers, planes).view(np.uint32) != whole))
        for workers, planes in ((1, 7), (2, 16), (4, 64))
    }
    return [within(7, f"{workers} workers, shuffled: voxels that differ", count, 0) for workers, count in found.items()]


if __name__ == "__main__":
    tell(rows())
