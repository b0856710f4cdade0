"""A small cohort of one head in slices of several directions, made of integers alone: the same bytes on every machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

UNIT = 4  # quarters of a millimetre: whole numbers for every voxel of every scan
Vector = tuple[float, float, float]


@dataclass(frozen=True)
class MadeScan:
    """One scan: its name, its stored axes in mm (a voxel's step each), its shape, and what its sidecar says.

    Attributes:
        name: path in the dataset, without extension.
        steps: the affine's columns; multiples of a quarter of a millimetre.
        shape: stored voxels, each axis at least 50 mm long.
        contrast: grey values of head, brain and ventricles.
        scale: slope and intercept of the stored integers.
        sidecar: metadata beside it.
    """

    name: str
    steps: tuple[Vector, Vector, Vector]
    shape: tuple[int, int, int]
    contrast: tuple[int, int, int] = (320, 640, 160)
    scale: tuple[float, float] = (1.0, 0.0)
    sidecar: tuple[tuple[str, Any], ...] = ()


SLICES = (("SliceThickness", 4.0), ("MagneticFieldStrength", 3), ("SkullStripped", True))
SCANS = (
    MadeScan("sub-01/ses-1/anat/sub-01_ses-1_acq-ax_T1w", ((1, 0, 0), (0, 1, 0), (0, 0, 4)), (56, 60, 14), sidecar=SLICES),
    MadeScan("sub-01/ses-1/anat/sub-01_ses-1_acq-sag_T1w", ((0, -1, 0), (0, 0, -1), (4, 0, 0)), (60, 54, 14), sidecar=SLICES),
    MadeScan(
        "sub-01/ses-1/anat/sub-01_ses-1_acq-cor_T1w",
        ((-1, 0, 0), (0, 0, 1), (0, -4, 0)),
        (56, 54, 15),
        sidecar=(*SLICES[1:], ("SliceThickness", 3.0)),
    ),
    MadeScan(
        "sub-01/ses-2/anat/sub-01_ses-2_T1w",  # turned by the angle of a triangle of sides 3, 4, 5: 1.25 mm exactly
        ((1, 0.75, 0), (-0.75, 1, 0), (0, 0, 5)),
        (48, 48, 12),
        sidecar=(("SliceThickness", 5.0),),
    ),
    MadeScan("sub-02/anat/sub-02_T2w", ((-2.5, 0, 0), (0, -1.25, 0), (0, 0, 5)), (24, 46, 11), (640, 320, 960), (0.5, 16.0)),
)


SHARP = tuple(
    MadeScan(f"sub-{label}/anat/sub-{label}_T1w", ((-1, 0, 0), (0, 1, 0), (0, 0, 1)), (56, 60, 56), contrast)
    for label, contrast in (("01", (320, 640, 160)), ("02", (300, 700, 200)), ("03", (350, 600, 120)))
)


def write_cohort(folder: Path, scans: Sequence[MadeScan] = SCANS) -> None:
    """Write the cohort as a BIDS dataset; one sidecar lies at its root, for all T2w."""
    _write_json(folder / "dataset_description.json", {"Name": "goldens", "BIDSVersion": "1.10.0", "License": "CC0"})
    _write_json(folder / "T2w.json", {"SliceThickness": 4.0, "EchoTime": 0.09})
    (folder / "participants.tsv").write_text("participant_id\tage\tsex\nsub-01\t40\tF\nsub-02\t55\tM\n")
    for scan in scans:
        path = folder / f"{scan.name}.nii"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_file(scan))
        if scan.sidecar:
            _write_json(path.with_suffix(".json"), dict(scan.sidecar))


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, sort_keys=True))


def _quarters(vector: Sequence[float]) -> list[int]:
    return [round(part * UNIT) for part in vector]


def _corner(scan: MadeScan) -> list[int]:
    """Where the first voxel lies so that the head is in the middle, in quarters of a millimetre."""
    across = np.array([_quarters(step) for step in scan.steps]) * (np.array(scan.shape)[:, None] // 2)
    return [-int(part) for part in across.sum(axis=0)]


def _voxels(scan: MadeScan) -> np.ndarray:
    """The head on the scan's grid, with noise in and around it; uint16."""
    index = np.indices(scan.shape, dtype=np.int64)
    steps, corner = [_quarters(step) for step in scan.steps], _corner(scan)
    x, y, z = (corner[axis] + sum(steps[at][axis] * index[at] for at in range(3)) for axis in range(3))
    head, brain, ventricle = scan.contrast
    image = head * (x**2 + y**2 + z**2 < (23 * UNIT) ** 2)
    image += (brain - head) * (4 * x**2 + 3 * y**2 + 5 * (z - UNIT) ** 2 < 4 * (18 * UNIT) ** 2)
    image += (ventricle - brain) * ((x - 4 * UNIT) ** 2 + y**2 + 2 * (z + 2 * UNIT) ** 2 < (7 * UNIT) ** 2)
    image += 24 * (((x + 2 * y + 3 * z) // 16) % 5) * (image > head)
    noise = (index[0] * 73856093 ^ index[1] * 19349663 ^ index[2] * 83492791) % 31
    return (image + noise).astype(np.uint16)


def _file(scan: MadeScan) -> bytes:
    """The bytes of a NIfTI file; its sform alone, for a qform is made by roots and so rounds differently elsewhere."""
    affine = np.eye(4)
    affine[:3, :3] = np.array(scan.steps).T
    affine[:3, 3] = np.array(_corner(scan)) / UNIT
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.uint16)
    header.set_data_shape(scan.shape)
    header.set_zooms([float(np.sqrt(sum(part**2 for part in step))) for step in scan.steps])
    header.set_sform(affine, 1)
    header.set_xyzt_units("mm")
    header["scl_slope"], header["scl_inter"] = scan.scale
    header["vox_offset"] = header.sizeof_hdr + 4
    header["magic"] = header.single_magic
    return header.binaryblock + bytes(4) + _voxels(scan).tobytes(order="F")
