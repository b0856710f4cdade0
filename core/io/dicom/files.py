"""DICOM files one by one: what each is of a series, read without its pixels, and without what may name a person."""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import InputError
from core.io import files
from core.io.plain_names import safe_description

Dataset = Any  # a pydicom.Dataset: its elements are made at run time
START = 1 << 18  # bytes of a file on S3 that hold its elements before the pixels, as a rule
REMEDY = "complete or clean the folder, or convert the series to NIfTI"
ROUNDED = 5e-3  # by which the lengths and the angle of rounded direction cosines may be off
UNREADABLE = "decompress it (gdcmconv --raw) or convert it to NIfTI (dcm2niix)"
TAGS = {  # BIDS key: DICOM keyword and factor to BIDS units
    "EchoTime": ("EchoTime", 1e-3),
    "RepetitionTime": ("RepetitionTime", 1e-3),
    "InversionTime": ("InversionTime", 1e-3),
    "FlipAngle": ("FlipAngle", 1.0),
    "EchoTrainLength": ("EchoTrainLength", 1.0),
    "SliceThickness": ("SliceThickness", 1.0),
    "SpacingBetweenSlices": ("SpacingBetweenSlices", 1.0),
    "MagneticFieldStrength": ("MagneticFieldStrength", 1.0),
    "ImagingFrequency": ("ImagingFrequency", 1.0),
    "PixelBandwidth": ("PixelBandwidth", 1.0),
}
PARTS = {"P", "PHASE", "PHASE MAP", "I", "IMAGINARY", "R", "REAL"}  # of ImageType, of what is no magnitude (Siemens, Philips)
GEOMETRY = (
    "ImageType",
    "Modality",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "FrameOfReferenceUID",
    "SeriesNumber",
    "SeriesDescription",
    "SOPClassUID",
    "InstanceNumber",
    "ImagesInAcquisition",
    "NumberOfFrames",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
)
PIXELS = (
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "RescaleSlope",
    "RescaleIntercept",
    *("PixelPaddingValue", "FloatPixelPaddingValue", "DoubleFloatPixelPaddingValue"),
    *("PixelPaddingRangeLimit", "FloatPixelPaddingRangeLimit", "DoubleFloatPixelPaddingRangeLimit"),
    *("PixelData", "FloatPixelData", "DoubleFloatPixelData"),
)
NO_IMAGES = (  # storage classes of reports, presentations, raw data, spectra, documents, directories
    *("1.2.840.10008.5.1.4.1.1.88.", "1.2.840.10008.5.1.4.1.1.11.", "1.2.840.10008.5.1.4.1.1.66", "1.2.840.10008.5.1.4.1.1.104."),
    *("1.2.840.10008.5.1.4.1.1.4.2", "1.2.840.10008.5.1.4.1.1.9.", "1.2.840.10008.1.3.10", "1.2.840.10008.5.1.4.1.1.481."),
)
OTHERS = {"CT", "PT", "NM", "US", "XA", "RF", "CR", "DX", "MG", "OCT", "RTIMAGE"}  # modalities whose images are no MRI
NATIVE = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"}  # transfer syntaxes without compression
WORDS = {
    "Manufacturer": "Manufacturer",
    "ManufacturersModelName": "ManufacturerModelName",
    "MRAcquisitionType": "MRAcquisitionType",
}


@dataclass(frozen=True)
class Slice:
    """One file of a series: where it lies.

    Attributes:
        uri: its file.
        series: study and series; files with the same belong together.
        evidence: identifiers of the study and of the frame of reference.
        number: of the series, as the scanner counted; 0 where it is not told.
        instance: number of the slice in its series; None where it is told as none.
        images: how many there should be of its acquisition; 0 where it is not told.
        description: words of the series' description that say how it was made; no others are kept.
        position: of its first voxel, mm in LPS.
        turned: direction cosines of a row and of a column, in LPS.
        spacing: mm between rows, and between columns.
        size: columns, rows.
        signed: whether its voxels are.
        fault: why it is no slice of a scan; empty where it is one.
    """

    uri: str
    series: tuple[str, str]
    evidence: tuple[str, ...] = ()
    number: int = 0
    description: str = ""
    position: tuple[float, ...] = ()
    turned: tuple[float, ...] = ()
    spacing: tuple[float, ...] = ()
    size: tuple[int, int] = (0, 0)
    signed: bool = False
    instance: int | None = None
    images: int = 0
    fault: tuple[str, str, str, str] | None = None


