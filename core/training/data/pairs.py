"""Pairs of patches for training: drawn from a cohort's images, degraded on the fly.

Forward models act along single axes, so a patch needs the image's columns through it and no more; of thick slices:

    truth, columns (p, p, n) --degrade--> (p, p, n / factor) --cubic--> columns (p, p, n) --cut--> input (p, p, p)

The axis of the slices comes last, as ``methods.patch_network`` turns its patches. A pair is a function of (seed, index) alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from core.errors import UsageError
from core.geometry.grid import Array, Box, Triple
from core.geometry.resample import interpolate
from core.operators.forward import Beside
from core.operators.forward_model import ForwardModel
from core.training.batch import Batch
from core.training.data.subjects import CELL, Subject

BRAIN = 0.2  # share of a patch's voxels that must not be 0 (Kim et al. 2023)
BRIGHTNESS = 0.1  # the scale is known within so much: a degraded scan's percentile is not its truth's
CONTEXT = 8  # slices that are degraded on either side of a patch; what lies beyond no longer changes the input


@dataclass(frozen=True)
class Pair:
    """A patch to train on.

    Attributes:
        input: float32 (p, p, p), the degraded image on the truth's grid, in units of the scan's 99.9th percentile.
        truth: likewise.
    """

    input: Array
    truth: Array


def start_of(subject: Subject, patch: int, draw: np.random.Generator) -> tuple[int, int, int]:
    """Where a patch begins that has enough brain, as far as the map of cells tells; the fullest of a few where none has.

    Args:
        subject: whose image.
        patch: edge in voxels.
        draw: all that is random comes from it.
    """
    best, start = -1.0, (0, 0, 0)
    for _ in range(50):
        x, y, z = (int(draw.integers(0, max(1, n - patch + 1))) for n in subject.grid.shape)
        cells = tuple(slice(at // CELL, -(-(at + patch) // CELL)) for at in (x, y, z))
        if (share := float(subject.occupied[cells].mean())) > best:
            best, start = share, (x, y, z)
        if best >= BRAIN:
            break
    return start


def _line(n: int, start: int, patch: int, factor: int, phase: int) -> tuple[int, int]:
    """First and last (excluded) voxel to read along an axis that becomes coarser: whole voxels of ``factor``, begun anywhere."""
    before = max(0, start - CONTEXT * factor)
    first = min(before + phase, max(0, n - patch)) if start - before >= factor else before
    last = min(start + patch + CONTEXT * factor, n)
    return first, first + max((last - first) // factor, 1) * factor


def _columns(shape: Sequence[int], start: Sequence[int], patch: int, axis: int, how: ForwardModel, phase: int) -> Box:
    """The voxels to read: the patch with its context along axes that become coarser; all of an axis whose k-space is cut."""
    lines = []
    for at, (n, factor) in enumerate(zip(shape, how.factors(axis), strict=True)):
        if at == axis and not how.local:
            lines.append((0, n))
        elif factor > 1:
            lines.append(_line(n, start[at], patch, factor, phase))
        else:
            lines.append((start[at], min(start[at] + patch, n)))
    (a, b), (c, d), (e, f) = lines
    return Box((a, c, e), (b, d, f))


def upright(axis: int, shape: Triple, draw: np.random.Generator) -> Callable[[Array], Array]:
    """The turn that puts ``axis`` last, then flips at random and, within the planes, transposes at random.

    Args:
        axis: of the slices.
        shape: to which smaller images are mirrored once they are turned.
        draw: all that is random comes from it.
    """
    order = [other for other in range(3) if other != axis]
    if draw.random() < 0.5:
        order.reverse()
    flips = tuple(flipped for flipped in range(3) if draw.random() < 0.5)

    def turn(array: Array) -> Array:
        turned = np.flip(array.transpose(*order, axis), flips)
        return np.pad(turned, [(0, wanted - n) for wanted, n in zip(shape, turned.shape, strict=True)], mode="symmetric")

    return turn


def draw_pair(subject: Subject, how: ForwardModel, patch: int, draw: np.random.Generator, *, axis: int | None = None) -> Pair:
    """A patch of a subject and what a degraded scan shows of it.

    Args:
        subject: whose image.
        how: the forward model that degrades it.
        patch: edge in voxels; patches beyond a smaller image are mirrored.
        draw: all that is random comes from it.
        axis: of the slices; drawn where None.

    Raises:
        UsageError: where the forward model needs tissues and the subject has none.
    """
    axis = int(draw.integers(3)) if axis is None else axis
    start = start_of(subject, patch, draw)
    box = _columns(subject.grid.shape, start, patch, axis, how, int(draw.integers(max(how.factors(axis)))))
    truth, grid = subject.read(box), subject.grid.crop(box)
    seen = how.degrade(truth, grid, axis, draw, Beside(subject.tissues and subject.tissues[axis]))
    inside = zip(start, box.start, truth.shape, strict=True)
    at = [min(max(a - b, 0), max(0, n - patch)) for a, b, n in inside]
    shape = [min(patch, n - a) for n, a in zip(truth.shape, at, strict=True)]
    cut = Box((at[0], at[1], at[2]), (at[0] + shape[0], at[1] + shape[1], at[2] + shape[2]))
    blurred = interpolate(seen.image, seen.grid, grid.crop(cut), 3)
    turn = upright(axis, (patch, patch, patch), draw)
    scale = np.float32(1 / (subject.upper * draw.uniform(1 - BRIGHTNESS, 1 + BRIGHTNESS)))
    return Pair(np.ascontiguousarray(turn(blurred) * scale), np.ascontiguousarray(turn(truth[cut.slices]) * scale))


class Pairs(Dataset[Batch]):
    """Pairs by number; the same number gives the same pair in any process.

    Args:
        subjects: to draw from.
        how: the forward model that degrades it.
        patch: edge in voxels.
        seed: of all draws.
        length: how many there are.
    """

    def __init__(self, subjects: Sequence[Subject], how: ForwardModel, patch: int, seed: int, length: int) -> None:
        if not subjects:
            raise UsageError("no-subjects", "at least one subject to draw patches from", "none", "select more participants")
        self.subjects, self.how, self.patch, self.seed, self.length = list(subjects), how, patch, seed, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Batch:
        """Input and truth, float32 (1, p, p, p)."""
        draw = np.random.default_rng([self.seed, index])
        pair = draw_pair(self.subjects[int(draw.integers(len(self.subjects)))], self.how, self.patch, draw)
        return Batch(torch.from_numpy(pair.input)[None], torch.from_numpy(pair.truth)[None])
