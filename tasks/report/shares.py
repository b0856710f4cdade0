"""What site, age and sex explain of each feature, restored, harmonised and by ComBat: tables and drawings of a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.harmonize.features import FEATURES, RESTORATION
from core.harmonize.tables.table import Features
from core.harmonize.tables.variance import SITE, Share, explained
from tasks.report.box_plot import BoxPlot, box_plot
from tasks.report.effects import Shares, effects

LEVEL = 0.05
TITLES = {feature.name: feature for feature in FEATURES + RESTORATION}


@dataclass(frozen=True)
class Cell:
    """A share of the variance, and whether it is more than chance."""

    text: str
    sure: bool


@dataclass(frozen=True)
class FeatureLine:
    """A feature in the table: a cell a stage, a factor."""

    name: str
    title: str
    unit: str
    cells: list[Cell]
    note: str


@dataclass(frozen=True)
class Verdict:
    """What became of a factor's effect, and whether that is good; None where it is neither."""

    text: str
    good: bool | None


@dataclass(frozen=True)
class FactorLine:
    """A factor over all features: by stage its mean share and how many features it surely explains; by later stage a verdict."""

    name: str
    mean: list[str]
    sure: list[str]
    verdicts: list[Verdict]


def shares_of(stages: Mapping[str, Features]) -> dict[str, Any]:
    """The template's ``stages``, ``factors``, ``lines``, ``effects``, ``totals`` and ``plots``.

    Args:
        stages: tables of the same scans by name, the restored ones first, the last one that of the features' notes.
    """
    by_stage = [explained(table) for table in stages.values()]
    names, last = list(stages), list(stages.values())[-1]
    factors = dict.fromkeys([SITE, *(name for shares in by_stage for name in shares)])
    by_factor = {name: [shares.get(name, {}) for shares in by_stage] for name in factors if any(name in s for s in by_stage)}
    return {
        "stages": names,
        "factors": list(by_factor),
        "lines": [_line(name, by_factor, last) for name in last.names],
        "effects": effects(by_factor),
        "totals": [_total(name, shares) for name, shares in by_factor.items()],
        "plots": [plot for name, shares in by_factor.items() if (plot := _plot(name, names, shares)) is not None],
    }


def _line(name: str, by_factor: Mapping[str, Sequence[Shares]], last: Features) -> FeatureLine:
    cells = [_cell(shares.get(name)) for stages in by_factor.values() for shares in stages]
    known = TITLES.get(name)
    values = last.values[:, last.names.index(name)]
    unknown = int(np.count_nonzero(~np.isfinite(values)))
    notes = [f"unknown for {unknown} of {len(values)}"] if unknown else []
    if (finite := values[np.isfinite(values)]).size and finite.min() == finite.max():
        notes.append("the same for all scans")
    return FeatureLine(name, known.title if known else "", known.unit if known else "", cells, "; ".join(notes))


def _cell(share: Share | None) -> Cell:
    return Cell("–", sure=False) if share is None else Cell(f"{100 * share.partial:.1f}", share.p_holm < LEVEL)


def _total(name: str, stages: Sequence[Shares]) -> FactorLine:
    sure = [sum(share.p_holm < LEVEL for share in shares.values()) for shares in stages]
    mean = [float(np.mean([share.partial for share in shares.values()])) if shares else None for shares in stages]
    texts = ["–" if share is None else f"{100 * share:.1f}" for share in mean]
    counts = [f"{count} of {len(shares)}" for count, shares in zip(sure, stages, strict=True)]
    later = zip(mean[1:], sure[1:], strict=True)
    return FactorLine(name, texts, counts, [_judge(name, (mean[0], share), (sure[0], count)) for share, count in later])


def _judge(name: str, mean: tuple[float | None, float | None], sure: tuple[int, int]) -> Verdict:
    """Site: gone or not; what is of the persons: kept or not."""
    old, new = mean
    if old is None or new is None:
        return Verdict("not to be told", None)
    if name == SITE and sure[1]:
        return Verdict(f"left in {sure[1]}", good=False)
    if not sure[0]:
        return Verdict("too weak to tell", None)
    if name == SITE:
        return Verdict("gone", good=True)
    return Verdict("kept", good=True) if new >= 0.8 * old else Verdict("weaker", good=False)


def _plot(name: str, names: Sequence[str], stages: Sequence[Shares]) -> BoxPlot | None:
    values = {
        label: [(feature, 100 * share.partial) for feature, share in shares.items()]
        for label, shares in zip(names, stages, strict=True)
        if shares
    }
    return box_plot(f"{name.capitalize()}, %", values, {names[-1]}) if values else None
