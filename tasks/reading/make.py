"""Series of slices of the same place of a scan, one by each source, drawn alike and named by chance.

All series of a scan have the same slices, the same window of intensities and the same field of view, so that nothing but the
restoration tells them apart. Slices are shown voxel by voxel: nothing is resampled.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core import __version__
from core.errors import GridError, UsageError
from core.geometry.grid import Array, Box, Grid
from core.io import claim, files, readers
from core.settings.reading import ReadingSettings
from tasks.reading.folder import ReadingFolder
from tasks.reading.sources import Scan, common, sources_of
from tasks.report.pictures import PLANES, Pixels, Plane, Window, cut, head_box, places, window_of

VERSION = 1  # of the pictures
LATTICE = 0.02  # of a voxel: how far images of a scan may lie apart


@dataclass(frozen=True)
class Volume:
    """An image to draw, and its canonical grid."""

    source: Array
    target: Grid


@dataclass(frozen=True)
class Made:
    """What was made: counts, and the names of images that are left out."""

    series: int
    scans: int
    left_out: list[str]


def make(settings: ReadingSettings) -> Made:
    """Make a reading, or find it made.

    Raises:
        UsageError: reading-begun: of other images or settings, and answered already; and as ``sources_of`` and ``common``.
        GridError: reading-grids.
    """
    sources = sources_of(settings.sources)
    folder = ReadingFolder(settings.out)
    claim.check(settings.out, sources.values(), "reading")
    scans, left = common(sources, settings.scans)
    digest = _digest(settings, scans)
    made = Made(len(scans) * len(sources), len(scans), left)
    if folder.digest() == digest:
        return made
    if folder.readers():
        got = f"one that {', '.join(folder.readers())} answered, of other images or settings"
        raise UsageError("reading-begun", "a folder without answers", got, "name another folder")
    claim.mark(settings.out, "reading")
    series, key = _series(settings, scans, folder)
    content = {"Version": VERSION, "Digest": digest, "Seed": settings.seed, "Series": series}
    folder.write(content, key)
    return made


def _digest(settings: ReadingSettings, scans: Sequence[Scan]) -> str:
    images = [(scan.name, {source: files.sha256(uri) for source, uri in scan.images.items()}) for scan in scans]
    value = [VERSION, __version__, settings.plane, settings.slices, settings.seed, images]
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _series(
    settings: ReadingSettings, scans: Sequence[Scan], folder: ReadingFolder
) -> tuple[list[dict[str, object]], dict[str, dict[str, str]]]:
    """What readers may know of each series, by their ids, and what each is; the pictures are written."""
    ids = iter(_ids(sum(len(scan.images) for scan in scans), settings.seed))
    shown: list[dict[str, object]] = []
    key: dict[str, dict[str, str]] = {}
    for scan in scans:
        about, slices = _drawn(scan, settings)
        for source, pictures in slices.items():
            name = next(ids)
            for number, picture in enumerate(pictures, 1):
                files.write_atomic(folder.picture(name, number), png(picture))
            shown.append({"Id": name} | about)
            key[name] = {"Scan": scan.name, "Person": scan.person, "Method": source}
    return sorted(shown, key=lambda each: str(each["Id"])), key


def _ids(count: int, seed: int) -> list[str]:
    """Distinct names that say nothing."""
    draw = np.random.default_rng(seed)
    names: dict[str, None] = {}
    while len(names) < count:
        names[draw.bytes(6).hex()] = None
    return list(names)


def _drawn(scan: Scan, settings: ReadingSettings) -> tuple[dict[str, object], dict[str, list[Pixels]]]:
    """What a page must know to show a scan's series, and the slices by source."""
    plane = next(plane for plane in PLANES if plane.name == settings.plane)
    volumes = _together(scan)
    first = volumes[min(volumes)]
    box, window = head_box(first), shared_window(volumes)
    seed = [settings.seed, *scan.name.encode()]
    at = positions(box, first.target.shape, plane, settings.slices, np.random.default_rng(seed))
    pictures = {source: [window.grey(cut(volume.source, plane, n, box)) for n in at] for source, volume in volumes.items()}
    width, height = (
        size * n for axis, (size, n) in enumerate(zip(first.target.spacing, box.shape, strict=True)) if axis != plane.axis
    )
    about = {"Ratio": round(width / height, 4), "Sides": plane.sides, "Places": places(first, plane, at), "Bright": window.bright}
    return about, pictures


