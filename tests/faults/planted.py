"""A name in every place that a scan, a sidecar, a table or a DICOM file has for one, and where names turn up again."""

from __future__ import annotations

import base64
import gzip
import json
import re
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import nibabel
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from tests.faults.cohorts import build_cohort, path_of, thick_scan

NAME = "zebulon"  # part of each planted name, in any case
SMALL = (30, 30, 12)  # voxels of 2 x 2 x 6 mm
BORN = "19530617"
UID = "1.2.826.0.1.3680043.8.498"


def named(place: str) -> str:
    """A name that tells where it was planted."""
    return f"Zebulon{place}"


def with_names(path: Path, number: int) -> None:
    """A NIfTI file with a name wherever its header has room for one, and in extensions."""
    image, grid = thick_scan(number, SMALL)
    scan = nibabel.Nifti1Image(image, grid.affine)
    for field in ("descrip", "aux_file", "db_name", "intent_name", "data_type"):
        scan.header[field] = named(field[:3]).encode()[: scan.header[field].dtype.itemsize or 10]
    for code in ("comment", "afni", "dicom"):
        content = f"{named(code)} {BORN}".encode()
        if code == "dicom":
            patient = Dataset()
            patient.PatientName, patient.PatientBirthDate = named("ext"), BORN
            scan.header.extensions.append(nibabel.nifti1.Nifti1DicomExtension(2, patient))
        else:
            scan.header.extensions.append(nibabel.nifti1.Nifti1Extension(code, content))
    nibabel.save(scan, path)


def sidecar() -> dict[str, object]:
    """Known keys with names for values, unknown keys, and keys that are names."""
    texts = (
        "Manufacturer",
        "ManufacturersModelName",
        "PulseSequenceType",
        "ScanningSequence",
        "SequenceVariant",
        "MRAcquisitionType",
    )
    texts += (
        "PatientName",
        "InstitutionName",
        "StationName",
        "SeriesDescription",
        "ProtocolName",
        "ImageComments",
        "DeviceSerialNumber",
    )
    numbers = {"SliceThickness": 6.0, "EchoTime": named("Echo"), "FlipAngle": [named("Flip")], "Defaced": named("Defaced")}
    return {key: f"{named(key)} Roe" for key in texts} | numbers | {"PatientBirthDate": BORN, named("Key"): {"x": named("Deep")}}


