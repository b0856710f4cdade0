"""Goal 3: memory. Assembly does not grow with the planes; the whole pipeline, from .nii.gz to float32 Zarr, against MONAI's.

Ours also gathers the scan's statistics and keeps the measured image in the store, as a run does. Both have the environment of
our workers, with one thread for everything.

Each pipeline runs in a process of its own, with the identity as its network, and is asked for the peak of its resident memory
beyond what it held after its imports.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from core.geometry.blend import stream
from core.geometry.grid import Array, Box, Grid
from core.geometry.tiles import Tile, Tiling, patches
from core.methods.base import Measured, Method
from core.operators.forward_model import SliceProfile
from core.settings.scans import TilingSettings
from core.stats import ScanStats
from infra.pools import SINGLE
from tests.benchmarks.harness import Row, peak_growth, share, tell, within

SHAPE, PATCH, OVERLAP = (320, 448, 320), 64, 16
AIM = 0.35
GROWTH = 1.05


class Identity(Method):
    """A method that returns each patch as it is, in a new array."""

    name = "identity"

    def tiling(self, _: Grid, target: Grid, wanted: TilingSettings) -> Tiling:
        """Overlapping patches."""
        return patches(target.shape, wanted.patch, wanted.overlap, wanted.window)

    def source_box(self, _: Grid, __: Grid, tile: Tile) -> Box:
        """The patch itself."""
        return tile.read

    def restore(self, measured: Sequence[Measured], _: Grid) -> list[Array]:
        """The patch."""
        return [scan.image.copy() for scan in measured]


def ours(scan: Path, out: Path) -> None:
    """Ingest into the store and restore from it, as a worker does in scan mode."""
    from core.engine.restore import Source, restore_scan
    from core.io import nifti
    from core.io.arrays.store import BLOCK_PLANES, Store
    from tasks.restore.work import write_slabs

    store, method, grid = Store(str(out)), Identity(), nifti.header(str(scan)).grid
    store.create("scan/measured", grid, {})
    found = write_slabs(store, "scan/measured", nifti.slabs(str(scan), BLOCK_PLANES))
    store.finish("scan/measured", "digest", found)
    stats, how = ScanStats(**found["stats"]), SliceProfile()
    source = Source.by_layers(grid, lambda box: Measured(store.read("scan/measured", box), grid.crop(box), stats, how))
    tiling = method.tiling(grid, grid, TilingSettings(patch=PATCH, overlap=OVERLAP))
    store.create("scan/restored", grid, {})
    for box, (block,) in restore_scan(method, [source], grid, tiling, store.blocks("scan/restored")[0].shape[2]):
        store.write_block("scan/restored", box, block)
        del block
    store.finish("scan/restored", "digest")


def monai(scan: Path, out: Path) -> None:
    """Load, sliding window, write."""
    import torch
    import zarr
    from monai.inferers import SlidingWindowInferer
    from monai.transforms import LoadImage

    image = LoadImage(image_only=True, dtype=np.float32)(str(scan))
    inferer = SlidingWindowInferer((PATCH,) * 3, 1, OVERLAP / PATCH, mode="gaussian")
    found = inferer(image.as_tensor()[None, None], torch.clone)
    zarr.create_array(out, data=found.numpy()[0, 0], chunks=(PATCH,) * 3)


SIDES = {"ours": ours, "monai": monai}


def pipeline(side: str, scan: Path, folder: Path) -> float:
    """The peak of a side's memory, in volumes of float32, measured in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.goal3_memory", side, str(scan), str(folder / f"{side}.zarr")]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ | SINGLE)
    return int(done.stdout) / (4 * float(np.prod(SHAPE)))


def measure(side: str, scan: Path, out: Path) -> None:
    """In that process: once with a small scan, so that all is imported, then with the one to measure."""
    with tempfile.TemporaryDirectory() as folder:
        SIDES[side](write_scan(Path(folder), (96, 96, 96)), Path(folder) / "small.zarr")
    print(peak_growth(lambda: SIDES[side](scan, out)))  # noqa: T201


def write_scan(folder: Path, shape: tuple[int, int, int]) -> Path:
    """A scan of noise, int16, .nii.gz."""
    import nibabel

    path = folder / "scan.nii.gz"
    values = np.random.default_rng(0).integers(0, 1000, shape, np.int16)
    nibabel.Nifti1Image(values, np.diag([0.6, 0.6, 0.6, 1])).to_filename(path)
    return path


def assembly(planes: int) -> int:
    """Peak bytes of streaming a volume of so many planes."""
    tiling = patches((160, 224, planes), PATCH, OVERLAP, "gaussian")
    tracemalloc.start()
    for _ in stream(tiling, lambda tile: np.ones(tile.read.shape, np.float32), PATCH):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def rows() -> list[Row]:
    """Growth of assembly, and the pipelines."""
    assembly(PATCH)  # compiles
    few, many = (assembly(planes) for planes in (320, 1280))
    with tempfile.TemporaryDirectory() as folder:
        scan = write_scan(Path(folder), SHAPE)
        found = [pipeline(side, scan, Path(folder)) for side in SIDES]
    mib = Fraction(1, 2**20)
    return [
        within(3, f"assembly, peak of 1280 planes / of 320 ({float(few * mib):.0f} MiB)", many / few, GROWTH),
        share(3, "pipeline, peak memory in volumes (MONAI)", *found, AIM),
    ]


if __name__ == "__main__":
    if sys.argv[1:]:
        measure(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        tell(rows())
