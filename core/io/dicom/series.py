"""DICOM series: their slices put in order by where they lie, never by their names or numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import InputError
from core.geometry.grid import Array, Grid
from core.io import files
from core.io import validation as gate
from core.io.arrays.slabs import StoredAs, empty_like_stored
from core.io.derivatives import DESCRIBED, WITHHELD, allowed
from core.io.dicom.files import REMEDY, TAGS, WORDS, Dataset, Other, Slice, is_alike, look, read_file, unquoted
from core.io.name_words import words_of
from core.io.plain_names import safe_description
from core.io.validation import Header

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])
TOLERANCE = 1e-3  # of direction cosines, and of spacings in mm: slices of one series
SAME = 0.05  # of the slices' distance: nearer than that is the same place


def unreadable_members(broken: int, whole: int, example: str) -> InputError:
    """The reason of a series of which some files cannot be read."""
    got = f"{broken} of {broken + whole} that cannot be read, such as {example}"
    return InputError("dicom-members", "every file of the series to be readable", got, "copy the series again from where it came")


def _candidates(uris: Sequence[str]) -> Iterator[str]:
    for uri in uris:
        if not files.is_folder(uri):
            yield uri
            continue
        for name in files.listdir(uri):
            inside = files.join(uri, name)
            if not (name.startswith(".") or name.upper() == "DICOMDIR" or files.is_folder(inside)):
                yield inside


def _is_text(uri: str) -> bool:
    start = files.read_start(uri, 256)
    return bool(start) and not any(byte < 9 or 13 < byte < 27 for byte in start)


def _slices(uris: Sequence[str]) -> list[Slice]:
    """All slices of the one series in folders or files, unsorted."""
    looks = [look(uri) for uri in _candidates(uris)]
    slices = [file for file in looks if isinstance(file, Slice)]
    names = [files.name_of(plane.uri) for plane in slices]
    lost = [other for other in looks if isinstance(other, Other) and other.kind not in {"no-image", "phase", "localizer"}]
    lost = [other for other in lost if other.kind or is_alike(files.name_of(other.uri), names, text=_is_text(other.uri))]
    if lost:
        raise unreadable_members(len(lost), len(slices), files.name_of(lost[0].uri))
    if not slices:
        raise InputError("dicom-missing", "a folder of DICOM slices", f"none in {files.name_of(uris[0])}", "check the path")
    for plane in slices:
        if plane.fault:
            raise InputError(*plane.fault)
    _check_one_series(slices)
    return slices


def _check_one_series(slices: Sequence[Slice]) -> None:
    if (count := len({plane.series for plane in slices})) > 1:
        raise InputError(
            "dicom-several-series", "a folder for each series", f"{count} series in one folder", "sort them into folders"
        )
    kinds: list[tuple[Slice, int]] = []
    for plane in slices:
        at = next((n for n, (first, _) in enumerate(kinds) if _is_alike(first, plane)), None)
        if at is None:
            kinds.append((plane, 1))
        else:
            kinds[at] = (kinds[at][0], kinds[at][1] + 1)
    if len(kinds) > 1:
        kinds.sort(key=lambda kind: -kind[1])
        got = " and ".join(f"{count} of {first.size[1]}x{first.size[0]} {_towards(first)}" for first, count in kinds)
        raise InputError("dicom-mixed", "slices of one size and direction", got, "leave out localizers and reformats")


def _towards(plane: Slice) -> str:
    """Which way a slice lies, by the axis that its normal is nearest to."""
    return ("sagittal", "coronal", "axial")[int(np.abs(_directions(plane)[2]).argmax())]


def _is_alike(first: Slice, other: Slice) -> bool:
    """Whether two slices have one size, direction and spacing."""
    numbers = zip(first.turned + first.spacing, other.turned + other.spacing, strict=True)
    return first.size == other.size and all(abs(a - b) <= TOLERANCE for a, b in numbers)


def _directions(first: Slice) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Unit vectors (LPS) along a row, along a column, and normal to the slice."""
    turned = np.array(first.turned)
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
        raise InputError("dicom-gaps", f"a slice every {apart:.2f} mm", f"{count} missing, after {_at(list(gaps))}", REMEDY)
    if np.abs(steps - apart).max() > SAME * apart:
        got = f"steps of {steps.min():.2f} to {steps.max():.2f} mm"
        raise InputError("dicom-uneven", f"a slice every {apart:.2f} mm", got, REMEDY)


