"""A protocol of the family's own: every other slice kept, scored where there is tissue."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from core.evaluation.protocol import ONLY, Protocol
from core.geometry.grid import Array


def tissue(truth: Array) -> NDArray[np.bool_]:
    """Voxels above a tenth of the brightest."""
    return np.asarray(truth > 0.1 * truth.max(), dtype=np.bool_)


EVERY_OTHER = Protocol("every-other", {ONLY: {"operator": "slice-mask", "factor": 2}}, mask=tissue)
