"""What site, age and sex explain of each feature, before and after a harmonisation: tables and drawings of a page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.harmonize.features import FEATURES, RESTORATION
from core.harmonize.tables.table import Features
from core.harmonize.tables.variance import SITE, Share, explained
from tasks.report.box_plot import BoxPlot, box_plot
from tasks.report.effects import effects

BEFORE, AFTER = "before", "after"
LEVEL = 0.05
TITLES = {feature.name: feature for feature in FEATURES + RESTORATION}


@dataclass(frozen=True)
class Cell:
    """A share of the variance, and whether it is more than chance."""

    text: str
    sure: bool


@dataclass(frozen=True)
class FeatureLine:
    """A feature in the table: a pair of cells, before and after, a factor."""

    name: str
    title: str
    unit: str
    cells: list[Cell]
    note: str


@dataclass(frozen=True)
class FactorLine:
    """A factor over all features: mean share and how many features it surely explains, before and after."""

    name: str
    mean: tuple[str, str]
    sure: tuple[str, str]
    verdict: str
    good: bool | None


def shares_of(before: Features, after: Features) -> dict[str, Any]:
    """The template's ``factors``, ``lines``, ``totals`` and ``plots``."""
    old, new = explained(before), explained(after)
    factors = [name for name in dict.fromkeys([SITE, *old, *new]) if name in old or name in new]
    pairs = {name: (old.get(name, {}), new.get(name, {})) for name in factors}
    return {
        "factors": factors,
        "lines": [_line(name, pairs, after) for name in after.names],
        "effects": effects(pairs),
        "totals": [_total(name, *pair) for name, pair in pairs.items()],
        "plots": [plot for name, pair in pairs.items() if (plot := _plot(name, *pair)) is not None],
    }


def _line(name: str, pairs: Mapping[str, tuple[Mapping[str, Share], Mapping[str, Share]]], after: Features) -> FeatureLine:
    cells = [_cell(shares.get(name)) for pair in pairs.values() for shares in pair]
    known = TITLES.get(name)
    values = after.values[:, after.names.index(name)]
    unknown = int(np.count_nonzero(~np.isfinite(values)))
    notes = [f"unknown for {unknown} of {len(values)}"] if unknown else []
    if (finite := values[np.isfinite(values)]).size and finite.min() == finite.max():
        notes.append("the same for all scans")
    return FeatureLine(name, known.title if known else "", known.unit if known else "", cells, "; ".join(notes))


def _cell(share: Share | None) -> Cell:
    return Cell("–", sure=False) if share is None else Cell(f"{100 * share.partial:.1f}", share.p_holm < LEVEL)


def _total(name: str, old: Mapping[str, Share], new: Mapping[str, Share]) -> FactorLine:
    sure = tuple(sum(share.p_holm < LEVEL for share in shares.values()) for shares in (old, new))
    mean = tuple(float(np.mean([share.partial for share in shares.values()])) if shares else None for shares in (old, new))
    texts = tuple("–" if share is None else f"{100 * share:.1f}" for share in mean)
    counts = tuple(f"{count} of {len(shares)}" for count, shares in zip(sure, (old, new), strict=True))
    verdict, good = _judge(name, mean, sure)
    return FactorLine(name, (texts[0], texts[1]), (counts[0], counts[1]), verdict, good)


def _judge(name: str, mean: tuple[float | None, ...], sure: tuple[int, ...]) -> tuple[str, bool | None]:
    """Site: gone or not; what is of the persons: kept or not."""
    old, new = mean
    if old is None or new is None:
        return "not to be told", None
    if name == SITE:
        return ("gone", True) if not sure[1] else (f"left in {sure[1]}", False)
    if not sure[0]:
        return "too weak to tell", None
    return ("kept", True) if new >= 0.8 * old else ("weaker", False)


def _plot(name: str, old: Mapping[str, Share], new: Mapping[str, Share]) -> BoxPlot | None:
    values = {
        label: [(feature, 100 * share.partial) for feature, share in shares.items()]
        for label, shares in ((BEFORE, old), (AFTER, new))
        if shares
    }
    return box_plot(f"{name.capitalize()}, %", values, AFTER) if values else None
