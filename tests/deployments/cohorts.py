"""Tiny cohorts of phantoms in BIDS."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from core.geometry.grid import Grid
from core.io import nifti
from tests.phantoms import brain

DESCRIPTION = {"Name": "phantoms", "BIDSVersion": "1.10.0", "DatasetType": "raw"}


def write_phantom(folder: Path, label: str, size: int = 32, seed: int = 0) -> Path:
    """A head of ``size`` voxels of 2 mm in slices of 8 mm."""
    image, _ = brain((size, size, size), head=True, seed=seed)
    thick = image.reshape(size, size, size // 4, 4).mean(axis=3)
    affine = np.diag([2.0, 2.0, 8.0, 1.0])
    path = folder / f"sub-{label}" / "anat" / f"sub-{label}_T1w.nii.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    nifti.save(str(path), np.asarray(thick, np.float32), Grid(thick.shape, affine), None)
    return path


def phantoms(folder: Path, count: int = 2, size: int = 32) -> Path:
    """A BIDS dataset of so many."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset_description.json").write_text(json.dumps(DESCRIPTION))
    for number in range(1, count + 1):
        write_phantom(folder, f"{number:02}", size, number)
    return folder