def _sorted(uris: str | Sequence[str]) -> list[Slice]:
    """The slices of a series in order along their normal."""
    slices = _slices([uris] if isinstance(uris, str) else uris)
    if len(slices) < 2:
        raise InputError("not-3d", "several slices", "one slice", REMEDY)
    normal = _directions(slices[0])[2]
    slices = sorted(slices, key=lambda plane: float(normal @ plane.position))
    _check_steps(np.array([normal @ plane.position for plane in slices]))
    return slices


def _affine(slices: Sequence[Slice]) -> NDArray[np.float64]:
    """From (column, row, slice) to mm, RAS+."""
    row, column, _ = _directions(slices[0])
    between_rows, between_columns = slices[0].spacing
    places = np.array([plane.position for plane in slices])
    step = (places[-1] - places[0]) / (len(slices) - 1)
    if np.abs(places - (places[0] + np.arange(len(slices))[:, None] * step)).max() > 0.1 + SAME * np.linalg.norm(step):
        raise InputError("dicom-uneven", "slices along a straight line", "slices beside the line", REMEDY)
    affine = np.eye(4)
    affine[:3, :3] = LPS_TO_RAS @ np.stack([row * between_columns, column * between_rows, step], axis=1)
    affine[:3, 3] = LPS_TO_RAS @ places[0]
    return affine


