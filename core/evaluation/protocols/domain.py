"""Averaged slices over a grid of factors and gaps: for which scans a method is better than cubic interpolation.

Cells are contrast, factor and gap. A cell's gain is the mean over persons of the PSNR's difference from cubic interpolation of
the same scans, with the lower end of Student's one-sided 95 % interval. ``domain.md`` is for readers; ``domain.json`` holds the
cells by method as ``core.models.domain.GainCell``, and ``isovox models tested FOLDER domain.json`` writes them into a model's
card and domain, by which the plan then refuses scans whose nearest cell is no gain.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

import numpy as np

from core.evaluation.protocol import Entry, Protocol
from core.models.domain import GainCell

CUBIC = "cubic"
LEVEL = 0.95
CELLS: Mapping[str, tuple[int, float]] = {  # factor and gap
    **{f"x{factor}": (factor, 0.0) for factor in (2, 3, 4, 5, 6, 8)},
    **{f"x{factor}gap25": (factor, 0.25) for factor in (3, 4, 6)},
}


def cells_of(entries: Sequence[Entry]) -> dict[str, list[GainCell]]:
    """The cells of each method, in the order of contrasts, factors and gaps.

    Args:
        entries: rows of an evaluation, those of cubic interpolation among them.
    """
    plain = {_place(entry): entry.figures["psnr"] for entry in entries if entry.method == CUBIC}
    gains: dict[tuple[str, str, str], dict[str, list[float]]] = {}
    for entry in entries:
        if entry.method != CUBIC and _place(entry) in plain and entry.degradation in CELLS:
            persons = gains.setdefault((entry.method, entry.contrast, entry.degradation), {})
            persons.setdefault(entry.person, []).append(entry.figures["psnr"] - plain[_place(entry)])
    cells: dict[str, list[GainCell]] = {}
    for (method, contrast, name), persons in gains.items():
        factor, gap = CELLS[name]
        mean, least = interval([float(np.mean(each)) for each in persons.values()])
        cell = GainCell(contrast=contrast, factor=factor, gap=gap, gain=mean, least=least, persons=len(persons))
        cells.setdefault(method, []).append(cell)
    return {name: sorted(each, key=lambda cell: (cell.contrast, cell.gap, cell.factor)) for name, each in cells.items()}


def _place(entry: Entry) -> tuple[str, str, str]:
    return entry.person, entry.contrast, entry.degradation


def interval(gains: Sequence[float]) -> tuple[float, float | None]:
    """Mean of the persons' gains, and the lower end of Student's one-sided interval; None of a single person.

    Args:
        gains: dB, one a person.
    """
    from scipy.stats import t

    mean = float(np.mean(gains))
    if len(gains) < 2:
        return mean, None
    spread = float(np.std(gains, ddof=1)) / math.sqrt(len(gains))
    return mean, mean - float(t.ppf(LEVEL, len(gains) - 1)) * spread


def tables(entries: Sequence[Entry]) -> dict[str, str]:
    """``domain.md`` and ``domain.json``; see the module.

    Args:
        entries: rows of an evaluation.
    """
    cells = cells_of(entries)
    head = "| method | contrast | factor | gap | gain over cubic, dB | at least | persons |"
    lines = [head, "| --- | --- | --- | --- | --- | --- | --- |"]
    for method, each in cells.items():
        lines += [f"| {method} | {cell.contrast} | {cell.factor:g} | {cell.gap:g} | {cell.told()} |" for cell in each]
    values = {method: [cell.model_dump(mode="json") for cell in each] for method, each in cells.items()}
    return {"domain.md": "\n".join(lines) + "\n", "domain.json": json.dumps(values, indent=2) + "\n"}


PROTOCOL = Protocol(
    "domain",
    {name: {"operator": "slice-profile", "factor": factor, "slice_gap": gap} for name, (factor, gap) in CELLS.items()},
    tables=tables,
    baseline=CUBIC,
)
