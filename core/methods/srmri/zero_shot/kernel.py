"""A kernel that reduces slices: from the layers of a linear network, cleaned, made finer, and applied.

A reduced pixel j lies at s j + (s - 1) / 2 of the finer ones; tap t of K there sees pixel s j + t - K // 2. So a kernel that
moves nothing has its centre of mass at K // 2 + (s - 1) / 2: for 13 taps and s = 2 at 6.5 (Bell-Kligler et al. 2019).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from core.geometry.grid import Array
from core.geometry.slices import mirrored

KEPT = 40  # values of a kernel that count
NEGLIGIBLE = 0.75  # of the next value; what is below is taken for none


def composed(layers: Sequence[Tensor]) -> Tensor:
    """The kernel (1, 1, k, k) of convolutions without bias that follow each other, the last of which alone may stride."""
    first, *rest = layers
    kernel = first.transpose(0, 1)
    for layer in rest:
        kernel = functional.conv2d(kernel, layer.flip(2, 3), padding=layer.shape[-1] - 1)
    return kernel


def centre(size: int, factor: int) -> float:
    """Where the centre of mass of a kernel lies that moves nothing."""
    return size // 2 + (factor - 1) / 2


def centre_of_mass(kernel: Tensor) -> Tensor:
    """Row and column, (2,), of a kernel (k, k) whose values sum to 1 or nearly."""
    places = torch.arange(len(kernel)).to(kernel)
    return torch.stack([(kernel.sum(1) * places).sum(), (kernel.sum(0) * places).sum()]) / kernel.sum()


def cleaned(kernel: Array, factor: int = 2) -> Array:
    """A learnt kernel (k, k): small values taken away, none below 0, sum 1, its centre of mass where nothing moves."""
    ordered = np.sort(kernel, axis=None)
    left = np.clip(kernel - NEGLIGIBLE * ordered[-min(KEPT + 1, ordered.size)], 0, None).astype(np.float64)
    left /= left.sum()
    at = ndimage.center_of_mass(left)
    moved = ndimage.shift(left, [centre(len(left), factor) - place for place in at], order=1)
    return np.asarray(moved / moved.sum(), np.float32)


def twice(kernel: Array) -> Array:
    """The kernel for a factor of 4 of that for 2: applied, and applied again to every second pixel."""
    wide = np.zeros((2 * len(kernel) - 1,) * 2, np.float32)
    wide[::2, ::2] = kernel
    both: Array = composed([torch.from_numpy(each.copy())[None, None] for each in (kernel, wide)])[0, 0].numpy()
    return both


def spreads(kernel: Array) -> tuple[float, float]:
    """Standard deviations of a kernel along its rows' axis and its columns', in finer pixels."""
    total, places = kernel.sum(), np.arange(len(kernel))
    lines = [kernel.sum(axis) / total for axis in (1, 0)]
    down, right = (float(np.sqrt(max(0.0, (line * places**2).sum() - (line * places).sum() ** 2))) for line in lines)
    return down, right


def reduced(images: Tensor, kernel: Tensor, factor: int) -> Tensor:
    """Slices (n, 1, h, w) reduced by a kernel (k, k), mirrored at their borders: (n, 1, ceil(h / s), ceil(w / s))."""
    size = len(kernel)
    for axis in (2, 3):
        n = images.shape[axis]
        places = np.arange(-(size // 2), factor * (-(-n // factor) - 1) + size - size // 2)
        images = images.index_select(axis, torch.from_numpy(mirrored(places, n)).to(images.device))
    return functional.conv2d(images, kernel[None, None].to(images), stride=factor)


def raised(images: Tensor, shape: Sequence[int]) -> Tensor:
    """Slices interpolated to ``shape`` by cubic convolution."""
    return functional.interpolate(images, tuple(shape), mode="bicubic")
