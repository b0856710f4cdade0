"""DICOM series: one folder each, its slices put in order by where they lie, never by their names or numbers."""

from __future__ import annotations

import io
import logging
import struct
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import InputError
from core.geometry.grid import Array, Grid
from core.io import files
from core.io import validation as gate
from core.io.derivatives import allowed
from core.io.nifti import StoredAs, empty_like_stored
from core.io.validation import Header

Dataset = Any  # a pydicom.Dataset: its elements are made at run time
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])
SAME = 0.05  # of the slices' distance: nearer than that is the same place
REMEDY = "complete or clean the folder, or convert the series to NIfTI"
FAULTS = (AttributeError, LookupError, ArithmeticError, RuntimeError, TypeError, ValueError, struct.error)
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
GEOMETRY = (
    "SeriesInstanceUID",
    "InstanceNumber",
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
    "PixelData",
)
WORDS = {
    "Manufacturer": "Manufacturer",
    "ManufacturersModelName": "ManufacturerModelName",
    "MRAcquisitionType": "MRAcquisitionType",
}


@dataclass(frozen=True)
class Slice:
    """One file of a series: where it lies and how its voxels are read."""

    uri: str
    position: tuple[float, ...]
    number: int
    dataset: Dataset


@lru_cache(maxsize=1)
def _pydicom() -> Any:
    """The package, told to keep to itself what it thinks of values: its warnings quote them."""
    import pydicom

    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"pydicom(\.|$)|core\.io\.dicom$")
    return pydicom


@contextmanager
def _unquoted(name: str) -> Iterator[None]:
    """Faults of elements by the name of the file alone: what pydicom and Python say of a value quotes it."""
    try:
        yield
    except FAULTS as error:
        got = f"others in {name} ({type(error).__name__})"
        raise InputError("dicom-unreadable", "elements and pixels as DICOM says", got, UNREADABLE) from None


def _read(uri: str, pixels: bool) -> Dataset | None:  # noqa: FBT001
    """A DICOM image, None for a file that is none; elements that may name a person are not even read."""
    pydicom = _pydicom()
    wanted = [*GEOMETRY, *PIXELS, *(keyword for keyword, _ in TAGS.values()), *WORDS.values()]
    try:
        content = io.BytesIO(files.read_bytes(uri))
        with _unquoted(files.name_of(uri)):
            dataset = pydicom.dcmread(content, stop_before_pixels=not pixels, specific_tags=wanted)
    except pydicom.errors.InvalidDicomError:
        return None
    except (EOFError, OSError) as error:
        raise InputError("file-truncated", "a whole DICOM file", files.name_of(uri), REMEDY) from error
    return dataset if "Rows" in dataset else None


def _check_kind(dataset: Dataset, name: str) -> None:
    """Refuse what is no slice of an MRI."""
    if int(getattr(dataset, "NumberOfFrames", 1) or 1) > 1:
        raise InputError("dicom-multiframe", "one slice a file", f"several in {name}", "convert it to NIfTI (dcm2niix)")
    if int(getattr(dataset, "SamplesPerPixel", 1)) != 1:
        raise InputError("voxels-rgb", "one number a voxel", f"colours in {name}", "give the scan, not a picture of it")
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        if not getattr(dataset, keyword, None):
            raise InputError("dicom-no-geometry", keyword, f"none in {name}", REMEDY)


def _slice(uri: str, name: str, dataset: Dataset) -> Slice:
    """A slice of which all that is used later was looked at once."""
    _check_kind(dataset, name)
    _header_of(dataset)
    for keyword, count in (("ImagePositionPatient", 3), ("ImageOrientationPatient", 6), ("PixelSpacing", 2)):
        if len(getattr(dataset, keyword)) != count:
            raise InputError("dicom-no-geometry", f"{count} numbers of {keyword}", f"others in {name}", REMEDY)
    place = tuple(float(v) for v in dataset.ImagePositionPatient)
    return Slice(uri, place, int(getattr(dataset, "InstanceNumber", 0) or 0), dataset)


