"""Features of scans: one value type for what is measured of each scan, at which site, and of whom."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from core.errors import FeaturesError
from core.io import files
from core.io.tables import cells_of, check_tabs, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

Values = NDArray[np.float64]
Covariate = tuple[float | str | None, ...]

PERSON = "person"  # the column that tells who a scan is of, at whatever site
COVARIATES = ("age", "sex")  # columns of a TSV that are of the person, not measured
CATEGORIES = ("sex", "handedness", "group", "diagnosis")  # never numbers, even where they are coded as numbers
UNKNOWN = "n/a"  # as BIDS writes it
UNKNOWNS = ("", UNKNOWN, "NA", "N/A", "nan", "NaN", "None")
BREAKS = "\t\n\r"


@dataclass(frozen=True, eq=False)
class Features:
    """What was measured of each scan; n scans, f features.

    Attributes:
        scans: n keys, each once; a BIDS name such as "sub-01_ses-2_T1w", so that ``persons`` are known.
        site: n names, none of them empty.
        covariates: n values by name; a number (age), a text (sex), or None where it is unknown.
        names: f features, each once.
        values: float64 (n, f), read-only, in each feature's own unit; NaN where unknown, never infinite.
        of: n names of persons, the same at every site for who was seen at several; empty where the scans' names tell (see
            ``persons``).
    """

    scans: tuple[str, ...]
    site: tuple[str, ...]
    covariates: Mapping[str, Covariate]
    names: tuple[str, ...]
    values: Values
    of: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check that all parts fit.

        Raises:
            FeaturesError: repeated scans or features, lengths that differ, a site without name, an infinite value.
        """
        for name in ("scans", "site", "names", "of"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "covariates", {name: tuple(values) for name, values in self.covariates.items()})
        values = np.array(self.values, dtype=np.float64)
        values.flags.writeable = False
        object.__setattr__(self, "values", values)
        self._check_names()
        self._check_values()

    def _check_names(self) -> None:
        for what, names in (("scan", self.scans), ("feature", self.names)):
            if twice := sorted(name for name, count in Counter(names).items() if count > 1):
                raise FeaturesError(f"{what}-twice", f"each {what} once", f"{some(twice)} more than once", "leave one out")
        lengths = {"site": len(self.site)} | ({"person": len(self.of)} if self.of else {})
        lengths |= {name: len(values) for name, values in self.covariates.items()}
        if wrong := {name: n for name, n in lengths.items() if n != len(self.scans)}:
            got = ", ".join(f"{n} of {name}" for name, n in wrong.items())
            raise FeaturesError("features-length", f"{len(self.scans)} values, one a scan", got, "give None where it is unknown")
        if nameless := [scan for scan, site in zip(self.scans, self.site, strict=True) if not site.strip()]:
            raise FeaturesError(
                "site-missing", "a site for each scan", f"none of {some(nameless)}", "name the scanner or the site"
            )

    def _check_values(self) -> None:
        if self.values.shape != (wanted := (len(self.scans), len(self.names))):
            raise FeaturesError("features-shape", f"values of {wanted}", f"{self.values.shape}", "give a row for each scan")
        if np.isinf(self.values).any():
            row, column = np.argwhere(np.isinf(self.values))[0]
            got = f"infinity for {self.names[column]} of {self.scans[row]}"
            raise FeaturesError("feature-infinite", "finite numbers, or NaN for unknown", got, "measure it again, or give NaN")
        for name, values in self.covariates.items():
            if any(isinstance(value, float) and not math.isfinite(value) for value in values):
                raise FeaturesError(
                    "covariate-infinite", f"finite numbers for {name}", "infinity or NaN", "give None where it is unknown"
                )

    def __len__(self) -> int:
        """How many scans."""
        return len(self.scans)

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of the sites, sorted, each once."""
        return tuple(sorted(set(self.site)))

    @property
    def persons(self) -> tuple[str, ...]:
        """Who each scan is of, at whatever site: as ``of`` tells, else site and the name's ``sub-`` entity.

        Labels repeat from site to site for persons who are not the same, so that only ``of`` tells of one seen at several.
        """
        own = (f"{site}/{person_of(scan)}" for scan, site in zip(self.scans, self.site, strict=True))
        return self.of or tuple(own)

    def rows(self, sites: Iterable[str]) -> list[int]:
        """Indices of the scans of ``sites``, in order."""
        wanted = set(sites)
        return [row for row, site in enumerate(self.site) if site in wanted]

    def select(self, rows: Sequence[int]) -> Features:
        """The scans at ``rows``, in that order."""
        chosen = [int(row) for row in rows]
        return Features(
            tuple(self.scans[row] for row in chosen),
            tuple(self.site[row] for row in chosen),
            {name: tuple(values[row] for row in chosen) for name, values in self.covariates.items()},
            self.names,
            self.values[chosen],
            tuple(self.of[row] for row in chosen) if self.of else (),
        )

    def only(self, names: Sequence[str]) -> Features:
        """The features of ``names``, in that order.

        Raises:
            FeaturesError: one is not there.
        """
        places = {name: place for place, name in enumerate(self.names)}
        if missing := [name for name in names if name not in places]:
            wanted, got = f"features {some(names)}", f"no {some(missing)} among {some(self.names)}"
            raise FeaturesError("feature-missing", wanted, got, "measure all scans with the same version and settings")
        columns = [places[name] for name in names]
        return replace(self, names=tuple(names), values=self.values[:, columns])

    def with_values(self, values: Values) -> Features:
        """The same scans with other values of the same features."""
        return replace(self, values=values)

    def one_each(self) -> Features:
        """One scan of each person, chosen by a digest of its name: neither always the first nor narrowed as a mean would be."""
        digests = [sha256(scan.encode()).digest() for scan in self.scans]
        chosen: dict[str, int] = {}
        for row, person in enumerate(self.persons):
            if person not in chosen or digests[row] < digests[chosen[person]]:
                chosen[person] = row
        return self.select(sorted(chosen.values()))

    def to_tsv(self, uri: str) -> None:
        """Write a table: scan, site, the person where ``of`` tells, the covariates, then the features; whole or not at all.

        Numbers keep all their bits; what is unknown is "n/a".

        Raises:
            FeaturesError: a name that holds a tab or a line break.
        """
        files.write_atomic(uri, ("\n".join(self._lines()) + "\n").encode())

    def _lines(self) -> Iterator[str]:
        yield _line(("scan", "site", *([PERSON] if self.of else []), *self.covariates, *self.names))
        for row, (scan, site) in enumerate(zip(self.scans, self.site, strict=True)):
            known = (values[row] for values in self.covariates.values())
            yield _line((scan, site, *self.of[row : row + 1], *map(_cell, known), *map(_cell, self.values[row].tolist())))

    @classmethod
    def from_tsv(cls, uri: str, covariates: Sequence[str] = COVARIATES) -> Features:
        """Read a table that has a column "scan", a column "site", covariates, and else features; a column "person" is ``of``.

        Args:
            uri: of the TSV.
            covariates: columns that are no features; those that the table has not are left out.

        Raises:
            FileNotFoundError: there is none.
            FeaturesError: a column is missing or twice, a line of another length, a feature that is not a number.
            UsageError: as ``core.io.tables.text_of``, and table-delimiter.
        """
        head, lines = _table(uri)
        columns = {name: [line[n] for line in lines] for n, name in enumerate(head)}
        known = {name: _covariate(name, columns[name]) for name in covariates if name in columns}
        names = tuple(name for name in head if name not in {"scan", "site", PERSON, *covariates})
        values = np.array([_numbers(name, columns[name], columns["scan"]) for name in names], dtype=np.float64)
        scans, sites, persons = (tuple(columns.get(name, ())) for name in ("scan", "site", PERSON))
        return cls(scans, sites, known, names, values.reshape(len(names), len(lines)).T, persons)


def concatenate(tables: Sequence[Features]) -> Features:
    """The scans of all tables, one after another; features as the first orders them, covariates of any (else unknown).

    Raises:
        FeaturesError: no table, a scan that is in two, or features that differ.
    """
    if not tables:
        raise FeaturesError("features-none", "at least one table of features", "none", "name the folders that hold features.tsv")
    first = tables[0]
    for table in tables[1:]:
        if set(table.names) != set(first.names):
            got = f"{some(sorted(set(table.names) ^ set(first.names)))} in one table only"
            raise FeaturesError("features-differ", "the same features in each table", got, "choose the common ones with only()")
    covariates = list(dict.fromkeys(name for table in tables for name in table.covariates))
    return Features(
        tuple(scan for table in tables for scan in table.scans),
        tuple(site for table in tables for site in table.site),
        {
            name: tuple(value for table in tables for value in table.covariates.get(name, (None,) * len(table)))
            for name in covariates
        },
        first.names,
        np.concatenate([table.only(first.names).values for table in tables]),
        tuple(person for table in tables for person in table.persons) if any(table.of for table in tables) else (),
    )


def some(names: Iterable[str], most: int = 6) -> str:
    """Up to ``most`` names, and how many more there are."""
    every = list(names)
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")


def person_of(scan: str) -> str:
    """The ``sub-`` entity of a scan's name, or the whole name."""
    parts = scan.replace("/", "_").split("_")
    return next((part for part in parts if part.startswith("sub-")), scan)


