"""The sites of a harmonisation, as they are told: which scans are whose, how old their persons were, of which sex."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from core.digest import digest_of
from core.errors import UsageError
from core.harmonize.tables.table import some
from core.io import bids, files, participants
from core.io.names import IMAGES
from core.io.tables import PATHS, Row, absolute, read_table, says

NAME = re.compile(r"[0-9A-Za-z][\w-]{0,63}", re.ASCII)
RESERVED = {"harmonized", "isovox", "reports"}
UNKNOWN = {"", "n/a", "na", "nan", "none"}
LABELLED = re.compile(r"(.*?)/(sub-[0-9A-Za-z]+)/")  # a dataset's folder, and whose scan it is
SESSIONS = re.compile(r"(sub-([0-9A-Za-z]+))/\1_sessions\.tsv")  # a person's table of visits, as in BIDS
NOT_TOLD = UNKNOWN | {"u", "unk", "unknown", "not reported", "?", "-"}  # of sexes; a site may be called U
SEXES = {"m": "M", "male": "M", "man": "M", "f": "F", "female": "F", "w": "F", "woman": "F"}
AGE = re.compile(r"(?:[~≥]|>=?)?\s*(\d+(?:[.,]\d+)?)\s*\+?\s*([ymwd])?(?:ears?|onths?|eeks?|ays?|rs?|os?)?")
PER_YEAR = {"y": 1.0, "m": 12.0, "w": 52.1775, "d": 365.2425}
UNIT = re.compile(r"\b([ymwd])(?:ears?|onths?|eeks?|ays?|rs?|os?)?\b")  # of ages, as the description of a table names it


@dataclass(frozen=True)
class Person:
    """What of a person is preserved.

    Attributes:
        age: in years.
        sex: "M", "F" or another word.
        name: who it is, the same at every site; empty where a label is of its site's person alone.
        group: such as patients or controls, by a column group or diagnosis; empty where nothing tells.
    """

    age: float | None = None
    sex: str | None = None
    name: str = ""
    group: str = ""


@dataclass(frozen=True)
class Site:
    """A site.

    Attributes:
        name: safe as a folder's name.
        input: BIDS dataset, folder, NIfTI file or table.
        rows: of a table that is to be written, in place of ``input``; empty where the input is there.
        participants: labels that belong to it, or are asked for; empty for all.
        people: by participant label, or by where the scan's file or folder lies (``files.real``).
        notes: who was left out, and why.
    """

    name: str
    input: str
    rows: tuple[Row, ...] = ()
    participants: tuple[str, ...] = ()
    people: Mapping[str, Person] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def person(self, uri: str, label: str, *others: str) -> Person:
        """Whose scan it is, by its file, its label or its other files (of a pair, of a series); unknown where nothing tells."""
        places = [files.real(place) for place in (uri, *others) if place]
        known = (self.people.get(name) for name in (*places, *map(files.parent_of, places[:1]), label))
        return next((person for person in known if person is not None), Person())


def sites_of(words: Sequence[str]) -> list[Site]:
    """The sites that are named, in order.

    Args:
        words: NAME=PATH; or a table with the columns path and site; or a BIDS dataset whose participants.tsv has a column site;
            else the folder's name is the site's.

    Raises:
        UsageError: a name that is no folder's, or twice; a table without sites.
    """
    sites = [site for word in words for site in _sites(word)]
    for site in sites:
        if not NAME.fullmatch(site.name) or site.name.lower() in RESERVED:
            wanted = f"a site's name of letters, digits, '-' and '_', not {', '.join(sorted(RESERVED))}"
            raise UsageError("site-name", wanted, repr(site.name), "name it by NAME=PATH")
    twice = [name for name, count in Counter(site.name.lower() for site in sites).items() if count > 1]
    if twice:
        raise UsageError("site-twice", "each site once", twice[0], "name it once, or put its scans into one table")
    return sites


def inputs_of(words: Sequence[str]) -> list[str]:
    """The datasets, folders and tables that the words name."""
    parts = [word.partition("=") for word in words]
    return [path if equals and "/" not in name else name + equals + path for name, equals, path in parts]


def _sites(word: str) -> list[Site]:
    name, equals, path = word.partition("=")
    if equals and "/" not in name:
        return [_whole(name, path)]
    if is_table(word):
        return _of_table(word)
    rows = _participants(word)
    if any(row.get("site", "").lower() not in UNKNOWN for row in rows):
        return _of_participants(word, rows)
    return [_whole(files.name_of(bids.without_extension(word)), word)]


def is_table(path: str) -> bool:
    """Whether a path is named as a table, in whatever letters."""
    return path.lower().endswith(".tsv")


def _whole(name: str, path: str) -> Site:
    """A site that is all of a dataset or of a table."""
    if is_table(path):
        rows = _table(path)
        return Site(name, path, people=_people_of_paths(rows, files.parent_of(path)))
    return Site(name, path, people=_people(_participants(path), path))


def _people(rows: Iterable[Row], path: str) -> dict[str, Person]:
    """The persons of a dataset by their labels, and by the folders of those visits that a person's table of sessions describes.

    Args:
        rows: of participants.tsv.
        path: of the dataset.
    """
    by_label = {_label(row): row for row in rows}
    people = {label: _person(row) for label, row in by_label.items()}
    for inside in files.walk(path, "sub-"):
        if match := SESSIONS.fullmatch(inside):
            for visit in _table(files.join(path, inside)):
                known = {name: cell for name, cell in visit.items() if cell.lower() not in UNKNOWN}
                anat = files.join(path, f"sub-{match[2]}", f"ses-{visit.get('session_id', '').removeprefix('ses-')}", "anat")
                people[files.real(anat)] = _person(by_label.get(match[2], {}) | known)
    return people


def _participants(path: str) -> list[Row]:
    """The persons of a dataset, each once.

    Raises:
        UsageError: participants-twice, participants-unmatched, table-description, and what ``participants.table_of`` raises.
    """
    head, lines = participants.table_of(path)
    filled = [row for row in _filled(head, lines) if row["participant_id"]]
    rows = _described(filled, files.join(path, "participants.json"))
    rows = list({tuple(sorted(row.items())): row for row in rows}.values())
    if twice := [label for label, count in Counter(map(_label, rows)).items() if count > 1]:
        got = f"several for {some(f'sub-{label}' for label in twice)}"
        remedy = "keep one line a person, or name scans and their ages in a table with the columns path, site and age"
        raise UsageError("participants-twice", "one line for each person", got, remedy)
    there = labels_there(path)
    if rows and there and not there & set(map(_label, rows)):
        got = f"ids such as {rows[0]['participant_id']}, folders such as sub-{min(there)}"
        remedy = "write the ids as the folders are named, with leading zeros"
        raise UsageError("participants-unmatched", "ids of participants.tsv that name folders of the dataset", got, remedy)
    return rows


def labels_there(path: str) -> set[str]:
    """Labels of the persons that have an image."""
    images = (inside for inside in files.walk(path, "sub-") if IMAGES.search(inside))
    return {inside.partition("/")[0].removeprefix("sub-") for inside in images}


def _of_participants(path: str, rows: Iterable[Row]) -> list[Site]:
    groups: dict[str, list[Row]] = defaultdict(list)
    there, homeless = labels_there(path), []
    for row in rows:
        if row.get("site", "").lower() in UNKNOWN:
            homeless.append(f"sub-{_label(row)}")
        else:
            groups[row["site"]].append(row)
    known = {_label(row) for group in groups.values() for row in group} | {label.removeprefix("sub-") for label in homeless}
    notes = _notes("without a site in participants.tsv, left out", homeless)
    notes += _notes("without a line in participants.tsv, left out", [f"sub-{label}" for label in sorted(there - known)])
    sites = [_of_group(path, name, group, there) for name, group in groups.items()]
    return [replace(sites[0], notes=notes + sites[0].notes), *sites[1:]] if sites else []


def _of_group(path: str, name: str, group: Sequence[Row], there: set[str]) -> Site:
    """The site of some persons of a dataset; those without an image are left out and told.

    Raises:
        UsageError: site-lost, where none of them has one.
    """
    labels = [label for label in map(_label, group) if not there or label in there]
    if not labels:
        got = f"none of the {len(group)} of {name}: ids such as {_label(group[0])}, folders such as sub-{min(there)}"
        remedy = "write the ids as the folders are named, with leading zeros, or leave the site out"
        raise UsageError("site-lost", "persons with images for each site", got, remedy)
    gone = [f"sub-{label}" for label in map(_label, group) if label not in labels]
    notes = _notes("in participants.tsv without an image, left out", gone)
    return Site(name, path, participants=tuple(labels), people=_people(group, path), notes=notes)


def _notes(what: str, names: Sequence[str]) -> tuple[str, ...]:
    return (f"{len(names)} {'person' if len(names) == 1 else 'persons'} {what}: {some(names)}",) if names else ()


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
        groups[row["site"]].append(_named(row | _places(row, folder)))
    return [Site(name, uri, tuple(group), people=_people_of_paths(group, folder)) for name, group in groups.items()]


def _places(row: Row, folder: str) -> Row:
    """The cells of a line that name files, as any other folder's table may hold them."""
    return {name: _absolute(row[name], folder) for name in PATHS if name == "path" or says(name, row.get(name, ""))}


