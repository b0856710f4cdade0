"""How intensities are brought into a network's units, and back."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from core.geometry.grid import Array
from core.settings.base import Settings
from core.stats import ScanStats


class Scaling(Settings):
    """Intensities of a scan in a network's units: (v - offset) / scale, by figures of the whole scan.

    Attributes:
        kind: "upper": the 99.9th percentile becomes 1, and 0 stays 0; "range": minimum and maximum become ``low`` and ``high``.
        low, high: of "range".
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
            return np.float32(0), np.float32(stats.upper if stats.upper > 0 else 1)
        scale = (stats.maximum - stats.minimum) / (self.high - self.low) or 1.0
        return np.float32(stats.minimum - self.low * scale), np.float32(scale)

    def apply(self, image: Array, stats: ScanStats) -> Array:
        """The image in the network's units; float32, a new array."""
        offset, scale = self.figures(stats)
        return (image - offset if offset else image) / scale

    def undo(self, image: Array, stats: ScanStats) -> Array:
        """The image in the scan's units; float32, a new array."""
        offset, scale = self.figures(stats)
        return image * scale + offset if offset else image * scale


UPPER = Scaling()  # where a model does not say
