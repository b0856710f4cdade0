"""Normal noise as a pure function of the seed, the scan, the step and the voxel: a tile's noise is the crop of the volume's.

Philox 4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") turns the counter (x, y, z // 4, step) into
four words, and Box and Muller (1958) turn these into the values of four neighbours along z. Logarithm, sine and cosine are sums
of products here, for those of numpy, of torch and of GPUs differ in the last bit; sums, products, quotients and square roots do
not. So the very bits are the same in numpy and in torch, on any device, however the volume is cut. (A compiler that fuses
products into sums would change them: keep these functions out of ``torch.compile``.)
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from core.errors import GridError
from core.geometry.grid import Array, Box

if TYPE_CHECKING:
    from torch import Tensor

ROUNDS = 10
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
WEYL = 0x9E3779B9, 0xBB67AE85  # added to the key after each round
WORD = 0xFFFFFFFF
LANES = 4  # words of one counter, so neighbours along z
LOG_TERMS = 9  # of the series in ((m - 1) / (m + 1))^2 < 0.0295: the rest is below 1e-14
ANGLE_TERMS = 8  # of the series in angles up to pi / 4: the rest is below 1e-14

Key = tuple[int, int]
Words = tuple[Any, Any, Any, Any]  # integer arrays of numpy or torch that broadcast to one shape, 0 to WORD each


def field_key(seed: int, scan: str) -> Key:
    """The key of a scan's noise: 64 bits of a digest of the seed and of the scan's name or digest."""
    return _key(f"{seed}\n{scan}")


def axis_key(key: Key, axis: int) -> Key:
    """The key of the noise of slices along one axis of a scan, so that axes that are averaged draw noise of their own."""
    return _key(f"{key[0]} {key[1]}\naxis {axis}")


def sample_key(key: Key, number: int) -> Key:
    """The key of the noise of one of several samples of a scan; that of the first, 0, is the scan's own."""
    return _key(f"{key[0]} {key[1]}\nsample {number}") if number else key


def _key(words: str) -> Key:
    digest = hashlib.sha256(words.encode()).digest()
    return int.from_bytes(digest[:4], "big"), int.from_bytes(digest[4:8], "big")


def philox(counter: Words, key: Key) -> Words:
    """Four random words for each counter: Philox 4x32 in ten rounds, in 64-bit integers whose products wrap around."""
    a, b, c, d = counter
    for n in range(ROUNDS):
        k, m = ((word + n * weyl) & WORD for word, weyl in zip(key, WEYL, strict=True))
        p, q = a * MULTIPLIERS[0], c * MULTIPLIERS[1]
        a, b, c, d = ((q >> 32) & WORD) ^ b ^ k, q & WORD, ((p >> 32) & WORD) ^ d ^ m, p & WORD
    return a, b, c, d


def _float64(whole: Any, xp: Any) -> Any:
    """Whole numbers as float64: torch alone would make them float32 beside a Python float."""
    return xp.asarray(whole, dtype=xp.float64)


def _polynomial(square: Any, coefficients: list[float]) -> Any:
    """Horner's rule, every product and sum rounded by itself."""
    total = square * coefficients[-1] + coefficients[-2]
    for coefficient in coefficients[-3::-1]:
        total = total * square + coefficient
    return total


def _radius(word: Any, xp: Any) -> Any:
    """sqrt(-2 log u) with u = (word + 1/2) / 2^32, as float64; 0 to 6.7."""
    mantissa, exponent = xp.frexp((_float64(word, xp) + 0.5) * 2.0**-32)
    small = mantissa < math.sqrt(0.5)
    mantissa = xp.where(small, mantissa * 2, mantissa)
    ratio = (mantissa - 1) / (mantissa + 1)
    series = _polynomial(ratio * ratio, [2 / (2 * n + 1) for n in range(LOG_TERMS)])
    logarithm = _float64(exponent - small * 1, xp) * math.log(2) + ratio * series
    return xp.sqrt(logarithm * -2.0)


def _turn(word: Any, xp: Any) -> tuple[Any, Any]:
    """Cosine and sine of an angle uniform over the circle: its quarter by the first two bits, its place there by the others."""
    angle = (_float64(word & (WORD >> 2), xp) + 0.5) * 2.0**-30 * (math.pi / 2) - math.pi / 4
    square = angle * angle
    cosine = _polynomial(square, [(-1) ** n / math.factorial(2 * n) for n in range(ANGLE_TERMS)])
    sine = angle * _polynomial(square, [(-1) ** n / math.factorial(2 * n + 1) for n in range(ANGLE_TERMS)])
    odd, sign = (word >> 30) % 2 == 1, 1 - (word >> 31) * 2
    return xp.where(odd, -sine, cosine) * sign, xp.where(odd, cosine, sine) * sign


def _field(box: Box, key: Key, step: int, xp: Any, indices: Any) -> Any:
    """The field in ``box`` by the operations of ``xp``; ``indices(start, stop)`` makes an int64 range."""
    if min(box.start) < 0 or not 0 <= step <= WORD:
        got = f"start {box.start}, step {step}"
        raise GridError("noise-index", "voxels and a step of at least 0", got, "cut the box to the grid; count steps from 0")
    first, last = box.start[2] // LANES, -(-box.stop[2] // LANES)
    x, y = indices(box.start[0], box.stop[0])[:, None, None], indices(box.start[1], box.stop[1])[:, None]
    words = philox((x, y, indices(first, last), step), key)
    lanes = []
    for radial, angular in (words[:2], words[2:]):
        radius, (cosine, sine) = _radius(radial, xp), _turn(angular, xp)
        lanes += [radius * cosine, radius * sine]
    values = xp.stack(lanes, -1).reshape((*box.shape[:2], LANES * (last - first)))
    return values[:, :, box.start[2] - LANES * first : box.stop[2] - LANES * first]


def normal(box: Box, key: Key, step: int) -> Array:
    """Standard normal noise in a box of the target grid.

    Args:
        box: of voxel indices on the whole target grid.
        key: of the scan, from ``field_key``.
        step: of the sampler, from 0; each has noise of its own.

    Returns:
        float32 array of ``box.shape``.

    Raises:
        GridError: a negative index or step.
    """
    return np.ascontiguousarray(_field(box, key, step, np, lambda a, b: np.arange(a, b, dtype=np.int64)), np.float32)


def normal_tensor(box: Box, key: Key, step: int, device: str) -> Tensor:
    """The same bits as ``normal``, made on a torch device that has float64."""
    import torch

    field: Tensor = _field(box, key, step, torch, lambda a, b: torch.arange(a, b, dtype=torch.int64, device=device))
    return field.float().contiguous()
