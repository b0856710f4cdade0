"""What the samplers cost, for plans: from the size of the score model and what their settings have them do.

Time and memory of an evaluation go with width x (blocks + 1) of the network, as measured on one core at 96 to 288 pixels:

           width x (blocks + 1)   us a pixel   kB a pixel   with gradient
    tiny            32                 4 to 6        1.2             5.7
    small           96               12 to 16        2.4            14.7
    paper          320                     75        6.1            40.5
"""

from __future__ import annotations

from core.methods.srmri.presets import SCORE
from core.methods.srmri.score_model import bundle_of

SECONDS = 1.6e-7  # of an evaluation, a pixel
PLAIN_BYTES, GRADIENT_BYTES = 40.0, 180.0  # likewise
GRADIENT = 2.0  # times an evaluation, one with gradient


def size_of(model: str) -> int:
    """Width x (blocks + 1) of the score model in a folder.

    Raises:
        WeightsError: model-unfit: no score model.
    """
    config = bundle_of(model).parts[SCORE].config
    return int(config.get("width", 64)) * (int(config.get("blocks", 4)) + 1)


def evaluations(scales: int, share: float, *, predictor_first: bool) -> float:
    """Evaluations without gradient that a slice's scales cost as much as.

    Args:
        scales: how many.
        share: of them that have a gradient.
        predictor_first: only one of a scale's two evaluations has it then.
    """
    graded = share if not predictor_first else share / 2
    return 2 * scales * (1 + (GRADIENT - 1) * graded)


def voxels_per_second(model: str, count: float) -> float:
    """Restored by one core, of voxels that take so many evaluations each."""
    return 1 / (SECONDS * size_of(model) * count)


def slice_bytes(model: str, pixels: int, *, gradient: bool) -> float:
    """Of memory that an evaluation of a slice takes."""
    return (GRADIENT_BYTES if gradient else PLAIN_BYTES) * size_of(model) * pixels