@dataclass(frozen=True)
class Other:
    """A file that is no slice.

    Attributes:
        uri: its file.
        kind: "no-image" (a report, a directory), "phase" (no magnitude), "localizer", "broken" (DICOM that cannot be read), ""
            (no DICOM).
    """

    uri: str
    kind: str


@lru_cache(maxsize=1)
def _pydicom() -> Any:
    """The package, told to keep to itself what it thinks of values: its warnings quote them."""
    import pydicom

    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"pydicom(\.|$)|core\.io\.dicom\.")
    return pydicom


@contextmanager
def unquoted(name: str) -> Iterator[None]:
    """Faults of elements by the name of the file alone: what pydicom and Python say of a value quotes it."""
    try:
        yield
    except (InputError, OSError, EOFError):
        raise
    except Exception as error:  # noqa: BLE001 - pydicom has kinds of its own
        got = f"some in {name} that do not ({type(error).__name__})"
        raise InputError("dicom-unreadable", "elements and pixels that keep to the standard of DICOM", got, UNREADABLE) from None


def is_dicom(start: bytes) -> bool:
    """Whether bytes begin as a DICOM file, with its preamble or, as some archives write it, without."""
    if start[128:132] == b"DICM":
        return True
    group, element = start[:2], start[2:4]
    if group in {b"\x08\x00", b"\x02\x00"} and len(start) >= 132 and element[1:] == b"\0":
        return start[4:6].isalpha() or int.from_bytes(start[4:8], "little") < 1 << 10
    return False


def _parsed(content: Any, *, pixels: bool) -> Dataset:
    pydicom = _pydicom()
    wanted = [*GEOMETRY, *PIXELS, *(keyword for keyword, _ in TAGS.values()), *WORDS.values()]
    dataset = pydicom.dcmread(content, stop_before_pixels=not pixels, specific_tags=wanted, force=True)
    if "TransferSyntaxUID" not in dataset.file_meta:  # of a file without preamble
        implicit, little = dataset.original_encoding
        syntax = pydicom.uid.ImplicitVRLittleEndian if implicit else pydicom.uid.ExplicitVRLittleEndian
        dataset.file_meta.TransferSyntaxUID = syntax if little in {True, None} else pydicom.uid.ExplicitVRBigEndian
    return dataset


def read_file(uri: str, pixels: bool) -> Dataset | None:  # noqa: FBT001
    """A DICOM image, None for a file that is none; elements that may name a person are not even read."""
    try:
        with files.open_uri(uri) as handle:
            start = handle.read(132)
            if not is_dicom(start):
                return None
            content = io.BytesIO(start + handle.read()) if pixels or files.is_remote(uri) else handle
            content.seek(0)
            with unquoted(files.name_of(uri)):
                dataset = _parsed(content, pixels=pixels)
    except (EOFError, OSError) as error:
        raise InputError("file-truncated", "a whole DICOM file", f"{files.name_of(uri)}, which ends early", REMEDY) from error
    return dataset if "Rows" in dataset else None


# -- what a file is ---------------------------------------------------------------------------------------------------------


def look(uri: str) -> Slice | Other:
    """What a file is of a series, from its elements before the pixels; looked at once while it stays as it is."""
    if files.is_remote(uri):
        return files.retrying(lambda: _look(uri), 3)
    try:
        stat = Path(uri).stat()
    except OSError:
        return Other(uri, "broken")
    return _look_once(uri, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=1 << 18)
def _look_once(uri: str, size: int, changed: int) -> Slice | Other:  # noqa: ARG001 - a file that changed is looked at anew
    return _look(uri)