def _together(scan: Scan) -> dict[str, Volume]:
    """The images of a scan on the part of their lattice that all of them cover.

    Raises:
        GridError: reading-grids.
    """
    loaded = {source: readers.load_at(uri)[:2] for source, uri in scan.images.items()}
    grids = {source: grid for source, (_, grid) in loaded.items()}
    boxes = common_boxes(grids, scan.name)
    return {source: Volume(image[boxes[source].slices], grid.crop(boxes[source])) for source, (image, grid) in loaded.items()}


def common_boxes(grids: Mapping[str, Grid], name: str) -> dict[str, Box]:
    """The voxels of each grid in the part that all share.

    Args:
        grids: by source.
        name: of the scan, for the error.

    Raises:
        GridError: reading-grids: not the same voxels, or no common part.
    """
    first = next(iter(grids.values()))
    offsets = {source: _offset(first, grid, f"{name} of {source}") for source, grid in grids.items()}
    shared: Box | None = Box.whole(first.shape)
    for source, grid in grids.items():
        x, y, z = offsets[source]
        here = Box((x, y, z), (x + grid.shape[0], y + grid.shape[1], z + grid.shape[2]))
        shared = shared.intersect(here) if shared else None
    if shared is None:
        raise GridError("reading-grids", "images of one place", f"none that all of {name} cover", "check the folders")
    return {source: shared.relative_to(offset) for source, offset in offsets.items()}


def _offset(first: Grid, other: Grid, name: str) -> tuple[int, int, int]:
    """Where the first voxel of a grid lies in another of the same voxels."""
    (a, x), (b, y), (c, z) = first.index_map(other)
    furthest = max(abs(scale - 1) * n for scale, n in zip((a, b, c), other.shape, strict=True))
    apart = max(abs(value - round(value)) for value in (x, y, z))
    if furthest > LATTICE or apart > LATTICE:
        sizes = " x ".join(f"{size:.3g}" for size in other.spacing)
        got, remedy = f"{name} with voxels of {sizes} mm elsewhere", "restore all with the same --voxel-size"
        raise GridError("reading-grids", "images of a scan with the same voxels", got, remedy)
    return round(x), round(y), round(z)


def shared_window(volumes: Mapping[str, Volume]) -> Window:
    """One window for all images of a scan: the median of their own."""
    own = [window_of(volume) for volume in volumes.values()]
    low, high, bright = (float(np.median([getattr(each, name) for each in own])) for name in ("low", "high", "bright"))
    return Window(low, high, round(bright, 1))


def positions(box: Box, shape: tuple[int, int, int], plane: Plane, count: int, draw: np.random.Generator) -> list[int]:
    """Slices next to one another, at a place drawn within the middle half of the head.

    Args:
        box: of the head.
        shape: of the volume, which the slices stay in.
        plane: of the slices.
        count: of slices; all where there are fewer.
        draw: of the place.
    """
    start, stop, whole = box.start[plane.axis], box.stop[plane.axis], shape[plane.axis]
    quarter = (stop - start) // 4
    last = max(stop - quarter - count, start + quarter)
    first = int(draw.integers(start + quarter, last + 1)) if last > start + quarter else (start + stop - count) // 2
    first = max(0, min(first, whole - count))
    return list(range(first, min(first + count, whole)))


def png(pixels: Pixels) -> bytes:
    """A picture without loss, and without a word in it."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
