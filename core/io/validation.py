"""The gate for bad input: every reason for which a scan is refused, by name.

Checks of a header come first and take no memory, whatever the header claims; checks of the voxels follow as they are read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from core.errors import InputError
from core.geometry.grid import Array, Grid, Triple

Trust = Literal["sform", "qform"]
Affine = NDArray[np.float64]
RawHeader = Any  # nibabel tells no types
RawFields = Any  # numpy record of a header's fields

MAX_SHIFT = 1.0  # mm by which qform and sform may differ at a corner
MAX_TURN = 1.0  # degrees by which their axes may differ
MAX_STRETCH = 0.01  # of a voxel's edge, by which sform and pixdim may differ
FIELD = (50.0, 400.0)  # mm of a field of view that shows a brain: with voxel sizes in cm, m or µm it is far below or above
FAR = 1e4  # mm from the origin
SLAB, SLICES = 15.0, 5  # mm that one axis of a slab has at least, and its slices: localizers have fewer
LABELS = 1002  # intent code of NIfTI
CODES, ALIGNED = range(1, 6), 2  # of spaces that NIfTI knows, and that of one which is not told
MEANT = "leave it out (--exclude), or name it as what it is (mask, dseg)"
FEW = 16  # values of labels, at most: an image with no more has no intensities
SAMPLED = 16  # voxels an axis of the first look for distinct values
MAX_DEFLATE = 1032  # bytes that one byte of a gzip file can hold at most
LARGEST, SMALLEST = 1e15, 1e-15  # of a voxel, of the range: within these float32 holds squares and their sums
REMEDY = "repair or convert the file anew, or leave it out"


@dataclass(frozen=True)
class Header:
    """What the header of a scan says, once it has passed the gate.

    Attributes:
        shape: voxels an axis, as stored.
        affine: 4x4, from stored voxel indices to mm.
        code: NIfTI code of the space of ``affine`` (1 scanner, 2 aligned, 3 Talairach, 4 MNI).
        dtype: of the stored voxels.
        offset: bytes before the first voxel.
        slope, inter: ``value = slope * stored + inter``.
        labels: whether it declares its voxels to be labels.
        doubt: in which it contradicts itself, in words that follow "the header of x"; mostly empty.
    """

    shape: Triple
    affine: Affine
    code: int
    dtype: np.dtype[Any]
    offset: int
    slope: float
    inter: float
    labels: bool = False
    doubt: str = ""

    @property
    def grid(self) -> Grid:
        """The canonical grid of the scan."""
        return Grid(self.shape, self.affine).canonical()[0]


def _shape(raw: RawFields) -> Triple:
    ndim = int(raw["dim"][0])
    sizes = [int(n) for n in raw["dim"][1 : ndim + 1]] if 1 <= ndim <= 7 else []
    if not sizes or min(sizes) < 1:
        raise InputError("shape-invalid", "1 to 7 axes of at least one voxel", f"dim = {raw['dim'].tolist()}", REMEDY)
    if len(sizes) < 3 or max(sizes[3:], default=1) > 1:
        remedy = "give a 3-D image; of a series, pick or average the volumes first"
        raise InputError("not-3d", "three axes (further ones of size 1 are fine)", "x".join(map(str, sizes)), remedy)
    return sizes[0], sizes[1], sizes[2]


def _dtype(header: RawHeader) -> np.dtype[Any]:
    from nibabel.nifti1 import data_type_codes

    code = int(header["datatype"])
    if code in {128, 2304}:
        raise InputError(
            "voxels-rgb", "one number for each voxel", data_type_codes.label[code], "give the scan, not a picture of it"
        )
    if code in {32, 1792, 2048}:
        raise InputError("voxels-complex", "real voxels", data_type_codes.label[code], "give the magnitude image")
    if code not in data_type_codes.dtype or data_type_codes.dtype[code].itemsize == 0:
        got = f"code {code}" + (f" ({data_type_codes.label[code]})" if code in data_type_codes.label else "")
        raise InputError("dtype-unknown", "a NIfTI data type of whole numbers, float32 or float64", got, REMEDY)
    stored: np.dtype[Any] = data_type_codes.dtype[code].newbyteorder(header.endianness)
    return stored


def _scaling(raw: RawFields) -> tuple[float, float]:
    slope, inter = float(raw["scl_slope"]), float(raw["scl_inter"])
    if math.isnan(slope):  # as nibabel, ITK and FSL read it
        return 1.0, 0.0
    if not np.isfinite([slope, inter]).all():
        raise InputError("scaling-nonfinite", "finite scl_slope and scl_inter", f"{slope} and {inter}", REMEDY)
    return (slope, inter) if slope else (1.0, 0.0)  # by the standard, slope 0 means: not scaled


def check_affine(affine: Affine, what: str) -> Affine:
    """The 4x4 ``affine`` itself, if it can be turned back.

    Raises:
        InputError: affine-nonfinite, affine-singular.
    """
    if not np.isfinite(affine).all():
        raise InputError("affine-nonfinite", f"a finite {what}", repr(affine[:3].tolist()), REMEDY)
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    if not edges.all() or abs(np.linalg.det(affine[:3, :3] / edges)) < 1e-3:
        raise InputError("affine-singular", f"a {what} that keeps the three axes apart", repr(affine[:3].tolist()), REMEDY)
    return affine


def _sform(raw: RawFields) -> Affine:
    return check_affine(np.vstack([raw["srow_x"], raw["srow_y"], raw["srow_z"], [0, 0, 0, 1]]).astype(np.float64), "sform")


def _qform(header: RawHeader, raw: RawFields) -> Affine:
    values = [*(float(raw[f"quatern_{axis}"]) for axis in "bcd"), *(float(raw[f"qoffset_{axis}"]) for axis in "xyz")]
    spacing = [float(v) for v in raw["pixdim"][1:4]]
    if not np.isfinite([*values, *spacing]).all():
        raise InputError("affine-nonfinite", "a finite qform", f"quaternion and offset {values}, pixdim {spacing}", REMEDY)
    if min(spacing) <= 0 or sum(v * v for v in values[:3]) > 1 + 1e-4:
        raise InputError("affine-singular", "a qform that is a rotation", f"quaternion {values[:3]}, pixdim {spacing}", REMEDY)
    return check_affine(np.asarray(header.get_qform(), np.float64), "qform")


def turn(first: Affine, second: Affine) -> float:
    """The largest angle, in degrees, between like axes of two affines."""
    a, b = (m[:3, :3] / np.linalg.norm(m[:3, :3], axis=0) for m in (first, second))
    return float(np.degrees(np.arccos(np.clip((a * b).sum(axis=0), -1, 1))).max())


def shift(first: Affine, second: Affine, shape: Triple) -> float:
    """The largest distance, in mm, between the places that two affines give to a corner voxel of ``shape``."""
    corners = np.array([[x, y, z, 1.0] for x in (0, shape[0] - 1) for y in (0, shape[1] - 1) for z in (0, shape[2] - 1)])
    return float(np.linalg.norm(((first - second) @ corners.T)[:3], axis=0).max())


def _agree(sform: Affine, qform: Affine, shape: Triple) -> None:
    apart, angle = shift(sform, qform, shape), turn(sform, qform)
    if apart > MAX_SHIFT or angle > MAX_TURN:
        wanted = f"qform and sform within {MAX_SHIFT:g} mm and {MAX_TURN:g} degree"
        got = f"corners up to {apart:.1f} mm and axes up to {angle:.1f} degrees apart"
        raise InputError("transforms-disagree", wanted, got, "say which is right with --trust sform or --trust qform")


@contextmanager
def _or_trust(other: Trust) -> Iterator[None]:
    """Refuse a transform that cannot be, with the way to take the other one."""
    try:
        yield
    except InputError as error:
        remedy = f"take its {other} by --trust {other} if that is right, repair or convert the file anew, or leave it out"
        raise InputError(error.code, error.wanted, error.got, remedy) from error


def _affine(header: RawHeader, raw: RawFields, shape: Triple, trust: Trust | None) -> tuple[Affine, int]:
    codes = {"sform": int(raw["sform_code"]), "qform": int(raw["qform_code"])}
    names = [name for name in ("sform", "qform") if codes[name] > 0]
    if not names:
        got = "both codes 0: left and right are a guess"
        raise InputError("orientation-unknown", "an sform or a qform", got, "set one with a tool that knows the scan")
    if len(names) == 2 and trust is None:
        with _or_trust("qform"):
            sform = _sform(raw)
        with _or_trust("sform"):
            qform = _qform(header, raw)
        _agree(sform, qform, shape)
    used = trust if trust in names else names[0]
    return (_sform(raw) if used == "sform" else _qform(header, raw)), codes[used] if codes[used] in CODES else ALIGNED


def _doubt(raw: RawFields, affine: Affine) -> str:
    """Where voxels have other sizes by an sform that stands alone than by pixdim; of a qform pixdim is a part."""
    by_sform, by_pixdim = np.linalg.norm(affine[:3, :3], axis=0), np.asarray(raw["pixdim"][1:4], np.float64)
    if int(raw["qform_code"]) > 0 or np.allclose(by_sform, by_pixdim, rtol=MAX_STRETCH, atol=0):
        return ""
    sizes = (" x ".join(f"{mm:.4g}" for mm in edges) for edges in (by_sform, by_pixdim))
    return "has voxels of {} mm by its sform, which is taken, and of {} mm by pixdim".format(*sizes)


def check_field(shape: Triple, affine: Affine) -> None:
    """Refuse a field of view that cannot show a brain, nor a slab of one: along one axis a few thick slices are enough.

    Nor may it lie farther away than any scanner's table, where float32 no longer tells thousandths of a mm apart.

    Raises:
        InputError: field-of-view.
    """
    extent = np.linalg.norm(affine[:3, :3], axis=0) * shape
    short, middle, long = np.sort(extent)
    is_slab = short >= SLAB and shape[int(np.argmin(extent))] >= SLICES
    if middle < FIELD[0] or long > FIELD[1] or (short < FIELD[0] and not is_slab):
        wanted = f"{FIELD[0]:g} to {FIELD[1]:g} mm along each axis (of a slab {SLAB:g} along one, in {SLICES} slices or more)"
        got = " x ".join(f"{mm:.4g}" for mm in extent) + f" mm in {'x'.join(map(str, shape))} voxels"
        remedy = "correct the voxel sizes in the header where they are wrong or not in mm, crop what is larger than a head, "
        raise InputError("field-of-view", wanted, got, f"{remedy}or leave out what is smaller, such as a localizer")
    if (away := float(np.abs(affine[:3, 3]).max())) > FAR:
        wanted, got = f"voxels within {FAR:g} mm of the origin", f"the first {away:.4g} mm away"
        raise InputError("field-of-view", wanted, got, "correct the offset in the header, or convert the file anew")


def _units(raw: RawFields) -> None:
    code = int(raw["xyzt_units"]) & 7
    if code in {1, 3}:
        raise InputError("units-not-mm", "lengths in mm", "metres" if code == 1 else "micrometres", "convert the file to mm")


def _offset(header: RawHeader, least: int) -> int:
    offset = float(header.structarr["vox_offset"])
    if not least <= offset <= 1 << 24:
        raise InputError("offset-invalid", f"voxels to begin after byte {least}", f"byte {offset:g}", REMEDY)
    return int(offset)


def check_capacity(claimed: int, size: int, compressed: bool, what: str) -> None:  # noqa: FBT001
    """Refuse a header that claims more bytes than a file of ``size`` bytes can hold.

    Raises:
        InputError: header-lies, file-truncated.
    """
    got = f"{size} bytes for {what}"
    if not compressed and size < claimed:
        code = "header-lies" if size < claimed / MAX_DEFLATE else "file-truncated"
        raise InputError(code, f"at least {claimed} bytes", got, REMEDY)
    if compressed and size * MAX_DEFLATE < claimed:
        raise InputError("header-lies", f"at least {claimed // MAX_DEFLATE} bytes, even compressed", got, REMEDY)


def check_header(header: RawHeader, size: int, *, compressed: bool, trust: Trust | None = None, pair: bool = False) -> Header:
    """What a NIfTI header says, if a brain scan in a file of that size can have it; takes no memory for voxels.

    Args:
        header: nibabel's Nifti1Header or Nifti2Header, unchecked, with the fields as they are in the file.
        size: bytes as stored of the file that holds the voxels.
        compressed: whether they are gzip, of which one byte can hold 1032 at most.
        trust: which transform to use where qform and sform disagree; None refuses such a scan.
        pair: whether the voxels have a file of their own.

    Raises:
        InputError: shape-invalid, not-3d, voxels-rgb, voxels-complex, dtype-unknown, offset-invalid, header-lies,
            file-truncated, scaling-nonfinite, units-not-mm, affine-nonfinite, affine-singular, transforms-disagree,
            orientation-unknown, field-of-view, header-invalid.
    """
    try:
        return _check_header(header, size, compressed, trust, 0 if pair else header.sizeof_hdr)
    except InputError:
        raise
    except Exception as error:
        raise InputError("header-invalid", "a header that can be read", str(error)[:200], REMEDY) from error


def _check_header(header: RawHeader, size: int, compressed: bool, trust: Trust | None, least: int) -> Header:  # noqa: FBT001
    raw = header.structarr
    shape, dtype, offset = _shape(raw), _dtype(header), _offset(header, least)
    what = f"{'x'.join(map(str, shape))} voxels of {dtype.itemsize} bytes"
    check_capacity(offset + math.prod(shape) * dtype.itemsize, size, compressed, what)
    slope, inter = _scaling(raw)
    _units(raw)
    affine, code = _affine(header, raw, shape, trust)
    check_field(shape, affine)
    labels = int(raw["intent_code"]) == LABELS
    return Header(shape, affine, code, dtype, offset, slope, inter, labels, _doubt(raw, affine))


@dataclass
class Seen:
    """What was seen of an image's voxels, part by part.

    Attributes:
        low, high: the smallest and the largest value; they mean something where all voxels are finite.
        bad: voxels that are NaN or infinite.
    """

    low: float = np.inf
    high: float = -np.inf
    bad: int = 0

    def look(self, part: NDArray[Any]) -> None:
        """Take in another part of the image."""
        # NaN and infinity both survive minimum and maximum; whole numbers count as what they become.
        low, high = float(np.float32(part.min())), float(np.float32(part.max()))
        if not np.isfinite([low, high]).all():
            self.bad += int(part.size - np.count_nonzero(np.isfinite(part)))
        self.low, self.high = min(self.low, low), max(self.high, high)

    def check(self) -> None:
        """Refuse an image without information or with voxels that are no numbers.

        Raises:
            InputError: voxels-nonfinite, voxels-zero, voxels-constant, voxels-extreme.
        """
        if self.bad:
            raise InputError("voxels-nonfinite", "finite voxels", f"{self.bad} voxels that are NaN or infinite", REMEDY)
        if self.low == self.high:
            code = "voxels-zero" if self.low == 0 else "voxels-constant"
            raise InputError(code, "an image with contrast", f"{self.low:g} in every voxel", "check the export of the scan")
        largest, span = max(abs(self.low), abs(self.high)), self.high - self.low
        if largest > LARGEST or span < SMALLEST:
            wanted = f"voxels of at most {LARGEST:g} that differ by {SMALLEST:g} or more"
            got = f"{self.low:.3g} to {self.high:.3g}"
            raise InputError("voxels-extreme", wanted, got, "scale the image, for example to 0 to 1000")


@dataclass
class Levels:
    """The distinct values of an image, while they are as few as those of a mask or of labels.

    Attributes:
        values: those seen; None once there are more.
    """

    values: set[float] | None = field(default_factory=set)

    def look(self, part: NDArray[Any]) -> None:
        """Take in another part of the image: a sample of it, and all of it where that has few values."""
        if self.values is None:
            return
        steps = tuple(slice(None, None, max(1, size // SAMPLED)) for size in part.shape)
        for voxels in (part[steps], part):
            self.values |= set(np.unique(voxels).tolist())
            if len(self.values) > FEW:
                self.values = None
                return

    def check(self) -> None:
        """Refuse a mask (two values) or labels (a few whole numbers).

        Raises:
            InputError: voxels-labels.
        """
        if self.values is None or (len(self.values) > 2 and not all(value.is_integer() for value in self.values)):
            return
        got = f"{len(self.values)} values, {min(self.values):g} to {max(self.values):g}, as a mask or labels have"
        raise InputError("voxels-labels", "an image of intensities", got, MEANT)


def check_not_declared(*, labels: bool) -> None:
    """Refuse a scan whose header declares labels, however many there are.

    Raises:
        InputError: voxels-labels.
    """
    if labels:
        got = f"labels by its header (intent code {LABELS})"
        raise InputError("voxels-labels", "an image of intensities", got, f"{MEANT}; of a scan, set the intent code to 0")


def check_voxels(image: Array) -> None:
    """Refuse an image as ``Seen.check`` does."""
    seen = Seen()
    seen.look(image)
    seen.check()
