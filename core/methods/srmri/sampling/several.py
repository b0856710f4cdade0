"""Several samples of a scan, drawn one after the other: their mean and standard deviation grow in the state (Welford 1962)."""

from __future__ import annotations

import numpy as np

from core.geometry.grid import Array
from core.methods.iterative import State

MEAN, SQUARES = "mean", "squares"
KEPT = (MEAN, SQUARES)


def count_in(state: State, image: Array, number: int) -> None:
    """Count a sample in, whose number is from 0."""
    if number == 0:
        state.arrays |= {MEAN: image.copy(), SQUARES: np.zeros_like(image)}
        return
    off = image - state.arrays[MEAN]
    state.arrays[MEAN] = state.arrays[MEAN] + off / np.float32(number + 1)
    state.arrays[SQUARES] = state.arrays[SQUARES] + off * (image - state.arrays[MEAN])


def spread_of(state: State, samples: int) -> Array:
    """Their standard deviation once all have been counted in."""
    return np.asarray(np.sqrt(state.arrays[SQUARES] / np.float32(samples - 1)), np.float32)
