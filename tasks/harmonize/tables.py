"""From records to tables: features before and after, histograms by site, ComBat, and the card of what was fitted."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.engine.records import ScanRecord
from core.harmonize.features import FEATURES, NAMES, RESTORATION
from core.harmonize.images.intensity import Values, histogram
from core.harmonize.tables.table import Features, person_of
from core.io import files
from tasks.harmonize.sites import Person
from tasks.harmonize.work import Piece, read_measured

BINS = 100
TOP = 0.998  # of a scan's voxels are shown
FINE = 2.0  # mm: of heads on larger voxels the rough mask takes up to twice the brain
CARD = """# {name}

Puts the intensities of brain MRI on the scale of the cohort that it was fitted on, and takes what is the sites' out of a table of
features (ComBat). Made by `isovox harmonize`; applied by `isovox harmonize SITES OUT --model models:/{name}/VERSION`. For
research, not for diagnosis.

Fitted on {scans}.

{told}

It holds medians, deciles and coefficients of the cohort, no scan and no person{but}. Of a site that it has not seen,
intensities are mapped; features are not harmonised.
"""
MAPS = ", but for `maps.safetensors`: the mean of a few of its scans in one space, and mean and spread of each voxel over all"
Histograms = dict[str, tuple[Values, Values]]


@dataclass(frozen=True)
class Member:
    """A scan that came through, and whose it is."""

    piece: Piece
    record: ScanRecord
    person: Person


def _table(members: Sequence[Member], figures: Iterable[Mapping[str, float | None]]) -> Features:
    values = [[math.nan if scan.get(name) is None else float(scan[name] or 0.0) for name in NAMES] for scan in figures]
    return Features(
        tuple(member.piece.name for member in members),
        tuple(member.piece.site for member in members),
        {"age": tuple(member.person.age for member in members), "sex": tuple(member.person.sex for member in members)},
        NAMES,
        np.array(values, np.float64).reshape(len(members), len(NAMES)),
        _who(members),
    )


def _who(members: Sequence[Member]) -> tuple[str, ...]:
    """The persons, where the sites' tables name them across sites."""
    if not any(member.person.name for member in members):
        return ()
    labels = (f"{member.piece.site}/{person_of(member.piece.key)}" for member in members)
    return tuple(member.person.name or label for member, label in zip(members, labels, strict=True))


def before(members: Sequence[Member]) -> Features:
    """Features of the restored scans, in each scan's own unit."""
    return _table(members, [(read_measured(member.piece) or {}).get("Features", {}) for member in members])


def after(members: Sequence[Member]) -> Features:
    """Features of the harmonised scans."""
    return _table(members, [member.record.provenance["Features"] for member in members])


def histograms_before(members: Sequence[Member]) -> Histograms:
    """Of the restored scans' brains by site."""
    return _histograms(members, [read_measured(member.piece) or {} for member in members])


def histograms_after(members: Sequence[Member]) -> Histograms:
    """Of the harmonised scans' brains by site."""
    return _histograms(members, [member.record.provenance for member in members])


def _histograms(members: Sequence[Member], said: Sequence[Mapping[str, Any]]) -> Histograms:
    """Edges, the same of all sites, and the sites' voxels between them."""
    known = [
        (member.piece.site, histogram["Profile"], histogram["Voxels"])
        for member, histogram in zip(members, said, strict=True)
        if histogram
    ]
    if not known:
        return {}
    low = min(quantiles[0] for _, quantiles, _ in known)
    high = max(quantiles[round(TOP * (len(quantiles) - 1))] for _, quantiles, _ in known)
    edges = np.linspace(min(low, 0.0), high if high > low else low + 1, BINS + 1)
    histograms: Histograms = {}
    for site, quantiles, voxels in known:
        counts = histogram(quantiles, edges, voxels)
        histograms[site] = (edges, histograms[site][1] + counts if site in histograms else counts)
    return histograms


def sizes(members: Sequence[Member]) -> dict[str, int]:
    """Scans a site."""
    return dict(sorted(Counter(member.piece.site for member in members).items()))


def some_of_each(members: Sequence[Member], count: int | None) -> list[Member]:
    """The first scans of each site, so many; all where ``count`` is None."""
    sites: dict[str, list[Member]] = defaultdict(list)
    for member in members:
        sites[member.piece.site].append(member)
    return [member for theirs in sites.values() for member in theirs[:count]]


def lone_groups(members: Sequence[Member]) -> list[str]:
    """Groups, such as patients, that are at one site alone while there are scans elsewhere: what to know of each.

    Scans of no known group are none of it: one dataset may name its patients, another be all of healthy persons.
    """
    sites, groups = defaultdict(set), {member.person.group for member in members} - {""}
    for member in members:
        sites[member.person.group].add(member.piece.site)
    alone = {group: next(iter(sites[group])) for group in sorted(groups) if len(sites[group]) == 1}
    return [
        f"group {group} occurs at site {site} only: its effect cannot be separated from the site's and may be removed"
        for group, site in alone.items()
        if any(member.piece.site != site for member in members)
    ]


def coarse_heads(members: Sequence[Member], voxel: float) -> list[str]:
    """That the brains of heads are not found on voxels of so many mm, where there are heads."""
    heads = (
        [member for member in members if not (read_measured(member.piece) or {}).get("Stripped", True)] if voxel > FINE else []
    )
    if not heads:
        return []
    of = f"{len(heads)} of {len(members)} scans are of heads on voxels of {voxel:g} mm"
    return [f"{of}: beyond {FINE:g} mm their rough brain mask holds skull and scalp, too, and figures are not the brain's"]


def write_dictionary(uri: str) -> None:
    """What each column of the tables is: title, unit and source, as BIDS describes columns."""
    known = {
        "scan": {"Description": "site and name of the scan"},
        "site": {"Description": "where it was measured"},
        "person": {"Description": "who it is, the same at every site"},
        "age": {"Description": "of the person", "Units": "years"},
        "sex": {"Description": "of the person", "Levels": {"M": "male", "F": "female"}},
    }
    for feature in FEATURES + RESTORATION:
        unit = {"Units": feature.unit} if feature.unit else {}
        known[feature.name] = {"Description": feature.title, "Source": feature.source} | unit
    files.write_json(uri, known)


def card(
    name: str,
    fitted: Mapping[str, int],
    settings: Mapping[str, Any],
    figures: Mapping[str, float],
    notes: Sequence[str],
    *,
    maps: bool = False,
) -> str:
    """The card of a harmoniser, Markdown.

    Args:
        name: in the registry.
        fitted: scans a site.
        settings: of the scans it is for.
        figures: found on the cohort.
        notes: what else is to be known.
        maps: whether it holds some.
    """
    scans = ", ".join(f"{count} scans of {site}" for site, count in fitted.items())
    lines = [f"- {key}: {value}" for key, value in settings.items()] + [f"- {key}: {value:.4g}" for key, value in figures.items()]
    account = "\n".join([*lines, *(f"- {note}" for note in notes)])
    return CARD.format(name=name, scans=scans, told=account, but=MAPS if maps else "")
