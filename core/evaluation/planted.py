"""A lesion planted in a scan: does it come through the restoration, and does nothing come up where nothing was planted?

The scan y becomes y + A l, with a ball l in the head, and is restored again by the same method with the same noise. What the
restored image changes by, d, is held against l:

    lesion_kept      <d, l> / <l, l>: 1 where the lesion is there as it was planted, 0 where it is gone
    lesion_survives  1 where at least half of it is there
    lesion_ghost     the 99.9th percentile of |d| beyond a lesion's width and a slice around it, over the lesion's brightness
    place_empty      1 where that is below a quarter

The means of the two that are 0 or 1 are rates.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from core.engine.consistency import repaired, unrepaired
from core.evaluation.faults import HIGH, Scene
from core.evaluation.protocol import Metric, Probe
from core.geometry.grid import Array
from core.stats import scan_stats

DIAMETER = 8.0  # mm
KEPT, GHOST = 0.5, 0.25  # shares of the lesion's brightness
EXTREME = 99.9  # percentile

METRICS = (
    Metric("lesion_kept", "Lesion kept", 2, "share of a planted lesion's brightness that is restored; 1 is all"),
    Metric("lesion_survives", "Lesions that survive", 2, "rate of planted lesions of which at least half is restored"),
    Metric("lesion_ghost", "Ghost", 2, "largest change elsewhere, over the lesion's brightness", higher=False),
    Metric("place_empty", "Places that stay empty", 2, "rate of scans without such a change of a quarter and more"),
)


def planted_lesion(probe: Probe) -> dict[str, float]:
    """The figures of a lesion; see the module.

    Args:
        probe: of a case and a method. The scan is restored once more.
    """
    measured, target = probe.measured, probe.target
    scene = Scene(measured, probe.image, target, seed=measured.noise[0] % 2**32)
    brightness = np.float32(HIGH * measured.stats.contrast)
    ball = scene.ball(DIAMETER)
    scan = np.asarray(measured.image + measured.operator(target).forward(brightness * ball), np.float32)
    with_lesion = replace(measured, image=scan, stats=scan_stats(scan))
    image = probe.restore(with_lesion)
    if probe.repaired and not unrepaired(probe.method, measured.forward):
        image = repaired(image, target, with_lesion)
    change = (image - probe.image) / brightness
    kept = float(np.sum(change * ball, dtype=np.float64) / np.sum(ball * ball, dtype=np.float64))
    far = _far_from(ball, scene)
    ghost = float(np.percentile(np.abs(change[far]), EXTREME)) if far.any() else 0.0
    return {
        "lesion_kept": kept,
        "lesion_survives": float(kept >= KEPT),
        "lesion_ghost": ghost,
        "place_empty": float(ghost < GHOST),
    }


def _far_from(ball: Array, scene: Scene) -> NDArray[np.bool_]:
    """True beyond a lesion's width and a slice around the lesion."""
    steps, voxels = scene.measured.grid.spacing, scene.target.spacing
    far = np.ones(ball.shape, np.bool_)
    near = []
    for axis in range(3):
        line = np.flatnonzero(ball.max(axis=tuple(other for other in range(3) if other != axis)))
        margin = round((DIAMETER + steps[axis]) / voxels[axis])
        near.append(slice(max(int(line[0]) - margin, 0), int(line[-1]) + 1 + margin))
    far[tuple(near)] = False
    return far
