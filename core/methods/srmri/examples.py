"""What the networks learn from: slices of sharp images with their neighbours, and the same reduced within their plane."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import torch
from torch.utils.data import Dataset

from core.errors import UsageError
from core.geometry.grid import Array, Box
from core.geometry.slices import slab
from core.operators.kernels import KERNELS, resize_matrix
from core.training.batch import Batch
from core.training.data.pairs import BRIGHTNESS, start_of
from core.training.data.subjects import Subject
from core.training.recipe import Draw

PLANE = "plane"  # name of the condition: the world axis that slices follow each other along
NOISE = 0.01  # largest standard deviation of what is added to reduced slices, of the image's 99.9th percentile


class Slices(Dataset[Batch]):
    """Sharp slices by number; the same number gives the same slice in any process.

    Args:
        draw: whose slices, of what size, and how many.
        neighbours: on either side, as channels.
        axes: along which slices may follow each other.
    """

    def __init__(self, draw: Draw, neighbours: int, axes: tuple[int, ...] = (0, 1, 2)) -> None:
        if not draw.subjects:
            raise UsageError("no-subjects", "at least one subject to draw slices from", "none", "select more participants")
        self.of, self.neighbours, self.axes = draw, neighbours, axes

    def __len__(self) -> int:
        return self.of.length

    def __getitem__(self, index: int) -> Batch:
        """Channels (2 neighbours + 1, p, p) in units of the 99.9th percentile, and the axis."""
        draw = np.random.default_rng([self.of.seed, index])
        subject = self.of.subjects[int(draw.integers(len(self.of.subjects)))]
        axis = self.axes[int(draw.integers(len(self.axes)))]
        planes = _cut(subject, axis, self.of.patch, self.neighbours, draw)
        planes = planes[:, ::-1] if axis != 0 and draw.random() < 0.5 else planes  # left for right
        scale = np.float32(1 / (subject.upper * draw.uniform(1 - BRIGHTNESS, 1 + BRIGHTNESS)))
        image = torch.from_numpy(np.ascontiguousarray(planes * scale))
        return Batch(image, image, {PLANE: torch.tensor(axis)})


def _cut(subject: Subject, axis: int, patch: int, neighbours: int, draw: np.random.Generator) -> Array:
    """A slice with its neighbours, where there is brain, mirrored to the patch's size where the image is smaller."""
    start = start_of(subject, patch, draw)
    shape = subject.grid.shape
    place = min(start[axis] + int(draw.integers(patch)), shape[axis] - 1)
    first, last = list(start), [min(at + patch, n) for at, n in zip(start, shape, strict=True)]
    first[axis], last[axis] = max(0, place - neighbours), min(shape[axis], place + neighbours + 1)
    image = subject.read(Box((first[0], first[1], first[2]), (last[0], last[1], last[2])))
    planes = np.moveaxis(image, axis, 0)
    made = np.empty((1, 2 * neighbours + 1, *planes.shape[1:]), np.float32)
    slab(planes, [place - first[axis]], neighbours, made)
    return np.pad(made[0], [(0, 0), *((0, patch - n) for n in planes.shape[1:])], mode="symmetric")


class Reduced(Dataset[Batch]):
    """Pairs of a slice reduced by a kernel and the sharp one, by number.

    Args:
        draw: whose slices; its patch is the edge of the sharp ones.
        factor: sharp pixels for a reduced one, along rows and columns.
    """

    def __init__(self, draw: Draw, factor: int) -> None:
        self.sharp, self.factor, self.seed = Slices(draw, 0), factor, draw.seed

    def __len__(self) -> int:
        return len(self.sharp)

    def __getitem__(self, index: int) -> Batch:
        """Reduced (1, p / factor, p / factor) and sharp (1, p, p) slice; any of the five kernels, a little noise."""
        draw = np.random.default_rng([self.seed, index, self.factor])
        truth = self.sharp[index].truth
        kernel = list(KERNELS)[int(draw.integers(len(KERNELS)))]
        matrix = torch.from_numpy(resize_matrix(truth.shape[-1], Fraction(1, self.factor), kernel)).float()
        noise = draw.standard_normal((len(matrix), len(matrix)), np.float32) * np.float32(NOISE * draw.random() ** 2)
        return Batch((matrix @ truth[0] @ matrix.T + torch.from_numpy(noise))[None], truth)
