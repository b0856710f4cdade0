"""Tables of text: lines of cells that tabs separate, with or without double quotes around them."""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence

from core.errors import UsageError, counted
from core.io import files
from core.places import at_home

Row = dict[str, str]
MARKS = (  # what a file of another encoding begins with
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
CELL = re.compile(r' *"((?:[^"]|"")*)" *(?:\t|$)|([^\t]*)(?:\t|$)')
PATHS = ("path", "reference", "mask")  # columns that name files
UNKNOWN = {"", "n/a"}
NO_FILE = UNKNOWN | {"na", "nan"}  # as statistics programs write it; a person may have such a label
DELIMITERS = {",": "commas", ";": "semicolons", "|": "bars"}  # of tables that are none of tabs
REMEDY = "save it as text in UTF-8, separated by tabs"


def text_of(uri: str) -> str:
    """The text of a table: UTF-8, or UTF-16 by its mark.

    Raises:
        FileNotFoundError: there is none.
        UsageError: table-encoding, table-binary.
    """
    content = files.read_bytes(uri)
    encoding = next((name for mark, name in MARKS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        got = f"other bytes in line {line} of {files.name_of(uri)}"
        raise UsageError("table-encoding", "a table in UTF-8", got, REMEDY) from error
    if "\0" in text:
        raise UsageError("table-binary", "a table of text", f"binary content in {files.name_of(uri)}", REMEDY)
    return text


def read_table(uri: str) -> tuple[list[str], dict[int, Row]]:
    """Names of the columns, in lower case and without blanks around them, and the lines by their number in the file.

    Cells are as they are but for blanks around them and the double quotes of one that begins and ends with them; any other
    quotation mark is a mark like any other. A path that begins with ~/ is one below the user's home.

    Raises:
        FileNotFoundError: there is none.
        UsageError: table-encoding, table-binary; table-delimiter, where it is separated by commas, semicolons or bars;
            table-columns, where a column is twice; table-line, where a line has more cells than there are columns.
    """
    lines = text_of(uri).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    head = [name.lower() for name in cells_of(lines[0])]
    check_tabs(head, uri)
    if twice := sorted({name for name in head if name and head.count(name) > 1}):
        raise UsageError("table-columns", "each column once", f"{', '.join(twice)} more than once", "rename one")
    rows: dict[int, Row] = {}
    for number, line in enumerate(lines[1:], start=2):
        cells = cells_of(line)
        if len(cells) > len(head) and any(cells[len(head) :]):
            got = f"{len(cells)} in line {number} of {files.name_of(uri)}"
            remedy = (
                "write n/a where a value is unknown" if len(head) > 1 else "remove what stands above the names of the columns"
            )
            raise UsageError("table-line", f"at most {counted(len(head), 'cell')} a line, as in the first", got, remedy)
        if any(cells):
            rows[number] = {
                name: at_home(cell) if name in PATHS else cell for name, cell in zip(head, cells, strict=False) if name
            }
    return head, rows


def check_tabs(head: Sequence[str], uri: str) -> None:
    """Refuse names of columns that something else than tabs separates.

    Raises:
        UsageError: table-delimiter.
    """
    if len(head) == 1 and (mark := next((mark for mark in DELIMITERS if mark in head[0]), "")):
        got = f"{DELIMITERS[mark]} in {files.name_of(uri)}"
        raise UsageError("table-delimiter", "columns separated by tabs", got, REMEDY)


def cells_of(line: str) -> list[str]:
    """The cells of a line, without the quotes and blanks around them; within quotes a doubled one is one, a tab a blank."""
    cells, at = [], 0
    while match := CELL.match(line, at):
        quoted, plain = match.groups()
        cells.append((plain if quoted is None else quoted.replace('""', '"').replace("\t", " ")).strip())
        if match.end() == len(line) and not match[0].endswith("\t"):
            break
        at = match.end()
    return cells


def says(name: str, cell: str) -> bool:
    """Whether the cell of a column holds anything."""
    return cell.lower() not in (NO_FILE if name in PATHS else UNKNOWN)


def absolute(path: str, folder: str) -> str:
    """Where a path of a table leads, which is relative to the folder of the table unless it says a place itself."""
    return path if "://" in path or path.startswith("/") else files.join(folder, path)


def paths_in(uri: str) -> list[str]:
    """Where the paths of a table lead: of the images, their truth and their masks.

    Raises:
        FileNotFoundError: there is no table.
        UsageError: as ``read_table``.
    """
    rows, folder = read_table(uri)[1].values(), files.parent_of(uri)
    return [absolute(row[name], folder) for row in rows for name in PATHS if says(name, row.get(name, ""))]
