"""Whether new scans still measure alike: each feature's distribution in a new cohort against that of a reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from core.errors import FeaturesError
from core.evaluation.metrics.significance import holm
from core.harmonize.tables.table import Features, Values, some

Verdict = Literal["ok", "watch", "drift", "unknown"]

WATCH, DRIFT = 0.1, 0.25  # PSI: the thresholds that credit scoring has settled on (Siddiqi 2006)
APART = 0.1  # distance of the distribution functions below which no difference matters, however sure
LEVEL = 0.05
BINS = 10
EACH = 5  # values of the smaller cohort a bin, that small ones are not all noise
FEWEST = 8  # known values of each cohort, below which nothing is said


@dataclass(frozen=True)
class Drift:
    """A feature of a new cohort against the reference's.

    Attributes:
        feature: its name.
        verdict: "ok"; "watch" where it differs; "drift" where it differs much; "unknown" where there are too few values to tell.
        reason: in words, empty where ok.
        psi: population stability index, 0 and up; None where unknown, as what follows.
        psi_by_chance: what it stays below in 95 % of cohorts of these sizes that do not differ, all features together.
        ks: largest distance of the two distribution functions, 0 to 1.
        p: of the two-sample Kolmogorov-Smirnov test.
        p_holm: the same, adjusted over the features (Holm 1979).
        n_reference: known values of the reference.
        n_new: known values of the new cohort.
        median_reference: of the reference.
        median_new: of the new cohort.
    """

    feature: str
    verdict: Verdict
    reason: str
    psi: float | None
    psi_by_chance: float | None
    ks: float | None
    p: float | None
    p_holm: float | None
    n_reference: int
    n_new: int
    median_reference: float | None
    median_new: float | None

    def to_json(self) -> dict[str, Any]:
        """As a JSON value."""
        return asdict(self)


def drift(reference: Features, new: Features) -> list[Drift]:
    """Each feature of ``new`` against ``reference``, in the reference's order.

    A feature differs where chance is an unlikely reason: its PSI is beyond what 95 % of equal cohorts stay below (PSI is about
    (1/n + 1/m) times chi-square with bins - 1 degrees of freedom: Yurdakul & Naranjo, Journal of Risk Model Validation 14 (2020);
    Bonferroni over the features), or p after Holm is below 0.05. It is then "drift" from a PSI of 0.25, "watch" from 0.1 or a
    distance of the distribution functions of 0.1. Values that became unknown count as a bin of their own. A person counts once,
    by one of the scans: repeated scans say little more than one, and would make any difference sure.

    Raises:
        FeaturesError: the new cohort lacks a feature of the reference.
    """
    reference, new = reference.one_each(), new.only(reference.names).one_each()
    pairs = list(zip(reference.values.T, new.values.T, strict=True))
    tested = [n for n, (old, now) in enumerate(pairs) if min(_known(old).size, _known(now).size) >= FEWEST]
    tests = dict(zip(tested, (_ks(*pairs[n]) for n in tested), strict=True))
    adjusted = dict(zip(tested, holm([p for _, p in tests.values()]), strict=True))
    return [
        _judged(name, *pairs[n], tests[n], adjusted[n], len(pairs)) if n in tests else _few(name, *pairs[n])
        for n, name in enumerate(reference.names)
    ]


def worst(drifts: Sequence[Drift]) -> Verdict:
    """The gravest verdict; "unknown" only where nothing could be told."""
    order: tuple[Verdict, ...] = ("drift", "watch", "ok")
    return next((verdict for verdict in order if any(drift.verdict == verdict for drift in drifts)), "unknown")


def psi(reference: Values, new: Values, bins: int = BINS) -> float:
    """Population stability index: the sum over bins of (q - p) · ln(q / p), p the reference's and q the new shares.

    Bins hold equal shares of the reference's known values; unknown values have a bin of their own where there are any. Half a
    value is added to each bin, so that an empty one costs no infinity.

    Args:
        reference: (n,), NaN where unknown.
        new: (m,).
        bins: of known values, at most; equal values share one.

    Raises:
        FeaturesError: no values to compare.
    """
    if not reference.size or not new.size or not _known(reference).size:
        raise FeaturesError("drift-empty", "values of both cohorts", f"{reference.size} and {new.size}", "add scans")
    old, now = _counts(reference, new, bins)
    p, q = ((counts + 0.5) / (counts + 0.5).sum() for counts in (old, now))
    return float(((q - p) * np.log(q / p)).sum())


def _counts(reference: Values, new: Values, bins: int) -> tuple[Values, Values]:
    """Values of both by bin, the unknown last; bins that are empty in both are left out."""
    edges = _edges(_known(reference), bins)
    both = []
    for values in (reference, new):
        known = _known(values)
        counts = np.bincount(np.searchsorted(edges, known, side="right"), minlength=len(edges) + 1)
        both.append(np.append(counts, values.size - known.size).astype(np.float64))
    filled = both[0] + both[1] > 0
    return both[0][filled], both[1][filled]


def _edges(known: Values, bins: int) -> Values:
    """Edges between bins, each the first value of the next; a value that would fill a bin or more has one of its own."""
    cuts = np.quantile(known, np.linspace(0, 1, bins + 1), method="higher")
    tied = cuts[:-1][cuts[:-1] == cuts[1:]]
    return np.unique(np.concatenate([cuts[1:-1], tied, np.nextafter(tied, np.inf)]))


def _known(values: Values) -> Values:
    return values[np.isfinite(values)]


def _ks(reference: Values, new: Values) -> tuple[float, float]:
    """Distance and p; exact for small cohorts."""
    from scipy.stats import ks_2samp

    test = ks_2samp(_known(reference), _known(new))
    return float(test.statistic), float(test.pvalue)


def _judged(feature: str, old: Values, now: Values, test: tuple[float, float], p_holm: float, features: int) -> Drift:
    from scipy.stats import chi2

    bins = max(2, min(BINS, min(old.size, now.size) // EACH))
    index = psi(old, now, bins)
    degrees = max(1, len(_counts(old, now, bins)[0]) - 1)
    by_chance = float((1 / old.size + 1 / now.size) * chi2.isf(LEVEL / features, degrees))
    medians = float(np.median(_known(old))), float(np.median(_known(now)))
    verdict = _verdict(index, test[0], sure=index >= by_chance or p_holm < LEVEL)
    reason = "" if verdict == "ok" else _reason(old, now, index, test[0], medians)
    return Drift(
        feature, verdict, reason, index, by_chance, *test, p_holm, _known(old).size, _known(now).size, *medians
    )  # fmt: skip


def _verdict(index: float, distance: float, *, sure: bool) -> Verdict:
    if sure and index >= DRIFT:
        return "drift"
    return "watch" if sure and (index >= WATCH or distance >= APART) else "ok"


def _reason(old: Values, now: Values, index: float, distance: float, medians: tuple[float, float]) -> str:
    text = f"median {medians[0]:.4g} → {medians[1]:.4g}, PSI {index:.2f}, KS distance {distance:.2f}"
    before, after = float(np.isnan(old).mean()), float(np.isnan(now).mean())
    return text + (f", unknown {before:.0%} → {after:.0%}" if abs(after - before) > APART else "")


def _few(feature: str, old: Values, now: Values) -> Drift:
    """Too few known values; a feature that became unknown is worth a look."""
    n, m = _known(old).size, _known(now).size
    gone = n >= FEWEST and now.size >= FEWEST
    reason = f"known for {m} of {now.size} new scans" if gone else f"too few values: {n} of the reference, {m} new"
    medians = (float(np.median(_known(values))) if _known(values).size else None for values in (old, now))
    return Drift(feature, "watch" if gone else "unknown", reason, None, None, None, None, None, n, m, *medians)


def summary(drifts: Sequence[Drift]) -> str:
    """One line: how many features do what, and the names of those that drift."""
    counts = {
        verdict: [drift.feature for drift in drifts if drift.verdict == verdict]
        for verdict in ("drift", "watch", "ok", "unknown")
    }
    parts = [f"{len(names)} {verdict}" for verdict, names in counts.items() if names]
    text = f"{len(drifts)} features: {', '.join(parts)}" if parts else "no features"
    return text + (f"; drift of {some(counts['drift'])}" if counts["drift"] else "")
