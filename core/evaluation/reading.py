"""Blind reading: what readers are asked of unlabelled series, in what order they see them, and how far they agree.

Questions and levels are those of a survey among radiologists in the manner of Khader et al. 2023: three questions of each series,
four levels from very bad to very good.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Question:
    """What is asked of a series: its name in tables, its title, and the question as the reader sees it."""

    name: str
    title: str
    text: str


QUESTIONS = (
    Question("realism", "Realistic appearance", "Do the images look like real MRI scans?"),
    Question("consistency", "Consistency between slices", "Does each slice follow from the one before?"),
    Question("anatomy", "Anatomic correctness", "Are the anatomical structures preserved as they really are?"),
)
LEVELS = ("very bad", "bad", "good", "very good")  # 1 to 4

Levels = NDArray[np.float64]  # (readers, series), 1 to 4, NaN where there is no answer


def order_of(series: Sequence[str], seed: int, reader: str) -> list[str]:
    """The series in the order in which a reader sees them: each reader has an order of their own, the same at every visit."""
    draw = np.random.default_rng([seed, *reader.encode()])
    return [series[n] for n in draw.permutation(len(series))]


def most_frequent(levels: Sequence[int]) -> list[int]:
    """The level that was given most often; several where they tie."""
    counts = Counter(levels)
    return sorted(level for level, count in counts.items() if count == max(counts.values()))


@dataclass(frozen=True)
class Agreement:
    """How far readers agree on one question.

    Attributes:
        readers: who answered it of any series.
        kappas: Cohen's kappa with quadratic weights by pair of readers, of the series that both answered, None where it is
            not defined.
        alpha: Krippendorff's for ordered levels; None where it is not defined, or its library is not there.
    """

    readers: tuple[str, ...]
    kappas: dict[tuple[str, str], float | None]
    alpha: float | None

    @property
    def kappa(self) -> float | None:
        """The mean over the pairs of which it is defined."""
        defined = [kappa for kappa in self.kappas.values() if kappa is not None]
        return sum(defined) / len(defined) if defined else None


def agreement(readers: Sequence[str], levels: Levels) -> Agreement:
    """How far readers agree.

    Args:
        readers: names.
        levels: (readers, series) of one question, NaN where there is no answer.
    """
    rows = dict(zip(readers, levels, strict=True))
    kappas = {(a, b): weighted_kappa(rows[a], rows[b]) for a, b in combinations(readers, 2)}
    return Agreement(tuple(readers), kappas, krippendorff_alpha(levels))


def weighted_kappa(a: Levels, b: Levels) -> float | None:
    """Cohen's kappa of two readers with quadratic weights (Cohen 1968), by scikit-learn.

    Args:
        a: levels (series,), NaN where there is no answer.
        b: likewise.

    Returns:
        1 for the same answers, 0 for no more than chance; None without a common series, or where both always gave one level.
    """
    from sklearn.metrics import cohen_kappa_score

    both = np.isfinite(a) & np.isfinite(b)
    first, second = a[both].astype(int), b[both].astype(int)
    if len({*first.tolist(), *second.tolist()}) < 2:
        return None
    return float(cohen_kappa_score(first, second, labels=range(1, len(LEVELS) + 1), weights="quadratic"))


def krippendorff_alpha(levels: Levels) -> float | None:
    """Krippendorff's alpha for ordered levels, by the package krippendorff.

    Args:
        levels: (readers, series), NaN where there is no answer.

    Returns:
        1 for the same answers, 0 for no more than chance; None where no series has two answers, where all are the same level, or
        without the package.
    """
    try:
        import krippendorff
    except ImportError:
        return None
    paired = levels[:, np.isfinite(levels).sum(0) >= 2]
    if len(np.unique(paired[np.isfinite(paired)])) < 2:
        return None
    domain = list(range(1, len(LEVELS) + 1))
    value = float(krippendorff.alpha(reliability_data=paired, level_of_measurement="ordinal", value_domain=domain))
    return value if math.isfinite(value) else None
