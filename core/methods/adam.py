"""Adam on the arrays of a state, for methods whose steps go on from what is on disk (Kingma & Ba 2015, algorithm 1)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

BETAS = 0.9, 0.999
TINY = 1e-8


def move(
    numbers: NDArray[np.floating],
    moments: tuple[NDArray[np.floating], NDArray[np.floating]],
    gradient: NDArray[np.floating],
    made: int,
    rate: float,
    betas: tuple[float, float] = BETAS,
) -> None:
    """A step; numbers and moments change in place.

    Args:
        numbers: that are fitted.
        moments: first and second, of their shape and type; zeros at the beginning.
        gradient: of what is to become small, of their shape.
        made: steps before this one.
        rate: length of the step.
        betas: of the moments.
    """
    (first, second), (a, b), kind = moments, betas, numbers.dtype.type
    first += kind(1 - a) * (gradient - first)
    second += kind(1 - b) * (gradient * gradient - second)
    length = rate * math.sqrt(1 - b ** (made + 1)) / (1 - a ** (made + 1))
    numbers -= kind(length) * first / (np.sqrt(second) + kind(TINY * math.sqrt(1 - b ** (made + 1))))
