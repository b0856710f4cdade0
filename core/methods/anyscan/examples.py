"""What the network learns from: patches of persons, in a contrast, under slices and with a noise that are drawn for each.

sharp columns --contrast--> truth --A, noise--> scan --inputs--> channels       (all of one example from (seed, number) alone)
"""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import Dataset

from core.errors import UsageError
from core.geometry.grid import Array, Box, Triple
from core.io import files
from core.methods.anyscan.inputs import Units, network_inputs
from core.tissues import Tissues
from core.training.batch import Batch
from core.training.data.contrasts import Look, draw_contrast, look_of
from core.training.data.drawn_slices import SliceRanges, coarse_grid, measured
from core.training.data.pairs import BRIGHTNESS, start_of, upright
from core.training.data.subjects import Subject
from core.training.recipe import Context, Draw

RANGES = SliceRanges(spacing=(2.0, 8.0), gap=0.3, profiles=("box", "gaussian"), noise=0.03)
AROUND = 5  # slices on either side of a patch; what lies beyond hardly changes its inputs
MISJUDGED = 0.2  # noise is known within so much


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
        """Channels (6, p, p, p), and truth (1, p, p, p) in the same unit; float32."""
        draw = np.random.default_rng([self.of.seed, index])
        subject = self.of.subjects[int(draw.integers(len(self.of.subjects)))]
        axis, (how, spacing) = int(draw.integers(3)), self.ranges.draw(draw)
        start = start_of(subject, self.of.patch, draw)
        box, cut = _columns(subject.grid.shape, start, self.of.patch, axis, spacing / subject.grid.spacing[axis])
        grid = subject.grid.crop(box)
        sharp = self._image(subject)[box.slices] / np.float32(subject.upper)
        truth = draw_contrast(sharp, self._look(subject), grid.spacing, draw)
        noise = self.ranges.noise * float(draw.random()) ** 2  # most scans have little
        coarse = coarse_grid(grid, axis, spacing, float(draw.random()))
        scan = measured(truth, grid, coarse, how, noise, draw)
        units = _units(subject, noise, spacing * (1 - how.slice_gap) / grid.spacing[axis], draw)
        channels = network_inputs(scan, coarse, grid.crop(cut), how, units)
        turn = upright(axis, self.of.patch, draw)
        shown = np.stack([turn(channel) for channel in channels])
        wanted = np.ascontiguousarray(turn(truth[cut.slices] / np.float32(units.scale)))
        return Batch(torch.from_numpy(shown), torch.from_numpy(wanted)[None])

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
        look = look_of(self._image(subject), max(subject.upper, 1e-6))
        if uri:
            classes = look.tissues.to_json() if look.tissues else None
            files.write_json(uri, {"quantiles": look.quantiles.tolist(), "tissues": classes})
        return look


def scans(draw: Draw, context: Context) -> Dataset[Batch]:
    """The examples of a stage."""
    return Scans(draw, context.shared)


def _columns(shape: Triple, start: Triple, patch: int, axis: int, step: float) -> tuple[Box, Box]:
    """The voxels to read, the patch with its context across the slices, and the patch within them."""
    first, last = list(start), [min(at + patch, n) for at, n in zip(start, shape, strict=True)]
    inside, around = [0, 0, 0], int(np.ceil(AROUND * step))
    size = [b - a for a, b in zip(first, last, strict=True)]
    inside[axis] = first[axis] - max(0, first[axis] - around)
    first[axis], last[axis] = first[axis] - inside[axis], min(last[axis] + around, shape[axis])
    cut = [a + n for a, n in zip(inside, size, strict=True)]
    return (
        Box((first[0], first[1], first[2]), (last[0], last[1], last[2])),
        Box((inside[0], inside[1], inside[2]), (cut[0], cut[1], cut[2])),
    )


def _units(subject: Subject, noise: float, width: float, draw: np.random.Generator) -> Units:
    """The unit of a scan, known within a tenth, and its noise: what was added, and what slices leave of the image's own."""
    own = subject.noise / max(subject.upper, 1e-6) / np.sqrt(max(width, 1.0))
    scale = float(draw.uniform(1 - BRIGHTNESS, 1 + BRIGHTNESS))
    return Units(0.0, scale, float(np.hypot(noise, own) * draw.uniform(1 - MISJUDGED, 1 + MISJUDGED)))
