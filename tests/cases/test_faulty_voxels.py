"""Voxels and their types as scanners and converters leave them: each read as the file says, or refused by name."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from core.errors import InputError
from core.io import files, readers
from core.io.output import Output
from core.settings.run import RunSettings
from tasks.pipeline.discover import plan_cohort
from tasks.restore.work import Job, ingest
from tests.cases.makers import SHAPE, affine_of, bids, head, nifti, series

HEAD = head()
RGB = np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])


def where(part: Any, value: float) -> np.ndarray:
    """A head with some voxels of a value."""
    voxels = HEAD.astype(np.float32)
    voxels[part] = value
    return voxels


def write(path: Path, voxels: np.ndarray, header: bytes = b"", at: int = 0, kind: Any = nibabel.Nifti1Image) -> Path:
    """A file of any voxels, with other bytes in its header."""
    image = kind(voxels, affine_of(), dtype=voxels.dtype)
    image.set_qform(image.affine, 1)
    content = bytearray(image.to_bytes())
    content[at : at + len(header)] = header
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(bytes(content), 1))
    return path


def scaled(slope: float, inter: float) -> tuple[np.ndarray, bytes, int]:
    return HEAD.astype(np.int16), struct.pack("<ff", slope, inter), 112


REFUSED = {
    "all NaN": ((where(..., np.nan),), "voxels-nonfinite"),
    "NaN around": ((where(slice(0, 4), np.nan),), "voxels-nonfinite"),
    "infinite in part": ((where((3, 3, 3), -np.inf),), "voxels-nonfinite"),
    "all infinite": ((where(..., np.inf),), "voxels-nonfinite"),
    "one value": ((where(..., 7),), "voxels-constant"),
    "nothing": ((where(..., 0).astype(np.int16),), "voxels-zero"),
    "overflow by slope": (scaled(1e36, 0), "voxels-nonfinite"),
    "underflow by slope": (scaled(1e-40, 0), "voxels-extreme"),
    "all lost by intercept": (scaled(1, 1e12), "voxels-constant"),
    "an intercept that is no number": (scaled(2, np.nan), "scaling-nonfinite"),
    "an infinite slope": (scaled(np.inf, 0), "scaling-nonfinite"),
    "an axis of none": ((HEAD.astype(np.int16), struct.pack("<4h", 3, 24, 0, 12), 40), "shape-invalid"),
    "a negative axis": ((HEAD.astype(np.int16), struct.pack("<4h", 3, 24, -24, 12), 40), "shape-invalid"),
    "two axes": ((HEAD.astype(np.int16), struct.pack("<4h", 2, 24, 24, 1), 40), "not-3d"),
    "one slice": ((HEAD[:, :, :1].astype(np.int16),), "field-of-view"),
    "several volumes": ((np.stack([HEAD] * 3, -1).astype(np.int16),), "not-3d"),
    "vectors": ((np.stack([HEAD] * 3, -1)[:, :, :, None].astype(np.float32),), "not-3d"),
    "colours": ((RGB,), "voxels-rgb"),
    "complex": ((HEAD.astype(np.complex64),), "voxels-complex"),
    "bits": ((HEAD.astype(np.int16), struct.pack("<2h", 1, 1), 70), "dtype-unknown"),
    "metres": ((HEAD.astype(np.int16), b"\1", 123), "units-not-mm"),
    "30 m away": ((HEAD.astype(np.int16), struct.pack("<7f", 3e4, *affine_of()[1:3, 3], 5, 0, 0, 3e4), 268), "field-of-view"),
    "voxels of nothing": ((HEAD.astype(np.int16), struct.pack("<4f", 1, 0, 0, 0), 76), "affine-singular"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_voxels_that_are_no_scan_are_refused_by_name_and_the_others_go_on(tmp_path, name):
    how, code = REFUSED[name]
    nifti(tmp_path / "in" / "good.nii.gz")
    write(tmp_path / "in" / "x.nii.gz", *how)
    plan = plan_cohort(RunSettings(input=str(tmp_path / "in"), out=str(tmp_path / "out")))
    assert plan.files.seen == 2 == plan.files.taken + plan.files.refused
    if plan.refused:
        assert [(refusal.key, refusal.code) for refusal in plan.refused] == [("x", code)]
        assert plan.files.refused == 1
    else:  # it comes to light as the voxels are read
        with pytest.raises(InputError, match=rf"^{code}: expected .*, but got .*\. "):
            readers.load("nifti", [str(tmp_path / "in" / "x.nii.gz")])
    assert [scan.key for scan in plan.scans if scan.key != "x"] == ["good"]


def test_of_scans_that_are_fused_the_one_that_cannot_be_read_is_named(tmp_path):
    root = bids(tmp_path / "in", "01")
    damaged = nifti(root / "sub-01" / "anat" / "sub-01_acq-sag_T1w.nii.gz")
    damaged.write_bytes(damaged.read_bytes()[:-30])
    out = str(tmp_path / "out")
    plan = plan_cohort(RunSettings(input=str(root), out=out, method="unires", fuse=True))
    files.write_json(Output(out).plan, plan.model_dump(mode="json"))
    job = Job(out, plan.digest, tuple(scan.key for scan in plan.scans))
    with pytest.raises(InputError, match=r"^file-truncated: .* in sub-01_acq-sag_T1w of the 2 scans that are fused\."):
        ingest(job)


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", ">i2", ">u2", ">f4", ">f8"])
@pytest.mark.parametrize("order", ["nifti-1", "nifti-2"])
def test_every_real_type_is_read_in_either_byte_order(tmp_path, dtype, order):
    whole = np.clip(np.round(HEAD), 0, 120)
    kind = nibabel.Nifti1Image if order == "nifti-1" else nibabel.Nifti2Image
    header = kind.header_class(endianness=">" if dtype[0] == ">" else "<")
    image = kind(whole.astype(dtype), affine_of(), header, dtype=np.dtype(dtype))
    image.set_qform(image.affine, 1)
    (tmp_path / "x.nii").write_bytes(image.to_bytes())
    np.testing.assert_array_equal(readers.load("nifti", [str(tmp_path / "x.nii")])[0], whole)


@pytest.mark.parametrize(("slope", "inter"), [(-2.0, 10.0), (0.5, -1024.0), (1e-3, 0.0), (0.0, 5.0)])
def test_values_are_those_that_the_header_scales(tmp_path, slope, inter):
    path = write(tmp_path / "x.nii.gz", *scaled(slope, inter))
    expected = HEAD.astype(np.int16) * slope + inter if slope else HEAD.astype(np.int16)
    np.testing.assert_allclose(readers.load("nifti", [str(path)])[0], expected, rtol=1e-6)


@pytest.mark.parametrize("extra", [1, 2])
def test_further_axes_of_one_are_no_volumes(tmp_path, extra):
    path = write(tmp_path / "x.nii.gz", HEAD.astype(np.int16)[(..., *[None] * extra)])
    assert readers.load("nifti", [str(path)])[0].shape == SHAPE


def test_bytes_behind_the_voxels_do_not_matter(tmp_path):
    path = nifti(tmp_path / "x.nii")
    before = readers.load("nifti", [str(path)])[0]
    path.write_bytes(path.read_bytes() + b"tail" * 99)
    np.testing.assert_array_equal(readers.load("nifti", [str(path)])[0], before)


def _set(**values: Any) -> Any:
    return lambda plane, _: [setattr(plane, name, value) for name, value in values.items()] and None


SLICES = {
    "colours": (_set(SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0), "dicom-members|voxels-rgb"),
    "no slope": (_set(RescaleSlope=0, RescaleIntercept=0), "scaling-nonfinite"),
    "no spacing": (_set(PixelSpacing=None), "dicom-no-geometry"),
    "spacing of nothing": (_set(PixelSpacing=[0, 0]), "dicom-no-geometry"),
    "no rows": (_set(Rows=0), "dicom-members"),
    "empty pixels": (_set(PixelData=b""), "dicom-members"),
    "black": (_set(PixelData=bytes(24 * 24 * 2)), "voxels-zero"),
    "one spacing": (_set(PixelSpacing=5), "dicom-no-geometry"),
    "a palette": (_set(PhotometricInterpretation="PALETTE COLOR"), "voxels-rgb"),
    "high bits": (_set(BitsStored=12), "dicom-unreadable"),
    "many frames": (_set(NumberOfFrames=2), "dicom-multiframe"),
}


@pytest.mark.parametrize("name", SLICES)
def test_slices_that_are_no_scan_are_refused_by_name(tmp_path, name):
    edit, code = SLICES[name]
    series(tmp_path / "in" / "s", edit=edit)
    plan = plan_cohort(RunSettings(input=str(tmp_path / "in"), out=str(tmp_path / "out")))
    assert plan.files.seen == 12 == plan.files.taken + plan.files.refused
    if plan.refused:
        assert plan.refused[0].code in code.split("|")
    else:
        with pytest.raises(InputError, match=rf"^({code}): "):
            readers.load("dicom", plan.scans[0].uris)


def _rewritten(folder: Path, before: bytes, after: bytes) -> str:
    for path in folder.iterdir():
        content = path.read_bytes()
        assert before in content
        path.write_bytes(content.replace(before, after))
    return str(folder)


def test_a_spacing_with_a_decimal_comma_is_named(tmp_path):
    folder = _rewritten(series(tmp_path / "s"), b"5.0\\5.0", b"5,0\\5,0")
    with pytest.raises(InputError, match=r"dicom-no-geometry: expected 2 numbers of PixelSpacing, but got something else in IM"):
        readers.header("dicom", [folder])


def test_a_number_of_the_series_that_is_none_loses_nothing_of_it(tmp_path):
    folder = series(tmp_path / "s", edit=_set(SeriesNumber=987654321))
    before = readers.load("dicom", [str(folder)])[0]
    np.testing.assert_array_equal(readers.load("dicom", [_rewritten(folder, b"987654321", b"98765a321")])[0], before)


@pytest.mark.parametrize("syntax", ["explicit big endian", "signed"])
def test_slices_of_the_other_byte_order_or_sign_are_read(tmp_path, syntax):
    import pydicom
    from pydicom.uid import ExplicitVRBigEndian

    folder = series(tmp_path / "s")
    before = readers.load("dicom", [str(folder)])[0]
    for path in folder.iterdir():
        plane = pydicom.dcmread(path)
        if syntax == "signed":
            plane.PixelRepresentation, plane.RescaleIntercept, plane.RescaleSlope = 1, -5, 1
            plane.save_as(path)
            continue
        other = pydicom.Dataset()
        other.update(plane)
        other.file_meta = plane.file_meta
        other.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        other.PixelData = np.frombuffer(plane.PixelData, "<u2").astype(">u2").tobytes()
        other.save_as(path, implicit_vr=False, little_endian=False, enforce_file_format=True)
    after = readers.load("dicom", [str(folder)])[0]
    np.testing.assert_array_equal(after, before - (5 if syntax == "signed" else 0))


def test_an_mgh_file_that_does_not_know_its_directions_is_refused_and_given_none(tmp_path):
    voxels = head((64, 64, 64), affine_of((64, 64, 64), (3.0, 3.0, 3.0)))
    content = bytearray(nibabel.MGHImage(voxels.astype(np.float32), affine_of((64, 64, 64), (3.0, 3.0, 3.0))).to_bytes())
    content[28:30] = b"\0\0"  # goodRASFlag, without which nibabel takes voxels of 1 mm that lie as FreeSurfer's do
    (tmp_path / "x_T1w.mgz").write_bytes(gzip.compress(bytes(content), 1))
    with pytest.raises(InputError) as fault:
        readers.header("mgh", (str(tmp_path / "x_T1w.mgz"),))
    assert fault.value.code == "orientation-unknown"


@pytest.mark.parametrize("sizes", [(0, 0, 0), (-5, 5, 10)])
def test_a_faulty_qform_beside_a_sound_sform_is_refused_with_the_way_to_take_the_sform(tmp_path, sizes):
    path = write(tmp_path / "x.nii.gz", HEAD.astype(np.int16), struct.pack("<3f", *sizes), 80)
    with pytest.raises(InputError, match=r"affine-singular: .* Take its sform by --trust sform if that is right, repair"):
        readers.header("nifti", [str(path)])
    np.testing.assert_allclose(readers.header("nifti", [str(path)], "sform").affine, affine_of())


def test_a_type_of_nifti_that_is_not_read_is_named(tmp_path):
    path = write(tmp_path / "x.nii.gz", HEAD.astype(np.int16), struct.pack("<2h", 1536, 128), 70)
    with pytest.raises(InputError, match=r"dtype-unknown: .*, float32 or float64, but got code 1536 \(float128\)\. "):
        readers.header("nifti", [str(path)])
