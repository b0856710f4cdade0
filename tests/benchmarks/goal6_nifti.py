"""Goal 6: reading and writing .nii.gz against nibabel, both in one run, in turns.

A noisy head as a scanner stores it (int16) is read as float32; its restoration from slices of 4 mm (float32, as this project
writes) is written. Our writing includes what nibabel's does not: flushing to disk, and proving each byte.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import nibabel
import numpy as np

from core.geometry.grid import Grid
from core.io import nifti
from tests.benchmarks.harness import Row, faster, in_turns, share, tell

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


def reading(name: str, path: str) -> Row:
    """Reading one file as scaled float32."""
    seconds = in_turns(
        [lambda: nifti.load(path), lambda: nibabel.load(path).get_fdata(dtype=np.float32)], ROUNDS, time.perf_counter
    )
    return faster(6, f"load .nii.gz, {name}, s (nibabel)", *seconds, 2.5)


def writing(folder: Path, image: np.ndarray) -> list[Row]:
    """Writing one float32 image, and what it takes on disk."""
    grid, affine = Grid(SHAPE, np.eye(4)), np.eye(4)
    ours, peer = folder / "ours.nii.gz", folder / "peer.nii.gz"
    works = [lambda: nifti.save(str(ours), image, grid), lambda: nibabel.Nifti1Image(image, affine).to_filename(peer)]
    seconds = in_turns(works, ROUNDS, time.perf_counter)
    sizes = (ours.stat().st_size / 2**20, peer.stat().st_size / 2**20)
    return [
        faster(6, "save .nii.gz, float32 restored, s (nibabel)", *seconds, 4),
        share(6, "size written, MiB (nibabel)", *sizes, 1.03),
    ]


def rows() -> list[Row]:
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
    tell(rows())