def _look(uri: str) -> Slice | Other:
    try:
        with files.open_uri(uri) as handle:
            start = handle.read(132)
            if not is_dicom(start):
                return Other(uri, "")
            return _look_at(uri, start, handle)
    except Exception as error:
        if files.is_remote(uri) and files.is_passing(error):
            raise
        return Other(uri, "broken")


def _look_at(uri: str, start: bytes, handle: Any) -> Slice | Other:
    size = files.size(uri)
    content = io.BytesIO(start + handle.read(START)) if files.is_remote(uri) else handle
    content.seek(0)
    dataset = _parsed(content, pixels=False)
    kind = str(getattr(dataset, "SOPClassUID", "") or dataset.file_meta.get("MediaStorageSOPClassUID", ""))
    if "Rows" not in dataset or not dataset.Rows:
        return Other(uri, "no-image" if kind.startswith(NO_IMAGES) else "broken")
    words = _words_of_type(dataset)
    if words & PARTS:
        return Other(uri, "phase")
    if "LOCALIZER" in words:
        return Other(uri, "localizer")
    native, whole = str(dataset.file_meta.TransferSyntaxUID) in NATIVE, size >= content.tell() + _pixel_bytes(dataset)
    study, frame = (str(getattr(dataset, name, "") or "") for name in ("StudyInstanceUID", "FrameOfReferenceUID"))
    series = (study, str(getattr(dataset, "SeriesInstanceUID", "") or ""))
    number = _counted(dataset, "SeriesNumber") or 0
    description = safe_description(str(getattr(dataset, "SeriesDescription", "") or ""))
    bare = Slice(uri, series, tuple(uid for uid in (study, frame) if uid), number, description)
    try:
        with unquoted(files.name_of(uri)):
            parsed = _slice(dataset, bare)
        return parsed if whole or not native else Other(uri, "broken")
    except InputError as error:
        return replace(bare, fault=(error.code, error.wanted, error.got, error.remedy))


def _counted(dataset: Dataset, keyword: str) -> int | None:
    """A number by which a scanner counts, on which no voxel depends; None where it is told as no number."""
    try:
        return int(getattr(dataset, keyword))
    except (AttributeError, TypeError, ValueError, OverflowError):
        return None


def _words_of_type(dataset: Dataset) -> set[str]:
    """What the type of an image says beside how it was made (ORIGINAL, PRIMARY)."""
    image_type = getattr(dataset, "ImageType", None) or ""
    return set() if isinstance(image_type, str) else {str(word).upper() for word in list(image_type)[2:]}


def _pixel_bytes(dataset: Dataset) -> int:
    """How many bytes the pixels of a native file take at least."""
    return int(dataset.Rows) * int(getattr(dataset, "Columns", 0) or 0) * int(getattr(dataset, "BitsAllocated", 0) or 0) // 8


def _check_kind(dataset: Dataset, name: str) -> None:
    """Refuse what is no slice of an MRI."""
    if (modality := str(getattr(dataset, "Modality", "") or "MR").upper()) in OTHERS:
        raise InputError("dicom-modality", "magnetic resonance (MR)", f"{modality} in {name}", "leave the series out (--exclude)")
    if "MOSAIC" in _words_of_type(dataset):
        raise InputError("dicom-mosaic", "one slice in each file", f"a mosaic of several in {name}", "convert it (dcm2niix)")
    if int(getattr(dataset, "NumberOfFrames", 1) or 1) > 1:
        raise InputError("dicom-multiframe", "one slice in each file", f"several in {name}", "convert it to NIfTI (dcm2niix)")
    palette = str(getattr(dataset, "PhotometricInterpretation", "") or "").upper() == "PALETTE COLOR"
    if palette or int(getattr(dataset, "SamplesPerPixel", 1)) != 1:
        raise InputError("voxels-rgb", "one number for each voxel", f"colours in {name}", "give the scan, not a picture of it")
    stored, high = (int(getattr(dataset, word, 0) or 0) for word in ("BitsStored", "HighBit"))
    if stored and high > stored - 1:  # pixels would be read of the lower bits
        got = f"HighBit {high} of BitsStored {stored} in {name}"
        raise InputError("dicom-unreadable", "pixels in the lowest bits", got, "convert it to NIfTI (dcm2niix)")


