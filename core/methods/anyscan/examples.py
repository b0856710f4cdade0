"""What the network learns from: patches of persons, in a contrast, under slices and with a noise that are drawn for each.

sharp columns --contrast--> truth --A, noise--> scan --inputs--> channels       (all of one example from (seed, number) alone)
                              |------cubic----> the truth on the slices' grid
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.utils.data import Dataset

from core.errors import UsageError
from core.geometry.grid import Array, Box, Grid, Triple
from core.geometry.resample import interpolate
from core.io import files
from core.methods.anyscan.inputs import SUB, Units, network_inputs
from core.tissues import Tissues
from core.training.batch import Batch
from core.training.data.contrasts import Look, draw_contrast, look_of
from core.training.data.drawn_slices import SliceRanges, coarse_grid, measured
from core.training.data.pairs import BRIGHTNESS, start_of, upright
from core.training.data.subjects import Subject
from core.training.recipe import Context, Draw

# Within the slices the network sees the target's voxels, whatever the scan's. On a crop of person 53, restored to 0.868 mm from
# slices 5 mm apart, it gained 2.3 dB over cubic at 0.87 mm, 2.1 at 0.43 and 1.5 at 2.6, for 0.7, 0.7 and 0.5 by UniRes.
IN_PLANE = (0.4, 2.61)
# In 2, 4 and 6 mm slices of a person held out it gained 0.6, 0.9 and 1.1 dB over UniRes at 3 % noise, -0.6, 0.2 and 0.7 at 5 %,
# and -2.6, -1.5 and -0.5 at 10 %.
NOISIEST = 0.04
RANGES = SliceRanges(spacing=(2.0, 8.0), gap=0.3, profiles=("box", "gaussian"), noise=0.03, in_plane=IN_PLANE, noisiest=NOISIEST)
AROUND = 4  # slices on either side of a patch; what lies beyond hardly changes its inputs
SLICES = 3  # of an example, for each 8 voxels of its edge
MISJUDGED = 0.2  # noise is known within so much
CUT = 0.25  # share of the examples that a scan ends in: anatomy goes on where nobody measured it


class Scans(Dataset[Batch]):
    """Examples by number; the same number gives the same example in any process.

    Args:
        draw: whose patches, of what size, and how many.
        folder: URI where what is known of each whole image is kept; "": nowhere.
        ranges: of the slices.
    """

    def __init__(self, draw: Draw, folder: str, ranges: SliceRanges = RANGES) -> None:
        if not draw.subjects:
            raise UsageError("no-subjects", "at least one subject to draw patches from", "none", "select more participants")
        self.of, self.folder, self.ranges = draw, folder, ranges
        self._looks: dict[str, Look] = {}
        self._images: dict[str, Array] = {}

    def __len__(self) -> int:
        return self.of.length

    def __getitem__(self, index: int) -> Batch:
        """Channels (6, p, p, z), and truth (1, p, p, z) in the same unit, float32; z is 8 voxels for each of 3 p / 8 slices."""
        draw = np.random.default_rng([self.of.seed, index])
        subject = self.of.subjects[int(draw.integers(len(self.of.subjects)))]
        axis, (how, spacing) = int(draw.integers(3)), self.ranges.draw(draw)
        step, slices = spacing / subject.grid.spacing[axis], SLICES * self.of.patch // 8
        box, first = _columns(
            subject.grid.shape, start_of(subject, self.of.patch, draw), self.of.patch, axis, slices * step, step
        )
        grid = subject.grid.crop(box)
        sharp = self._image(subject)[box.slices] / np.float32(subject.upper)
        truth = draw_contrast(sharp, self._look(subject), grid.spacing, draw)
        noise = self.ranges.noise * float(draw.random()) ** 2  # most scans have little
        coarse = coarse_grid(grid, axis, spacing, float(draw.random()))
        scan = measured(truth, grid, coarse, how, noise, draw)
        units = _units(subject, noise, spacing * (1 - how.slice_gap) / grid.spacing[axis], draw)
        target = _slab(coarse, axis, round(first / step), slices)
        if draw.random() < CUT:
            scan, coarse = _cut(scan, coarse, target, axis, above=bool(draw.integers(2)))
        channels = network_inputs(scan, coarse, target, how, units)
        wanted = interpolate(truth, grid, target, 3) / np.float32(units.scale)
        shape = (self.of.patch, self.of.patch, SUB * slices)
        turn = upright(axis, shape, draw)
        shown = np.stack([turn(channel) for channel in channels])
        return Batch(torch.from_numpy(shown), torch.from_numpy(np.ascontiguousarray(turn(wanted)))[None])

    def _image(self, subject: Subject) -> Array:
        """A whole image, read once."""
        if subject.key not in self._images:
            self._images[subject.key] = subject.read(Box.whole(subject.grid.shape))
        return self._images[subject.key]

    def _look(self, subject: Subject) -> Look:
        """What is known of a whole image, found once for each person and kept beside the training."""
        if subject.key not in self._looks:
            self._looks[subject.key] = self._kept(subject)
        return self._looks[subject.key]

    def _kept(self, subject: Subject) -> Look:
        uri = files.join(self.folder, "looks", f"{subject.key.replace('/', '_')}.json") if self.folder else ""
        if uri and files.exists(uri):
            stored = files.read_json(uri)
            tissues = Tissues.from_json(stored["tissues"]) if stored["tissues"] else None
            return Look(np.asarray(stored["quantiles"], np.float32), tissues)
        look = look_of(self._image(subject), subject.upper)
        if uri:
            classes = look.tissues.to_json() if look.tissues else None
            files.write_json(uri, {"quantiles": look.quantiles.tolist(), "tissues": classes})
        return look


def scans(draw: Draw, context: Context) -> Dataset[Batch]:
    """The examples of a stage."""
    return Scans(draw, context.shared)


def _columns(shape: Triple, start: Triple, patch: int, axis: int, deep: float, step: float) -> tuple[Box, float]:
    """The voxels to read: a patch, and along ``axis`` its slices with their context; and where the slices begin in them.

    Args:
        shape: of the image.
        start: of the patch.
        patch: its edge.
        axis: of the slices.
        deep: voxels that the slices of an example take.
        step: voxels from slice to slice.
    """
    first, last = list(start), [min(at + patch, n) for at, n in zip(start, shape, strict=True)]
    begin = min(max(0.0, start[axis] + (patch - deep) / 2), max(0.0, shape[axis] - deep))
    first[axis] = max(0, math.floor(begin - AROUND * step))
    last[axis] = min(shape[axis], math.ceil(begin + deep + AROUND * step))
    return Box((first[0], first[1], first[2]), (last[0], last[1], last[2])), begin - first[axis]


def _slab(coarse: Grid, axis: int, first: int, count: int) -> Grid:
    """The network's grid of ``count`` slices from one on, or of as many as there are."""
    first = min(max(0, first), max(0, coarse.shape[axis] - count))
    start, stop = [0, 0, 0], list(coarse.shape)
    start[axis], stop[axis] = first, min(first + count, coarse.shape[axis])
    return coarse.crop(Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))).refine(axis, SUB)


def _cut(scan: Array, coarse: Grid, target: Grid, axis: int, *, above: bool) -> tuple[Array, Grid]:
    """The scan as it would be if its end were one slice within the network's grid, as it is when it restores a scan's end."""
    scale, offset = coarse.index_map(target)[axis]
    first, last = math.ceil(offset - 0.5), math.floor(offset + scale * (target.shape[axis] - 1) + 0.5)
    start, stop = [0, 0, 0], list(coarse.shape)
    if above:
        stop[axis] = max(last, 1)
    else:
        start[axis] = min(first + 1, coarse.shape[axis] - 1)
    box = Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
    return scan[box.slices], coarse.crop(box)


def _units(subject: Subject, noise: float, width: float, draw: np.random.Generator) -> Units:
    """The unit of a scan, known within a tenth, and its noise: what was added, and what slices leave of the image's own."""
    own = subject.noise / subject.upper / np.sqrt(max(width, 1.0))
    scale = float(draw.uniform(1 - BRIGHTNESS, 1 + BRIGHTNESS))
    return Units(0.0, scale, float(np.hypot(noise, own) * draw.uniform(1 - MISJUDGED, 1 + MISJUDGED)))
