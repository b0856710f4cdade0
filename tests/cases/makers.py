"""Files as scanners, archives and colleagues leave them: a head of known intensities in NIfTI, DICOM and other formats."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

SHAPE, VOXEL = (24, 24, 12), (5.0, 5.0, 10.0)
DESCRIPTION = '{"Name": "study", "BIDSVersion": "1.8.0"}'


def affine_of(shape=SHAPE, voxel=VOXEL) -> np.ndarray:
    """RAS, centred."""
    made = np.diag([*voxel, 1.0])
    made[:3, 3] = -np.asarray(voxel) * (np.asarray(shape) - 1) / 2
    return made


def head(shape=SHAPE, affine: np.ndarray | None = None, seed: int = 0) -> np.ndarray:
    """Intensities by place in the world: two balls in noise."""
    affine = affine_of(shape) if affine is None else affine
    at = np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    big = 800 * np.exp(-(((at - (8, 12, 4)) / 30) ** 2).sum(-1))
    small = 500 * np.exp(-(((at - (-20, -8, 10)) / 14) ** 2).sum(-1))
    return 20 + big + small + np.random.default_rng(seed).normal(0, 4, shape)


def nifti(
    path: Path, *, shape=SHAPE, voxel=VOXEL, voxels: np.ndarray | None = None, dtype: Any = np.int16, seed: int = 0
) -> Path:
    """A file of any name; packed where that ends with .gz in capitals or not."""
    affine = affine_of(shape, voxel)
    voxels = head(shape, affine, seed) if voxels is None else voxels
    image = nibabel.Nifti1Image(voxels.astype(dtype), affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    image.header.set_xyzt_units("mm")
    path.parent.mkdir(parents=True, exist_ok=True)
    content = image.to_bytes()
    path.write_bytes(gzip.compress(content, 1) if path.name.lower().endswith(".gz") else content)
    return path


def patch(path: Path, at: int, content: bytes) -> Path:
    """Write other bytes into the plain content of a file."""
    plain = bytearray(gzip.decompress(path.read_bytes()))
    plain[at : at + len(content)] = content
    path.write_bytes(gzip.compress(bytes(plain)))
    return path


def bids(root: Path, *labels: str, **how: Any) -> Path:
    """A dataset with a T1w of each person."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "dataset_description.json").write_text(DESCRIPTION)
    for number, label in enumerate(labels):
        nifti(root / f"sub-{label}" / "anat" / f"sub-{label}_T1w.nii.gz", seed=number, **how)
    return root


def participants(root: Path, *rows: tuple[str, ...], sep: str = "\t") -> Path:
    """The table of persons."""
    path = root / "participants.tsv"
    path.write_text("".join(sep.join(row) + "\n" for row in rows))
    return path


Edit = Callable[[FileDataset, int], Any]


def series(
    folder: Path,
    *,
    shape=SHAPE,
    name: str = "IM{:04d}",
    uid: str = "",
    study: str = "",
    edit: Edit = lambda *_: None,
    seed: int = 0,
) -> Path:
    """A series of axial slices, one a file; ``edit(dataset, number)`` may change one, or leave it out by False."""
    folder.mkdir(parents=True, exist_ok=True)
    affine, uid, study = affine_of(shape), uid or generate_uid(), study or generate_uid()
    voxels = np.clip(np.round(head(shape, affine, seed)), 0, 60000).astype("<u2")
    corner = np.diag([-1.0, -1, 1]) @ affine[:3, 3]
    for number in range(shape[2]):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MRImageStorage, generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        one.SOPClassUID, one.SOPInstanceUID, one.Modality = MRImageStorage, meta.MediaStorageSOPInstanceUID, "MR"
        one.StudyInstanceUID, one.SeriesInstanceUID, one.InstanceNumber = study, uid, number + 1
        one.Rows, one.Columns, one.PixelSpacing, one.SliceThickness = shape[1], shape[0], [VOXEL[1], VOXEL[0]], VOXEL[2]
        one.ImageOrientationPatient = [-1, 0, 0, 0, -1, 0]
        one.ImagePositionPatient = [float(v) for v in corner + np.array([0, 0, VOXEL[2] * number])]
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 0
        one.PixelData = voxels[:, :, number].T.tobytes()
        if edit(one, number) is not False:
            one.save_as(folder / name.format(number), enforce_file_format=True)
    return folder


def without_preamble(path: Path) -> None:
    """Write a DICOM file as old archives do: elements alone."""
    bare = pydicom.Dataset()
    bare.update(pydicom.dcmread(path))
    bare.save_as(path, implicit_vr=True, little_endian=True)


def description(root: Path, **fields: Any) -> None:
    """What a dataset says of itself."""
    (root / "dataset_description.json").write_text(json.dumps({"Name": "study", "BIDSVersion": "1.8.0"} | fields))
