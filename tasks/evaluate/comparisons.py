"""Every method against every other on the scans that both restored."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from core.errors import counted
from core.evaluation.metrics.significance import LEVEL, Comparison, compare, fewest_persons, holm
from tasks.evaluate.evaluation import Score
from tasks.evaluate.tables import BY_NAME, by_degradation, by_method, metrics_of

COMPARED = ("psnr", "ssim", "ms_ssim", "lpips", "miou")


@dataclass(frozen=True)
class PairwiseComparison:
    """Method a against method b by one metric; ``p_holm`` is adjusted over all comparisons of the evaluation."""

    a: str
    b: str
    comparison: Comparison
    degradation: str = ""

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


def _common(metric: str, a: Sequence[Score], b: Sequence[Score]) -> list[tuple[str, float, float]]:
    """Person and scores of the scans of which both methods have a score; none where a score is not finite."""
    theirs = {row.scan: row.figures[metric] for row in b if row.state == "done" and metric in row.figures}
    ours = [row for row in a if row.state == "done" and metric in row.figures and row.scan in theirs]
    scores = [(row.person or row.scan, row.figures[metric], theirs[row.scan]) for row in ours]
    return scores if all(math.isfinite(x) and math.isfinite(y) for _, x, y in scores) else []


def pairwise_comparisons(rows: Sequence[Score]) -> list[PairwiseComparison]:
    """All pairs of methods by all metrics, each degradation for itself.

    They are the means of paired differences by person, with their intervals and tests.
    Almost Stochastic Order, which takes seconds a pair, is left to the promotion of a model.
    """
    lower = [metric.name for metric in metrics_of(name for row in rows for name in row.figures) if not metric.higher]
    pairs = [pair for some in by_degradation(rows).values() for pair in _pairs(some, lower)]
    adjusted = holm([pair.comparison.p for pair in pairs])
    return [replace(pair, comparison=replace(pair.comparison, p_holm=p)) for pair, p in zip(pairs, adjusted, strict=True)]


def _pairs(rows: Sequence[Score], lower: Sequence[str]) -> Iterator[PairwiseComparison]:
    """The pairs of methods on scans of one degradation; p as if each were alone."""
    for (a, mine), (b, theirs) in combinations(by_method(rows).items(), 2):
        for metric in compared(name for row in mine for name in row.figures):
            if scores := _common(metric, mine, theirs):
                persons, first, second = zip(*scores, strict=True)
                both = {metric: first}, {metric: second}
                by_metric = compare(*both, persons=persons, lower_is_better=lower, bootstraps=None)
                yield from (PairwiseComparison(a, b, comparison, rows[0].degradation) for comparison in by_metric)


def beaten(pairs: Sequence[PairwiseComparison]) -> dict[tuple[str, str], list[str]]:
    """The methods that a method is significantly better than, by method and metric; of pairs of one degradation."""
    won: dict[tuple[str, str], list[str]] = {}
    for pair in pairs:
        if winner := pair.winner:
            loser = pair.b if winner == pair.a else pair.a
            won.setdefault((winner, pair.comparison.metric), []).append(loser)
    return won


def too_few(pairs: Sequence[PairwiseComparison]) -> str:
    """Why nothing could be significant; empty where something could."""
    n, needed = max((pair.comparison.n for pair in pairs), default=0), fewest_persons(max(1, len(pairs)))
    if not pairs or n >= needed:
        return ""
    persons = counted(n, "person")
    return f"{persons} cannot show a difference: with {len(pairs)} comparisons at least {needed} are needed."


def comparisons_csv(pairs: Sequence[PairwiseComparison]) -> str:
    """A row a pair and metric."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    named = any(pair.degradation for pair in pairs)
    writer.writerow(
        [*(["degradation"] if named else []), "metric", "a", "b", "persons", "difference", "low", "high", "p", "p_holm", "better"]
    )
    for pair in pairs:
        comparison = pair.comparison
        figures = [comparison.difference, *(comparison.interval or ("", "")), comparison.p, comparison.p_holm]
        cells = [f"{value:.6g}" if isinstance(value, float) else value for value in figures]
        writer.writerow(
            [*([pair.degradation] if named else []), comparison.metric, pair.a, pair.b, comparison.n, *cells, pair.winner]
        )
    return buffer.getvalue()
