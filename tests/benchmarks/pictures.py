"""The pictures of the methods' pages, docs/pictures/NAME.jpg, and README's: ``python -m tests.benchmarks.pictures [NAME …]``.

The middle of the MNI152 head in slices of 4 mm with 1 % noise: as measured (nearest voxel), by cubic interpolation, by the
method. README's is the report's of a scan of the demo in slices of 8 mm, by what ``auto`` takes (NAME: demo).
Minutes on one core.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from cli.demo import SCANS, SEED, _thick, load_template
from core.engine.consistency import repaired
from core.engine.restore import restore_whole
from core.geometry.grid import Box
from core.geometry.resample import interpolate
from core.methods import registry
from core.methods.base import Measured
from core.operators.forward_model import SliceProfile
from core.stats import scan_stats

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "pictures"
DEMO = "demo"  # README's picture
THICKNESS = 4
SLAB = 24  # voxels to either side of the plane
TIMES = 1.5  # pixels a millimetre
BEYOND = {  # programs of others; and what trains on each scan for a quarter of an hour or more of one core
    *("external", "eclare", "synthsr", "supersynth", "bme-x"),
    "kernelgan-zssr",
}


def pictured() -> list[str]:
    """Methods that can restore with what isovox brings."""
    ready = (name for name, entry in registry.methods().items() if not entry.takes.model or registry.shipped(name))
    return [name for name in ready if name not in BEYOND]


def write(name: str, measured: Measured, fine: np.ndarray, grid) -> None:
    """One method's picture."""
    own = registry.shipped(name)
    method = registry.build_method(name, {}, str(own) if own else None)
    restored = repaired(restore_whole(method, [measured], grid), grid, measured)
    panels = [interpolate(measured.image, measured.grid, grid, 0), interpolate(measured.image, measured.grid, grid, 3), restored]
    planes = [np.flipud(panel[SLAB].T) for panel in panels]
    shown = np.clip(np.concatenate(planes, axis=1) / np.percentile(fine, 99.9), 0, 1)
    picture = Image.fromarray(np.round(255 * shown).astype(np.uint8))
    size = (round(picture.width * TIMES), round(picture.height * TIMES))
    picture.resize(size, Image.Resampling.BILINEAR).save(FOLDER / f"{name}.jpg", quality=80)


def write_demo() -> None:
    """README's picture."""
    with tempfile.TemporaryDirectory() as out:
        subprocess.run([sys.executable, "-m", "cli", "demo", out], check=True)
        shown = Path(out, "restored-auto", "reports", "sub-03_T1w.jpg")
        (ROOT / "flows" / "demo.jpg").write_bytes(shown.read_bytes())


def main(names: list[str]) -> None:
    """Write the pictures."""
    image, whole = load_template()
    middle = image.shape[0] // 2
    depth = image.shape[2] - image.shape[2] % THICKNESS
    box = Box((middle - SLAB, 0, 0), (middle + SLAB, image.shape[1], depth))
    fine, grid = image[box.slices], whole.crop(box)
    scan = next(scan for scan in SCANS if scan.thickness == THICKNESS)
    thick, coarse = _thick(fine, grid, scan, SEED)
    measured = Measured(thick, coarse, scan_stats(thick), SliceProfile(slice_profile=scan.profile))
    FOLDER.mkdir(exist_ok=True)
    for name in names or [DEMO, *pictured()]:
        if name == DEMO:
            write_demo()
        else:
            write(name, measured, fine, grid)


if __name__ == "__main__":
    main(sys.argv[1:])
