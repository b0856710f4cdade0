"""The page of a harmonisation: is the site still to be told, what became of age and sex, and which scans to look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from core.errors import FeaturesError
from core.harmonize.features import kinds, of_volumes
from core.harmonize.tables.sites import Accuracy, Classifier, by_combat, of_covariates, site_accuracy
from core.harmonize.tables.table import Features, Values
from core.harmonize.tables.variance import giving
from core.io import files
from tasks.report.charts import LEFT, RIGHT, WIDTH, Chart, Curve, across, ticks, up
from tasks.report.citation import Citation
from tasks.report.pages import number, render
from tasks.report.shares import TITLES, Verdict, shares_of

PAGE = "report.html"
KEYS = 8  # colours of sites
BAR, FOOT = 40, 40  # heights of a bar's row and of the axis in the drawing
BEFORE, AFTER = "before", "after"
FOREST_DEALS = 39  # of the sites to the persons, each some hundred times as dear as a linear one: fewer have no middle 95 %
RARE = 0.002  # share of a site's voxels at each end that may lie beyond the drawing
HELD_OUT = "features of each harmonised scan by a ComBat that was fitted without it; the volumes are as above"
GIVEN = (
    "features of each harmonised scan by the model's ComBat; no proof for scans that it was fitted on; the volumes are as above"
)
AS_WRITTEN = "their ComBat knew these very scans, which makes their sites more alike than chance; no proof of anything"
Histograms = Mapping[str, tuple[Any, Any]]
Fit = Callable[[Features], Callable[[Features], Features]]


@dataclass(frozen=True)
class Telling:
    """How well a classifier tells the site from something.

    Attributes:
        name: of what it is told from.
        classifier: that was tried.
        why: what that is, in a sentence.
        found: None where it could not be tried.
        problem: why not.
        drawn: whether it is in the drawing too.
    """

    name: str
    classifier: Classifier
    why: str
    found: Accuracy | None
    problem: str = ""
    drawn: bool = True

    @property
    def verdict(self) -> Verdict:
        """What was found, and whether it is good; neither where it shows nothing."""
        if self.found is None:
            return Verdict("not tried", None)
        if self.found.told:
            return Verdict("told", good=False)
        if self.found.undecided:
            return Verdict("too few scans to say", None)
        return Verdict("below chance", None) if self.found.below else Verdict("not told", good=True)


@dataclass(frozen=True)
class ByCombat:
    """How the table came of the volumes' features.

    Attributes:
        preserve: covariates that were kept.
        fit: for the classifier, from the scans that are learned from to what harmonises others; None: a plain ComBat of these,
            or the given one.
        given: whether by a model of before, to which these scans were nothing.
        intercept: whether each person has an intercept.
        changed: features that are not in the table as they were.
    """

    preserve: Sequence[str] = ("age", "sex")
    fit: Fit | None = None
    given: bool = False
    intercept: bool = False
    changed: Sequence[str] = ()


@dataclass(frozen=True)
class Bar:
    """An accuracy in the drawing: places along the axis."""

    name: str
    y: float
    end: float
    null: tuple[float, float]
    text: str


@dataclass(frozen=True)
class Bars:
    """Accuracies over one another, and chance."""

    text: str
    bars: list[Bar]
    chance: float
    height: int
    ticks: list[Any]

    @property
    def axis(self) -> int:
        """Height of the axis."""
        return self.height - FOOT


@dataclass(frozen=True)
class SiteLine:
    """Whose the scans of a site are."""

    site: str
    scans: int
    persons: int
    age: str
    sex: str
    flagged: int


def write_page(
    out: str,
    before: Features,
    after: Features,
    histograms_before: Histograms,
    histograms_after: Histograms,
    flags: Mapping[str, str],
    *,
    between: Features | None = None,
    combat: ByCombat | None = None,
    scaled: bool = True,
    notes: Sequence[str] = (),
    citation: Citation | None = None,
    seed: int = 0,
) -> str:
    """Write the page of a harmonisation, ``report.html``, whole or not at all.

    Args:
        out: folder or s3:// prefix.
        before: features of the restored scans; those of the restoration itself are left out, for no step on volumes changes them.
        after: of the same scans, harmonised.
        histograms_before: edges and counts of the restored scans' intensities by site.
        histograms_after: of the harmonised scans.
        flags: scans to be taken with care, with the reasons.
        between: that ComBat made ``after`` of, for the classifier on scans that it was not fitted on; None without ComBat.
        combat: how it did.
        scaled: whether intensities were brought on one scale.
        notes: what else is to be known of the cohort.
        citation: words to cite.
        seed: of the classifier.

    Returns:
        the URI of the page.
    """
    uri = files.join(out, PAGE)
    how = combat or ByCombat()
    before, after, between = of_volumes(before), of_volumes(after), None if between is None else of_volumes(between)
    tellings = _tellings(before, after, between, how, seed)
    text = render(
        "harmonize.html",
        tellings=tellings,
        lead=_lead(tellings, table=between is not None),
        giving=[(name, TITLES.get(name), share) for name, share in giving(after if between is None else between)],
        bars=_bars(tellings),
        histograms=_histograms(histograms_before, histograms_after),
        keys=_keys([*histograms_before, *histograms_after]),
        flags=[(scan, site, flags[scan]) for scan, site in zip(after.scans, after.site, strict=True) if flags.get(scan)]
        + [(scan, "", reason) for scan, reason in flags.items() if reason and scan not in after.scans],
        sites=_sites(after, flags),
        notes=notes,
        citation=citation,
        scans=len(after),
        features=kinds(after.names if between is None else how.changed),
        preserve=how.preserve,
        intercept=how.intercept,
        combat=between is not None,
        scaled=scaled,
        **shares_of(_stages(before, after, between)),
    )
    files.write_atomic(uri, text.encode())
    return uri


def _stages(before: Features, after: Features, between: Features | None) -> dict[str, Features]:
    """The tables by what they are of: volumes, and what ComBat made of the last of these."""
    volumes = {"restored": before, "harmonised": after if between is None else between}
    return volumes if between is None else volumes | {"table": after}


# -- can the site be told -----------------------------------------------------------------------------------------------------


def _tellings(before: Features, after: Features, between: Features | None, how: ByCombat, seed: int) -> list[Telling]:
    volumes = after if between is None else between
    tried = _tries(f"volumes {BEFORE}", "features of the restored scans", partial(site_accuracy, before, seed=seed))
    tried += _tries(f"volumes {AFTER}", "features of the harmonised scans", partial(site_accuracy, volumes, seed=seed))
    if between is not None:
        held_out = HELD_OUT, partial(site_accuracy, between, how.fit or by_combat(how.preserve), seed=seed)
        tried += _tries("table after ComBat", *((GIVEN, partial(site_accuracy, after, seed=seed)) if how.given else held_out))
    persons = of_covariates(before)
    if persons.names:
        tried.append(_try("age and sex alone", "linear", "no image at all", partial(site_accuracy, persons, seed=seed)))
    if between is not None and not how.given:
        written = _try("table as written", "linear", AS_WRITTEN, partial(site_accuracy, after, seed=seed))
        tried.append(replace(written, drawn=False))
    return tried


def _tries(name: str, why: str, work: Callable[..., Accuracy]) -> list[Telling]:
    """By both classifiers: the linear one sees where a site's features lie, the forest also how far they spread."""
    return [
        _try(f"{name}, linear", "linear", why, work),
        _try(f"{name}, forest", "forest", why, partial(work, permutations=FOREST_DEALS)),
    ]


