"""The sites of a harmonisation, as they are told: which scans are whose, how old their persons were, of which sex."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.errors import UsageError
from core.io import bids, files

NAME = re.compile(r"[0-9A-Za-z][\w-]{0,63}", re.ASCII)
RESERVED = {"harmonized", "isovox", "reports"}
UNKNOWN = {"", "n/a", "na", "nan", "none"}
SEXES = {"m": "M", "male": "M", "f": "F", "female": "F"}
Row = dict[str, str]


@dataclass(frozen=True)
class Person:
    """What of a person is preserved.

    Attributes:
        age: in years.
        sex: "M", "F" or another word.
    """

    age: float | None = None
    sex: str | None = None


@dataclass(frozen=True)
class Site:
    """A site.

    Attributes:
        name: safe as a folder's name.
        input: BIDS dataset, folder, NIfTI file or table.
        rows: of a table that is to be written, in place of ``input``; empty where the input is there.
        participants: labels of a BIDS dataset that belong to it; empty for all.
        people: by participant label or by the scan's URI.
    """

    name: str
    input: str
    rows: tuple[Row, ...] = ()
    participants: tuple[str, ...] = ()
    people: Mapping[str, Person] = field(default_factory=dict)

    def person(self, uri: str, label: str) -> Person:
        """Whose scan it is; unknown where nothing tells."""
        return self.people.get(uri) or self.people.get(label) or Person()


def sites_of(words: Sequence[str]) -> list[Site]:
    """The sites that are named, in order.

    Args:
        words: NAME=PATH; or a table with the columns path and site; or a BIDS dataset whose participants.tsv has a column site;
            else the folder's name is the site's.

    Raises:
        UsageError: a name that is no folder's, or twice; a table without sites.
    """
    found = [site for word in words for site in _sites(word)]
    for site in found:
        if not NAME.fullmatch(site.name) or site.name.lower() in RESERVED:
            wanted = f"a site's name of letters, digits, '-' and '_', not {', '.join(sorted(RESERVED))}"
            raise UsageError("site-name", wanted, repr(site.name), "name it by NAME=PATH")
    twice = [name for name, count in Counter(site.name.lower() for site in found).items() if count > 1]
    if twice:
        raise UsageError("site-twice", "each site once", twice[0], "name it once, or put its scans into one table")
    return found


def _sites(word: str) -> list[Site]:
    name, equals, path = word.partition("=")
    if equals and "/" not in name:
        return [_whole(name, path)]
    if word.endswith(".tsv"):
        return _of_table(word)
    rows = _table(files.join(word, "participants.tsv"))
    if rows and "site" in rows[0]:
        return _of_participants(word, rows)
    return [_whole(files.name_of(bids.without_extension(word)), word)]


def _whole(name: str, path: str) -> Site:
    """A site that is all of a dataset or of a table."""
    if path.endswith(".tsv"):
        rows = _table(path)
        return Site(name, path, people=_people_of_paths(rows, files.parent_of(path)))
    rows = _table(files.join(path, "participants.tsv"))
    return Site(name, path, people={_label(row): _person(row) for row in rows if row.get("participant_id")})


def _of_participants(path: str, rows: Iterable[Row]) -> list[Site]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.get("site", "").lower() not in UNKNOWN:
            groups[row["site"]].append(row)
    return [
        Site(name, path, participants=tuple(map(_label, group)), people={_label(row): _person(row) for row in group})
        for name, group in groups.items()
    ]


def _of_table(uri: str) -> list[Site]:
    rows = _table(uri)
    if not rows or not {"path", "site"} <= set(rows[0]):
        got = ", ".join(rows[0]) if rows else f"nothing in {uri}"
        raise UsageError("site-table", "a table with the columns path and site, separated by tabs", got, "name its columns so")
    groups: dict[str, list[Row]] = defaultdict(list)
    folder = files.parent_of(uri)
    for row in rows:
        if row["site"].lower() in UNKNOWN:
            raise UsageError("site-missing", "a site in each line", f"none for {row['path']}", "complete the table")
        groups[row["site"]].append(row | {"path": _absolute(row["path"], folder)})
    return [Site(name, uri, tuple(group), people=_people_of_paths(group, folder)) for name, group in groups.items()]


def _people_of_paths(rows: Iterable[Row], folder: str) -> dict[str, Person]:
    return {_absolute(row["path"], folder): _person(row) for row in rows if row.get("path")}


def _absolute(path: str, folder: str) -> str:
    return path if "://" in path or path.startswith("/") else files.join(folder, path)


def _table(uri: str) -> list[Row]:
    """The lines of a table by column; none where there is no table."""
    try:
        text = files.read_bytes(uri).decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return []
    reader = csv.DictReader(io.StringIO(text), delimiter="\t")
    return [{name: (value or "").strip() for name, value in row.items() if name} for row in reader]


def _label(row: Row) -> str:
    return row.get("participant_id", "").removeprefix("sub-")


def _person(row: Row) -> Person:
    age, sex = row.get("age", "").lower().rstrip("+"), row.get("sex", row.get("gender", "")).lower()
    try:
        years = None if age in UNKNOWN else float(age)
    except ValueError:
        years = None
    return Person(years if years is None or 0 <= years < 130 else None, None if sex in UNKNOWN else SEXES.get(sex, sex))


def write_table(uri: str, rows: Sequence[Row]) -> None:
    """Write the lines of a site as a table of its own."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    kept: Any = io.StringIO()
    writer = csv.DictWriter(kept, columns, delimiter="\t", lineterminator="\n", restval="n/a")
    writer.writeheader()
    writer.writerows(rows)
    files.write_atomic(uri, kept.getvalue().encode())
