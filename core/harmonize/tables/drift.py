"""Whether new scans still measure alike: each feature's distribution at a site against that of a reference there."""

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
FEWEST = 8  # known values of each cohort at a site, below which nothing is said
ORDER: tuple[Verdict, ...] = ("drift", "watch", "ok", "unknown")  # the gravest first


@dataclass(frozen=True)
class Drift:
    """A feature of a new cohort against the reference's, at the site where it differs most.

    Attributes:
        feature: its name.
        site: where; empty where the cohorts have no site in common.
        verdict: "ok"; "watch" where it differs; "drift" where it differs much; "unknown" where there are too few values to tell.
        reason: in words, empty where ok.
        psi: population stability index, 0 and up; None where unknown, as what follows.
        psi_by_chance: what it stays below in 95 % of cohorts of these sizes that do not differ, all features and sites together.
        ks: largest distance of the two distribution functions, 0 to 1.
        p: of the two-sample Kolmogorov-Smirnov test.
        p_holm: the same, adjusted over the features and sites (Holm 1979).
        n_reference: known values of the reference.
        n_new: known values of the new cohort.
        median_reference: of the reference.
        median_new: of the new cohort.
    """

    feature: str
    site: str
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


@dataclass(frozen=True)
class _Pair:
    """A feature at a site: the reference's values, and the new ones; a person once in each."""

    feature: str
    site: str
    old: Values
    now: Values

    @property
    def few(self) -> bool:
        """Whether too few values are known to tell."""
        return min(_known(self.old).size, _known(self.now).size) < FEWEST


def drift(reference: Features, new: Features) -> list[Drift]:
    """Each feature of ``new`` against ``reference``, in the reference's order.

    Scans are held against those of their own site, so that other shares of the sites are no drift; of each feature the site is
    told at which it differs most.

    A feature differs where chance is an unlikely reason: its PSI is beyond what 95 % of equal cohorts stay below (PSI is about
    (1/n + 1/m) times chi-square with bins - 1 degrees of freedom: Yurdakul & Naranjo, Journal of Risk Model Validation 14 (2020);
    Bonferroni over features and sites), or p after Holm is below 0.05. It is then "drift" from a PSI of 0.25, "watch" from 0.1 or
    a distance of the distribution functions of 0.1. Values that became unknown count as a bin of their own. A person counts once
    a site, by one of the scans: repeated scans say little more than one, and would make any difference sure.

    Raises:
        FeaturesError: the new cohort lacks a feature of the reference.
    """
    pairs = _pairs(reference, new.only(reference.names))
    if not pairs:
        reason = (
            f"no site in common: {some(new.sites) or 'none'} of the new scans, {some(reference.sites) or 'none'} of the reference"
        )
        return [Drift(name, "", "unknown", reason, *(None,) * 5, 0, 0, None, None) for name in reference.names]
    tests = {n: _ks(pair.old, pair.now) for n, pair in enumerate(pairs) if not pair.few}
    adjusted = dict(zip(tests, holm([p for _, p in tests.values()]), strict=True))
    drifts = [_judged(pair, tests[n], adjusted[n], len(pairs)) if n in tests else _few(pair) for n, pair in enumerate(pairs)]
    return [_gravest([each for each in drifts if each.feature == name]) for name in reference.names]


def _pairs(reference: Features, new: Features) -> list[_Pair]:
    pairs: list[_Pair] = []
    for site in (site for site in new.sites if site in reference.sites):
        old, now = (table.select(table.rows([site])).one_each().values.T for table in (reference, new))
        pairs += [_Pair(name, site, *values) for name, values in zip(reference.names, zip(old, now, strict=True), strict=True)]
    return pairs


def _gravest(drifts: Sequence[Drift]) -> Drift:
    """Of a feature's sites the one that differs most."""
    return min(drifts, key=lambda drift: (ORDER.index(drift.verdict), -(drift.psi or 0.0)))


def untold(reference: Features, new: Features) -> str:
    """Sites of the new scans of which nothing can be told, and why; empty where there are none."""
    strangers = [site for site in new.sites if site not in reference.sites]
    known = [site for site in new.sites if site in reference.sites]
    small = [site for site in known if min(_persons_at(table, site) for table in (reference, new)) < FEWEST]
    parts = [f"not in the reference: {some(strangers)}"] if strangers else []
    parts += [f"of fewer than {FEWEST} persons: {some(small)}"] if small else []
    return "; ".join(parts)


def _persons_at(features: Features, site: str) -> int:
    return len(features.select(features.rows([site])).one_each())


def worst(drifts: Sequence[Drift]) -> Verdict:
    """The gravest verdict; "unknown" only where nothing could be told."""
    return next((verdict for verdict in ORDER if any(drift.verdict == verdict for drift in drifts)), "unknown")


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


def _judged(pair: _Pair, test: tuple[float, float], p_holm: float, tests: int) -> Drift:
    from scipy.stats import chi2

    old, now = pair.old, pair.now
    bins = max(2, min(BINS, min(old.size, now.size) // EACH))
    index = psi(old, now, bins)
    degrees = max(1, len(_counts(old, now, bins)[0]) - 1)
    by_chance = float((1 / old.size + 1 / now.size) * chi2.isf(LEVEL / tests, degrees))
    medians = float(np.median(_known(old))), float(np.median(_known(now)))
    verdict = _verdict(index, test[0], sure=index >= by_chance or p_holm < LEVEL)
    reason = "" if verdict == "ok" else _reason(old, now, index, test[0], medians)
    sizes = _known(old).size, _known(now).size
    return Drift(pair.feature, pair.site, verdict, reason, index, by_chance, *test, p_holm, *sizes, *medians)


def _verdict(index: float, distance: float, *, sure: bool) -> Verdict:
    if sure and index >= DRIFT:
        return "drift"
    return "watch" if sure and (index >= WATCH or distance >= APART) else "ok"


def _reason(old: Values, now: Values, index: float, distance: float, medians: tuple[float, float]) -> str:
    text = f"median {medians[0]:.4g} → {medians[1]:.4g}, PSI {index:.2f}, KS distance {distance:.2f}"
    before, after = float(np.isnan(old).mean()), float(np.isnan(now).mean())
    return text + (f", unknown {before:.0%} → {after:.0%}" if abs(after - before) > APART else "")


def _few(pair: _Pair) -> Drift:
    """Too few known values; a feature that became unknown is worth a look."""
    old, now = pair.old, pair.now
    n, m = _known(old).size, _known(now).size
    gone = n >= FEWEST and now.size >= FEWEST
    reason = f"known for {m} of {now.size} new scans" if gone else f"too few values: {n} of the reference, {m} new"
    medians = (float(np.median(_known(values))) if _known(values).size else None for values in (old, now))
    return Drift(pair.feature, pair.site, "watch" if gone else "unknown", reason, *(None,) * 5, n, m, *medians)


def summary(drifts: Sequence[Drift]) -> str:
    """One line: how many features do what, and the names of those that drift."""
    counts = {verdict: [drift.feature for drift in drifts if drift.verdict == verdict] for verdict in ORDER}
    parts = [f"{len(names)} {verdict}" for verdict, names in counts.items() if names]
    text = f"{len(drifts)} features: {', '.join(parts)}" if parts else "no features"
    return text + (f"; drift of {some(counts['drift'])}" if counts["drift"] else "")
