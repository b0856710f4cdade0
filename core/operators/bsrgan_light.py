"""BSRGAN-light (Zhang et al. 2021, as latent diffusion has it): a slice blurred, made coarser, noisy, compressed.

    one time in four halved first; then in random order blur, coarser A, coarser B, noise, JPEG (A before B); then JPEG again

Its numbers are those of latent diffusion's code; three things there mean nothing for one channel or are slips:
noise of colours and correlated noise are plain noise here; an anisotropic blur's l1 and l2 are variances and get a floor, for 0
is no Gaussian; slices are cut to multiples along their own axes. All that is random comes from a counter (``draw_of``).

As a kind of forward model it degrades each slice of a scan by draws of its own. No A is drawn: that between two grids, by which
others see an image through the scan, is the antialiased cubic reduction about which the draws lie.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from core.geometry.grid import Array, Grid, Triple
from core.operators.forward import Beside, Forward
from core.operators.kernels import kernel_matrix, resize_matrix
from core.operators.linear import Matrix
from core.operators.profile import FINEST

FACTOR = 4
FLOOR = 1e-3  # of a variance, in pixels squared
HALVED, JPEG = 0.25, 0.9  # probabilities
ANISOTROPIC, RESIZED = 0.5, 0.8
QUALITY = 80, 95  # of JPEG
LEVELS = 255.0
CUBIC = -0.75  # OpenCV's a; MATLAB's is -1/2

Interpolation = Literal["linear", "cubic", "area"]


class BsrganLight(Forward):
    """Slices 4 times coarser along both of their axes, each blurred, noisy and compressed by draws of its own.

    ``degrade`` scales a scan to 0..1 by its range and back: noise and the 256 levels of JPEG are shares of that. One that is
    constant only becomes coarser.
    """

    linear: ClassVar[bool] = False

    kind: Literal["bsrgan-light"] = "bsrgan-light"

    def factors(self, axis: int) -> Triple:
        """See ``Forward.factors``."""
        x, y, z = (1 if at == axis else FACTOR for at in range(3))
        return x, y, z

    def describe(self) -> str:
        """See ``Forward.describe``."""
        return f"within the slices blurred, {FACTOR} times coarser, noisy and compressed as by BSRGAN-light, drawn slice by slice"

    def averaged(self, grid: Grid) -> tuple[int, ...]:
        """See ``Forward.averaged``: those within the slices."""
        return tuple(at for at in range(3) if at != self._slices(grid))

    def _rows(self, n_target: int, n_source: int, scale: float, offset: float, *, across: bool) -> Matrix:
        if across or scale <= FINEST:
            return super()._rows(n_target, n_source, scale, offset, across=across)
        return kernel_matrix(n_target, n_source, scale, offset, "bicubic")

    def _measure(self, image: Array, axis: int, draw: np.random.Generator, beside: Beside) -> tuple[Array, dict[str, Any]]:  # noqa: ARG002
        seed, low, high = int(draw.integers(1 << 63)), float(image.min()), float(image.max())
        if not high > low:
            return self._reduced(image, axis), {}
        shares = np.moveaxis((image - np.float32(low)) / np.float32(high - low), axis, 0)
        slices = [degraded(each, draw_of(seed, number)) for number, each in enumerate(shares)]
        return np.stack(slices, axis) * np.float32(high - low) + np.float32(low), {}


def draw_of(seed: int, number: int) -> np.random.Generator:
    """All that is random in the slice of a number: Philox, whose stream is a function of key and counter alone."""
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, number]))


def degraded(image: Array, draw: np.random.Generator) -> Array:
    """A slice 4 times coarser.

    Args:
        image: float32 (rows, columns) in 0..1; rows and columns beyond multiples of 4 are cut off.
        draw: all that is random comes from it.

    Returns:
        float32 (rows / 4, columns / 4) in 0..1, of 256 levels.
    """
    rows, columns = (n - n % FACTOR for n in image.shape)
    made, left = np.asarray(image[:rows, :columns], np.float64), FACTOR
    if draw.random() < HALVED:
        made, left = _halved(made, draw), FACTOR // 2
    before = made.shape  # both of the later sizes are relative to it
    steps: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
        "blur": lambda each: _blurred(each, left, draw),
        "A": lambda each: _coarser(each, left, draw),
        "B": lambda each: resized(each, (before[0] // left, before[1] // left), _interpolation(draw)),
        "noise": lambda each: each + draw.normal(0, int(draw.integers(1, 3)) / LEVELS, each.shape),
        "jpeg": lambda each: compressed(each, draw) if draw.random() < JPEG else each,
    }
    for name in order_of(draw):
        made = steps[name](made).clip(0, 1)
    return np.asarray(np.rint(compressed(made, draw) * LEVELS) / LEVELS, np.float32)


def order_of(draw: np.random.Generator) -> list[str]:
    """The five steps in an order of which each with A before B is equally likely."""
    order = [("blur", "A", "B", "noise", "jpeg")[n] for n in draw.permutation(5)]
    a, b = order.index("A"), order.index("B")
    if a > b:
        order[a], order[b] = order[b], order[a]
    return order


# -- steps ----------------------------------------------------------------------------------------------------------------------


def _interpolation(draw: np.random.Generator) -> Interpolation:
    kinds: tuple[Interpolation, ...] = ("linear", "cubic", "area")
    return kinds[int(draw.integers(3))]


def _halved(image: NDArray[np.float64], draw: np.random.Generator) -> NDArray[np.float64]:
    """Half of an even number of rows and columns: half of the time by MATLAB's antialiased cubic, whose a is -1/2."""
    if draw.random() < 0.5:
        rows, columns = (resize_matrix(n, 0.5, "bicubic") for n in image.shape)
        return np.asarray(rows @ image @ columns.T, np.float64)
    return resized(image, (image.shape[0] // 2, image.shape[1] // 2), _interpolation(draw))


def _coarser(image: NDArray[np.float64], left: int, draw: np.random.Generator) -> NDArray[np.float64]:
    """A: a random size; one time in five a blur about the middle of the n pixels of which the first is kept."""
    if draw.random() < RESIZED:
        factor = draw.uniform(1, 2 * left)
        rows, columns = (max(1, int(n / factor)) for n in image.shape)
        return resized(image, (rows, columns), _interpolation(draw))
    variance = max(draw.uniform(0.1, 0.6 * left) ** 2, FLOOR)
    return every(image, left, variance)


def every(image: NDArray[np.float64], n: int, variance: float) -> NDArray[np.float64]:
    """The image seen by a Gaussian at the middle of each n by n pixels; a convolution turns its kernel about."""
    return _convolved(image, gaussian(25, variance, variance, 0.0, -(n - 1) / 2))[::n, ::n]


def _blurred(image: NDArray[np.float64], left: int, draw: np.random.Generator) -> NDArray[np.float64]:
    if draw.random() < ANISOTROPIC:
        size, widest = int(draw.integers(2, 12)) + 3, (4 + left) / 4
        along, across = (max(draw.uniform(0, widest), FLOOR) for _ in range(2))
        return _convolved(image, gaussian(size, along, across, draw.uniform(0, math.pi)))
    size = int(draw.integers(2, 5)) + 3
    variance = max(draw.uniform(0, (2 + 0.2 * left) / 4) ** 2, FLOOR)
    return _convolved(image, gaussian(size, variance, variance, 0.0))


def gaussian(size: int, along: float, across: float, angle: float, shift: float = 0.0) -> NDArray[np.float64]:
    """A Gaussian kernel (size, size) whose sum is 1.

    Args:
        size: an even one lies half a pixel off.
        along: variance along its first axis, pixels squared.
        across: along its second.
        angle: of the first axis to the columns, radians.
        shift: of its middle towards the far end of both axes, pixels.
    """
    places = np.arange(size) - (size - 1) / 2 - shift
    rows, columns = np.meshgrid(places, places, indexing="ij")
    first, second = columns * math.cos(angle) + rows * math.sin(angle), rows * math.cos(angle) - columns * math.sin(angle)
    weights = np.exp(-0.5 * (first**2 / along + second**2 / across))
    return np.asarray(weights / weights.sum(), np.float64)


def _convolved(image: NDArray[np.float64], kernel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mirrored at the borders."""
    from scipy.ndimage import convolve

    return np.asarray(convolve(image, kernel, mode="mirror"), np.float64)


def _cubic(x: Matrix) -> Matrix:
    """Cubic convolution (Keys 1981) with OpenCV's a of -3/4."""
    d = np.abs(x)
    near, far = (CUBIC + 2) * d**3 - (CUBIC + 3) * d**2 + 1, CUBIC * (d**3 - 5 * d**2 + 8 * d - 4)
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


@lru_cache(maxsize=256)
def _matrix(n: int, to: int, how: Interpolation) -> Matrix:
    """An axis of ``n`` pixels in ``to`` as OpenCV resizes it: float64 (to, n), rows that sum to 1."""
    if how == "area":
        edges, pixels = np.arange(to + 1) * (n / to), np.arange(n)
        shared = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
        return np.asarray(shared.clip(0) * (to / n), np.float64)
    places = (np.arange(to) + 0.5) * (n / to) - 0.5
    columns = np.floor(places).astype(int)[:, None] + np.arange(-1, 3)
    apart = columns - places[:, None]
    weights = _cubic(apart) if how == "cubic" else (1 - np.abs(apart)).clip(0)
    matrix = np.zeros((to, n))
    np.add.at(matrix, (np.arange(to)[:, None], columns.clip(0, n - 1)), weights)
    return matrix


def resized(image: NDArray[np.float64], size: tuple[int, int], how: Interpolation) -> NDArray[np.float64]:
    """An image (rows, columns) in another size as OpenCV makes it (modules/imgproc/src/resize.cpp), in exact arithmetic.

    Pixels lie over the same area in either size, and beyond the border the outermost repeats. "linear" takes 2 and "cubic" 4
    pixels an axis, also where the image shrinks: nothing is smoothed. "area" weighs pixels by what a new one covers of them.
    """
    rows, columns = (_matrix(n, to, how) for n, to in zip(image.shape, size, strict=True))
    return np.asarray(rows @ image @ columns.T, np.float64)


def compressed(image: NDArray[np.float64], draw: np.random.Generator) -> NDArray[np.float64]:
    """What JPEG leaves of an image in 0..1."""
    from PIL import Image

    file = io.BytesIO()
    levels = np.rint(image.clip(0, 1) * LEVELS).astype(np.uint8)
    Image.fromarray(levels).save(file, "JPEG", quality=int(draw.integers(QUALITY[0], QUALITY[1] + 1)))
    file.seek(0)
    return np.asarray(Image.open(file), np.float64) / LEVELS
