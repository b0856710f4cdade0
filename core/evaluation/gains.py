"""Gains over cubic interpolation by cell of contrast, factor and gap, and what did best in each.

A cell's gain is the mean over persons of the PSNR's difference from cubic interpolation of the same scans, with the lower end of
Student's two-sided 90 % interval. ``domain.md`` is for readers; ``domain.json`` holds the cells by method as
``core.models.domain.GainCell``, and ``isovox models tested FOLDER domain.json`` writes them into a model's card and domain, by
which the plan then refuses scans whose nearest cell is no gain. ``choice.json`` ranks, in each cell, the methods that were
repaired as a run repairs them (``METHOD+repair``) by the lower end: a table by which a method is chosen for a scan.
``calibration.json`` holds, of methods that tell their uncertainty, how far it must be stretched at each distance of slices
(``core.models.calibration``); ``isovox models calibrated FOLDER calibration.json`` writes it beside a model.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from core.evaluation.protocol import Entry
from core.methods.registry import baseline
from core.models.calibration import Stretch
from core.models.domain import GainCell

REPAIRED = "+repair"
LEVEL = 0.95
BEYOND = 0.05  # of the least and the largest factor, that scans may differ from them
Places = Mapping[str, tuple[int, float]]  # factor and gap of each degradation


def cells_of(entries: Sequence[Entry], places: Places) -> dict[str, list[GainCell]]:
    """The cells of each method, in the order of contrasts, gaps and factors; degradations of one place count together.

    Args:
        entries: rows of an evaluation, those of cubic interpolation among them.
        places: factor and gap of the degradations that count.
    """
    plain = {_case(entry): entry.figures["psnr"] for entry in entries if entry.method == baseline()}
    gains: dict[tuple[str, str, tuple[int, float]], dict[str, list[float]]] = {}
    for entry in entries:
        if entry.method != baseline() and _case(entry) in plain and entry.degradation in places:
            persons = gains.setdefault((entry.method, entry.contrast, places[entry.degradation]), {})
            persons.setdefault(entry.person, []).append(entry.figures["psnr"] - plain[_case(entry)])
    cells: dict[str, list[GainCell]] = {}
    for (method, contrast, (factor, gap)), persons in gains.items():
        mean, least = interval([float(np.mean(each)) for each in persons.values()])
        cell = GainCell(contrast=contrast, factor=factor, gap=gap, gain=mean, least=least, persons=len(persons))
        cells.setdefault(method, []).append(cell)
    return {name: sorted(each, key=lambda cell: (cell.contrast, cell.gap, cell.factor)) for name, each in cells.items()}


def _case(entry: Entry) -> tuple[str, str, str]:
    return entry.person, entry.contrast, entry.degradation


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
    choice, stretches = {"cells": ranking(cells)}, stretches_of(entries, places)
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
    for entry in entries:
        if "stretch" in entry.figures and entry.degradation in places:
            persons = asked.setdefault((entry.method, places[entry.degradation][0]), {})
            persons.setdefault(entry.person, []).append((entry.figures["spacing"], entry.figures["stretch"]))
    stretches: dict[str, list[dict[str, Any]]] = {}
    for (method, _), persons in sorted(asked.items()):
        spacing, stretch = np.mean([np.mean(each, axis=0) for each in persons.values()], axis=0).tolist()
        row = Stretch(spacing=round(spacing, 4), stretch=round(stretch, 4), persons=len(persons))
        stretches.setdefault(method, []).append(row.model_dump(mode="json"))
    return stretches


def ranking(cells: Mapping[str, Sequence[GainCell]]) -> list[dict[str, Any]]:
    """In each cell the repaired methods by the lower ends of their gains, the best first; cells of one person are left out.

    A cell reaches halfway to the next that was measured of the same contrast; the outermost a little beyond themselves.

    Args:
        cells: of each method.
    """
    tried: dict[tuple[str, float, float], list[tuple[float, str, GainCell]]] = {}
    for method, each in cells.items():
        for cell in each if method.endswith(REPAIRED) else ():
            if cell.least is not None:
                name = method.removesuffix(REPAIRED)
                tried.setdefault((cell.contrast, cell.gap, cell.factor), []).append((cell.least, name, cell))
    ranked = []
    for (contrast, gap, factor), there in sorted(tried.items(), key=lambda item: item[0]):
        gaps = sorted({key[1] for key in tried if key[0] == contrast})
        factors = sorted({key[2] for key in tried if key[:2] == (contrast, gap)})
        methods = sorted(there, key=lambda method: -method[0])
        ranked.append(
            {
                "contrast": contrast,
                "spacing": _reach(factors, factor, (BEYOND * factors[0], BEYOND * factors[-1])),
                "gap": _reach(gaps, gap, (gaps[0], (gaps[-1] - gaps[-2]) / 2 if len(gaps) > 1 else 0.1)),
                "methods": [name for _, name, _ in methods],
                "gains": [[round(cell.gain, 2), round(least, 2)] for least, _, cell in methods],
                "persons": methods[0][2].persons,
            }
        )
    return ranked


def _reach(values: Sequence[float], value: float, beyond: tuple[float, float]) -> list[float]:
    """From halfway to the value before to halfway to the one after; the ends reach so far beyond themselves."""
    n = values.index(value)
    low = (values[n - 1] + value) / 2 if n else value - beyond[0]
    high = (values[n + 1] + value) / 2 if n + 1 < len(values) else value + beyond[1]
    return [round(low, 3), round(high, 3)]
