"""What participants.tsv tells of persons, and that of an output."""

from __future__ import annotations

import math
import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from core.engine.records import ScanRecord
from core.errors import UsageError
from core.io import files
from core.io.tables import Row, read_table, text_of

UNKNOWN = {"", "n/a"}
KEY = "participant_id"
DATA = re.compile(r"sub-|[\d.]+\b")  # what no column is called; untold, for it is of persons
HEAD = f"{KEY}\tsource\n"
ABOUT = {
    "Description": "The persons of whom scans were restored.",
    "source": {"Description": "Folder of the input in which all of a person's scans lie; n/a: the input's own."},
}


def table_of(root: str) -> tuple[list[str], list[Row]]:
    """Columns and lines of the table of a dataset's persons; none where there is no table, or an empty one.

    Args:
        root: folder of the dataset.

    Raises:
        UsageError: participants-columns, where it does not name the persons; as ``read_table``.
    """
    try:
        head, rows = read_table(files.join(root, "participants.tsv"))
    except (FileNotFoundError, NotADirectoryError):
        return [], []
    if KEY not in head and any(head):
        wanted = f"a column {KEY} in {files.join(root, 'participants.tsv')}, separated by tabs"
        got = "data in its first line" if any(map(DATA.match, head)) else f"the columns {', '.join(map(repr, head))}"
        raise UsageError("participants-columns", wanted, got, f"name the column of the persons {KEY} in the table's first line")
    return head, list(rows.values())


def people(root: str, columns: Sequence[str] | None = None) -> Mapping[str, dict[str, float | str]]:
    """Values by column, by the persons' labels; empty where there is no table.

    Args:
        root: folder of the dataset.
        columns: that are wanted; None: all.

    Raises:
        UsageError: as ``table_of``.
    """
    names, rows = table_of(root)
    wanted = [name for name in names if name != KEY] if columns is None else columns
    persons = {}
    for row in rows:
        known = {name: _value(row[name]) for name in wanted if row.get(name, "").lower() not in UNKNOWN}
        if known:
            persons[row.get(KEY, "").removeprefix("sub-")] = known
    return persons


def amiss(root: str) -> str:
    """What is wrong with the table of a dataset's persons, for what goes on without it; empty where nothing is."""
    with suppress(OSError):  # an input that is gone is told where its scans are read
        try:
            table_of(root)
        except UsageError as error:
            return f"{files.join(root, 'participants.tsv')} is not used: {error}"
    return ""


def _value(text: str) -> float | str:
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text


@dataclass(frozen=True)
class Lines:
    """A participants.tsv, line by line.

    Attributes:
        columns: their names as they are written, by those in lower case.
        rows: of each person by label, which may have several; "" those of lines that name none.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    rows: Mapping[str, Sequence[Row]] = field(default_factory=dict)

    def with_people(self, others: Lines, labels: Mapping[str, str]) -> Lines:
        """These lines, and those of some persons of another table; columns that it has not stay.

        Args:
            others: lines of the other table.
            labels: of the persons in the other table, by those that they have here.

        Returns:
            the lines of both; this very value where the other table adds nothing.
        """
        rows = dict(self.rows)
        for here, there in labels.items():
            if lines := others.rows.get(there):
                own = {name: cell for name, cell in self.rows.get(here, [{}])[-1].items() if name not in others.columns}
                rows[here] = [own | row | {KEY: f"sub-{here}"} for row in lines]
        return self if rows == self.rows else Lines({**self.columns, **others.columns}, rows)

    def text(self) -> str:
        """The table, the persons in the order of their labels."""
        columns = [KEY, *(name for name in self.columns if name != KEY)]
        lines = [[KEY, *(self.columns[name] for name in columns[1:])]]
        lines += [[row.get(name) or "n/a" for name in columns] for label in sorted(self.rows) for row in self.rows[label]]
        return "".join("\t".join(line) + "\n" for line in lines)


def lines_in(root: str) -> Lines:
    """The lines of the participants.tsv of a dataset; none where it has no such table.

    Args:
        root: folder of the dataset.

    Raises:
        UsageError: as ``table_of``.
    """
    names, lines = table_of(root)
    if not any(names):
        return Lines()
    written = re.split(r"[\r\n]", text_of(files.join(root, "participants.tsv")), maxsplit=1)[0].split("\t")
    rows: dict[str, list[Row]] = defaultdict(list)
    for row in lines:
        label = row.get(KEY, "").removeprefix("sub-")
        rows["" if label in UNKNOWN else label].append({name: row.get(name) or "n/a" for name in names if name})
    return Lines({name: word.strip().strip('"') for name, word in zip(names, written, strict=True) if name}, dict(rows))


def write_lines(root: str, lines: Lines) -> None:
    """Write the participants.tsv of a dataset."""
    files.write_atomic(files.join(root, "participants.tsv"), lines.text().encode())


def _table(records: Iterable[ScanRecord]) -> str:
    """participants.tsv of an output: who has restored scans, and where in the input they came from."""
    folders: dict[str, set[str]] = defaultdict(set)
    for record in records:
        for person in {path.partition("/")[0] for path in record.outputs if path.startswith("sub-")}:
            folders[person] |= {posixpath.dirname(path) for path in record.inputs}
    lines = (f"{person}\t{_common(folders[person])}\n" for person in sorted(folders))
    return HEAD + "".join(lines)


def _common(folders: set[str]) -> str:
    if not folders or any(folder.startswith("/") for folder in folders):
        return "n/a"
    return " ".join(posixpath.commonpath(sorted(folders)).split()) or "n/a"


def write_people(out: str, records: Iterable[ScanRecord]) -> None:
    """Write participants.tsv and participants.json of an output, but where somebody else wrote one.

    Args:
        out: output folder or s3:// prefix.
        records: of all its scans.
    """
    table = files.join(out, "participants.tsv")
    if not files.exists(table) or files.read_bytes(table).startswith(HEAD.encode()):
        files.write_atomic(table, _table(records).encode(errors="replace"))
        files.write_json(files.join(out, "participants.json"), ABOUT)