def bids(folder: Path) -> Path:
    """Five scans: two with names in header and sidecar, the second torn; a sidecar that is no JSON; no NIfTI; a whole one."""
    build_cohort(folder, 5, SMALL)
    for label, number in (("01", 1), ("02", 2)):
        with_names(path_of(folder, label), number)
        path_of(folder, label).with_name(f"sub-{label}_T1w.json").write_text(json.dumps(sidecar()))
    torn = path_of(folder, "02")
    torn.write_bytes(torn.read_bytes()[: torn.stat().st_size // 2])
    path_of(folder, "03").with_name("sub-03_T1w.json").write_text(f'{{"PatientName": {named("Broken")}, "SliceThickness": 6}}')
    path_of(folder, "04").write_bytes(gzip.compress(named("NotNifti").encode() * 100))
    (folder / "T1w.json").write_text(json.dumps({"Manufacturer": named("Inherited"), "InstitutionAddress": named("Address")}))
    columns = ["participant_id", "age", "sex", "name", named("Column")]
    rows = [[f"sub-{label}", BORN, named("Sex"), named("Participant"), named("Cell")] for label in ("01", "02", "05")]
    (folder / "participants.tsv").write_text("\n".join("\t".join(row) for row in [columns, *rows]) + "\n")
    (folder / "participants.json").write_text(json.dumps({"name": {"Description": named("Levels")}}))
    about = {
        "Name": named("Dataset"),
        "BIDSVersion": "1.10.0",
        "Authors": [named("Author")],
        "License": f"ask {named('License')}",
    }
    about |= {"DatasetDOI": f"{named('Doi')}", "HowToAcknowledge": named("Thanks"), "GeneratedBy": [{"Name": named("Tool")}]}
    (folder / "dataset_description.json").write_text(json.dumps(about))
    for name in ("README", "CHANGES", "sub-01/sub-01_scans.tsv"):
        (folder / name).write_text(f"filename\toperator\nanat/sub-01_T1w.nii.gz\t{named('Text')}\n")
    return folder


def _slice(number: int, voxels: np.ndarray, series: int) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MRImageStorage, f"{UID}.{series}.{number + 1}"
    meta.TransferSyntaxUID, meta.SourceApplicationEntityTitle = ExplicitVRLittleEndian, named("Ae")
    one = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    one.SOPClassUID, one.SOPInstanceUID, one.SeriesInstanceUID = (
        MRImageStorage,
        meta.MediaStorageSOPInstanceUID,
        f"{UID}.{series}",
    )
    one.PatientName, one.PatientID, one.PatientBirthDate = f"{named('Patient')}^Jane", named("Id"), BORN
    one.OtherPatientNames, one.PatientAddress, one.PatientComments = named("Other"), named("Address"), named("Comments")
    one.InstitutionName, one.ReferringPhysicianName, one.OperatorsName = named("Hospital"), named("Doctor"), named("Operator")
    one.AccessionNumber, one.StudyID, one.StationName = named("Access"), named("Study"), named("Station")
    one.StudyDescription, one.SeriesDescription, one.ProtocolName = named("StudyText"), named("SeriesText"), named("Protocol")
    one.ImageComments, one.DeviceSerialNumber, one.AcquisitionDate = named("Image"), named("Serial"), BORN
    one.Manufacturer, one.ManufacturerModelName = f"Siemens {named('Maker')}", f"Prisma {named('Model')}"
    one.add_new(0x00091001, "LO", named("Private"))
    one.add_new(0x00091002, "UN", named("PrivateBytes").encode())
    inside = Dataset()
    inside.PatientID = named("Sequence")
    one.OtherPatientIDsSequence = Sequence([inside])
    one.Rows, one.Columns, one.PixelSpacing = *voxels.shape, [2.0, 2.0]
    one.ImageOrientationPatient, one.ImagePositionPatient = [1, 0, 0, 0, 1, 0], ["1.00000", "2", f"{6.0 * number}"]
    one.InstanceNumber, one.SamplesPerPixel, one.PhotometricInterpretation = number, 1, "MONOCHROME2"
    one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 0
    one.EchoTime, one.SliceThickness, one.PixelData = 90, 6.0, voxels.astype(np.uint16).tobytes()
    return one


def _series(folder: Path, number: int) -> list[Path]:
    folder.mkdir(parents=True)
    image, _ = thick_scan(number, SMALL)
    paths = []
    for index in range(image.shape[2]):
        paths.append(folder / f"{index:03}.dcm")
        _slice(index, image[:, :, index].T, number).save_as(paths[-1], enforce_file_format=True)
    return paths


def _replace(path: Path, was: bytes, now: bytes) -> None:
    content = path.read_bytes()
    assert was in content
    assert len(was) == len(now)
    path.write_bytes(content.replace(was, now))


def dicom(folder: Path) -> Path:
    """Series of one person a folder: whole, and with names where numbers belong: a place, a rescale slope, pixels."""
    _series(folder / "whole", 1)
    _replace(_series(folder / "place", 2)[3], b"1.00000\\2", b"Zebulon\\2")
    slope = _series(folder / "slope", 3)[4]
    one = pydicom.dcmread(slope)
    one.RescaleSlope, one.RescaleIntercept = "1.000000", "0"
    one.save_as(slope)
    _replace(slope, b"1.000000", b"Zebulon1")
    pixels = _series(folder / "pixels", 5)[2]
    _replace(pixels, b"MONOCHROME2 ", b"ZebulonMono ")
    return folder


def everything(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below a folder: as it is, unpacked, what pages carry inside, and what databases hold, cell by cell."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        content = path.read_bytes()
        yield str(path), content
        packed = [content] if path.suffix == ".gz" else []
        if path.suffix in {".html", ".json", ".log"}:
            packed += [base64.b64decode(found + b"==") for found in re.findall(rb"[A-Za-z0-9+/]{200,}", content)]
        for inside in packed:
            yield f"{path} (inside)", inside
            with suppress(OSError, EOFError, zlib.error):
                yield f"{path} (unpacked)", gzip.decompress(inside)
        if content.startswith(b"SQLite format 3"):
            yield from _cells(path)


def _cells(path: Path) -> Iterator[tuple[str, bytes]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        tables = [name for (name,) in database.execute("select name from sqlite_master where type = 'table'")]
        for table in tables:
            for row in database.execute(f'select * from "{table}"'):  # noqa: S608 - names from the database itself
                yield f"{path} {table}", repr(row).encode()


def found(places: Iterator[tuple[str, bytes]]) -> list[tuple[str, str]]:
    """Where a planted name or date came out, with what stands around it."""
    wanted = re.compile(rf"{NAME}|{BORN}".encode(), re.IGNORECASE)
    hits = ((place, content, match) for place, content in places if (match := wanted.search(content)))
    return [(place, repr(content[max(match.start() - 60, 0) : match.end() + 60])) for place, content, match in hits]
