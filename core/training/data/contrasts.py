"""Other contrasts of the same anatomy: intensities by random curves, or by tissues with random means, texture and bias field.

After SynthSeg and SynthSR (Billot et al. 2023; Iglesias et al. 2023), with tissues told by intensities in the place of labels.
Air (0) stays 0, so that what was masked out stays so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from core.geometry.grid import Array
from core.tissues import CSF, Tissues

TOP = 1.3  # of the 99.9th percentile: the last knot of a curve
KNOTS = 5, 8  # least and most
BRIGHTEST = 99.9  # percentile by which images are scaled
TEXTURE = 0.08  # largest standard deviation of a tissue's texture, of the brightest mean
BIAS = 0.3  # largest logarithm of a bias field
WAVES = 3  # of a bias field
LESIONS = 3  # at most
DIAMETERS = 3.0, 15.0  # of lesions, mm
CHANGES = 0.2, 0.6  # of the brightness in a lesion, of the 99.9th percentile
DARK = 0.02  # of the 99.9th percentile: what is not brighter is air


@dataclass(frozen=True)
class Look:
    """What must be known of a whole image to change a part of it.

    Attributes:
        quantiles: of its intensities over the 99.9th percentile, evenly spaced.
        tissues: classes of the same intensities; None where they cannot be told apart.
    """

    quantiles: Array
    tissues: Tissues | None


def look_of(image: Array, upper: float) -> Look:
    """What there is to know of a whole image.

    Args:
        image: float32 (x, y, z).
        upper: its 99.9th percentile, above 0.
    """
    from core.errors import InputError

    unit = image / np.float32(upper)
    quantiles = np.quantile(unit[::2, ::2, ::2], np.linspace(0, 1, 2001)).astype(np.float32)
    try:
        return Look(quantiles, Tissues.fit(unit))
    except InputError:
        return Look(quantiles, None)


def brightest(values: Array) -> float:
    """The 99.9th percentile of values that stand for an image; above 0."""
    return max(float(np.percentile(values, BRIGHTEST)), 1e-3)


def by_curve(image: Array, look: Look, draw: np.random.Generator) -> Array:
    """The image through a random curve of 5 to 8 knots, half of the time a rising one, again over its 99.9th percentile."""
    count = int(draw.integers(KNOTS[0], KNOTS[1] + 1))
    places = np.concatenate([[0], np.sort(draw.uniform(0.03, 1.0, count - 2)), [TOP]])
    values = np.concatenate([[0], draw.uniform(0.05, 1.0, count - 1)])
    values = np.sort(values) if draw.random() < 0.5 else values
    upper = brightest(np.interp(look.quantiles, places, values))
    return np.asarray(np.interp(image, places, values) / upper, np.float32)


def by_tissues(image: Array, tissues: Tissues, look: Look, draw: np.random.Generator) -> Array:
    """The image with random means in its tissues, their texture, and a bias field, again over the 99.9th percentile."""
    means = draw.uniform(0.1, 1.0, 3)
    upper = brightest(_expected(look.quantiles, tissues, means))
    share = draw.uniform(0, 1) * (means.max() - means.min())  # of the detail within tissues, as bright as the contrast
    detail = image - _expected(image, tissues, np.asarray(tissues.means))
    made = _expected(image, tissues, means) + (share * detail + _texture(image.shape, draw)) * _head(image, tissues)
    return np.asarray(made * bias_field(image.shape, draw) / upper, np.float32)


def _head(image: Array, tissues: Tissues) -> Array:
    """0 in air, 1 from half of the fluid's brightness on."""
    full = max(0.5 * tissues.means[CSF], DARK)
    return np.asarray(np.clip(image / np.float32(full), 0, 1), np.float32)


def _expected(image: Array, tissues: Tissues, means: Array | np.ndarray[tuple[int], np.dtype[np.float64]]) -> Array:
    """Means by the tissues' shares; 0 in air."""
    mixed = np.tensordot(np.asarray(means, np.float32), tissues.maps(image), 1)
    return np.asarray(mixed * _head(image, tissues), np.float32)


def _texture(shape: tuple[int, ...], draw: np.random.Generator) -> Array:
    """Smooth normal noise of a random grain and strength."""
    from scipy.ndimage import gaussian_filter

    grain, strength = draw.uniform(0.5, 2.0), draw.uniform(0, TEXTURE)
    field = gaussian_filter(draw.standard_normal(shape, np.float32), grain)
    return field * np.float32(strength / max(float(field.std()), 1e-6))


def bias_field(shape: tuple[int, ...], draw: np.random.Generator) -> Array:
    """A smooth positive field around 1: the exponential of a few slow waves."""
    logs = np.zeros(shape, np.float32)
    for _ in range(WAVES):
        waves = (np.arange(n) * draw.uniform(-1, 1) / 60 for n in shape)  # radians a voxel, at most
        x, y, z = np.ix_(*waves)
        height, phase = draw.uniform(-BIAS, BIAS) / WAVES, draw.uniform(0, 2 * math.pi)
        logs += np.asarray(height * np.cos(x + y + z + phase), np.float32)
    return np.asarray(np.exp(logs), np.float32)


def with_lesions(image: Array, spacing: tuple[float, float, float], draw: np.random.Generator) -> Array:
    """The image with one to three soft ellipsoids that are brighter or darker, where it is not air."""
    made = image.copy()
    for _ in range(int(draw.integers(1, LESIONS + 1))):
        radii = draw.uniform(*DIAMETERS, 3) / 2 / np.asarray(spacing)
        centre = [draw.uniform(0, n) for n in image.shape]
        axes = (((np.arange(n) - c) / r) ** 2 for n, c, r in zip(image.shape, centre, radii, strict=True))
        distance = np.sqrt(sum(np.ix_(*axes), np.zeros(1)))
        change = draw.uniform(*CHANGES) * (1 if draw.random() < 0.5 else -1)
        made += np.asarray(change * np.clip((1 - distance) / 0.3, 0, 1), np.float32)
    return np.where(image > DARK, np.maximum(made, 0), image)


def draw_contrast(image: Array, look: Look, spacing: tuple[float, float, float], draw: np.random.Generator) -> Array:
    """As it is (half of the time), by a curve or by tissues (a quarter each); in three of ten with lesions.

    Args:
        image: float32 (x, y, z), over the whole image's 99.9th percentile.
        look: of the whole image.
        spacing: voxel sizes, mm.
        draw: all that is random comes from it.
    """
    kind = draw.random()
    if kind < 0.25:
        image = by_curve(image, look, draw)
    elif kind < 0.5 and look.tissues is not None:
        image = by_tissues(image, look.tissues, look, draw)
    return with_lesions(image, spacing, draw) if draw.random() < 0.3 else image
