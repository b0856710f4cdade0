"""Statistics of a whole scan: range, foreground, noise; what methods scale by and quality is measured in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ScanStats:
    """Statistics of one scan, in the scan's own intensity units.

    Attributes:
        minimum: smallest voxel.
        maximum: largest voxel.
        upper: 99.9th percentile.
        foreground_mean: mean over the foreground (above Otsu's threshold of the positive voxels).
        contrast: distance between the two classes' means, ``mu`` of UniRes; above 0.
        noise_sd: standard deviation of the noise; above 0.
    """

    minimum: float
    maximum: float
    upper: float
    foreground_mean: float
    contrast: float
    noise_sd: float
