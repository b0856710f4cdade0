"""SRMRI's tables 1 to 3: slices reduced within their plane, by each of the five kernels of its table 3 (--factor 4 beside 2).

Beside the shared figures GMSD in the place of LPIPS, whose weights are not free to ship: of coronal slices that show something,
over the truth's 99.9th percentile. Table 4, k by k with its times: ``python -m tests.benchmarks.srmri_tables``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from core.evaluation.metrics.gradients import deviation, gradient_sizes
from core.evaluation.metrics.restoration import peak_of
from core.evaluation.protocol import RESTORATION, Mask, Measure, Metric, Protocol
from core.geometry.grid import Array
from core.operators.kernels import KERNELS

CORONAL = 1
BLANK = 0.02  # standard deviation, of the peak, below which a slice shows nothing

METRICS = (
    Metric("gmsd", "GMSD", 4, "gradient magnitude similarity deviation of coronal slices, mean; 0 for equal ones", higher=False),
)


def scores(restored: Array, truth: Array, mask: Mask | None) -> dict[str, float]:  # noqa: ARG001 - of whole slices
    """GMSD; see the module.

    Raises:
        IsovoxError: metric-range, for a truth that is empty.
    """
    peak = np.float32(peak_of(truth))
    ours, theirs = (np.moveaxis(image, CORONAL, 0) / peak for image in (restored, truth))
    shows = theirs.std((1, 2)) > BLANK
    both = zip(gradient_sizes(ours[shows]), gradient_sizes(theirs[shows]), strict=True)
    return {"gmsd": float(np.mean([deviation(a, b) for a, b in both])) if shows.any() else 0.0}


MEASURES = (RESTORATION, Measure(scores, METRICS))
DEGRADATIONS: dict[str, dict[str, Any]] = {
    str(kernel): {"operator": "in-plane", "kernel": kernel, "factor": 2} for kernel in KERNELS
}
TABLES = Protocol("srmri", DEGRADATIONS, measures=MEASURES)
