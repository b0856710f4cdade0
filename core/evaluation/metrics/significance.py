"""Whether one method is better than another on the same scans: interval, paired test, and almost stochastic order.

Scores are paired: one of each method for each scan. A scan counts as one observation, so that slices or patches of a scan, which
are not independent, are averaged before they come here; of a person with several scans likewise.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from core.errors import IsovoxError

if TYPE_CHECKING:
    from collections.abc import Iterator

Scores = Mapping[str, Sequence[float]]
Values = NDArray[np.float64]

LEVEL = 0.05  # below which a p after Holm counts
ORDER = 0.5  # below which the bound of the violation of stochastic order counts (del Barrio et al. 2018)


@dataclass(frozen=True)
class Comparison:
    """Method a against method b by one metric.

    Attributes:
        metric: its name.
        higher_is_better: of the metric.
        n: scans.
        difference: mean of a minus b, in the metric's unit.
        interval: of the mean difference by the paired bootstrap; None for one scan, which excludes nothing.
        p: of the two-sided Wilcoxon signed-rank test; 1 where all pairs are ties.
        p_holm: the same, adjusted over the metrics that were compared together (Holm 1979).
        eps_min: upper bound (confidence 0.95) of how far "a is always at least as good as b" is violated, 0 to 1, below 0.5 in
            favour of a (Dror et al. 2019); None where it was not computed, and for one scan.
    """

    metric: str
    higher_is_better: bool
    n: int
    difference: float
    interval: tuple[float, float] | None
    p: float
    p_holm: float
    eps_min: float | None

    @property
    def gain(self) -> tuple[float, float, float]:
        """Least, mean and largest gain of a over b: the difference and its interval, turned so that above 0 is better."""
        low, high = self.interval or (-np.inf, np.inf)
        return (low, self.difference, high) if self.higher_is_better else (-high, -self.difference, -low)

    @property
    def significant(self) -> bool:
        """Whether a is better by this metric: interval above 0, p after Holm below 0.05, and eps_min below 0.5."""
        return self.gain[0] > 0 and self.p_holm < LEVEL and self.eps_min is not None and self.eps_min < ORDER

    def to_json(self) -> dict[str, Any]:
        """As a JSON value."""
        return asdict(self)

    def __str__(self) -> str:
        """One line, as tables and reasons show it."""
        interval = "none for one scan" if self.interval is None else "{:+.4g} to {:+.4g}".format(*self.interval)
        order = "not computed" if self.eps_min is None else f"{self.eps_min:.3f}"
        return (
            f"{self.metric} ({'higher' if self.higher_is_better else 'lower'} is better): {self.difference:+.4g}, "
            f"interval {interval}, p {self.p:.3g}, after Holm {self.p_holm:.3g}, eps_min {order}, {self.n} scans"
        )


def bootstrap_interval(
    differences: Values, *, seed: int, confidence: float = 0.95, resamples: int = 9999
) -> tuple[float, float] | None:
    """Percentile interval of the mean of paired differences, by drawing scans with replacement (Efron 1979).

    Percentile rather than BCa: it is defined where all differences are equal. For few scans it is somewhat too narrow.

    Args:
        differences: (n,).
        seed: of the draws.
        confidence: of the interval.
        resamples: how often it is drawn.

    Returns:
        low and high end; None for n = 1.
    """
    from scipy.stats import bootstrap

    if len(differences) < 2:
        return None
    draw = np.random.default_rng(seed)
    found = bootstrap(
        (differences,), np.mean, n_resamples=resamples, batch=1000, confidence_level=confidence, method="percentile", rng=draw
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def wilcoxon(differences: Values) -> float:
    """Two-sided p of the signed-rank test (Wilcoxon 1945); pairs that tie are left out, and 1 where all do."""
    from scipy.stats import wilcoxon as signed_rank

    kept = differences[differences != 0]
    return float(signed_rank(kept).pvalue) if len(kept) else 1.0


def holm(ps: Sequence[float]) -> list[float]:
    """Adjusted p, in the given order: the k-th smallest of m times m - k + 1, never below a smaller one's (Holm 1979)."""
    order = np.argsort(ps, kind="stable")
    scaled = np.asarray(ps, dtype=float)[order] * (len(ps) - np.arange(len(ps)))
    adjusted = np.empty(len(ps))
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0) if len(ps) else scaled
    return [float(p) for p in adjusted]


