"""Pairs of all persons: a table, two stacks of slices each as BIDS, and a page each.

pairs.tsv                                 a line a coarse slice: what each measure voted for, and what was taken
pairs.json                                the settings, and what the columns are
sub-01/anat/…_desc-pairs_<suffix>.nii.gz  the paired slices of each of the two scans, in the same order
sub-01_pairs.html                         to look them through
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import groupby
from typing import Any

import numpy as np

from core.errors import InputError, IsovoxError, UsageError, listed
from core.evaluation.pairing import MEASURES, Pair, Stacks, stack_grid, stacks_of, vote
from core.geometry.grid import Array, Grid
from core.io import bids, claim, files, nifti, readers
from core.io.bids import Source
from core.io.derivatives import dataset_description
from core.settings.pairs import PairSettings
from tasks.bounded import reason
from tasks.pairs.page import page

COLUMNS = {
    "group": "person and session",
    "coarse_scan": "path of the coarser scan",
    "fine_scan": "path of the finer scan",
    "coarse_slice": "number of its slice along the axis, from 0, towards R, A or S",
    "fine_slice": "of the slice that shows the same; n/a where ties are dropped",
    "by_header": "where the headers put it among the fine scan's slices",
    "votes": "of three, for that slice",
    **{f"{name}_slice": f"that {name} votes for" for name in MEASURES},
    **{name: f"distance of what {name} votes for" for name in MEASURES},
}


@dataclass(frozen=True)
class Person:
    """What came of a person.

    Attributes:
        group: person and session.
        pairs: that were taken.
        tied: of those, how many the measures disagree about.
        dropped: slices for which none was taken, for the measures disagree.
        page: its path in the output.
        reason: why there are none; "" where there are.
    """

    group: str
    pairs: int = 0
    tied: int = 0
    dropped: int = 0
    page: str = ""
    reason: str = ""


def make(settings: PairSettings) -> list[Person]:
    """Find the pairs of a cohort; one person's fault does not end the others'.

    Raises:
        UsageError: no such input, or nobody with a fine and a coarse scan.
    """
    claim.check(settings.out, [settings.input], "pairs")
    scans = [scan for scan in bids.discover(settings.input, settings.selection) if isinstance(scan, Source)]
    both = [scan for scan in scans if fnmatch(scan.key, settings.fine) or fnmatch(scan.key, settings.coarse)]
    if not both:
        wanted, got = f"scans named {settings.fine} and {settings.coarse}", listed(scan.key for scan in scans)
        raise UsageError("pairs-none", wanted, got, "correct the names, which are patterns such as *_T1w")
    claim.mark(settings.out, "pairs")
    _describe(settings)
    rows: list[list[str]] = []
    made = []
    for group, members in groupby(sorted(both, key=lambda scan: scan.group), lambda scan: scan.group):
        try:
            person, lines = _of_person(group, list(members), settings)
        except (IsovoxError, OSError, MemoryError) as error:
            person, lines = Person(group, reason=reason(error)), []
        made.append(person)
        rows += lines
    table = "".join("\t".join(row) + "\n" for row in [list(COLUMNS), *rows])
    files.write_atomic(files.join(settings.out, "pairs.tsv"), table.encode())
    return made


def _describe(settings: PairSettings) -> None:
    rules = settings.voting.model_dump(mode="json")
    made = dataset_description(settings.out, settings.input, {"Pairs": rules})
    made |= {"Name": "Pairs of slices, by isovox"}
    files.write_json(files.join(settings.out, "dataset_description.json"), made)
    files.write_atomic(files.join(settings.out, ".bidsignore"), b"/isovox\n/pairs.*\n*.html\n")
    columns = {name: {"Description": text} for name, text in COLUMNS.items()}
    files.write_json(files.join(settings.out, "pairs.json"), {"Settings": rules, "Columns": columns})


def _of_person(group: str, scans: Sequence[Source], settings: PairSettings) -> tuple[Person, list[list[str]]]:
    """The pairs of a person, written.

    Raises:
        InputError: pairs-ambiguous: not one scan of each, or one scan as both.
    """
    fine, coarse = (_only(group, scans, pattern) for pattern in (settings.fine, settings.coarse))
    if fine.key == coarse.key:
        wanted, got = f"two scans of {group}, named {settings.fine} and {settings.coarse}", f"{fine.key} for both"
        raise InputError("pairs-ambiguous", wanted, got, "narrow the names, so that each is of another scan")
    images = [readers.load(scan.kind, scan.uris, settings.trust)[:2] for scan in (fine, coarse)]
    rules = settings.voting
    stacks = stacks_of(*images[0], *images[1], None if rules.axis == "auto" else "RAS".index(rules.axis))
    pairs = vote(stacks, rules)
    taken = [pair for pair in pairs if pair.fine is not None]
    if taken:
        _write(settings.out, fine, stacks.sharp, stacks.sharp_grid, stacks, [int(pair.fine or 0) for pair in taken])
        planes = np.moveaxis(images[1][0], stacks.axis, 0)
        _write(settings.out, coarse, planes, images[1][1], stacks, [pair.coarse for pair in taken])
    name = f"{group.replace('/', '_')}_pairs.html"
    about = {"fine": fine.relative, "coarse": coarse.relative, "group": group, "rules": rules.model_dump(mode="json")}
    files.write_atomic(files.join(settings.out, name), page(stacks, pairs, about, images[1][1]).encode())
    person = Person(group, len(taken), sum(pair.tied for pair in taken), len(pairs) - len(taken), name)
    return person, [_row(group, fine, coarse, stacks, pair) for pair in pairs]


def _only(group: str, scans: Sequence[Source], pattern: str) -> Source:
    matching = [scan for scan in scans if fnmatch(scan.key, pattern)]
    if len(matching) != 1:
        got = ", ".join(scan.key for scan in matching) or "none"
        raise InputError(
            "pairs-ambiguous", f"one scan of {group} named {pattern}", got, "narrow the name, or leave the others out"
        )
    return matching[0]


def _row(group: str, fine: Source, coarse: Source, stacks: Stacks, pair: Pair) -> list[str]:
    taken = "n/a" if pair.fine is None else str(pair.fine)
    place = f"{stacks.places[pair.coarse]:.2f}"
    named = [str(pair.votes[name]) for name in MEASURES] + [f"{pair.values[name]:.5g}" for name in MEASURES]
    return [group, coarse.relative, fine.relative, str(pair.coarse), taken, place, str(pair.count), *named]


def _write(out: str, scan: Source, planes: Array, grid: Grid, stacks: Stacks, chosen: Sequence[int]) -> None:
    """A stack of chosen slices, in the coarse scan's order; the sidecar says which they are.

    Its header lays them from the first to the last, evenly: backwards where they are. So voxels of two stacks agree by number.
    """
    image = np.ascontiguousarray(np.moveaxis(planes[list(chosen)], 0, stacks.axis), np.float32)
    step = (chosen[-1] - chosen[0]) / max(1, len(chosen) - 1) or 1.0
    uri = files.join(out, scan.stem.replace("desc-restored", "desc-pairs"))
    nifti.save(f"{uri}.nii.gz", image, stack_grid(grid, stacks.axis, float(chosen[0]), step, len(chosen)))
    about: dict[str, Any] = {
        "Sources": [f"bids:raw:{scan.relative}"],
        "SlicesOfSource": list(chosen),
        "SliceAxis": "RAS"[stacks.axis],
    }
    files.write_json(f"{uri}.json", about)
