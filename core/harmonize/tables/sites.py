"""Whether a classifier still tells the site of a scan from its features: accuracy on scans it has not seen, against chance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from core.errors import FeaturesError
from core.harmonize.tables.design import covariate_columns, terms_of
from core.harmonize.tables.partly import fit_partly
from core.harmonize.tables.table import Features, Values, some

FOLDS = 5
FEWEST = 3  # persons of a site, below which it is left out
LEVEL = 0.05
TREES = 30  # of a forest
DRAWS = 1000  # of the persons, for the interval
Labels = NDArray[np.int64]
Transform = Callable[[Features], Features]
Fold = tuple[Labels, Labels, Values, Values]  # rows to learn from, rows to tell, and their features
Classifier = Literal["linear", "forest"]


@dataclass(frozen=True)
class Accuracy:
    """How well the site of a scan is told.

    Attributes:
        sites: that were told apart.
        left_out: sites with too few persons.
        scans: that were told.
        folds: of the cross-validation.
        balanced: mean over the sites of the share of their scans that was told rightly, 0 to 1.
        chance: what guessing gives, 1 / sites.
        null: 2.5th and 97.5th percentile of ``balanced`` where the sites are dealt to the persons at random.
        p: share of these that are at least as good, the found one counted among them.
        confusion: scans by site (rows) and by the site that was told (columns).
        interval: 95 % interval of ``balanced``: its percentiles over 1000 draws of the persons, with replacement.
    """

    sites: tuple[str, ...]
    left_out: tuple[str, ...]
    scans: int
    folds: int
    balanced: float
    chance: float
    null: tuple[float, float]
    p: float
    confusion: tuple[tuple[int, ...], ...]
    interval: tuple[float, float] = (0.0, 1.0)

    @property
    def told(self) -> bool:
        """Whether the site is told better than by chance (p below 0.05)."""
        return self.p < LEVEL

    @property
    def undecided(self) -> bool:
        """Whether there are too few scans to say: the site may be told, and no p of theirs could show it.

        That is where the interval lies above chance, or holds all scans told rightly, or one deal at random in forty does so.
        """
        return not self.told and (self.interval[0] > self.chance or max(self.interval[1], self.null[1]) >= 1)

    @property
    def below(self) -> bool:
        """Whether the site is told less often than by chance, which happens where its means were made equal."""
        return self.balanced < self.null[0] or self.interval[1] < self.chance


def site_accuracy(
    features: Features,
    fit: Callable[[Features], Transform] | None = None,
    *,
    classifier: Classifier = "linear",
    permutations: int = 99,
    seed: int = 0,
) -> Accuracy:
    """Cross-validated accuracy of telling the site from standardised features; unknown values are the mean.

    Logistic regression is linear: it sees where the sites' features lie, not how far they spread. A random forest sees both (of
    two sites that differ by 3 in spread alone the first tells 54 % rightly, the second 91 %), at some hundred times the cost.

    Folds are by person, whatever sites a person was seen at, and stratified by site. By chance is what comes of dealing the sites
    to the persons at random; those of who was seen at several are dealt to that person's own visits.

    Features that were harmonised on all scans lie about their site: the sites' means were made equal with the held-out scans'
    help, so that the accuracy falls below chance. Give the features as they were and ``fit``, which harmonises by the scans that
    are learned from only.

    Args:
        features: of two sites or more.
        fit: from the scans of the other folds to what harmonises a scan; None: features are taken as they are.
        classifier: logistic regression, or a random forest of 30 trees.
        permutations: deals of the sites to the persons, at least 1, all of which are tried: the least possible p is
            1 / (permutations + 1), and what lies within 95 % takes some 40.
        seed: of folds and deals.

    Raises:
        FeaturesError: fewer than two sites of three persons or more, no feature that varies; or what ``fit`` raises.
    """
    table, left_out = _usable(features)
    draw = np.random.default_rng(seed)
    labels = np.array([table.sites.index(site) for site in table.site])
    _, persons = np.unique(table.persons, return_inverse=True)
    dealt = _folds(labels, persons, draw)
    deals = [_dealt(labels, persons, draw) for _ in range(permutations)]
    folds = [_fold(table, dealt, number, fit) for number in range(dealt.max() + 1)]
    predicted = _tell(folds, labels, classifier, seed)
    accuracy = _balanced(labels, predicted)
    null = np.array([_balanced(deal, _tell(folds, deal, classifier, seed)) for deal in deals])
    confusion = np.zeros((len(table.sites), len(table.sites)), dtype=int)
    np.add.at(confusion, (labels, predicted), 1)
    return Accuracy(
        sites=table.sites,
        left_out=left_out,
        scans=len(table),
        folds=len(folds),
        balanced=accuracy,
        chance=1 / len(table.sites),
        null=(float(np.percentile(null, 2.5)), float(np.percentile(null, 97.5))),
        p=(int(np.count_nonzero(null >= accuracy)) + 1) / (len(null) + 1),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        interval=_interval(labels, persons, predicted, draw),
    )


def by_combat(preserve: Sequence[str] = ("age", "sex"), **options: Any) -> Callable[[Features], Transform]:
    """A ``fit`` for ``site_accuracy``: ComBat, unknown covariates taken as the mean; arguments as ``Combat.fit``."""

    def fit(features: Features) -> Transform:
        known = [name for name in preserve if any(value is not None for value in features.covariates.get(name, ()))]
        fitted = fit_partly(features, known, **options)
        return lambda others: fitted.apply(others, missing="mean")

    return fit


def of_covariates(features: Features, names: Sequence[str] = ("age", "sex")) -> Features:
    """The covariates as features, those that vary: what may tell the site without any image."""
    present = [name for name in names if any(value is not None for value in features.covariates.get(name, ()))]
    terms = terms_of(features, present)
    columns = covariate_columns(features, terms)
    return replace(features, names=tuple(f"covariate {n}" for n in range(columns.shape[1])), values=columns)


def _usable(features: Features) -> tuple[Features, tuple[str, ...]]:
    """The scans of sites with enough persons, the features that vary; and the sites that were left out."""
    persons = Counter(site for _, site in set(zip(features.persons, features.site, strict=True)))
    sites = [site for site in features.sites if persons[site] >= FEWEST]
    if len(sites) < 2:
        got = ", ".join(f"{persons[site]} of {site}" for site in features.sites) or "none"
        raise FeaturesError("classifier-sites", f"two sites of {FEWEST} persons or more", got, "add scans")
    table = features.select(features.rows(sites))
    varying = [
        name for name, column in zip(table.names, table.values.T, strict=True) if len(set(column[np.isfinite(column)])) > 1
    ]
    if not varying:
        raise FeaturesError("classifier-features", "a feature that varies", some(table.names) or "none", "measure other features")
    return table.only(varying), tuple(site for site in features.sites if site not in sites)


def _seen_at(labels: Labels, persons: Labels) -> list[tuple[int, ...]]:
    """The sites that each person was seen at, sorted."""
    return [tuple(np.unique(labels[persons == person]).tolist()) for person in range(int(persons.max()) + 1)]


def _folds(labels: Labels, persons: Labels, draw: np.random.Generator) -> Labels:
    """The fold (n,) of each scan: the persons who were seen at the same sites in random order, dealt round."""
    seen = _seen_at(labels, persons)
    fewest = Counter(site for sites in seen for site in sites)
    count = min(FOLDS, *fewest.values())
    fold, number = np.zeros(len(seen), dtype=np.int64), 0
    for sites in sorted(set(seen)):
        theirs = draw.permutation([person for person, where in enumerate(seen) if where == sites])
        fold[theirs] = (np.arange(len(theirs)) + number) % count
        number += 1 if len(sites) == 1 else len(theirs)
    dealt: Labels = fold[persons]
    return dealt


def _dealt(labels: Labels, persons: Labels, draw: np.random.Generator) -> Labels:
    """The sites dealt at random: among the persons seen at one, and among the sites of each person seen at several."""
    seen = _seen_at(labels, persons)
    single = np.array([len(sites) == 1 for sites in seen])
    first = np.array([sites[0] for sites in seen])
    first[single] = draw.permutation(first[single])
    dealt: Labels = first[persons]
    for person in np.flatnonzero(~single).tolist():
        theirs = persons == person
        others = draw.permutation(seen[person])
        dealt[theirs] = others[np.searchsorted(seen[person], labels[theirs])]
    return dealt


def _fold(features: Features, dealt: Labels, number: int, fit: Callable[[Features], Transform] | None) -> Fold:
    """A fold, its features on the scale of those that are learned from."""
    learn, tell = np.flatnonzero(dealt != number), np.flatnonzero(dealt == number)
    learned, other = features.select(learn.tolist()), features.select(tell.tolist())
    if fit is not None:
        transform = fit(learned)
        learned, other = transform(learned), transform(other)
    known = np.isfinite(learned.values).any(axis=0)
    mean = np.nanmean(learned.values[:, known], axis=0)
    spread = np.nanstd(learned.values[:, known], axis=0)
    spread[spread <= 1e-12 * np.abs(mean)] = np.inf
    return learn, tell, *(np.nan_to_num((part.values[:, known] - mean) / spread) for part in (learned, other))


def _model(classifier: Classifier, seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    if classifier == "forest":
        return RandomForestClassifier(TREES, class_weight="balanced", random_state=seed)
    return LogisticRegression(class_weight="balanced", tol=1e-3, max_iter=300)


def _tell(folds: Sequence[Fold], labels: Labels, classifier: Classifier, seed: int) -> Labels:
    """The site (n,) that is told of each scan by what was learned from the other folds."""
    predicted = np.zeros_like(labels)
    for learn, tell, known, new in folds:
        if len(set(labels[learn].tolist())) < 2:
            predicted[tell] = labels[learn][0]
            continue
        predicted[tell] = _model(classifier, seed).fit(known, labels[learn]).predict(new)
    return predicted


def _interval(labels: Labels, persons: Labels, predicted: Labels, draw: np.random.Generator) -> tuple[float, float]:
    """Percentiles of the balanced accuracy over draws of the persons; a draw that lacks a site counts the sites it has."""
    sites = np.arange(labels.max() + 1)
    scans = (labels[:, None] == sites).astype(np.float64)
    right = scans * (predicted == labels)[:, None]
    member = persons == np.arange(persons.max() + 1)[:, None]
    seen, rightly = member @ scans, member @ right
    weights = draw.multinomial(len(member), np.full(len(member), 1 / len(member)), DRAWS)
    with np.errstate(invalid="ignore"):
        accuracies = np.nanmean((weights @ rightly) / (weights @ seen), axis=1)
    return float(np.percentile(accuracies, 2.5)), float(np.percentile(accuracies, 97.5))


def _balanced(labels: Labels, predicted: Labels) -> float:
    """Mean over the sites of the share that was told rightly."""
    return float(np.mean([(predicted[labels == site] == site).mean() for site in np.unique(labels)]))