def _slice(dataset: Dataset, bare: Slice) -> Slice:
    """All that is to be known of a slice, beside its series."""
    name = files.name_of(bare.uri)
    _check_kind(dataset, name)
    position, turned, spacing = (
        _finite(dataset, keyword, count, name)
        for keyword, count in (("ImagePositionPatient", 3), ("ImageOrientationPatient", 6), ("PixelSpacing", 2))
    )
    _check_geometry(turned, spacing, name)
    size = (int(dataset.Columns), int(dataset.Rows))
    signed = bool(int(getattr(dataset, "PixelRepresentation", 0)))
    instance, images = _counted(dataset, "InstanceNumber"), _counted(dataset, "ImagesInAcquisition") or 0
    place = replace(bare, position=position, turned=turned, spacing=spacing, size=size)
    return replace(place, signed=signed, instance=instance, images=images)


def _finite(dataset: Dataset, keyword: str, count: int, name: str) -> tuple[float, ...]:
    """The numbers of an element; refused where they are not so many, or one is NaN or infinite."""
    wanted = f"{count} numbers of {keyword}"
    try:
        value = getattr(dataset, keyword, None)
        numbers = tuple(float(number) for number in ([value] if isinstance(value, int | float) else value or ()))
    except (TypeError, ValueError):  # what they say of a value would quote it
        raise InputError("dicom-no-geometry", wanted, f"something else in {name}", REMEDY) from None
    if len(numbers) != count:
        raise InputError("dicom-no-geometry", wanted, f"{len(numbers) or 'none'} in {name}", REMEDY)
    if not np.isfinite(numbers).all():
        raise InputError("dicom-no-geometry", f"finite numbers of {keyword}", f"{_listed(numbers)} in {name}", REMEDY)
    return numbers


def _check_geometry(turned: Sequence[float], spacing: Sequence[float], name: str) -> None:
    """Refuse directions that are no unit vectors at a right angle, and spacings that are no lengths."""
    if min(spacing) <= 0:
        raise InputError("dicom-no-geometry", "PixelSpacing above 0 mm", f"{_listed(spacing)} in {name}", REMEDY)
    row, column = np.array(turned[:3]), np.array(turned[3:])
    lengths, cosine = np.linalg.norm([row, column], axis=1), float(row @ column)
    if np.abs(lengths - 1).max() > ROUNDED:
        wanted = "two directions of length 1 in ImageOrientationPatient"
        got = f"lengths {lengths[0]:.4g} and {lengths[1]:.4g}, of {_listed(turned)} in {name}"
        raise InputError("dicom-no-geometry", wanted, got, REMEDY)
    if abs(cosine) > ROUNDED:
        angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
        wanted = "two directions at a right angle in ImageOrientationPatient"
        raise InputError("dicom-no-geometry", wanted, f"{angle:.4g} degrees, of {_listed(turned)} in {name}", REMEDY)


def _listed(numbers: Sequence[float]) -> str:
    return ", ".join(f"{number:g}" for number in numbers)


def _pattern(name: str) -> str:
    return re.sub(r"\d+", "#", name.lower())


def _extension(name: str) -> str:
    ending = name.rpartition(".")[2].lower() if "." in name else ""
    return "#" if ending.isdigit() else ending


UNFINISHED = re.compile(r"\.(bz2|xz|zst|lz4|z|gpg|part|partial|filepart|crdownload|download|tmp)$", re.IGNORECASE)


def finished(name: str) -> str:
    """The name that a file has once it is unpacked, decrypted or wholly copied."""
    return UNFINISHED.sub("", name)


def is_alike(name: str, names: Sequence[str], *, text: bool) -> bool:
    """Whether a file that cannot be read is named as the slices beside it are, so that it must be one of them.

    Args:
        name: of the file.
        names: of the slices.
        text: whether it holds text, as a licence does; then its name must differ by digits alone.
    """
    patterns = {_pattern(other) for other in names}
    if {_pattern(name), _pattern(finished(name))} & patterns:
        return True
    return not text and _extension(name) in {_extension(other) for other in names}
