"""A face is told from a cut and from a bare brain: by a phantom, and by the real scans that are there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.engine.quality import Quality
from core.faces import SUSPECTED, face_share, looked_for
from core.geometry.grid import Grid
from core.io import nifti

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
MM = 2.0


def head(*, face: bool = True, noise: float = 4.0, step: tuple[int, int, int] = (1, 1, 1)) -> tuple[np.ndarray, Grid]:
    """A skull with scalp, neck, jaw, nose and eyes, voxels of 2 mm times ``step``; cut below the brow without ``face``."""
    x, y, z = np.meshgrid(*(MM * (np.arange(n) + 0.5) for n in (96, 120, 120)), indexing="ij")
    x, y, z = x - 96, y - 110, z - 235  # mm from the midline, from the middle, from above the vertex

    def ball(at: tuple[float, float, float], size: tuple[float, float, float]) -> np.ndarray:
        return sum(((v - a) / s) ** 2 for v, a, s in zip((x, y, z), at, size, strict=True)) < 1

    image = np.zeros(x.shape, np.float32)
    image[(np.hypot(x, (y + 25)) < 55) & (z < -110)] = 60  # neck
    image[ball((0, 42, -150), (48, 48, 70))] = 70  # face and jaw
    image[ball((0, 90, -140), (12, 16, 20))] = 90  # nose
    image[ball((0, 0, -83), (76, 95, 80))] = 110  # scalp
    image[ball((0, 0, -83), (70, 88, 74))] = 10  # skull
    image[ball((0, 0, -83), (66, 84, 70))] = 100  # brain
    for side in (-32, 32):
        image[ball((side, 72, -112), (13, 13, 13))] = 130
    if not face:
        image[(y > 30) & (z < -100)] = 0
    draw = np.random.default_rng(0)
    noisy = np.hypot(image + draw.normal(0, noise, x.shape), draw.normal(0, noise, x.shape)).astype(np.float32)
    noisy[image == 0] *= face  # what cuts faces off leaves zeros
    cut = noisy[:: step[0], :: step[1], :: step[2]]
    affine = np.diag([*(MM * n for n in step), 1.0])
    return cut, Grid(cut.shape, affine)


@pytest.mark.parametrize("noise", [0.5, 4.0, 12.0])
@pytest.mark.parametrize("step", [(1, 1, 1), (1, 1, 3), (3, 1, 1), (2, 2, 2)])
def test_a_face_is_suspected_and_a_cut_one_is_not(noise: float, step: tuple[int, int, int]) -> None:
    assert face_share(*head(noise=noise, step=step)) > SUSPECTED
    assert face_share(*head(noise=noise, step=step, face=False)) < SUSPECTED


@pytest.mark.parametrize("scale", [0.01, 300.0])
def test_the_scale_of_intensities_does_not_matter(scale: float) -> None:
    image, grid = head()
    assert face_share(image * np.float32(scale), grid) == pytest.approx(face_share(image, grid), abs=0.01)


def test_a_scan_that_ends_above_the_face_tells_nothing() -> None:
    image, grid = head()
    top = image[:, :, 62:]  # from 110 mm below the vertex on
    assert face_share(top, Grid(top.shape, grid.affine)) == 0.0


@pytest.mark.parametrize(
    "image", [np.zeros((40, 40, 40), np.float32), np.ones((40, 40, 40), np.float32), np.eye(40, dtype=np.float32)[:, :, None]]
)
def test_what_is_no_head_has_no_face(image: np.ndarray) -> None:
    assert face_share(image, Grid(image.shape, np.diag([4.0, 4, 4, 1]))) <= 1.0


def test_a_suspicion_is_added_to_the_problems_and_a_figure_always() -> None:
    before = Quality({"seam": 1.0}, np.zeros((1, 1, 1), np.float32), [("seam", "as it was")])
    found = looked_for(before, *head())
    assert [code for code, _ in found.problems] == ["seam", "face-suspected"]
    assert "a face may be seen" in found.problems[1][1]
    none = looked_for(before, *head(face=False))
    assert none.problems == before.problems
    assert none.figures["seam"] == 1.0
    assert none.figures["face"] < SUSPECTED < found.figures["face"]


REAL = [  # scan, whether eyes and nose are there to be seen
    *((f"ds000011/sub-{number:02}/anat/sub-{number:02}_T1w.nii.gz", False) for number in range(1, 9)),
    *((f"ds000011/sub-{number:02}/anat/sub-{number:02}_inplaneT2.nii.gz", True) for number in range(1, 9)),
    *((f"openms/patient01_thick/{name}.nii.gz", False) for name in ("T1W", "T2W", "FLAIR")),
    ("openms/patient07/T1w.nii.gz", False),
    ("labels/T1w.nii.gz", False),
    ("ds002748/sub-01/anat/sub-01_T1w.nii.gz", False),
]


@pytest.mark.parametrize(("name", "face"), REAL)
def test_real_scans(name: str, face: bool) -> None:
    if not (DATA / name).exists():
        pytest.skip(f"needs {name} in {DATA}")
    image, grid, _ = nifti.load(str(DATA / name), "sform")
    assert (face_share(image, grid) > SUSPECTED) is face
