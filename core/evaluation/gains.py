"""Gains over cubic interpolation by cell of contrast, factor and gap, and what did best in each.

A cell's gain is the mean over persons of the PSNR's difference from cubic interpolation of the same scans, with the lower end of
Student's two-sided 90 % interval. ``domain.md`` is for readers; ``domain.json`` holds the cells by method as
``core.models.domain.GainCell``, and ``isovox models tested FOLDER domain.json`` writes them into a model's card and domain, by
which the plan then refuses scans whose nearest cell is no gain. ``choice.json`` ranks, in each cell, the methods that were
repaired as a run repairs them (``METHOD+repair``): a table by which a method is chosen for a scan. What is not surely better than
the method for any scan stands behind that. Its cells are by the slices' distance in mm, as the scans' own grids have it.
``calibration.json`` holds, of methods that tell their uncertainty, how far it must be stretched at each distance of slices
(``core.models.calibration``); ``isovox models calibrated FOLDER calibration.json`` writes it beside a model.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.evaluation.protocol import Entry
from core.methods.registry import baseline, candidates, pickers
from core.models.calibration import Stretch
from core.models.domain import GainCell

REPAIRED = "+repair"
LEVEL = 0.95
BEYOND = 0.05  # of the least and the largest factor, that scans may differ from them
Place = tuple[int, float]
Places = Mapping[str, Place]  # factor and gap of each degradation


def cells_of(entries: Sequence[Entry], places: Places) -> dict[str, list[GainCell]]:
    """The cells of each method, in the order of contrasts, gaps and factors; degradations of one place count together.

    Args:
        entries: rows of an evaluation, those of cubic interpolation among them.
        places: factor and gap of the degradations that count.
    """
    cells: dict[str, list[GainCell]] = {}
    gains = _by_person(_over(entries, places, baseline()), lambda entry: places[entry.degradation])
    for (method, contrast, (factor, gap)), persons in gains.items():
        mean, least = interval(persons)
        cell = GainCell(contrast=contrast, factor=factor, gap=gap, gain=mean, least=least, persons=len(persons))
        cells.setdefault(method, []).append(cell)
    return {name: sorted(each, key=lambda cell: (cell.contrast, cell.gap, cell.factor)) for name, each in cells.items()}


def _over(entries: Sequence[Entry], places: Places, other: str) -> Iterator[tuple[Entry, float]]:
    """The rows of all methods but one, each with how much its PSNR is above that one's of the same case, dB."""
    plain = {_case(entry): entry.figures["psnr"] for entry in entries if entry.method == other}
    for entry in entries:
        if entry.method != other and _case(entry) in plain and entry.degradation in places:
            yield entry, entry.figures["psnr"] - plain[_case(entry)]


def _by_person(rows: Iterable[tuple[Entry, float]], place: Callable[[Entry], Place]) -> dict[tuple[str, str, Place], list[float]]:
    """The mean of each person's differences, by method, contrast and place."""
    differences: dict[tuple[str, str, Place], dict[str, list[float]]] = {}
    for entry, difference in rows:
        persons = differences.setdefault((entry.method, entry.contrast, place(entry)), {})
        persons.setdefault(entry.person, []).append(difference)
    return {key: [float(np.mean(each)) for each in persons.values()] for key, persons in differences.items()}


def _case(entry: Entry) -> tuple[str, str, str, str]:
    return entry.person, entry.scan, entry.contrast, entry.degradation  # a person may have several scans of a contrast


def interval(gains: Sequence[float]) -> tuple[float, float | None]:
    """Mean of the persons' gains, and the lower end of Student's one-sided 95 % interval; None of a single person.

    Args:
        gains: dB, one a person.
    """
    from scipy.stats import t

    mean = float(np.mean(gains))
    if len(gains) < 2:
        return mean, None
    spread = float(np.std(gains, ddof=1)) / math.sqrt(len(gains))
    return mean, mean - float(t.ppf(LEVEL, len(gains) - 1)) * spread


def tables(entries: Sequence[Entry], places: Places) -> dict[str, str]:
    """``domain.md``, ``domain.json`` and ``choice.json``; see the module.

    Args:
        entries: rows of an evaluation.
        places: factor and gap of the degradations that count.
    """
    cells = cells_of(entries, places)
    head = "| method | contrast | factor | gap | gain over cubic, dB | at least | persons |"
    lines = [head, "| --- | --- | --- | --- | --- | --- | --- |"]
    for method, each in cells.items():
        lines += [f"| {method} | {cell.contrast} | {cell.factor:g} | {cell.gap:g} | {cell.told()} |" for cell in each]
    values = {method: [cell.model_dump(mode="json") for cell in each] for method, each in cells.items()}
    choice, stretches = {"cells": ranking(entries, places)}, stretches_of(entries, places)
    return {
        "domain.md": "\n".join(lines) + "\n",
        "domain.json": json.dumps(values, indent=2) + "\n",
        "choice.json": json.dumps(choice, indent=2) + "\n",
        **({"calibration.json": json.dumps(stretches, indent=2) + "\n"} if stretches else {}),
    }


