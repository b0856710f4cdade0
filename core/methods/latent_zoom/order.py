"""Almost Stochastic Order of latent zoom against each other method (Dror et al. 2019): by slice, as the paper's, and by person.

Slices of one person are not independent, so that by slice the bound claims more than was seen; persons are the units that count,
and of few of them it can show little. Both stand side by side, with how many there were; of one person nothing is told.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from itertools import permutations

import numpy as np

from core.evaluation.metrics.significance import almost_stochastic_order
from core.evaluation.protocol import Entry

OURS, FEWEST = "latent-zoom", 2  # label of the method, or how it begins; persons
FIGURES = ("psnr_between", "psnr_slices")  # the first of these that both have
BOOTSTRAPS = 200
NOTE = (
    "Upper bound (confidence 0.95) of how far *a is at least as good as b* is violated, below 0.5 in favour of a. Persons are "
    "the units. Slices of one person are not independent: by slice the bound claims more than was seen.\n"
)
Row = dict[str, object]


def tables(entries: Sequence[Entry]) -> dict[str, str]:
    """``order.md`` and ``order.csv``, by PSNR of slices; none where latent zoom did not take part, or alone.

    Args:
        entries: rows of an evaluation.
    """
    rows = [row for name in dict.fromkeys(each.degradation for each in entries) for row in _rows(name, entries)]
    if not rows:
        return {}
    names, buffer = list(rows[0]), io.StringIO()
    writer = csv.DictWriter(buffer, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    lines = [f"| {' | '.join(names)} |", f"|{' --- |' * len(names)}"]
    lines += [f"| {' | '.join(str(value) for value in row.values())} |" for row in rows]
    return {"order.md": NOTE + "\n" + "\n".join(lines) + "\n", "order.csv": buffer.getvalue()}


def _rows(degradation: str, entries: Sequence[Entry]) -> list[Row]:
    by_method: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.degradation == degradation:
            by_method.setdefault(entry.method, []).append(entry)
    pairs = [(a, b) for a, b in permutations(by_method, 2) if a.startswith(OURS)]
    return [row for a, b in pairs if (row := _row(degradation, (a, b), (by_method[a], by_method[b])))]


def _row(degradation: str, names: tuple[str, str], entries: tuple[Sequence[Entry], Sequence[Entry]]) -> Row | None:
    figure = next((name for name in FIGURES if all(name in each.figures for some in entries for each in some)), None)
    if figure is None or len({each.person for each in entries[0]}) < FEWEST:
        return None
    persons, slices = ([_values(some, figure, each=each) for some in entries] for each in (False, True))
    return {
        "degradation": degradation,
        "figure": figure,
        "a": names[0],
        "b": names[1],
        "persons": len(persons[0]),
        "by person": _order(*persons),
        "slices": len(slices[0]),
        "by slice": _order(*slices),
    }


def _values(entries: Sequence[Entry], figure: str, *, each: bool) -> list[float]:
    """A figure of all slices, or of each person the mean over the scans."""
    if each:
        return [value for entry in entries for name, value in entry.figures.items() if name.startswith(f"{figure}.")]
    persons: Mapping[str, list[float]] = {entry.person: [] for entry in entries}
    for entry in entries:
        persons[entry.person].append(entry.figures[figure])
    return [float(np.mean(values)) for values in persons.values()]


def _order(a: Sequence[float], b: Sequence[float]) -> str:
    bound = almost_stochastic_order(np.asarray(a), np.asarray(b), seed=0, bootstraps=BOOTSTRAPS)
    return "–" if bound is None else f"{bound:.3f}"
