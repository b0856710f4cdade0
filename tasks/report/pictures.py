"""Slices of volumes as pictures in radiological convention: the patient's right on the left, anterior and superior up.

axial        coronal      sagittal
  A            S             S
R   L        R   L         A   P
  P            I             I
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from core.errors import GridError
from core.geometry.grid import Array, Box, Grid
from core.geometry.resample import interpolate
from core.stats import FAINT, foreground_threshold
from tasks.report.views import ScanView


class Pictured(Protocol):
    """What is drawn: an image and its canonical grid."""

    @property
    def source(self) -> Array:
        """The measured scan on ``target``."""

    @property
    def target(self) -> Grid:
        """Its canonical grid."""


Pixels = NDArray[np.uint8]

SLICES = 21  # a plane, where the budget allows
BUDGET = 3_600_000  # characters of all pictures of a page
DRAWN = 208  # pixels of a small array's longer side, or a little less
TALLEST = 16_000  # pixels; the format ends at 16383
QUALITY = 90  # of WebP and JPEG
MARGIN = 4  # voxels around the head
MIDDLE = 0.45  # of full brightness: where the middle of the foreground is shown at first
WHITE = 99.9  # percentile of the measured scan that is shown white
LADDER = (1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 500, 1000)  # ends of colour scales
COLOURS = np.array(  # blue - black - red, as in "berlin" (Crameri 2018), which the colour-blind tell apart; here truly black at 0
    [[158, 200, 255], [60, 140, 220], [20, 60, 110], [0, 0, 0], [115, 35, 15], [210, 95, 60], [255, 205, 175]], dtype=np.float64
)
NEGATIVE = 0.01  # share of voxels below 0 from which they mean something; fewer are noise of the air or ringing
TOLD = 1 << 22  # voxels that tell of intensities
THUMB = 128  # pixels, height of a picture of the mosaic
GAP = 90  # grey between the two
LINE = 22  # pixels, of captions in the picture


@dataclass(frozen=True)
class Plane:
    """A way to cut: its name, the axis across it, and what lies at the left, right, top and bottom of its picture."""

    name: str
    axis: int
    sides: tuple[str, str, str, str]
    ends: tuple[str, str]  # of the axis across: names of negative and positive mm


PLANES = (
    Plane("axial", 2, ("R", "L", "A", "P"), ("I", "S")),
    Plane("coronal", 1, ("R", "L", "S", "I"), ("P", "A")),
    Plane("sagittal", 0, ("A", "P", "S", "I"), ("L", "R")),
)


@dataclass(frozen=True)
class Window:
    """Intensities that are shown black and white, the same in every picture of a page."""

    low: float
    high: float
    bright: float = 1.0  # by which a page shows all of them brighter at first, so that bright fat leaves no dark brain

    @property
    def shown(self) -> Window:
        """What is seen of it at first."""
        return Window(self.low, self.low + (self.high - self.low) / self.bright)

    def grey(self, values: Array) -> Pixels:
        """8 bits."""
        scaled = (values - self.low) * (255 / max(self.high - self.low, 1e-12))
        return np.asarray(np.clip(np.rint(np.nan_to_num(scaled)), 0, 255), dtype=np.uint8)


@dataclass(frozen=True)
class Scale:
    """A colour scale, black at 0: from -end to end, or from 0 to end for what has no sign, which is of one hue."""

    end: float
    signed: bool = True

    @classmethod
    def of(cls, values: Array, *, signed: bool = True) -> Scale:
        """A round end that holds all but a few of the values.

        Args:
            values: of an image.
            signed: some may be below 0; else that is as the values are.
        """
        high = float(np.percentile(np.abs(values), 99.5)) if values.size else 0.0
        end = float(next((step for step in LADDER if step >= high), LADDER[-1]))
        return cls(end, signed=signed or bool(values.min(initial=0.0) < 0))

    @property
    def ends(self) -> tuple[float, float, float]:
        """What the lowest, the middle and the highest colour stand for."""
        return (-self.end, 0.0, self.end) if self.signed else (0.0, self.end / 2, self.end)

    def levels(self, values: Array) -> Pixels:
        """From 0 for the lowest to 254 for the highest."""
        share = (np.nan_to_num(values) - self.ends[0]) / (self.end - self.ends[0])
        return np.asarray(np.clip(np.rint(share * 254), 0, 254), dtype=np.uint8)

    def colour(self, values: Array) -> Pixels:
        """8 bits, with red, green and blue as the last axis."""
        return np.asarray(colour_table(signed=self.signed)[self.levels(values)])

    @property
    def gradient(self) -> str:
        """As a CSS gradient."""
        table = colour_table(signed=self.signed)
        stops = (",".join(map(str, table[at])) for at in np.linspace(0, 254, 13).round().astype(int))
        return f"linear-gradient(90deg,{','.join(f'rgb({stop})' for stop in stops)})"


@lru_cache(maxsize=2)
def colour_table(*, signed: bool = True) -> Pixels:
    """255 colours from the lowest to the highest value, black at 0: in the middle, or first; (255, 3)."""
    stops = COLOURS if signed else COLOURS[len(COLOURS) // 2 :]
    at = np.linspace(0, len(stops) - 1, 255)
    colours = np.stack([np.interp(at, np.arange(len(stops)), channel) for channel in stops.T], axis=1)
    return np.asarray(colours.round(), dtype=np.uint8)


@dataclass(frozen=True)
class Lazy:
    """A volume of which only the parts that are asked for are made.

    Attributes:
        part: gives the voxels in slices of the three axes.
    """

    part: Callable[[tuple[slice, slice, slice]], Array]

    def __getitem__(self, slices: tuple[slice, slice, slice]) -> Array:
        """The voxels there."""
        return self.part(slices)


def thinned(shape: tuple[int, ...]) -> tuple[slice, slice, slice]:
    """Every n-th plane, so that a few million voxels tell of intensities."""
    return slice(None, None, math.ceil(math.prod(shape) / TOLD)), slice(None), slice(None)


def window_of(view: Pictured) -> Window:
    """From 0, or the lowest value where a hundredth are negative, to nearly the highest of the measured scan."""
    source = view.source[thinned(view.source.shape)]
    low = float(source.min()) if np.count_nonzero(source < 0) >= NEGATIVE * source.size else 0.0
    high = float(np.percentile(source, WHITE)) or 1.0
    inside = source[source > foreground_threshold(source) / 2]
    middle = (float(np.median(inside)) - low) / (high - low) if inside.size else 1.0
    return Window(low, high, round(min(max(MIDDLE / middle, 1.0), 3.0), 1))


def head_box(view: Pictured) -> Box:
    """The voxels around the head.

    Raises:
        GridError: for a grid that is not canonical, whose sides would be labelled wrongly.
    """
    if view.target.codes != ("R", "A", "S"):
        raise GridError("not-canonical", "axes to R, A, S", "".join(view.target.codes), "make the grid canonical first")
    inside = view.source > foreground_threshold(view.source[thinned(view.source.shape)]) / 2
    extents = [np.flatnonzero(inside.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    low = [max(0, int(extent[0]) - MARGIN) if extent.size else 0 for extent in extents]
    high = [int(extent[-1]) + 1 + MARGIN if extent.size else 1 for extent in extents]
    whole = Box.whole(view.target.shape)
    grown = Box((low[0], low[1], low[2]), (high[0], high[1], high[2]))
    return grown.intersect(whole) or whole


def cut(image: Array | Lazy, plane: Plane, at: int, box: Box) -> Array:
    """One slice as rows of pixels, top row first."""
    x, y, z = (slice(at, at + 1) if axis == plane.axis else cut for axis, cut in enumerate(box.slices))
    return image[x, y, z].squeeze(plane.axis).T[::-1, ::-1]


def positions(plane: Plane, box: Box, count: int) -> list[int]:
    """Up to ``count`` slices of a plane: the middles of as many equal parts of the head."""
    start, stop = box.start[plane.axis], box.stop[plane.axis]
    count = min(count, stop - start)
    return [start + int((n + 0.5) * (stop - start) / count) for n in range(count)]


def places(view: Pictured, plane: Plane, at: list[int]) -> list[str]:
    """What to call the slices: their mm along the axis across the plane, through the middle of the volume."""
    middle = [(n - 1) / 2 for n in view.target.shape]
    points = np.array([[place if axis == plane.axis else middle[axis] for axis in range(3)] for place in at])
    return [f"{plane.ends[int(mm >= 0)]} {abs(mm):.1f} mm" for mm in view.target.world(points)[:, plane.axis]]


def data_uri(pixels: Pixels) -> str:
    """A picture as an address that holds it: greys nearly, colours exactly, for those of neighbouring voxels must not mix."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", lossless=pixels.ndim == 3, quality=QUALITY, method=2)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def drawing(rows: Sequence[Sequence[float]]) -> str:
    """A small array as a picture in a URI, from its least value in black to its largest in white, a square of pixels a value."""
    values = np.asarray(rows, np.float64)
    span = float(values.max() - values.min()) or 1.0
    grey = np.round(255 * (values - values.min()) / span).astype(np.uint8)
    return data_uri(np.kron(grey, np.ones((max(1, DRAWN // max(grey.shape)),) * 2, np.uint8)))


def strip(image: Array | Lazy, plane: Plane, at: Sequence[int], box: Box, paint: Callable[[Array], Pixels]) -> str:
    """Slices below one another, as a data address."""
    return data_uri(np.concatenate([paint(cut(image, plane, place, box)) for place in at]))


@dataclass(frozen=True)
class PlanePictures:
    """The pictures of one plane: strips of slices by layer, all alike in shape.

    Attributes:
        plane: which.
        strips: data addresses by layer ("input", "cubic", "restored", "difference", "consistency").
        places: name of each slice.
        width, height: of one slice, in mm.
    """

    plane: Plane
    strips: dict[str, str]
    places: list[str]
    width: float
    height: float


@dataclass(frozen=True)
class Pictures:
    """All pictures of a scan's page, and the scales they are drawn by."""

    planes: list[PlanePictures]
    window: Window
    difference: Scale  # in % of the window
    consistency: Scale  # in noise SD
    maps: dict[str, Scale]  # in % of the window
    baseline: str  # what the difference is taken from


def map_shares(view: ScanView, window: Window) -> dict[str, Array]:
    """The maps beside a restored image, in % of the window; 0 in the air, of whose errors nothing was measured.

    Args:
        view: of the scan.
        window: of its pictures.
    """
    if not view.maps:
        return {}
    from scipy.ndimage import binary_fill_holes

    head = binary_fill_holes(view.restored > FAINT * window.high)
    share = np.float32(100 / (window.high - window.low))
    return {name: np.where(head, image * share, np.float32(0)) for name, image in view.maps.items()}


def scan_pictures(view: ScanView) -> Pictures:
    """Draw a scan's pictures, as many slices as the budget allows."""
    window, box = window_of(view), head_box(view)
    baseline = view.source if view.cubic is None else view.cubic
    difference = Lazy(lambda part: (view.restored[part] - baseline[part]) * np.float32(100 / (window.high - window.low)))
    consistency = Lazy(lambda part: _consistency(view, part))
    some, _, _ = thinned(box.shape)
    scales = Scale.of(difference[(slice(box.start[0], box.stop[0], some.step), *box.slices[1:])]), Scale.of(view.consistency)
    layers: dict[str, tuple[Array | Lazy, Callable[[Array], Pixels]]] = {
        "input": (view.source, window.grey),
        **({} if view.cubic is None else {"cubic": (view.cubic, window.grey)}),
        "restored": (view.restored, window.grey),
        "difference": (difference, scales[0].colour),
        "consistency": (consistency, scales[1].colour),
    }
    shares = map_shares(view, window)
    of_maps = {name: Scale.of(image[box.slices], signed=False) for name, image in shares.items()}
    layers |= {name: (image, of_maps[name].colour) for name, image in shares.items()}
    planes = _fitted(view, box, layers)
    return Pictures(planes, window, *scales, of_maps, "input" if view.cubic is None else "cubic")


def _consistency(view: ScanView, part: tuple[slice, slice, slice]) -> Array:
    """The map at some voxels of the target."""
    x, y, z = part
    on = view.target.crop(Box((x.start, y.start, z.start), (x.stop, y.stop, z.stop)))
    return interpolate(view.consistency, view.measured_grid, on, 0)


def _fitted(view: ScanView, box: Box, layers: dict[str, Any]) -> list[PlanePictures]:
    """The planes with as many slices as fit into the budget."""
    count = min(SLICES, TALLEST // max(box.shape))
    planes = [_plane(view, plane, box, layers, count) for plane in PLANES]
    size = sum(len(strip) for plane in planes for strip in plane.strips.values())
    if size <= BUDGET or count == 1:
        return planes
    fewer = max(1, int(count * BUDGET / size * 0.95))
    return [_plane(view, plane, box, layers, fewer) for plane in PLANES]


def _plane(view: ScanView, plane: Plane, box: Box, layers: dict[str, Any], count: int) -> PlanePictures:
    at = positions(plane, box, count)
    strips = {name: strip(image, plane, at, box, paint) for name, (image, paint) in layers.items()}
    width, height = (
        size * n for axis, (size, n) in enumerate(zip(view.target.spacing, box.shape, strict=True)) if axis != plane.axis
    )
    return PlanePictures(plane, strips, places(view, plane, at), width, height)


def scan_picture(view: ScanView) -> bytes:
    """One JPEG of a scan: input, cubic and restored, the middle slice of each plane, pixels square in mm."""
    from PIL import Image, ImageDraw

    window, box = window_of(view).shown, head_box(view)
    rows = {"input": view.source, "cubic": view.cubic, "restored": view.restored}
    lines = [_row(view, image, window, box) for image in rows.values() if image is not None]
    height, width = lines[0].shape
    sheet = Image.new("L", (width, len(lines) * (height + LINE) + LINE))
    draw = ImageDraw.Draw(sheet)
    for at, (name, line) in enumerate(zip([name for name, image in rows.items() if image is not None], lines, strict=True)):
        draw.text((6, at * (height + LINE) + 5), _caption(view, name), fill=235)
        sheet.paste(Image.fromarray(line), (0, at * (height + LINE) + LINE))
    draw.text((6, sheet.height - LINE + 5), "R is left in axial and coronal, A is left in sagittal. Not for diagnosis.", fill=160)
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def thumbnail(view: ScanView) -> bytes:
    """A small WebP of a scan, before and after side by side, in a plane that shows how thick the slices were."""
    from PIL import Image

    window, box = window_of(view).shown, head_box(view)
    coarse = int(np.argmax(view.measured_grid.spacing))
    plane = next(plane for plane in reversed(PLANES) if plane.axis != coarse)
    sides = [size * n for axis, (size, n) in enumerate(zip(view.target.spacing, box.shape, strict=True)) if axis != plane.axis]
    size = max(1, min(round(THUMB * sides[0] / sides[1]), 2 * THUMB)), THUMB
    at = positions(plane, box, 1)[0]
    before, after = (Image.fromarray(window.grey(cut(image, plane, at, box))) for image in (view.source, view.restored))
    sheet = Image.new("L", (2 * size[0] + 2, THUMB), GAP)
    sheet.paste(before.resize(size, Image.Resampling.BOX), (0, 0))
    sheet.paste(after.resize(size, Image.Resampling.BILINEAR), (size[0] + 2, 0))
    buffer = io.BytesIO()
    sheet.save(buffer, "WEBP", quality=75, method=2)
    return buffer.getvalue()


def _caption(view: ScanView, name: str) -> str:
    slices = " x ".join(f"{size:.2g}" for size in view.measured_grid.spacing)
    return {"input": f"input, {slices} mm", "cubic": "cubic", "restored": f"restored ({view.record.method})"}[name]


def _row(view: ScanView, image: Array, window: Window, box: Box) -> Pixels:
    """The middle slices of the three planes side by side, on a black ground."""
    from PIL import Image

    step = min(view.target.spacing)
    cuts = []
    for plane in PLANES:
        pixels = window.grey(cut(image, plane, positions(plane, box, 1)[0], box))
        sizes = [size for axis, size in enumerate(view.target.spacing) if axis != plane.axis]
        wanted = (round(pixels.shape[1] * sizes[0] / step), round(pixels.shape[0] * sizes[1] / step))
        cuts.append(np.asarray(Image.fromarray(pixels).resize(wanted)))
    tall = max(picture.shape[0] for picture in cuts)
    return np.concatenate([np.pad(picture, ((0, tall - picture.shape[0]), (0, 6))) for picture in cuts], axis=1)
