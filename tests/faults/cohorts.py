"""Small cohorts of real anatomy in BIDS, and what is compared of an output."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from functools import lru_cache
from pathlib import Path

import numpy as np

from core.geometry.grid import Array, Box, Grid
from core.io import nifti
from core.io.arrays.store import Store

DESCRIPTION = {"Name": "faults", "BIDSVersion": "1.10.0", "DatasetType": "raw"}


@lru_cache(maxsize=1)
def anatomy() -> tuple[Array, Grid]:
    """MNI152 T1w at 2 mm, 0 to 1000."""
    from cli.demo import load_template

    image, grid = load_template()
    half = image[:196, :232, :188].reshape(98, 2, 116, 2, 94, 2).mean(axis=(1, 3, 5))
    affine = grid.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [0.5, 0.5, 0.5]
    affine[:3, :3] *= 2
    return np.asarray(1000 * half, np.float32), Grid(half.shape, affine)


def thick_scan(number: int, shape: tuple[int, int, int] = (50, 60, 24)) -> tuple[Array, Grid]:
    """A crop of the anatomy in slices of 6 mm, with noise of its own."""
    fine, grid = anatomy()
    start = (20 + number % 5, 25 + number % 7, 10 + number % 3)
    box = Box(start, (start[0] + shape[0], start[1] + shape[1], start[2] + 3 * shape[2]))
    cut = fine[box.slices].reshape(*shape, 3).mean(axis=3)
    affine = grid.crop(box).affine.copy()
    affine[:3, 3] += affine[:3, 2]
    affine[:3, 2] *= 3
    noise = np.random.default_rng(number).normal(0, 5, (2, *shape)).astype(np.float32)
    return np.hypot(cut + noise[0], noise[1]).astype(np.float32), Grid(shape, affine)


def path_of(folder: Path, label: str) -> Path:
    """Of a person's scan."""
    return folder / f"sub-{label}" / "anat" / f"sub-{label}_T1w.nii.gz"


def write_scan(folder: Path, label: str, image: Array, grid: Grid) -> Path:
    """Add a scan to a dataset."""
    path = path_of(folder, label)
    path.parent.mkdir(parents=True, exist_ok=True)
    nifti.save(str(path), image, grid, None)
    path.with_name(f"sub-{label}_T1w.json").write_text(json.dumps({"SliceThickness": 6.0, "MagneticFieldStrength": 3}))
    return path


def build_cohort(folder: Path, count: int = 3, shape: tuple[int, int, int] = (50, 60, 24)) -> Path:
    """A BIDS dataset of so many scans."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset_description.json").write_text(json.dumps(DESCRIPTION))
    for number in range(1, count + 1):
        write_scan(folder, f"{number:02}", *thick_scan(number, shape))
    return folder


def short_sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def products(out: Path) -> dict[str, str]:
    """Digest by path of all that a user takes from an output: restored scans, sidecars, and the voxels in the store."""
    found = {
        str(path.relative_to(out)): short_sha(path.read_bytes()) for path in sorted(out.glob("sub-*/**/*")) if path.is_file()
    }
    store = Store(str(out / "isovox" / "cohort.zarr"))
    images = sorted((out / "isovox" / "cohort.zarr").glob("**/image/zarr.json"))
    for path in (str(image.parents[1].relative_to(out / "isovox" / "cohort.zarr")) for image in images):
        found[f"{path} {store.digest(path)}"] = short_sha(store.read(path).tobytes())
    return found


def restored(out: Path) -> dict[str, str]:
    """Digest by name of the restored scans alone."""
    return {path.name: short_sha(path.read_bytes()) for path in sorted(out.glob("sub-*/**/*.nii.gz"))}


def leftovers(out: Path) -> list[str]:
    """What no finished run leaves: half-written files, scratch tiles, states of half-restored scans, the lock."""
    odd = (".tmp", ".partial", "lock.json")
    found = [path for path in out.rglob("*") if path.name.endswith(odd) or path.name == "tiles" or path.parent.name == "state"]
    return [str(path.relative_to(out)) for path in found]


def states(out: Path) -> dict[str, tuple[str, str]]:
    """State and code by scan."""
    records = [json.loads(path.read_text()) for path in sorted((out / "isovox" / "scans").glob("*.json"))]
    return {record["key"]: (record["state"], record["code"]) for record in records}


def mlflow_states(out: Path) -> list[str]:
    """How MLflow's runs stand, cohorts' and scans'."""
    with sqlite3.connect(f"file:{out / 'isovox' / 'mlflow.db'}?mode=ro", uri=True) as database:
        return [status for (status,) in database.execute("select status from runs order by start_time")]


def changes(out: Path) -> dict[str, int]:
    """When each file was last written, in ns: to see what a run left alone."""
    return {str(path.relative_to(out)): path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
