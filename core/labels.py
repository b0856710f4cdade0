"""Masks and labels on another grid, by partial volume: how much of a voxel each label takes."""

from __future__ import annotations

from typing import Literal

import numpy as np

from core.geometry.grid import Array, Grid
from core.geometry.resample import interpolate

LINEAR: Literal[1] = 1
WHOLE = 1e-3  # by which labels may miss whole numbers: a file's scale, rounded to float32, moves them by less


def carried(labels: Array, source: Grid, target: Grid) -> Array:
    """A mask or a label map on another grid.

    Each label's share of a voxel is the linear interpolation of where it is. A mask (one value, with or without nothing) becomes
    that share, from 0 to 1, whose sum keeps the volume; of several whole numbers each voxel gets the one with the largest share;
    what is no label (probabilities) is interpolated.

    Args:
        labels: float32 (x, y, z) on ``source``.
        source: its grid.
        target: another.

    Returns:
        float32 of ``target.shape``; 0 outside the field of view.
    """
    values = np.unique(labels)
    if len(values) > 2:
        if not _whole(values):
            return interpolate(labels, source, target, LINEAR)
        labels = np.round(labels)
        values = np.unique(labels)
    if len(values) == 1 or (len(values) == 2 and not values.min()):
        share = interpolate((labels > 0).astype(np.float32), source, target, LINEAR)
        return np.clip(share, 0, 1)
    best = np.zeros(target.shape, np.float32)
    largest = interpolate((labels == 0).astype(np.float32), source, target, LINEAR)
    for value in values[values != 0]:
        share = interpolate((labels == value).astype(np.float32), source, target, LINEAR)
        nearer = (share > largest) & (share > 0)
        best[nearer], largest[nearer] = value, share[nearer]
    return best


def _whole(values: Array) -> bool:
    """Whether values are whole numbers, but for what a file's scale does to them; what is tiny is a probability, not 0."""
    return bool(np.abs(values - np.round(values)).max() <= WHOLE and np.round(values[values != 0]).all())
