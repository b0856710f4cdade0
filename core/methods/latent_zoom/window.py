"""The part of slices that is worked on: a box of rows and columns of their codes, the rest of which is black."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

MARGIN = 2  # codes around what is not black
MULTIPLE = 4  # codes: sides are brought to, so that networks that halve twice need no padding


@dataclass(frozen=True)
class Window:
    """A box of codes (n, channels, rows, columns).

    Attributes:
        shape: of all codes.
        start: first row and column.
        stop: last ones, excluded; the same as ``start`` where all is black.
    """

    shape: tuple[int, ...]
    start: tuple[int, int]
    stop: tuple[int, int]

    @classmethod
    def all_of(cls, codes: Tensor) -> Window:
        """The whole."""
        rows, columns = codes.shape[-2:]
        return cls(tuple(codes.shape), (0, 0), (rows, columns))

    @property
    def whole(self) -> bool:
        """Whether it leaves nothing out."""
        return self.start == (0, 0) and self.stop == self.shape[-2:]

    @property
    def empty(self) -> bool:
        """Whether nothing is in it."""
        return self.start == self.stop

    def slices(self, step: int = 1) -> tuple[slice, slice]:
        """Its rows and columns in an image of which ``step`` make one of a code."""
        rows, columns = (slice(step * a, step * b) for a, b in zip(self.start, self.stop, strict=True))
        return rows, columns

    def cut(self, image: Tensor, step: int = 1) -> Tensor:
        """That part of an image (n, channels, step rows, step columns), contiguous; the image itself where it is all."""
        if self.whole:
            return image
        rows, columns = self.slices(step)
        return image[..., rows, columns].contiguous()


def around(seen: Tensor, shape: Sequence[int]) -> Window:
    """The box around what is True in any of the images and channels, with a margin, its sides multiples where there is room.

    Args:
        seen: bool (n, channels, rows, columns).
        shape: of all codes.
    """
    there = seen.any(0).any(0)
    ends = [_ends(there.any(1 - axis), there.shape[axis]) for axis in range(2)]
    if any(stop == 0 for _, stop in ends):
        ends = [(0, 0), (0, 0)]
    (top, bottom), (left, right) = ends
    return Window(tuple(shape), (top, left), (bottom, right))


def _ends(line: Tensor, count: int) -> tuple[int, int]:
    """First and last (excluded) of what is True along an axis, with the margin; 0 and 0 where nothing is."""
    places = torch.nonzero(line).flatten().tolist()
    if not places:
        return 0, 0
    start, stop = max(0, places[0] - MARGIN), min(count, places[-1] + 1 + MARGIN)
    stop = min(count, start + -(-(stop - start) // MULTIPLE) * MULTIPLE)
    start = max(0, stop - -(-(stop - start) // MULTIPLE) * MULTIPLE)
    return start, stop
