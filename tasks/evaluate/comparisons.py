"""Every method against every other on the scans that both restored."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from core.evaluation.metrics.significance import LEVEL, Comparison, compare, fewest_scans, holm
from tasks.evaluate.evaluation import Score
from tasks.evaluate.tables import BY_NAME, by_method, metrics_of

COMPARED = ("psnr", "ssim", "ms_ssim", "lpips", "miou")


@dataclass(frozen=True)
class PairwiseComparison:
    """Method a against method b by one metric; ``p_holm`` is adjusted over all comparisons of the evaluation."""

    a: str
    b: str
    comparison: Comparison

    @property
    def winner(self) -> str:
        """Which is better: the interval of the difference excludes 0, and p after Holm is below 0.05; else empty."""
        low, _, high = self.comparison.gain
        if self.comparison.p_holm >= LEVEL:
            return ""
        return self.a if low > 0 else self.b if high < 0 else ""


def compared(names: Iterable[str]) -> list[str]:
    """The figures by which methods are compared: of the shared ones ``COMPARED``, and all that a protocol has of its own."""
    return [metric.name for metric in metrics_of(names) if metric.name in COMPARED or metric.name not in BY_NAME]


def _common(a: Sequence[Score], b: Sequence[Score]) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Finite scores of the scans that both methods have, a list a metric."""
    theirs = {row.scan: row.figures for row in b if row.state == "done"}
    pairs = [(row.figures, theirs[row.scan]) for row in a if row.state == "done" and row.scan in theirs]
    ours, others = {}, {}
    for name in compared(name for figures in pairs for name in figures[0]):
        found = [(x[name], y[name]) for x, y in pairs if name in x and name in y]
        if found and all(math.isfinite(x) and math.isfinite(y) for x, y in found):
            ours[name], others[name] = [x for x, _ in found], [y for _, y in found]
    return ours, others


def pairwise_comparisons(rows: Sequence[Score]) -> list[PairwiseComparison]:
    """All pairs of methods by all metrics, the means of paired differences with their intervals and tests.

    Almost Stochastic Order, which takes seconds a pair, is left to the promotion of a model.
    """
    lower = [metric.name for metric in metrics_of(name for row in rows for name in row.figures) if not metric.higher]
    found = []
    for (a, mine), (b, theirs) in combinations(by_method(rows).items(), 2):
        scores = _common(mine, theirs)
        if scores[0]:
            found += [PairwiseComparison(a, b, one) for one in compare(*scores, lower_is_better=lower, bootstraps=None)]
    adjusted = holm([pair.comparison.p for pair in found])
    return [replace(pair, comparison=replace(pair.comparison, p_holm=p)) for pair, p in zip(found, adjusted, strict=True)]


def beaten(found: Sequence[PairwiseComparison]) -> dict[tuple[str, str], list[str]]:
    """The methods that a method is significantly better than, by method and metric."""
    won: dict[tuple[str, str], list[str]] = {}
    for pair in found:
        if winner := pair.winner:
            loser = pair.b if winner == pair.a else pair.a
            won.setdefault((winner, pair.comparison.metric), []).append(loser)
    return won


def too_few(found: Sequence[PairwiseComparison]) -> str:
    """Why nothing could be significant; empty where something could."""
    n, needed = max((pair.comparison.n for pair in found), default=0), fewest_scans(max(1, len(found)))
    if not found or n >= needed:
        return ""
    scans = "1 scan" if n == 1 else f"{n} scans"
    return f"{scans} cannot show a difference: with {len(found)} comparisons at least {needed} are needed."


def comparisons_csv(found: Sequence[PairwiseComparison]) -> str:
    """A row a pair and metric."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["metric", "a", "b", "scans", "difference", "low", "high", "p", "p_holm", "better"])
    for pair in found:
        one = pair.comparison
        figures = [one.difference, *(one.interval or ("", "")), one.p, one.p_holm]
        told = [f"{value:.6g}" if isinstance(value, float) else value for value in figures]
        writer.writerow([one.metric, pair.a, pair.b, one.n, *told, pair.winner])
    return buffer.getvalue()
