"""What the networks learn from: crops of slices along any axis, what a coarse scan would show of them, and slices between two.

    slice of a person --crop, 50 to 100 % of the patch--> truth --BSRGAN-light--> coarse slice
    three slices, one to three voxels apart --> the outer two and the middle one
    two slices, two to six voxels apart --> both, and one of those between with its share of the way

Crops are never enlarged: a crop smaller than the patch is mirrored to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from core.errors import UsageError
from core.geometry.grid import Array, Box
from core.geometry.slices import mirrored
from core.operators.bsrgan_light import degraded, draw_of
from core.training.batch import Batch
from core.training.data.subjects import CELL, Subject
from core.training.recipe import Context, Draw

COARSE, ABOVE, SHARE = "coarse", "above", "share"  # conditions: the degraded slice; the slice above; the share of the way to it
APART = 3  # voxels between the middle slice and the outer ones, at most
GAPS = (2, 6)  # voxels between the outer slices, with any of those between as the middle one
LEAST = 0.5  # of a patch, that a crop has
TRIES = 50
BRAIN = 0.3  # share of a slice's cells that is not empty
HELD_BACK = 5  # of so many persons one is kept for the network that sharpens


def share(draw: Draw, *, last: bool) -> Draw:
    """Persons of whom the diffusion model learns, or those whom it has not seen; all where there is one."""
    names = sorted({subject.name for subject in draw.subjects})
    if len(names) < 2 or draw.part != "train":
        return draw
    last_names = set(names[-max(1, len(names) // HELD_BACK) :])
    return replace(draw, subjects=[subject for subject in draw.subjects if (subject.name in last_names) == last])


Example = Callable[[Array, float, np.random.Generator], Batch]
Places = Callable[[np.random.Generator], tuple[int, int]]


def halfway(draw: np.random.Generator) -> tuple[int, int]:
    """Voxels from a slice to those below and above that make an example with it: as many on either side."""
    apart = int(draw.integers(1, APART + 1))
    return apart, apart


def anywhere(draw: np.random.Generator) -> tuple[int, int]:
    """Likewise, anywhere between two slices whose gap is drawn."""
    gap = int(draw.integers(GAPS[0], GAPS[1] + 1))
    below = int(draw.integers(1, gap))
    return below, gap - below


class Slices(Dataset[Batch]):
    """Crops of slices by number, in -1..1; the same number gives the same crop in any process.

    Args:
        draw: whose slices, of what size, and how many.
        example: of the slices (3, rows, columns) in 0..1, the middle one the example's own, of the share of the way from the
            first to the last where it lies, and of a generator, to the example.
        places: how far the outer slices lie from the middle one.
    """

    def __init__(self, draw: Draw, example: Example, places: Places = halfway) -> None:
        if not draw.subjects:
            raise UsageError("no-subjects", "at least one subject to draw slices from", "none", "select more participants")
        self.of, self.example, self.places = draw, example, places
        self._images: dict[str, Array] = {}

    def __len__(self) -> int:
        return self.of.length

    def __getitem__(self, index: int) -> Batch:
        """An example, without the first axis."""
        draw = draw_of(self.of.seed, index)
        subject = self.of.subjects[int(draw.integers(len(self.of.subjects)))]
        slices, share = self._crop(subject, draw)
        return self.example(slices, share, draw)

    def _crop(self, subject: Subject, draw: np.random.Generator) -> tuple[Array, float]:
        """Three slices of a crop with enough brain in its middle one, and where that lies between the others."""
        axis, apart = int(draw.integers(3)), self.places(draw)
        size = round(self.of.patch * draw.uniform(LEAST, 1))
        start = _start(subject, axis, size, draw)
        box, below = _around(start, subject.grid.shape, axis, size, apart)
        image = np.moveaxis(subject.scaled(self._image(subject)[box.slices]), axis, 0)
        slices = np.stack([image[0], image[below], image[-1]]).clip(0, 1)
        turned = slices.transpose(0, 2, 1) if draw.random() < 0.5 else slices
        flipped = turned[:, ::-1] if draw.random() < 0.5 else turned
        flipped = flipped[:, :, ::-1] if draw.random() < 0.5 else flipped
        return _filled(flipped, self.of.patch), below / max(1, len(image) - 1)

    def _image(self, subject: Subject) -> Array:
        """A whole image, read once: a crop of the store costs as much as some steps of a small network."""
        if subject.key not in self._images:
            self._images[subject.key] = subject.read(Box.whole(subject.grid.shape))
        return self._images[subject.key]


def _start(subject: Subject, axis: int, size: int, draw: np.random.Generator) -> list[int]:
    """Where a crop begins, and its slice: the fullest of a few where none has enough brain."""
    best, start = -1.0, [0, 0, 0]
    shape = subject.grid.shape
    for _ in range(TRIES):
        at = [int(draw.integers(0, max(1, n - size + 1))) for n in shape]
        at[axis] = int(draw.integers(1, max(2, shape[axis] - 1)))
        cells = tuple(slice(a // CELL, -(-min(a + (1 if n == axis else size), shape[n]) // CELL)) for n, a in enumerate(at))
        if (full := float(subject.occupied[cells].mean())) > best:
            best, start = full, at
        if best >= BRAIN:
            break
    return start


def _around(start: list[int], shape: tuple[int, int, int], axis: int, size: int, apart: tuple[int, int]) -> tuple[Box, int]:
    """The crop from the slice below its own to the one above, as far as the image reaches, and the number of its own in it."""
    stop = [min(a + size, n) for a, n in zip(start, shape, strict=True)]
    below, above = min(apart[0], start[axis]), min(apart[1], shape[axis] - 1 - start[axis])
    if apart[0] == apart[1]:  # its own lies half-way at the image's border, too
        below = above = max(0, min(below, above))
    first = list(start)
    first[axis], stop[axis] = start[axis] - below, start[axis] + above + 1
    return Box((first[0], first[1], first[2]), (stop[0], stop[1], stop[2])), below


def _filled(slices: NDArray[np.float32], patch: int) -> Array:
    """Slices mirrored to the patch."""
    rows, columns = (mirrored(np.arange(patch), n) for n in slices.shape[1:])
    return np.ascontiguousarray(slices[:, rows[:, None], columns], np.float32)


# -- examples -------------------------------------------------------------------------------------------------------------------


def scaled(image: Array) -> Tensor:
    """A slice (1, rows, columns) in -1..1."""
    return torch.from_numpy(image)[None] * 2 - 1


def alone(slices: Array, share: float, draw: np.random.Generator) -> Batch:  # noqa: ARG001 - as the others
    """The slice, to be coded and decoded."""
    image = scaled(slices[1])
    return Batch(image, image)


def coarse(slices: Array, share: float, draw: np.random.Generator) -> Batch:  # noqa: ARG001 - as the others
    """The degraded slice, and the slice."""
    return Batch(scaled(degraded(slices[1], draw)), scaled(slices[1]))


def coarse_pair(slices: Array, share: float, draw: np.random.Generator) -> Batch:
    """One time in two the degraded slice twice, else those below and above, as (2, rows, columns); and the slice between."""
    outer, share = (slices[[1, 1]], 0.0) if draw.random() < 0.5 else (slices[[0, 2]], share)
    shown = torch.cat([scaled(degraded(image, draw)) for image in outer])
    return Batch(shown, scaled(slices[1]), {SHARE: torch.tensor(share)})


def between(slices: Array, share: float, draw: np.random.Generator) -> Batch:  # noqa: ARG001 - as the others
    """The outer slices, one as input and one as condition, and the middle one as truth, in 0..1."""
    below, middle, above = (torch.from_numpy(image)[None] for image in slices)
    return Batch(below, middle, {ABOVE: above})


def at_share(slices: Array, share: float, draw: np.random.Generator) -> Batch:  # noqa: ARG001 - as the others
    """The outer slices likewise, with the share of the way where the third lies, in -1..1."""
    below, middle, above = (scaled(image) for image in slices)
    return Batch(below, middle, {ABOVE: above, SHARE: torch.tensor(share)})


def drawn(example: Example, places: Places = halfway) -> Callable[[Draw, Context], Dataset[Batch]]:
    """Examples of a stage."""
    return lambda draw, _: Slices(draw, example, places)
