"""Whether one method is better than another on the same scans: interval, paired test, and almost stochastic order.

Scores are paired: one of each method for each scan. The unit is the person: scans of one person are not independent, so that
their scores are averaged first. Scans as units call a difference significant where there is none (of 8 persons with 5 scans
each in 37 % of cohorts).
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

LEVEL = 0.05  # below which a p counts
EXACT = 16  # persons up to which all flips of signs are tried; beyond, as many are drawn
DECIDES = "psnr"  # the metric by which a method must be better
GUARDS = {"ssim": 0.001, "miou": 0.005}  # metrics by which it must not be worse, and by how much it may be


@dataclass(frozen=True)
class Comparison:
    """Method a against method b by one metric.

    Attributes:
        metric: its name.
        higher_is_better: of the metric.
        n: persons.
        difference: mean over the persons of a minus b, in the metric's unit.
        interval: of the mean difference by Student's t; None for one person, which excludes nothing.
        p: of the two-sided sign-flip test; 1 where all pairs are ties.
        p_holm: the same, adjusted over the metrics that were compared together (Holm 1979).
        eps_min: upper bound (confidence 0.95) of how far "a is always at least as good as b" is violated, 0 to 1, below 0.5 in
            favour of a (Dror et al. 2019). It decides nothing, as it takes the scores as unpaired: a gain of 0.1 dB on
            each of 20 scans that differ by 0.8 dB is not seen by it. None where it was not computed, and for one person.
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

    def to_json(self) -> dict[str, Any]:
        """As a JSON value."""
        return asdict(self)

    def __str__(self) -> str:
        """One line, as tables and reasons show it."""
        interval = "none for one person" if self.interval is None else "{:+.4g} to {:+.4g}".format(*self.interval)
        order = "not computed" if self.eps_min is None else f"{self.eps_min:.3f}"
        return (
            f"{self.metric} ({'higher' if self.higher_is_better else 'lower'} is better): {self.difference:+.4g}, "
            f"interval {interval}, p {self.p:.3g}, after Holm {self.p_holm:.3g}, eps_min {order}, {self.n} persons"
        )


def t_interval(differences: Values, *, confidence: float = 0.95) -> tuple[float, float] | None:
    """Interval of the mean of paired differences by Student's t; of 5 persons and more it covers as often as it says.

    Args:
        differences: (n,), one a person.
        confidence: of the interval, 0 to 1.

    Returns:
        low and high end, equal where all differences are; None for n = 1.
    """
    from scipy.stats import t

    n = len(differences)
    if n < 2:
        return None
    half = float(t.ppf((1 + confidence) / 2, n - 1)) * float(np.std(differences, ddof=1)) / n**0.5
    mean = float(np.mean(differences))
    return mean - half, mean + half


def sign_flip(differences: Values, *, seed: int = 0) -> float:
    """Two-sided p of the sign-flip test of the mean (Fisher 1935): the share of flips whose mean is at least as far from 0.

    Args:
        differences: (n,), one a person. Up to 16 all 2^n flips are tried; of more persons 65,536 are drawn.
        seed: of the draws.
    """
    from scipy.stats import permutation_test

    if len(differences) < 2 or not differences.any():
        return 1.0
    draw = np.random.default_rng(seed)
    flips = {"permutation_type": "samples", "n_resamples": 2**EXACT, "batch": 4096, "vectorized": True}
    return float(permutation_test((differences,), np.mean, rng=draw, **flips).pvalue)