def _header_of(dataset: Dataset) -> tuple[int, int, np.dtype[Any]]:
    """Columns, rows and type of a slice."""
    kind = np.dtype(np.int16 if int(getattr(dataset, "PixelRepresentation", 0)) else np.uint16)
    return int(dataset.Columns), int(dataset.Rows), kind


def _slices(folder: str) -> list[Slice]:
    """All slices of the one series in a folder, unsorted."""
    found = []
    for name in files.listdir(folder):
        uri = files.join(folder, name)
        if name.startswith(".") or name.upper() == "DICOMDIR" or files.is_folder(uri):
            continue
        if (dataset := _read(uri, pixels=False)) is not None:
            with _unquoted(name):
                found.append(_slice(uri, name, dataset))
    if not found:
        raise InputError("dicom-missing", "a folder of DICOM slices", f"none in {files.name_of(folder)}", "check the path")
    _check_one_series(found)
    return found


def _shape_of(dataset: Dataset) -> tuple[Any, ...]:
    turned = tuple(round(float(v), 4) for v in dataset.ImageOrientationPatient)
    return dataset.Rows, dataset.Columns, tuple(round(float(v), 4) for v in dataset.PixelSpacing), turned


def _check_one_series(slices: Sequence[Slice]) -> None:
    series = {str(getattr(one.dataset, "SeriesInstanceUID", "")) for one in slices}
    if len(series) > 1:
        raise InputError("dicom-several-series", "a folder for each series", f"{len(series)} in one", "sort them into folders")
    kinds = Counter(_shape_of(one.dataset) for one in slices)
    if len(kinds) > 1:
        got = " and ".join(f"{count} of {rows}x{columns}" for (rows, columns, *_), count in kinds.most_common())
        raise InputError("dicom-mixed", "slices of one size and direction", got, "leave out localizers and reformats")


