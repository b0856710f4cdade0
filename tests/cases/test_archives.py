"""Folders as archives, viewers, file servers and converters leave them: the scans in them, and all else by its kind."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import RLELossless
from scipy.io import netcdf_file

from core.errors import InputError
from core.io import readers
from core.settings.run import RunSettings
from tasks.pipeline.discover import plan_cohort
from tests.cases.makers import bids, nifti, series
from tests.cases.test_siblings import codes


def put(root: Path, **contents: bytes) -> None:
    for path, content in contents.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)


def kinds(root: Path) -> dict[str, int]:
    return plan_cohort(RunSettings(input=str(root), out=str(root) + "-out")).files.left


def test_what_file_servers_and_desktops_leave_is_no_scan(tmp_path):
    root = bids(tmp_path / "in", "01")
    put(
        root,
        **{
            "@eaDir/sub-01_T1w.nii.gz/SYNO@.fileindexdb": b"\0\1",
            "sub-01/anat/@eaDir/sub-01_T1w.nii.gz@SynoEAStream": b"\0\1\2",
            "__MACOSX/sub-01/anat/._sub-01_T1w.nii.gz": b"\0\5\x16\7",
            "sub-01/anat/.sub-01_T1w.nii.gz.XyZ12": b"\0",
            "Thumbs.db": b"\xd0\xcf\x11\xe0",
            "desktop.ini": b"[x]",
        },
    )
    assert not codes(root)
    assert kinds(root) == {"code": 1, "hidden": 2, "sidecar": 1, "unknown": 3}


def test_a_disc_with_its_viewer_is_one_series(tmp_path):
    root = tmp_path / "in"
    series(root / "DICOM" / "PA1" / "ST1" / "SE1", name="IM{:06d}")
    put(
        root,
        **{
            "DICOMDIR": bytes(128) + b"DICM",
            "AUTORUN.INF": b"[autorun]",
            "VIEWER/viewer.exe": b"MZ\x90\0" + bytes(500),
            "VIEWER/data.bin": bytes(500),
            "INDEX.HTM": b"<html>",
            "LOCKFILE": b"",
        },
    )
    assert not codes(root)
    assert kinds(root) == {"dicomdir": 1, "document": 1, "empty": 1, "text": 1, "unknown": 2}


def _netcdf(*names: str) -> bytes:
    """A netCDF file, as MINC 1 writes them, of an image with axes of these names."""
    content = io.BytesIO()
    with netcdf_file(content, "w") as made:
        for name in names:
            made.createDimension(name, 4)
        made.createVariable("image", "h", names)
        made.flush()
        return content.getvalue()


FOREIGN = {
    "a.mif": b"mrtrix image\n",
    "b.mif.gz": gzip.compress(b"mrtrix image\n"),
    "c.mih": b"mrtrix image\n",
    "d.gipl.gz": b"\x1f\x8b",
    "e.vmr": b"\0\1",
    "f.fdf": b"#!/usr",
    "g": b"ObjectType = Image\nNDims = 3\n",
    "h": b"IMGF" + bytes(200),
    "i.img.bz2": b"BZh9",
    "j": gzip.compress(b"mrtrix image\n"),
    "k": b"\x89HDF\r\n\x1a\n" + bytes(700) + b"minc-2.0\0" + bytes(500),
    "l": _netcdf("zspace", "yspace", "xspace"),
    "m.bak": gzip.compress(_netcdf("time", "xspace")),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_scan_of_a_format_that_is_not_read_is_refused_by_name(tmp_path, name):
    nifti(tmp_path / "in" / "good.nii.gz")
    put(tmp_path / "in", **{name: FOREIGN[name]})
    assert list(codes(tmp_path / "in").values()) == ["format-unread"]


def test_arrays_that_are_no_images_are_of_unknown_content(tmp_path):
    nifti(tmp_path / "in" / "good.nii.gz")
    put(tmp_path / "in", a=_netcdf("time", "depth"), b=b"\x89HDF\r\n\x1a\n" + bytes(1200))
    assert not codes(tmp_path / "in")
    assert kinds(tmp_path / "in") == {"unknown": 2}


@pytest.mark.parametrize("ending", [".bz2", ".xz", ".part", ".crdownload", ".gpg", ".Z"])
def test_slices_that_are_packed_or_not_wholly_copied_fail_their_series(tmp_path, ending):
    folder = series(tmp_path / "in" / "s", name="IM{:04d}.dcm")
    for number in (10, 11):
        (folder / f"IM{number:04d}.dcm").rename(folder / f"IM{number:04d}.dcm{ending}")
        (folder / f"IM{number:04d}.dcm{ending}").write_bytes(b"\x90\0\1" * 40)
    assert codes(tmp_path / "in") == {"s": "dicom-members"}
    put(tmp_path / "in", **{f"t/x.dcm{ending}": b"\x90\0"})
    assert set(codes(tmp_path / "in").values()) == {"dicom-members"}


@pytest.mark.parametrize("torn", [False, True])
def test_compressed_pixels_are_read_or_refused(tmp_path, torn):
    before = readers.load("dicom", [str(series(tmp_path / "plain"))])[0]
    folder = series(tmp_path / "in" / "s")
    for path in folder.iterdir():
        plane = pydicom.dcmread(path)
        plane.compress(RLELossless)
        plane.save_as(path)
    if torn:
        (folder / "IM0003").write_bytes((folder / "IM0003").read_bytes()[:-200])
        with pytest.raises(InputError, match=r"^(file-truncated|dicom-unreadable): "):
            readers.load("dicom", [str(folder)])
    else:
        assert (readers.load("dicom", [str(folder)])[0] == before).all()


def test_pictures_and_reports_beside_a_series_are_no_slices_of_it(tmp_path):
    folder = series(tmp_path / "in" / "s")
    plane = pydicom.dcmread(folder / "IM0000")
    plane.SeriesInstanceUID = "1.9"
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(plane, name)
    plane.save_as(folder / "SC0001")
    plane.SeriesInstanceUID = "1.8"
    plane.SOPClassUID = plane.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    for name in ("Rows", "Columns", "PixelData"):
        delattr(plane, name)
    plane.save_as(folder / "SR0001")
    assert list(codes(tmp_path / "in").values()) == ["dicom-no-geometry"]
    assert kinds(tmp_path / "in") == {"dicom-other": 1}


@pytest.mark.parametrize("how", ["localizer", "two echoes", "a slice less"])
def test_series_that_are_no_stack_are_refused_and_others_go_on(tmp_path, how):
    def edit(plane, number):
        if how == "localizer":
            plane.ImageOrientationPatient = [[1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1], [1, 0, 0, 0, 0, -1]][number % 3]
        elif how == "two echoes":
            plane.ImagePositionPatient[2] = float(number // 2 * 10)
        return how != "a slice less" or number != 5

    series(tmp_path / "in" / "odd", edit=edit)
    series(tmp_path / "in" / "t1")
    code = {"localizer": "dicom-mixed", "two echoes": "dicom-duplicates", "a slice less": "dicom-gaps"}[how]
    assert codes(tmp_path / "in") == {"odd": code}


@pytest.mark.parametrize("name", ["3_t1_ROI1", "3_t1_ph", "3_t1_real", "sub_mask1", "T1_lesion2"])
def test_what_dcm2niix_writes_beside_a_scan_is_left_out_by_name(tmp_path, name):
    for scan in ("3_t1", "3_t1_Eq_1", "3_t1_e2", "3_t1a", name):
        nifti(tmp_path / "in" / f"{scan}.nii.gz")
    assert not codes(tmp_path / "in")
    assert sum(kinds(tmp_path / "in").values()) == 1


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b'\xef\xbb\xbf{"EchoTime": 0.01}', ""),
        ('{"EchoTime": 0.01}'.encode("utf-16"), ""),
        (b'{"Manufacturer": "\\ud800", "EchoTime": 1e999, "MagneticFieldStrength": NaN}', ""),
        (b'{"x": "\xe9"}', "sidecar-unreadable"),
        (b"", "sidecar-unreadable"),
        (b'{"x": ' + b"1" * 5000 + b"}", "sidecar-unreadable"),
    ],
)
def test_sidecars_as_other_programs_write_them_are_read_or_that_scans_reason(tmp_path, content, code):
    root = bids(tmp_path / "in", "01", "02")
    put(root, **{"sub-01/anat/sub-01_T1w.json": content})
    assert codes(root) == ({"sub-01_T1w": code} if code else {})
    plan_cohort(RunSettings(input=str(root), out=str(tmp_path / "out"))).model_dump_json().encode()


@pytest.mark.timeout(60)
def test_a_table_may_name_anything(tmp_path):
    nifti(tmp_path / "a.nii.gz")
    lines = [
        "C:\\data\\x.nii.gz",
        "file:///x/y.nii.gz",
        "~/z.nii.gz",
        "/dev/zero",
        "/dev/stdin",
        ".",
        "/",
        "b\x1b.nii.gz",
    ]
    (tmp_path / "t.tsv").write_text("path\na.nii.gz\n" + "\n".join(lines))
    plan = plan_cohort(RunSettings(input=str(tmp_path / "t.tsv"), out=str(tmp_path / "out")))
    assert [scan.key for scan in plan.scans] == ["a"]
    assert (plan.files.seen, plan.files.taken, plan.files.refused) == (9, 1, 8)