def by_person(scores: Values, persons: Sequence[str]) -> Values:
    """The mean score of each person, in the order in which they first come.

    Args:
        scores: (n,), one a scan.
        persons: of whom each scan is.
    """
    _, first, person = np.unique(np.asarray(persons), return_index=True, return_inverse=True)
    means = np.bincount(person, weights=scores) / np.bincount(person)
    return np.asarray(means[np.argsort(first)])


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
        in [0, 1], below 0.5 in favour of a, and 0.5 or above where the scores are equal; None for n = 1.

    Raises:
        IsovoxError: where deepsig is not installed.
    """
    if len(a) < 2:
        return None
    try:
        from deepsig import aso
    except ImportError as error:
        wanted = "the package deepsig for Almost Stochastic Order"
        raise IsovoxError(
            "deepsig-missing", wanted, str(error), "install it (pip install deepsig), or compare without order"
        ) from error
    with _global_draws_kept(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # equal scores
        return float(aso(a, b, num_bootstrap_iterations=bootstraps, num_jobs=1, show_progress=False, seed=seed))


@contextmanager
def _global_draws_kept() -> Iterator[None]:
    state = np.random.get_state()  # noqa: NPY002 - deepsig seeds the global generator
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


def _paired(metric: str, a: Sequence[float], b: Sequence[float], persons: Sequence[str] | None) -> tuple[Values, Values]:
    """The scores of both by person.

    Raises:
        IsovoxError: scores that are no pairs or not finite, or as many persons as there are not scans.
    """
    first, second = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if first.shape != second.shape or first.ndim != 1 or not len(first):
        wanted, got = f"one score of {metric} for each scan from both methods", f"{first.shape} and {second.shape}"
        raise IsovoxError("scores-paired", wanted, got, "score both methods on the same scans")
    if wrong := np.flatnonzero(~(np.isfinite(first) & np.isfinite(second))).tolist():
        got, remedy = f"NaN or infinity for scans {wrong[:10]}", "mend those scans, or leave them out for both methods"
        raise IsovoxError("scores-finite", f"finite scores of {metric}", got, remedy)
    if persons is None:
        return first, second
    if len(persons) != len(first):
        raise IsovoxError(
            "scores-persons", f"a person for each of {len(first)} scans", f"{len(persons)}", "name one for each score"
        )
    return by_person(first, persons), by_person(second, persons)


def compare(
    scores_a: Scores,
    scores_b: Scores,
    *,
    persons: Sequence[str] | None = None,
    lower_is_better: Collection[str] = (),
    seed: int = 0,
    bootstraps: int | None = 1000,
) -> list[Comparison]:
    """Compare two methods by several metrics on the same scans.

    Args:
        scores_a: a score a scan, by metric.
        scores_b: likewise, the same metrics and scans in the same order.
        persons: of whom each scan is; None: each of another person.
        lower_is_better: metrics of which it is.
        seed: of all draws: the same scores give the same figures.
        bootstraps: of Almost Stochastic Order; None leaves it out.

    Returns:
        in the order of scores_a.

    Raises:
        IsovoxError: other metrics or numbers of scans, scores that are not finite, or no deepsig.
    """
    if set(scores_a) != set(scores_b) or not scores_a:
        got = f"{sorted(scores_a)} and {sorted(scores_b)}"
        raise IsovoxError("scores-paired", "the same metrics of both methods", got, "score both by the same protocol")
    tested = []
    for metric in scores_a:
        a, b = _paired(metric, scores_a[metric], scores_b[metric], persons)
        sign = -1 if metric in lower_is_better else 1
        interval = t_interval(a - b)
        order = None if bootstraps is None else almost_stochastic_order(sign * a, sign * b, seed=seed, bootstraps=bootstraps)
        tested.append((metric, sign > 0, len(a), float(np.mean(a - b)), interval, sign_flip(a - b, seed=seed), order))
    adjusted = holm([each[5] for each in tested])
    return [Comparison(*each[:6], p_holm=p, eps_min=each[6]) for each, p in zip(tested, adjusted, strict=True)]


def fewest_persons(metrics: int) -> int:
    """Persons below which no difference, however clear, is significant: the least p is 2^(1 - n), times the metrics by Holm."""
    n = 1
    while metrics * 2.0 ** (1 - n) >= LEVEL:
        n += 1
    return n


def is_better(comparisons: Sequence[Comparison]) -> tuple[bool, list[str]]:
    """Whether method a is better than b, and why or why not.

    a is better where both hold:

    1. By PSNR it is better: the interval of the mean difference by person lies above 0, and the sign-flip p is below 0.05.
       PSNR alone decides, so that no p is adjusted. At least 6 persons are needed.
    2. By SSIM and mean IoU, where they were scored, it is not worse by more than 0.001 and 0.005: the whole interval lies above.

    All other metrics, and Almost Stochastic Order, are told and decide nothing.

    Args:
        comparisons: from ``compare``, of a against b.

    Returns:
        the verdict, and a line for each metric that decided it.
    """
    by_metric = {each.metric: each for each in comparisons}
    if DECIDES not in by_metric:
        return False, [f"no {DECIDES} was scored, which decides"]
    decisive = by_metric[DECIDES]
    guards = [by_metric[metric] for metric in GUARDS if metric in by_metric]
    reasons = [f"might be worse by {each}" for each in guards if each.gain[0] < -GUARDS[each.metric]]
    if decisive.gain[0] <= 0 or decisive.p >= LEVEL:
        reasons.append(f"not significantly better by {decisive}")
    if decisive.n < (fewest := fewest_persons(1)):
        reasons.append(f"{decisive.n} persons cannot show a difference: at least {fewest} are needed")
    return (False, reasons) if reasons else (True, [f"better by {decisive}"])
