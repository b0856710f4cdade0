"""What the networks learn from: crops of slices along any axis, what a coarse scan would show of them, and slices between two.

    slice of a person --crop, 50 to 100 % of the patch--> truth --BSRGAN-light--> coarse slice
    three slices, one to three voxels apart --> the outer two and the middle one

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
from core.methods.latent_zoom.degrade import degraded, draw_of
from core.training.batch import Batch
from core.training.data.subjects import CELL, Subject
from core.training.recipe import Context, Draw

COARSE, ABOVE = "coarse", "above"  # conditions: the degraded slice; the slice on the other side of the middle one
APART = 3  # voxels between the middle slice and the outer ones, at most
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


class Slices(Dataset[Batch]):
    """Crops of slices by number, in -1..1; the same number gives the same crop in any process.

    Args:
        draw: whose slices, of what size, and how many.
        example: of the slices (3, rows, columns) in 0..1, the middle one the example's own, and a generator to the example.
    """

    def __init__(self, draw: Draw, example: Callable[[Array, np.random.Generator], Batch]) -> None:
        if not draw.subjects:
            raise UsageError("no-subjects", "at least one subject to draw slices from", "none", "select more participants")
        self.of, self.example = draw, example

    def __len__(self) -> int:
        return self.of.length

    def __getitem__(self, index: int) -> Batch:
        """An example, without the first axis."""
        draw = draw_of(self.of.seed, index)
        subject = self.of.subjects[int(draw.integers(len(self.of.subjects)))]
        return self.example(self._crop(subject, draw), draw)

    def _crop(self, subject: Subject, draw: np.random.Generator) -> Array:
        """Three slices, some voxels apart, of a crop with enough brain in its middle slice."""
        axis, apart = int(draw.integers(3)), int(draw.integers(1, APART + 1))
        size = round(self.of.patch * draw.uniform(LEAST, 1))
        start = _start(subject, axis, size, draw)
        box = _around(start, subject.grid.shape, axis, size, apart)
        scale = np.float32(1 / max(subject.upper, 1e-6))
        image = np.moveaxis(subject.read(box), axis, 0) * scale
        slices = np.stack([image[0], image[(len(image) - 1) // 2], image[-1]]).clip(0, 1)
        turned = slices.transpose(0, 2, 1) if draw.random() < 0.5 else slices
        flipped = turned[:, ::-1] if draw.random() < 0.5 else turned
        flipped = flipped[:, :, ::-1] if draw.random() < 0.5 else flipped
        return _filled(flipped, self.of.patch)


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


def _around(start: list[int], shape: tuple[int, int, int], axis: int, size: int, apart: int) -> Box:
    """The crop, as many slices on either side of its own."""
    stop = [min(a + size, n) for a, n in zip(start, shape, strict=True)]
    apart = max(0, min(apart, start[axis], shape[axis] - 1 - start[axis]))
    first = list(start)
    first[axis], stop[axis] = start[axis] - apart, start[axis] + apart + 1
    return Box((first[0], first[1], first[2]), (stop[0], stop[1], stop[2]))


def _filled(slices: NDArray[np.float32], patch: int) -> Array:
    """Slices mirrored to the patch."""
    rows, columns = (mirrored(np.arange(patch), n) for n in slices.shape[1:])
    return np.ascontiguousarray(slices[:, rows[:, None], columns], np.float32)


# -- examples -------------------------------------------------------------------------------------------------------------------


def scaled(image: Array) -> Tensor:
    """A slice (1, rows, columns) in -1..1."""
    return torch.from_numpy(image)[None] * 2 - 1


def alone(slices: Array, draw: np.random.Generator) -> Batch:  # noqa: ARG001 - as the others
    """The slice, to be coded and decoded."""
    image = scaled(slices[1])
    return Batch(image, image)


def coarse(slices: Array, draw: np.random.Generator) -> Batch:
    """The degraded slice, and the slice."""
    return Batch(scaled(degraded(slices[1], draw)), scaled(slices[1]))


def between(slices: Array, draw: np.random.Generator) -> Batch:  # noqa: ARG001 - as the others
    """The outer slices, one as input and one as condition, and the middle one as truth, in 0..1."""
    below, middle, above = (torch.from_numpy(image)[None] for image in slices)
    return Batch(below, middle, {ABOVE: above})


def drawn(example: Callable[[Array, np.random.Generator], Batch]) -> Callable[[Draw, Context], Dataset[Batch]]:
    """Examples of a stage."""
    return lambda draw, _: Slices(draw, example)
