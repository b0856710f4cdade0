"""A page to look the pairs of a person through: the coarse slice, the fine one that was taken, and what measures voted for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from core.evaluation.pairing import MEASURES, Pair, Stacks
from core.geometry.grid import Array, Grid
from tasks.report.pages import PLACED, SPOKEN, render
from tasks.report.pictures import PLANES, Pixels, data_uri


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
    sizes = [_size(stacks.coarse, coarse, stacks.axis), _size(stacks.sharp, stacks.sharp_grid, stacks.axis)]
    plane = next(plane for plane in PLANES if plane.axis == stacks.axis)
    sides = list(zip(plane.sides, PLACED, strict=True))
    facts = {"about": about, "measures": MEASURES, "sizes": sizes, "sides": sides, "plane": plane.name}
    facts |= {"first": SPOKEN[plane.ends[0]], "components": _components(about["rules"]["dimension"])}
    return render("pairs.html", data=data, oblique=coarse.oblique, **facts)


def _components(dimension: float) -> str:
    """How many principal components slices are compared by, in words."""
    return f"as many as hold {100 * dimension:g} % of the variance" if dimension < 1 else f"{dimension:g}"


def _grey(plane: Array) -> Pixels:
    """A slice as all pictures show it: the patient's right on the left, anterior and superior up."""
    shown = np.clip(plane, 0, 1).T[::-1, ::-1] * np.float32(255)
    return np.ascontiguousarray(shown.astype(np.uint8))


def _size(planes: Array, grid: Grid, axis: int) -> tuple[float, float]:
    """Width and height of a slice in mm."""
    across, up = (size for at, size in enumerate(grid.spacing) if at != axis)
    return round(planes.shape[1] * across, 3), round(planes.shape[2] * up, 3)