def _cell(value: float | str | None) -> str:
    if isinstance(value, str):
        return value
    return UNKNOWN if value is None or math.isnan(value) else repr(float(value))


def _line(cells: Sequence[str]) -> str:
    if broken := [cell for cell in cells if any(mark in cell for mark in BREAKS)]:
        raise FeaturesError("features-name", "names without tabs and line breaks", repr(broken[0]), "rename it")
    return "\t".join(cells)


def _table(uri: str) -> tuple[list[str], list[list[str]]]:
    """Head and lines of a TSV, all of one length."""
    text = text_of(uri).replace("\r\n", "\n").replace("\r", "\n")
    head, *lines = [cells_of(line) for line in text.split("\n") if line.strip()] or [[]]
    check_tabs(head, uri)
    if missing := [name for name in ("scan", "site") if name not in head]:
        wanted = 'a head with the columns "scan" and "site", separated by tabs'
        raise FeaturesError("features-head", wanted, f"no {some(missing)} in {files.name_of(uri)}", "add the column")
    if len(set(head)) < len(head):
        twice = sorted(name for name, count in Counter(head).items() if count > 1)
        raise FeaturesError("feature-twice", "each column once", f"{some(twice)} more than once", "rename or remove one")
    for number, line in enumerate(lines, start=2):
        if len(line) != len(head):
            wanted, got = f"{len(head)} cells a line", f"{len(line)} in line {number} of {files.name_of(uri)}"
            raise FeaturesError("features-line", wanted, got, "separate by tabs and write n/a where a value is unknown")
    return head, lines


def _covariate(name: str, cells: Sequence[str]) -> Covariate:
    """Numbers where all that are known are; texts else, and for what is a category by its name."""
    known = [None if cell in UNKNOWNS else cell for cell in cells]
    if name in CATEGORIES:
        return tuple(known)
    try:
        return tuple(None if cell is None else float(cell) for cell in known)
    except ValueError:
        return tuple(known)


def _numbers(name: str, cells: Sequence[str], scans: Sequence[str]) -> list[float]:
    def number(cell: str, scan: str) -> float:
        try:
            return math.nan if cell in UNKNOWNS else float(cell)
        except ValueError:
            wanted, got = f"a number or n/a for {name}", f"{cell!r} for {scan}"
            remedy = "correct it, or take the column out of the table"
            raise FeaturesError("feature-text", wanted, got, remedy) from None

    return [number(cell, scan) for cell, scan in zip(cells, scans, strict=True)]
