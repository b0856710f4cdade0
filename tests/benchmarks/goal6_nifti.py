"""Goal 6: reading and writing .nii.gz against nibabel, both in one run, in turns.

A noisy head as a scanner stores it (int16) is read as float32; its restoration from slices of 4 mm (float32, as this project
writes) is written. Our writing includes what nibabel's does not: flushing to disk, and proving each byte.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from core.grid import Grid
from core.io import nifti

ROUNDS = 9
SHAPE = (160, 224, 160)
REAL = (
    "ds000011/sub-01/anat/sub-01_T1w.nii.gz",  # int16, with its background
    "ds002748/sub-01/anat/sub-01_T1w.nii.gz",  # float32, skull-stripped
    "openms/patient01_thick/T2W.nii.gz",  # uint16, thick slices
)


def head() -> np.ndarray:
    """The MNI152 T1w at 1 mm with a scanner's noise, int16, 160x224x160."""
    from nilearn import datasets

    path = Path(datasets.__file__).parent / "data" / "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
    image = np.asarray(nibabel.load(path).dataobj, np.float32)
    start = [(n - m) // 2 for n, m in zip(image.shape, SHAPE, strict=True)]
    image = image[tuple(slice(a, a + m) for a, m in zip(start, SHAPE, strict=True))]
    noise = np.random.default_rng(0).normal(scale=0.01 * image.max(), size=(2, *SHAPE))
    return np.rint(np.hypot(image + noise[0], noise[1]) * 1000 / image.max()).astype(np.int16)


def restored(image: np.ndarray) -> np.ndarray:
    """What cubic interpolation makes of its slices of 4 mm."""
    from scipy.ndimage import zoom

    thick = image.astype(np.float32).reshape(*SHAPE[:2], -1, 4).mean(axis=3)
    return zoom(thick, (1, 1, 4), order=3).astype(np.float32)


def in_turns(*works: Callable[[], object]) -> list[float]:
    """Median seconds of each, measured in turns after one round to warm up."""
    taken: list[list[float]] = [[] for _ in works]
    for _ in range(ROUNDS + 1):
        for work, seconds in zip(works, taken, strict=True):
            start = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - start)
    return [statistics.median(seconds[1:]) for seconds in taken]


def row(what: str, ours: float, peer: float, aim: float, *, at_most: bool = False) -> dict[str, Any]:
    """One line of the table; times are compared as peer / ours, sizes as ours / peer."""
    ratio = ours / peer if at_most else peer / ours
    return {
        "goal": what,
        "ours": ours,
        "peer": peer,
        "ratio": ratio,
        "aim": aim,
        "met": ratio <= aim if at_most else ratio >= aim,
    }


def reading(name: str, path: str) -> dict[str, Any]:
    """Reading one file as scaled float32."""
    seconds = in_turns(lambda: nifti.load(path), lambda: nibabel.load(path).get_fdata(dtype=np.float32))
    return row(f"6 load .nii.gz, {name} (s; nibabel)", *seconds, aim=2.5)


def writing(folder: Path, image: np.ndarray) -> list[dict[str, Any]]:
    """Writing one float32 image, and what it takes on disk."""
    grid, affine = Grid(SHAPE, np.eye(4)), np.eye(4)
    ours, peer = folder / "ours.nii.gz", folder / "peer.nii.gz"
    seconds = in_turns(lambda: nifti.save(str(ours), image, grid), lambda: nibabel.Nifti1Image(image, affine).to_filename(peer))
    sizes = (ours.stat().st_size / 2**20, peer.stat().st_size / 2**20)
    return [
        row("6 save .nii.gz, float32 restored (s; nibabel)", *seconds, aim=4.0),
        row("6 size written (MiB; nibabel)", *sizes, aim=1.03, at_most=True),
    ]


def rows() -> list[dict[str, Any]]:
    """Reading a made-up scan and, where they are, real ones; writing a restored one."""
    real = Path(__file__).resolve().parents[3] / "shared" / "data"
    scans = {f"{path.relative_to(real)}": path for path in (real / one for one in REAL) if path.exists()}
    with tempfile.TemporaryDirectory() as folder:
        image = head()
        made = Path(folder) / "scan.nii.gz"
        nibabel.Nifti1Image(image, np.eye(4)).to_filename(made)
        read = [reading(name, str(path)) for name, path in {"MNI152 with noise, int16": made, **scans}.items()]
        return [*read, *writing(Path(folder), restored(image))]


if __name__ == "__main__":
    import json
    import sys

    json.dump(rows(), sys.stdout, indent=2)