def almost_stochastic_order(a: Values, b: Values, *, seed: int, bootstraps: int = 1000) -> float | None:
    """eps_min of Almost Stochastic Order (Dror et al. 2019), by the package deepsig, in whose terms higher is better.

    It takes the two sets of scores as independent samples; that they are paired is not used. A few seconds for 1000 bootstraps.

    Args:
        a: (n,), higher is better.
        b: (n,), higher is better.
        seed: of the draws; numpy's global generator, which deepsig uses, is left as it was.
        bootstraps: how often it is drawn.

    Returns:
        in [0, 1], below 0.5 in favour of a; None for n = 1.

    Raises:
        IsovoxError: where deepsig is not installed.
    """
    if len(a) < 2:
        return None
    try:
        from deepsig import aso
    except ImportError as error:
        wanted = "the package deepsig for Almost Stochastic Order"
        raise IsovoxError("deepsig-missing", wanted, str(error), "pip install deepsig, or compare without order") from error
    with _global_draws_kept(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # equal scores: 0.5, as is right
        return float(aso(a, b, num_bootstrap_iterations=bootstraps, num_jobs=1, show_progress=False, seed=seed))


@contextmanager
def _global_draws_kept() -> Iterator[None]:
    state = np.random.get_state()  # noqa: NPY002 - deepsig seeds the global generator
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


def _paired(metric: str, a: Sequence[float], b: Sequence[float]) -> tuple[Values, Values]:
    first, second = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if first.shape != second.shape or first.ndim != 1 or not len(first):
        wanted, got = f"one score of {metric} a scan for both methods", f"{first.shape} and {second.shape}"
        raise IsovoxError("scores-paired", wanted, got, "score both methods on the same scans")
    if wrong := np.flatnonzero(~(np.isfinite(first) & np.isfinite(second))).tolist():
        got, remedy = f"others for scans {wrong[:10]}", "mend those scans, or leave them out for both methods"
        raise IsovoxError("scores-finite", f"finite scores of {metric}", got, remedy)
    return first, second


def compare(
    scores_a: Scores,
    scores_b: Scores,
    *,
    lower_is_better: Collection[str] = (),
    seed: int = 0,
    confidence: float = 0.95,
    resamples: int = 9999,
    bootstraps: int | None = 1000,
) -> list[Comparison]:
    """Compare two methods by several metrics on the same scans.

    Args:
        scores_a: a score a scan, by metric.
        scores_b: likewise, the same metrics and scans in the same order.
        lower_is_better: metrics of which it is.
        seed: of all draws: the same scores give the same figures.
        confidence: of the intervals.
        resamples: of the paired bootstrap.
        bootstraps: of Almost Stochastic Order; None leaves it out.

    Returns:
        in the order of scores_a.

    Raises:
        IsovoxError: other metrics or numbers of scans, scores that are not finite, or no deepsig.
    """
    if set(scores_a) != set(scores_b) or not scores_a:
        got = f"{sorted(scores_a)} and {sorted(scores_b)}"
        raise IsovoxError("scores-paired", "the same metrics of both methods", got, "score both by the same protocol")
    found = []
    for metric in scores_a:
        a, b = _paired(metric, scores_a[metric], scores_b[metric])
        sign = -1 if metric in lower_is_better else 1
        interval = bootstrap_interval(a - b, seed=seed, confidence=confidence, resamples=resamples)
        order = None if bootstraps is None else almost_stochastic_order(sign * a, sign * b, seed=seed, bootstraps=bootstraps)
        found.append((metric, sign > 0, len(a), float(np.mean(a - b)), interval, wilcoxon(a - b), order))
    adjusted = holm([each[5] for each in found])
    return [Comparison(*each[:6], p_holm=p, eps_min=each[6]) for each, p in zip(found, adjusted, strict=True)]


def fewest_scans(metrics: int) -> int:
    """Scans below which no difference, however clear, is significant: the least p is 2^(1 - n), times the metrics by Holm."""
    n = 1
    while metrics * 2.0 ** (1 - n) >= LEVEL:
        n += 1
    return n


def is_better(comparisons: Sequence[Comparison], *, margins: Mapping[str, float] | None = None) -> tuple[bool, list[str]]:
    """Whether method a is better than b, and why or why not.

    a is better where both hold:

    1. By no metric might it be worse: the whole interval of each lies at or above zero gain, or above minus its margin.
    2. By one metric at least it is better: interval above 0, Wilcoxon's p after Holm below 0.05, and eps_min below 0.5.

    Almost Stochastic Order is thus needed; where it was not computed, nothing is better.

    Args:
        comparisons: from ``compare``, of a against b.
        margins: how much worse a metric might be, in its unit; 0 where not given.

    Returns:
        the verdict, and a line for each metric that decided it.
    """
    margins = margins or {}
    worse = [each for each in comparisons if each.gain[0] < -margins.get(each.metric, 0.0)]
    better = [each for each in comparisons if each.significant]
    if better and not worse:
        return True, [f"better by {each}" for each in better]
    reasons = [f"might be worse by {each}" for each in worse]
    if not better:
        reasons += [f"not significantly better by {each}" for each in comparisons if each not in worse]
        n, fewest = min((each.n for each in comparisons), default=0), fewest_scans(len(comparisons))
        if n < fewest:
            reasons.append(f"{n} scans cannot show a difference by {len(comparisons)} metrics: at least {fewest} are needed")
    return False, reasons
