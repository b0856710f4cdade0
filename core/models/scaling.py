"""How intensities are brought into a network's units, and back."""

from __future__ import annotations

import math
from typing import Literal, TypedDict

import numpy as np
from pydantic import Field

from core.geometry.grid import Array
from core.models.domain import RINGING
from core.settings.base import Settings
from core.stats import ScanStats


def background(stats: ScanStats) -> float:
    """The intensity of the air around a head, which networks are shown as 0.

    It is 0 of magnitudes, also where interpolation left ringing a little below it. A scan of which more than a few voxels go
    further down was shifted (z-scores, an offset): its 0.1st percentile is the air.

    Args:
        stats: of the whole scan.
    """
    lowest = stats.minimum if stats.lower is None else stats.lower
    return lowest if lowest < -RINGING * stats.upper else 0.0


def floor(stats: ScanStats) -> float:
    """The intensity to which what is darker is raised before a network is shown a scan; minus infinity where none is too dark.

    A voxel far below the air is a fault of the scan. Interpolation would spread it, and networks have never seen its like.

    Args:
        stats: of the whole scan.
    """
    if stats.lower is None or stats.minimum >= -RINGING * stats.upper:
        return -math.inf
    return min(stats.lower, 0.0)


class Values(TypedDict):
    """What domains ask of a scan's values: the smallest over the 99.9th percentile, and the noise over the range."""

    lowest: float | None
    noise: float | None


def values_of(stats: ScanStats) -> Values:
    """Of a whole scan; the range is from the air to the 99.9th percentile, and nothing is known where there is none.

    Args:
        stats: of the scan.
    """
    span = stats.upper - background(stats)
    return {
        "lowest": stats.minimum / stats.upper if stats.upper > 0 else None,
        "noise": stats.noise_sd / span if span > 0 else None,
    }


class Scaling(Settings):
    """Intensities of a scan in a network's units: (v - offset) / scale, by figures of the whole scan.

    Attributes:
        kind: what becomes ``low`` and ``high``: "upper": the background and the 99.9th percentile; "range": minimum and maximum.
            By "upper" single voxels that are darker than all others do not count.
        low, high: in the network's units.
    """

    kind: Literal["upper", "range"] = "upper"
    low: float = 0.0
    high: float = Field(1.0, description="above low")

    def figures(self, stats: ScanStats) -> tuple[np.float32, np.float32]:
        """Offset and scale of a scan; the scale is above 0 even for a constant one.

        Args:
            stats: of the whole scan.
        """
        if self.kind == "upper":
            lowest = background(stats)
            scale = (stats.upper - lowest if stats.upper > lowest else 1) / (self.high - self.low)
            return np.float32(lowest - self.low * scale), np.float32(scale)
        scale = (stats.maximum - stats.minimum) / (self.high - self.low) or 1.0
        return np.float32(stats.minimum - self.low * scale), np.float32(scale)

    def without_faults(self, image: Array, stats: ScanStats) -> Array:
        """A scan, or a crop of it, none of whose voxels lies far below the background; float32, as it is where none does."""
        lowest = floor(stats) if self.kind == "upper" else -math.inf
        return image if lowest == -math.inf else np.maximum(image, np.float32(lowest))

    def apply(self, image: Array, stats: ScanStats) -> Array:
        """The image in the network's units; float32, a new array."""
        offset, scale = self.figures(stats)
        return (image - offset if offset else image) / scale

    def undo(self, image: Array, stats: ScanStats) -> Array:
        """The image in the scan's units; float32, a new array."""
        offset, scale = self.figures(stats)
        return image * scale + offset if offset else image * scale

    def undo_spread(self, spread: Array, stats: ScanStats) -> Array:
        """Standard deviations, or differences, in the scan's units: an offset has no say; float32, a new array."""
        return spread * self.figures(stats)[1]


UPPER = Scaling()  # where a model does not say