def _named(row: Row) -> Row:
    """A line with its person: of scans in one dataset the label names the same person, at whatever site.

    Hex digits of the dataset's whole path keep apart the persons of two datasets whose folders are called alike.
    """
    match = LABELLED.match(row["path"])
    if "person" in row or match is None:
        return row
    return row | {"person": f"{files.name_of(match[1])}-{digest_of(files.real(match[1]))[:8]}/{match[2]}"}


def _people_of_paths(rows: Iterable[Row], folder: str) -> dict[str, Person]:
    return {files.real(_absolute(row["path"], folder)): _person(row) for row in rows if row.get("path")}


def _absolute(path: str, folder: str) -> str:
    """A path of a table as any other folder's table may hold it."""
    there = absolute(path, folder)
    return there if "://" in there else str(Path(there).absolute())


def _table(uri: str) -> list[Row]:
    """The lines of a table by column, all columns in each; none where there is no table.

    Raises:
        UsageError: table-description, and what ``read_table`` raises.
    """
    try:
        head, rows = read_table(uri)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return _described(_filled(head, rows.values()), f"{uri[: -len('.tsv')]}.json")


def _described(rows: list[Row], uri: str) -> list[Row]:
    """The lines, ages with their unit and sexes in words where the description beside a table (JSON, as in BIDS) tells them.

    Raises:
        UsageError: table-description, where it cannot be read.
    """
    try:
        said = files.read_json(uri) if rows else {}
    except (FileNotFoundError, NotADirectoryError):
        return rows
    except ValueError as error:
        wanted, got = "a description of a table's columns as JSON", f"{files.name_of(uri)}, which is none ({error})"
        raise UsageError("table-description", wanted, got, "correct it, or remove it") from error
    columns = {name.lower(): about for name, about in said.items() if isinstance(about, dict)} if isinstance(said, dict) else {}
    unit = UNIT.search(str(columns.get("age", {}).get("Units", "")).lower())
    return [_in_words(row, unit[1] if unit else "", columns) for row in rows]