def _try(name: str, classifier: Classifier, why: str, work: Callable[..., Accuracy]) -> Telling:
    try:
        return Telling(name, classifier, why, work(classifier=classifier))
    except FeaturesError as error:
        return Telling(name, classifier, why, None, str(error))


def _lead(tellings: Sequence[Telling], *, table: bool) -> str:
    """The finding: of the volumes, and of the table where there is another; and where the scans are too few for one."""
    before, _, after, _ = (telling.found for telling in tellings[:4])
    if before is None or after is None:
        return "Whether the site can still be told was not tried."
    text = f"From the volumes a linear classifier told the site of {_percent(before.balanced)} of the scans before and of "
    text += f"{_percent(after.balanced)} after{_forest(tellings[1], tellings[3])}; "
    if table:
        accuracy = tellings[4].found
        by_table = "was not tried" if accuracy is None else f"it told {_percent(accuracy.balanced)}{_forest(tellings[5])}"
        text += f"from the table after ComBat {by_table}; "
    text += f"guessing among {len(after.sites)} sites gives {_percent(after.chance)}."
    return text + _undecided({"the volumes": after} | ({"the table": tellings[4].found} if table else {}))


def _undecided(accuracies: Mapping[str, Accuracy | None]) -> str:
    """A sentence that names what there are too few scans for; "" where there are enough."""
    names = [name for name, accuracy in accuracies.items() if accuracy is not None and accuracy.undecided]
    return f" These are too few scans to say whether the site can still be told from {' or '.join(names)}." if names else ""


def _forest(*tellings: Telling) -> str:
    """What a forest told, in brackets."""
    shares = [_percent(telling.found.balanced) for telling in tellings if telling.found is not None]
    return f" (a random forest {' and '.join(shares)})" if shares else ""


