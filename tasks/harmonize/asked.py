"""The sites that are asked for: which of their persons, of one contrast, each scan at one site."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from core.engine.plan import CohortPlan
from core.errors import UsageError
from core.harmonize.tables.table import some
from core.io import files
from core.io.layouts.table import labels_of
from core.io.plain_names import SUFFIXES
from tasks.harmonize.sites import Site, labels_there, lines_of


def of_persons(sites: Sequence[Site], labels: Sequence[str]) -> list[Site]:
    """The sites with those of their persons whose labels are asked for; a site without any is left out, which is told.

    Args:
        sites: as they are named.
        labels: of participants; none for all.

    Raises:
        UsageError: participant-missing, for a label that is at no site.
    """
    wanted = [label.removeprefix("sub-") for label in labels]
    if not wanted:
        return list(sites)
    there = [_labels(site) for site in sites]
    every = set().union(*there)
    if all(there) and (gone := [label for label in wanted if label not in every]):
        remedy = f"check --participant-label; there are {some(sorted(every))}"
        raise UsageError("participant-missing", "participants of the sites", some(gone), remedy)
    kept: list[Site] = []
    left: list[Site] = []
    for site, known in zip(sites, there, strict=True):
        asked = tuple(label for label in wanted if label in known or not known)
        if asked:
            kept.append(replace(site, participants=asked))
        else:
            left.append(site)
    notes = [f"of none of the participants asked for, left out: {some(site.name for site in left)}"] if left else []
    notes += [note for site in left for note in site.notes]
    return [replace(kept[0], notes=(*kept[0].notes, *notes)), *kept[1:]]


def check_reference(sites: Sequence[Site], wanted: str | None) -> None:
    """Refuse a reference site that is none of the sites.

    Raises:
        UsageError: reference-empty.
    """
    names = [site.name for site in sites]
    if wanted is not None and wanted not in names:
        raise UsageError("reference-empty", f"a reference among the sites {some(names)}", wanted, "correct --reference-site")


def check_contrast(sites: Sequence[Site], contrast: str) -> None:
    """Refuse scans that a table or a file's name tells to be of another contrast.

    Raises:
        UsageError: contrast-other.
    """
    for site in sites:
        for row in lines_of(site) or ({"path": site.input},):
            if other := (labels_of(row).get("suffix", set()) & set(SUFFIXES)) - {contrast}:
                got, remedy = f"{some(sorted(other))}: {row['path']} of {site.name}", "leave it out, or choose by --contrast"
                raise UsageError("contrast-other", f"{contrast} scans alone", got, remedy)


def check_apart(sites: Sequence[Site]) -> None:
    """Refuse scans that are at two sites: they make these look alike.

    Raises:
        UsageError: scan-twice.
    """
    _check_once({site.name: _places(site) for site in sites})


def check_scans_apart(plans: Mapping[str, CohortPlan]) -> None:
    """Refuse files that are planned at two sites, as where the folder of one lies in another's.

    Args:
        plans: by site.

    Raises:
        UsageError: scan-twice.
    """
    _check_once({site: [files.real(uri) for scan in plan.scans for uri in scan.uris] for site, plan in plans.items()})


def _check_once(places: Mapping[str, Iterable[str]]) -> None:
    names: dict[str, set[str]] = defaultdict(set)
    for site, theirs in places.items():
        for place in theirs:
            names[place].add(site)
    if twice := [place for place, whose in names.items() if len(whose) > 1]:
        got = f"{some(files.name_of(place) for place in twice)} at {some(sorted(names[twice[0]]))}"
        raise UsageError("scan-twice", "each scan at one site", got, "remove all but one of them")


def _places(site: Site) -> list[str]:
    """Where a site's scans lie: files of a table, persons of a dataset, or all of a folder."""
    if lines := lines_of(site):
        return [files.real(row["path"]) for row in lines]
    folder = files.real(site.input)
    return [files.join(folder, f"sub-{label}") for label in site.participants] or [folder]


def _labels(site: Site) -> set[str]:
    """Labels of a site's persons; none where nothing tells them before its scans are looked at."""
    if site.participants:
        return set(site.participants)
    if lines := lines_of(site):
        return set().union(*(labels_of(row).get("sub", set()) for row in lines))
    return labels_there(site.input)
