"""A page to look the pairs of a person through: the coarse slice, the fine one that was taken, and what measures voted for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from core.evaluation.pairing import MEASURES, Pair, Stacks
from core.geometry.grid import Array, Grid
from tasks.report.pages import render
from tasks.report.pictures import Pixels, data_uri


def page(stacks: Stacks, pairs: Sequence[Pair], about: dict[str, Any], coarse: Grid) -> str:
    """The page.

    Args:
        stacks: slices of both scans.
        pairs: what was found.
        about: names of the scans and of the person, and the rules.
        coarse: the coarse scan's grid.
    """
    names = sorted({place for pair in pairs for place in pair.votes.values()})
    data = {
        "coarse": {pair.coarse: data_uri(_grey(stacks.coarse[pair.coarse])) for pair in pairs},
        "fine": {place: data_uri(_grey(stacks.sharp[place])) for place in names},
        "pairs": [
            {
                "coarse": pair.coarse,
                "fine": pair.fine,
                "count": pair.count,
                "tied": pair.tied,
                "votes": [pair.votes[name] for name in MEASURES],
                "values": [f"{pair.values[name]:.4g}" for name in MEASURES],
                "header": f"{stacks.places[pair.coarse]:.1f}",
            }
            for pair in pairs
        ],
    }
    ratios = [_ratio(stacks.coarse, coarse, stacks.axis), _ratio(stacks.sharp, stacks.sharp_grid, stacks.axis)]
    return render("pairs.html", data=data, about=about, measures=MEASURES, ratios=ratios, plane="RAS"[stacks.axis])


def _grey(plane: Array) -> Pixels:
    """A slice as pictures show it: columns rightwards, rows upwards."""
    shown = np.clip(plane, 0, 1).T[::-1] * np.float32(255)
    return np.ascontiguousarray(np.repeat(shown.astype(np.uint8)[..., None], 3, axis=2))


def _ratio(planes: Array, grid: Grid, axis: int) -> float:
    """Width over height in mm."""
    rows, columns = (size for at, size in enumerate(grid.spacing) if at != axis)
    return round(float(planes.shape[1] * rows / (planes.shape[2] * columns)), 4)
