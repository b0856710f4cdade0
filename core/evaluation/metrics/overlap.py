"""Overlap of label images."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import IsovoxError

Labels = NDArray[np.integer[Any]]


def ious(labels: Labels, reference: Labels, *, background: Collection[int]) -> dict[int, float]:
    """Intersection over union of each label that either image has.

    Args:
        labels: integers (x, y, z).
        reference: integers of the same shape.
        background: labels that are left out, such as 0.

    Returns:
        0 to 1 by label.

    Raises:
        IsovoxError: metric-shape, where the shapes differ.
    """
    if labels.shape != reference.shape:
        got = f"{labels.shape} and {reference.shape}"
        raise IsovoxError("metric-shape", "label images of one shape", got, "resample them to one grid")
    values, places = np.unique(np.stack([labels.ravel(), reference.ravel()]), return_inverse=True)
    ours, theirs = places.reshape(2, -1)
    counts = [np.bincount(labelled, minlength=values.size) for labelled in (ours[ours == theirs], ours, theirs)]
    shared, n_ours, n_theirs = counts
    return {
        int(label): float(shared[n] / (n_ours[n] + n_theirs[n] - shared[n]))
        for n, label in enumerate(values)
        if label not in background
    }


def mean_iou(labels: Labels, reference: Labels, *, background: Collection[int]) -> float:
    """Mean intersection over union over the labels that either image has; arguments as for ``ious``.

    Raises:
        IsovoxError: metric-shape, where the shapes differ; metric-labels, where both hold nothing but background.
    """
    each = ious(labels, reference, background=background)
    if not each:
        raise IsovoxError("metric-labels", "labels besides the background", "none", "check the segmentation")
    return float(np.mean(list(each.values())))