def stretches_of(entries: Sequence[Entry], places: Places) -> dict[str, list[dict[str, Any]]]:
    """How far the intervals of each method must be stretched to cover nine voxels in ten: by degradation, means over persons.

    Each stands at the distance of the slices in mm: on the slices' own grid the errors know no size of restored voxels.

    Args:
        entries: rows of an evaluation.
        places: factor and gap of the degradations that count.
    """
    asked: dict[tuple[str, int], dict[str, list[tuple[float, float]]]] = {}
    looks: dict[tuple[str, int], set[str]] = defaultdict(set)
    for entry in entries:
        if "stretch" in entry.figures and entry.degradation in places:
            key = (entry.method, places[entry.degradation][0])
            looks[key].add(entry.contrast)
            persons = asked.setdefault(key, {})
            persons.setdefault(entry.person, []).append((entry.figures["spacing"], entry.figures["stretch"]))
    stretches: dict[str, list[dict[str, Any]]] = {}
    for key, persons in sorted(asked.items()):
        spacing, stretch = np.mean([np.mean(each, axis=0) for each in persons.values()], axis=0).tolist()
        contrasts = tuple(sorted(look for look in looks[key] if look))
        row = Stretch(spacing=round(spacing, 2), stretch=round(stretch, 4), persons=len(persons), contrasts=contrasts)
        stretches.setdefault(key[0], []).append(row.model_dump(mode="json"))
    return stretches


def ranking(entries: Sequence[Entry], places: Places) -> list[dict[str, Any]]:
    """In each cell the repaired methods, the best first: those that are surely better than the one for any scan, it, the rest.

    Surely better is a method whose difference to it, paired by person, has a 90 % interval above 0; ties go to it. Within each
    part they stand by the lower ends of their gains. Cells without it, and those of one person, are left out.

    A cell is of slices that are so many whole mm apart, the nearest to what they are on the scans' own grids. It reaches halfway
    to the next that was measured of the same contrast; the outermost a little beyond themselves.

    Args:
        entries: rows of an evaluation.
        places: factor and gap of the degradations that count; the factor stands for mm where a row does not tell them.
    """
    otherwise = f"{for_any_scan()}{REPAIRED}"

    def place(entry: Entry) -> Place:
        factor, gap = places[entry.degradation]
        return max(1, round(factor if entry.spacing is None else entry.spacing)), gap

    beyond = {key: interval(each) for key, each in _by_person(_over(entries, places, otherwise), place).items()}
    tried: dict[tuple[str, float, int], list[Tried]] = {}
    for (method, contrast, (spacing, gap)), each in _by_person(_over(entries, places, baseline()), place).items():
        (gain, least), paired = interval(each), beyond.get((method, contrast, (spacing, gap)))
        if method.endswith(REPAIRED) and least is not None:
            tried.setdefault((contrast, gap, spacing), []).append(Tried(method, gain, least, paired, len(each)))
    tried = {key: there for key, there in tried.items() if otherwise in {method.name for method in there}}
    return [
        _cell(key, sorted(there, key=lambda method: method.rank(otherwise)), list(tried)) for key, there in sorted(tried.items())
    ]


@dataclass(frozen=True)
class Tried:
    """A repaired method in a cell.

    Attributes:
        name: as the evaluation calls it.
        gain, least: over cubic interpolation, dB: mean of the persons, and the lower end of its 90 % interval.
        paired: the same of its difference to the method for any scan; None of that one, and where no person has both.
        persons: how many.
    """

    name: str
    gain: float
    least: float
    paired: tuple[float, float | None] | None
    persons: int

    def rank(self, otherwise: str) -> tuple[int, float]:
        """Its place among the methods of a cell: smaller ones stand before."""
        least = self.paired[1] if self.paired else None
        return (1 if self.name == otherwise else 0 if least is not None and least > 0 else 2), -self.least


def for_any_scan() -> str:
    """Name of the method that choices by the scan fall back to."""
    (name,) = {candidates(choice)[-1] for choice in pickers()}
    return name


def _cell(key: tuple[str, float, int], methods: Sequence[Tried], keys: Sequence[tuple[str, float, int]]) -> dict[str, Any]:
    """A cell of the table as JSON values.

    Args:
        key: its contrast, gap and spacing in mm.
        methods: the best first.
        keys: of all cells.
    """
    contrast, gap, spacing = key
    gaps = sorted({other[1] for other in keys if other[0] == contrast})
    spacings = sorted({other[2] for other in keys if other[:2] == (contrast, gap)})
    return {
        "contrast": contrast,
        "spacing": _reach(spacings, spacing, (BEYOND * spacings[0], BEYOND * spacings[-1])),
        "gap": _reach(gaps, gap, (gaps[0], (gaps[-1] - gaps[-2]) / 2 if len(gaps) > 1 else 0.1)),
        "methods": [method.name.removesuffix(REPAIRED) for method in methods],
        "gains": [[round(method.gain, 2), round(method.least, 2)] for method in methods],
        "paired": [_rounded(method.paired) for method in methods],
        "persons": methods[0].persons,
    }


def _rounded(paired: tuple[float, float | None] | None) -> list[float] | None:
    return None if paired is None or paired[1] is None else [round(paired[0], 2), round(paired[1], 2)]


def _reach(values: Sequence[float], value: float, beyond: tuple[float, float]) -> list[float]:
    """From halfway to the value before to halfway to the one after; the ends reach so far beyond themselves."""
    n = values.index(value)
    low = (values[n - 1] + value) / 2 if n else value - beyond[0]
    high = (values[n + 1] + value) / 2 if n + 1 < len(values) else value + beyond[1]
    return [round(low, 3), round(high, 3)]