def _directions(dataset: Dataset) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Unit vectors (LPS) along a row, along a column, and normal to the slice."""
    turned = np.array([float(v) for v in dataset.ImageOrientationPatient])
    row, column = turned[:3], turned[3:]
    return row, column, np.cross(row, column)


def _at(numbers: Sequence[float], shown: int = 5) -> str:
    return ", ".join(f"{number:.1f}" for number in numbers[:shown]) + (" …" if len(numbers) > shown else "") + " mm"


def _check_steps(along: NDArray[np.float64]) -> None:
    """Refuse a stack with slices twice, missing or unevenly spaced; ``along`` are the sorted places along the normal, in mm."""
    steps = np.diff(along)
    apart = float(np.median(steps[steps > 1e-3])) if (steps > 1e-3).any() else 0.0
    if (twice := along[1:][steps < SAME * apart]).size or not apart:
        got = f"{twice.size or along.size - 1} more at {_at(list(twice if twice.size else along[:1]))}"
        raise InputError("dicom-duplicates", "one slice at each place", got, "keep one echo, volume or copy in the folder")
    if (gaps := along[:-1][steps > 1.5 * apart]).size:
        count = int(np.round(steps[steps > 1.5 * apart] / apart - 1).sum())
        raise InputError("dicom-gaps", f"a slice every {apart:.2f} mm", f"{count} missing after {_at(list(gaps))}", REMEDY)
    if np.abs(steps - apart).max() > SAME * apart:
        got = f"steps of {steps.min():.2f} to {steps.max():.2f} mm"
        raise InputError("dicom-uneven", f"a slice every {apart:.2f} mm", got, REMEDY)


def _sorted(folder: str) -> list[Slice]:
    """The slices of a series in order along their normal."""
    slices = _slices(folder)
    if len(slices) < 2:
        raise InputError("not-3d", "several slices", "one", REMEDY)
    normal = _directions(slices[0].dataset)[2]
    slices = sorted(slices, key=lambda one: float(normal @ one.position))
    _check_steps(np.array([normal @ one.position for one in slices]))
    return slices


def _affine(slices: Sequence[Slice]) -> NDArray[np.float64]:
    """From (column, row, slice) to mm, RAS+."""
    first = slices[0].dataset
    row, column, _ = _directions(first)
    between_rows, between_columns = (float(v) for v in first.PixelSpacing)
    places = np.array([one.position for one in slices])
    step = (places[-1] - places[0]) / (len(slices) - 1)
    if np.abs(places - (places[0] + np.arange(len(slices))[:, None] * step)).max() > 0.1 + SAME * np.linalg.norm(step):
        raise InputError("dicom-uneven", "slices along a straight line", "some beside it", REMEDY)
    affine = np.eye(4)
    affine[:3, :3] = LPS_TO_RAS @ np.stack([row * between_columns, column * between_rows, step], axis=1)
    affine[:3, 3] = LPS_TO_RAS @ places[0]
    return affine


def _header(slices: Sequence[Slice]) -> Header:
    columns, rows, kind = _header_of(slices[0].dataset)
    shape = (columns, rows, len(slices))
    affine = gate.check_affine(_affine(slices), "position and orientation")
    gate.check_field(shape, affine)
    return Header(shape, affine, 1, kind, 0, 1.0, 0.0)


def header(folder: str) -> Header:
    """Read and check a series without its voxels.

    Args:
        folder: local path or s3:// of the folder with the files of one series.

    Raises:
        InputError: dicom-missing, dicom-multiframe, dicom-no-geometry, dicom-several-series, dicom-mixed, dicom-duplicates,
            dicom-gaps, dicom-uneven, not-3d, voxels-rgb, affine-singular, field-of-view, file-truncated.
    """
    return _header(_sorted(folder))


def _voxels(one: Slice) -> NDArray[np.float64]:
    """Scaled voxels (column, row) of a slice."""
    dataset = _read(one.uri, pixels=True)
    if dataset is None:
        raise InputError("file-truncated", "a whole DICOM file", files.name_of(one.uri), REMEDY)
    with _unquoted(files.name_of(one.uri)):
        slope, inter = (float(getattr(dataset, f"Rescale{word}", default)) for word, default in (("Slope", 1), ("Intercept", 0)))
        stored = dataset.pixel_array
    if not np.isfinite([slope, inter]).all() or not slope:
        raise InputError("scaling-nonfinite", "a finite rescale slope", f"{slope} and {inter}", REMEDY)
    scaled: NDArray[np.float64] = np.asarray(stored, np.float64).T * slope + inter
    return scaled


def load_series(folder: str) -> tuple[Array, Grid, StoredAs]:
    """Read a DICOM series through the gate.

    Args:
        folder: local path or s3:// of the folder with the files of one series.

    Returns:
        scaled float32 image (x, y, z) on its canonical RAS grid, that grid, and how it was stored.

    Raises:
        InputError: as ``header``, and dicom-unreadable, scaling-nonfinite, voxels-nonfinite, voxels-zero, voxels-constant.
    """
    slices = _sorted(folder)
    found = _header(slices)
    canonical, orientation = Grid(found.shape, found.affine).canonical()
    image = empty_like_stored(found.shape, orientation)
    stored = orientation.inverse().apply(image)
    for index, one in enumerate(slices):
        stored[:, :, index] = _voxels(one)
    gate.check_voxels(image)
    return image, canonical, StoredAs(orientation, found.code)


def _number(dataset: Dataset, keyword: str) -> float | None:
    try:
        return float(getattr(dataset, keyword))
    except (AttributeError, TypeError, ValueError):
        return None


def metadata(folder: str) -> dict[str, Any]:
    """Allow-listed metadata of a series in BIDS names and units (times in s), from the first file that can be read."""
    for name in files.listdir(folder):
        uri = files.join(folder, name)
        if files.is_folder(uri) or (dataset := _read(uri, pixels=False)) is None:
            continue
        numbers = {key: _number(dataset, keyword) for key, (keyword, _) in TAGS.items()}
        said: dict[str, Any] = {key: round(n * TAGS[key][1], 9) for key, n in numbers.items() if n is not None}
        with _unquoted(name):
            said |= {key: str(getattr(dataset, keyword)) for key, keyword in WORDS.items() if getattr(dataset, keyword, None)}
        return allowed(said)
    return {}