def _percent(share: float) -> str:
    return f"{100 * share:.0f}\N{NO-BREAK SPACE}%"


def _bars(tellings: Sequence[Telling]) -> Bars | None:
    tried = [(telling.name, telling.found) for telling in tellings if telling.found is not None and telling.drawn]
    if not tried:
        return None
    bars = [
        Bar(
            name,
            n * BAR + 8.0,
            _place(accuracy.balanced),
            (_place(accuracy.null[0]), _place(accuracy.null[1])),
            _told(name, accuracy),
        )
        for n, (name, accuracy) in enumerate(tried)
    ]
    chance = tried[0][1].chance
    text = f"Balanced accuracy of telling the site; chance is {_percent(chance)}. " + "; ".join(bar.text for bar in bars)
    marks = [(_place(share), _percent(share)) for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    return Bars(text, bars, _place(chance), len(bars) * BAR + FOOT, marks)


def _place(share: float) -> float:
    return round(LEFT + share * (WIDTH - LEFT - RIGHT - 30), 1)  # room for the percentage at the end of a full bar


def _told(name: str, accuracy: Accuracy) -> str:
    return f"{name}: {_percent(accuracy.balanced)}, by chance {_percent(accuracy.null[0])} to {_percent(accuracy.null[1])}"


# -- intensities --------------------------------------------------------------------------------------------------------------


def _keys(sites: Sequence[str]) -> dict[str, str]:
    """The class of each site's line: a colour, and another dash each time round."""
    return {site: f"site-{n % KEYS} dash-{n // KEYS % 3}" for n, site in enumerate(sorted(set(sites)))}


def _histograms(before: Histograms, after: Histograms) -> list[Chart]:
    keys = _keys([*before, *after])
    return [_histogram(title, histograms, keys) for title, histograms in (("Before", before), ("After", after)) if histograms]


def _histogram(title: str, histograms: Histograms, keys: Mapping[str, str]) -> Chart:
    """Densities of the sites on one axis, which leaves out what is almost empty at all of them."""
    edges = {site: np.asarray(histogram[0], np.float64) for site, histogram in histograms.items()}
    counts = {site: np.asarray(histogram[1], np.float64) for site, histogram in histograms.items()}
    ends = [_extent(edges[site], counts[site]) for site in histograms]
    low, high = min(start for start, _ in ends), max(end for _, end in ends)
    densities = {site: counts[site] / (max(float(counts[site].sum()), 1.0) * np.diff(edges[site])) for site in histograms}
    top = max(float(density.max()) for density in densities.values()) or 1.0
    curves = []
    for site, density in sorted(densities.items()):
        middles = (edges[site][1:] + edges[site][:-1]) / 2
        points = [
            f"{across(float(at), low, high)},{up(float(share) / top)}"
            for at, share in zip(middles, density, strict=True)
            if low <= at <= high
        ]
        curves.append(Curve(keys[site], " ".join(points)))
    sites = ", ".join(sorted(histograms))
    text = f"{title}: density of the brain's intensities from {low:.4g} to {high:.4g}, a line each for {sites}."
    return Chart(title, text, ticks(low, high), curves=tuple(curves))


def _extent(edges: Values, counts: Values) -> tuple[float, float]:
    """Between which edges all but the outermost ``RARE`` of a site lie on each side."""
    if not counts.sum():
        return float(edges[0]), float(edges[-1])
    shares = np.cumsum(counts) / counts.sum()
    first, last = int(np.searchsorted(shares, RARE, side="right")), int(np.searchsorted(shares, 1 - RARE))
    return float(edges[first]), float(edges[last + 1])


# -- sites --------------------------------------------------------------------------------------------------------------------


def _sites(features: Features, flags: Mapping[str, str]) -> list[SiteLine]:
    lines = []
    for site in features.sites:
        theirs = features.select(features.rows([site]))
        ages = [float(value) for value in theirs.covariates.get("age", ()) if isinstance(value, (int, float))]
        sexes = Counter(str(value) for value in theirs.covariates.get("sex", ()) if value is not None)
        age = f"{number(min(ages))} to {number(max(ages))}, mean {np.mean(ages):.0f}" if ages else "unknown"
        age += f" ({len(theirs) - len(ages)} unknown)" if ages and len(ages) < len(theirs) else ""
        sex = ", ".join(f"{count} {level}" for level, count in sorted(sexes.items())) or "unknown"
        flagged = sum(bool(flags.get(scan)) for scan in theirs.scans)
        lines.append(SiteLine(site, len(theirs), len(set(theirs.persons)), age, sex, flagged))
    return lines