def _lacking(slices: Sequence[Slice]) -> str:
    """That slices may be missing at the ends of a stack, where no gap shows it, in words that follow "the header of x"; else "".

    Numbers of slices count from 1 by a step (of echoes or volumes in turn); what they leave out is missing, as is what the number
    of an acquisition's images has more. Where so many are missing as there are, or a multiple, these are other echoes or volumes.
    """
    numbers = {plane.instance for plane in slices if plane.instance is not None}
    counts = [max(plane.images for plane in slices)]
    if len(numbers) == len(slices):
        step = int(np.gcd.reduce(np.diff(sorted(numbers))))
        first = min(*numbers, (min(numbers) - 1) % step + 1)
        counts.append((max(numbers) - first) // step + 1)
    there = len(slices)
    missing = max((count - there for count in counts if count > there and count % there), default=0)
    return f"tells of {there + missing} slices and {there} are there: {missing} may be missing at the ends" if missing else ""


def _header(slices: Sequence[Slice]) -> Header:
    shape, kind = (*slices[0].size, len(slices)), np.dtype(np.int16 if slices[0].signed else np.uint16)
    affine = gate.check_affine(_affine(slices), "position and orientation")
    gate.check_field(shape, affine)
    return Header(shape, affine, 1, kind, 0, 1.0, 0.0, doubt=_lacking(slices))


def header(uris: str | Sequence[str]) -> Header:
    """Read and check a series without its voxels.

    Args:
        uris: local paths or s3:// of the folder or folders that hold one series, or of its files.

    Raises:
        InputError: dicom-missing, dicom-members, dicom-multiframe, dicom-modality, dicom-mosaic, dicom-no-geometry,
            dicom-several-series, dicom-mixed, dicom-duplicates, dicom-gaps, dicom-uneven, not-3d, voxels-rgb, affine-singular,
            field-of-view.
    """
    return _header(_sorted(uris))


def _voxels(plane: Slice) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Scaled voxels (column, row) of a slice, and which of them are padding."""
    dataset = read_file(plane.uri, pixels=True)
    if dataset is None:
        raise InputError("file-truncated", "a whole DICOM file", f"{files.name_of(plane.uri)}, which ends early", REMEDY)
    with unquoted(files.name_of(plane.uri)):
        slope, inter = (float(getattr(dataset, f"Rescale{word}", default)) for word, default in (("Slope", 1), ("Intercept", 0)))
        stored = dataset.pixel_array
    if not np.isfinite([slope, inter]).all() or not slope:
        raise InputError(
            "scaling-nonfinite", "a finite rescale slope above or below 0 and a finite intercept", f"{slope} and {inter}", REMEDY
        )
    scaled: NDArray[np.float64] = np.asarray(stored, np.float64).T * slope + inter
    return scaled, _padding(dataset, stored).T


def _padding(dataset: Dataset, stored: NDArray[Any]) -> NDArray[np.bool_]:
    """Which voxels are no part of the image: of PixelPaddingValue, or from it to PixelPaddingRangeLimit (PS3.3 C.7.5.1.1.2)."""
    fraction = {4: "Float", 8: "DoubleFloat"}[stored.itemsize] if stored.dtype.kind == "f" else ""
    ends = [getattr(dataset, f"{fraction}PixelPadding{word}", None) for word in ("Value", "RangeLimit")]
    if not isinstance(ends[0], int | float):
        return np.zeros(stored.shape, bool)
    whole = [end for end in ends if isinstance(end, int | float)]
    first, last = np.sort(np.array(whole).astype(stored.dtype))[[0, -1]]  # -2000 of signed voxels may be written as 63536
    padding: NDArray[np.bool_] = (stored >= first) & (stored <= last)
    return padding


def load_series(uris: str | Sequence[str]) -> tuple[Array, Grid, StoredAs]:
    """Read a DICOM series through the gate.

    Args:
        uris: local paths or s3:// of the folder or folders that hold one series, or of its files.

    Returns:
        scaled float32 image (x, y, z) on its canonical RAS grid, that grid, and how it was stored; padding that lies below or
        above all of the image's intensities is the lowest of them.

    Raises:
        InputError: as ``header``, and dicom-unreadable, scaling-nonfinite, voxels-nonfinite, voxels-zero, voxels-constant,
            voxels-extreme.
    """
    slices = _sorted(uris)
    header = _header(slices)
    canonical, orientation = Grid(header.shape, header.affine).canonical()
    image = empty_like_stored(header.shape, orientation)
    stored = orientation.inverse().apply(image)
    padding = np.zeros(stored.shape, bool)
    for index, plane in enumerate(slices):
        stored[:, :, index], padding[:, :, index] = _voxels(plane)
    if padding.any() and not padding.all():
        lowest, highest = stored[~padding].min(), stored[~padding].max()
        stored[padding & ((stored < lowest) | (stored > highest))] = lowest
    gate.check_voxels(image)
    return image, canonical, StoredAs(orientation, header.code)


def _number(dataset: Dataset, keyword: str) -> float | None:
    try:
        return float(getattr(dataset, keyword))
    except Exception:  # noqa: BLE001 - pydicom has kinds of its own; a value that cannot be read is one that is not known
        return None


def metadata(uris: str | Sequence[str]) -> dict[str, Any]:
    """Allow-listed metadata of a series in BIDS names and units (times in s), from the first file that can be read.

    Of its description those words that say how it was made, and how many others there are (``WITHHELD``).
    """
    for uri in _candidates([uris] if isinstance(uris, str) else uris):
        try:
            dataset = read_file(uri, pixels=False)
        except InputError:  # the series is refused for it where it is read
            continue
        if dataset is None:
            continue
        numbers = {key: _number(dataset, keyword) for key, (keyword, _) in TAGS.items()}
        tags: dict[str, Any] = {key: round(n * TAGS[key][1], 9) for key, n in numbers.items() if n is not None}
        with unquoted(files.name_of(uri)):
            tags |= {key: str(getattr(dataset, keyword)) for key, keyword in WORDS.items() if getattr(dataset, keyword, None)}
            text = str(getattr(dataset, "SeriesDescription", "") or "")
            described = safe_description(text)
        withheld = len(words_of(text)) - len(described.split())
        return allowed(tags) | ({DESCRIBED: described} if described else {}) | ({WITHHELD: withheld} if withheld else {})
    return {}