def _in_words(row: Row, unit: str, columns: Mapping[str, Mapping[str, Any]]) -> Row:
    """A line whose age names its unit, and whose sex is what its code stands for, where that is told."""
    row = dict(row)
    if (age := AGE.fullmatch(row.get("age", "").lower())) and not age[2]:
        row["age"] += unit
    for name in {"sex", "gender"} & row.keys():
        levels = columns.get(name, {}).get("Levels")
        about = levels.get(row[name]) if isinstance(levels, dict) else None
        word = str(about.get("Description", "") if isinstance(about, dict) else about).strip().lower()
        row[name] = word if word in SEXES else row[name]
    return row


def _filled(head: Sequence[str], rows: Iterable[Row]) -> list[Row]:
    """The lines with all columns in each."""
    return [{name: row.get(name, "") for name in head if name} for row in rows]


def _label(row: Row) -> str:
    return row.get("participant_id", "").removeprefix("sub-")


def _person(row: Row) -> Person:
    sex, name = row.get("sex", row.get("gender", "")).lower(), row.get("person", "")
    known = None if sex in NOT_TOLD else SEXES.get(sex, sex)
    group = row.get("group", row.get("diagnosis", ""))
    name, group = ("" if word.lower() in UNKNOWN else word for word in (name, group))
    return Person(_years(row.get("age", "")), known, name, group)


def _years(text: str) -> float | None:
    """An age as tables write it (45.5, 45,5, ~45, 89+, >=89, 18 mo) or DICOM does (045Y, 018M); None where it is no age."""
    match = AGE.fullmatch(text.strip().lower())
    if not match:
        return None
    years = float(match[1].replace(",", ".")) / PER_YEAR[match[2] or "y"]
    return years if years < 130 else None


def lines_of(site: Site) -> tuple[Row, ...]:
    """The lines of a site that is a table's, or a part of one; none of a dataset or folder."""
    known = tuple(row for row in _table(site.input) if row.get("path")) if is_table(site.input) else ()
    folder = files.parent_of(site.input)
    return site.rows or tuple(row | {"path": _absolute(row["path"], folder)} for row in known)


def write_table(uri: str, rows: Sequence[Row]) -> None:
    """Write the lines of a site as a table of its own, without quoting, as it is read."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [columns, *([row.get(name, "n/a") for name in columns] for row in rows)]
    files.write_atomic(uri, "".join("\t".join(line) + "\n" for line in lines).encode())
