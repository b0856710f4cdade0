"""Crops of slices, drawn where there is something to see: the gradient's size, averaged over 5 x 5 pixels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from core.geometry.grid import Array

BOX = 5
EVEN = 0.01  # of the mean, which every pixel has beside its own, so that empty slices can be drawn of


@dataclass(frozen=True, eq=False)
class Crops:
    """Slices to draw from.

    Attributes:
        slices: (n, h, w) float32; mirrored to ``least`` pixels where they are smaller.
        least: sides that they need.
    """

    slices: Array
    least: int = 1

    @cached_property
    def padded(self) -> Array:
        """The slices, as large as they must be."""
        sides = [(0, max(0, self.least - n)) for n in self.slices.shape[1:]]
        return np.pad(self.slices, [(0, 0), *sides], mode="symmetric")

    @cached_property
    def weights(self) -> Array:
        """The gradient's size of each pixel, averaged; mean 1 (Shocher et al. 2018, as Bell-Kligler et al. 2019 weight it)."""
        sizes = np.hypot(*(np.gradient(self.padded, axis=axis) for axis in (1, 2)))
        smooth = ndimage.uniform_filter(sizes, (1, BOX, BOX), mode="nearest")
        mean = float(smooth.mean())
        return np.asarray(smooth / mean if mean > 0 else np.ones_like(smooth), np.float32)

    @cached_property
    def _chances(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Sums of the weights up to each slice, and up to each pixel of each slice."""
        each = np.cumsum((self.weights + np.float32(EVEN)).reshape(len(self.padded), -1), 1, np.float64)
        return np.cumsum(each[:, -1]), each

    def draw(self, draw: np.random.Generator, side: int, even: int = 1) -> tuple[Tensor, Tensor]:
        """A crop and its weights, (1, 1, side, side), or smaller with sides that ``even`` divides where the slices are.

        Its middle falls on a pixel by the pixel's weight; near a border the crop is moved inside.
        """
        of_slices, of_pixels = self._chances
        number = int(np.searchsorted(of_slices, draw.random() * of_slices[-1], side="right"))
        line = of_pixels[min(number, len(of_pixels) - 1)]
        pixel = min(int(np.searchsorted(line, draw.random() * line[-1], side="right")), len(line) - 1)
        places = []
        for at, n in zip(np.unravel_index(pixel, self.padded.shape[1:]), self.padded.shape[1:], strict=True):
            size = min(side, n // even * even)
            start = min(max(0, int(at) - size // 2), n - size)
            places.append(slice(start, start + size))
        place, (rows, columns) = min(number, len(of_pixels) - 1), places
        crop, weight = (torch.from_numpy(array[place, rows, columns].copy())[None, None] for array in (self.padded, self.weights))
        return crop, weight
