"""What participants.tsv tells of persons."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from core.io import files
from core.io.tables import read_table

UNKNOWN = {"", "n/a"}
KEY = "participant_id"


def people(root: str, columns: Sequence[str] | None = None) -> Mapping[str, dict[str, float | str]]:
    """Values by column, by the persons' labels; empty where there is no table.

    Args:
        root: folder of the dataset.
        columns: that are wanted; None: all.

    Raises:
        UsageError: a participants.tsv that is no table.
    """
    try:
        names, rows = read_table(files.join(root, "participants.tsv"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    wanted = [name for name in names if name != KEY] if columns is None else columns
    persons = {}
    for row in rows.values():
        known = {name: _value(row[name]) for name in wanted if row.get(name, "").lower() not in UNKNOWN}
        if known:
            persons[row.get(KEY, "").removeprefix("sub-")] = known
    return persons


def _value(text: str) -> float | str:
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text
