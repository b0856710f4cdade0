"""Scans made up for the tests of reading and writing."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

AFFINE = np.array([[-4.0, 0, 0, 40], [0, 4.0, 0, -50], [0, 0, 5.0, -30], [0, 0, 0, 1]])


@pytest.fixture
def make_scan() -> Callable[..., Path]:
    """A function that writes a small scan; ``fields`` overwrite raw fields of its header."""

    def make(path: Path, voxels=None, affine=AFFINE, extra: bytes = b"", kind=nibabel.Nifti1Header, **fields) -> Path:
        if voxels is None:
            voxels = np.arange(20 * 24 * 16, dtype=np.int16).reshape(20, 24, 16)
        header = kind()
        header.set_data_dtype(voxels.dtype)
        header.set_data_shape(voxels.shape)
        if voxels.ndim >= 3:
            header.set_zooms([*np.linalg.norm(affine[:3, :3], axis=0), *([1.0] * (voxels.ndim - 3))])
            header.set_sform(affine, 1)
            header.set_qform(affine, 1)
        header.set_xyzt_units("mm")
        header["scl_slope"], header["scl_inter"] = 1.0, 0.0
        header["vox_offset"] = header.sizeof_hdr + 4
        header["magic"] = header.single_magic
        for name, value in fields.items():
            header[name] = value
        content = header.binaryblock + b"\0\0\0\0" + voxels.tobytes(order="F") + extra
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(content, 1) if path.name.endswith(".gz") else content)
        return path

    return make
