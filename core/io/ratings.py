"""What people said of restored scans: the table that the cohort's page writes, tabs between its cells."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.errors import UsageError
from core.io import files
from core.io.tables import Row, read_table

RATINGS = ("keep", "doubt", "reject")
NOTHING = {"", "n/a"}


@dataclass(frozen=True)
class Rating:
    """What was said of one scan.

    Attributes:
        cohort: name of its cohort, as its page is headed; "": any.
        scan: its key.
        rating: keep, doubt or reject; "": only remarked.
        remark: words, or "".
    """

    cohort: str
    scan: str
    rating: str
    remark: str

    def text(self) -> str:
        """In a line."""
        return ": ".join(filter(None, (self.rating, self.remark)))


def read_ratings(uri: str) -> list[Rating]:
    """The ratings of a table.

    Args:
        uri: of a table with the columns scan and rating, and perhaps cohort and remark.

    Raises:
        UsageError: ratings-missing, ratings-table, ratings-word; ratings-twice, where a scan has two that differ.
    """
    try:
        head, rows = read_table(uri)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise UsageError("ratings-missing", f"a table of ratings at {uri}", "none", "save it from the cohort's page") from error
    if not {"scan", "rating"} <= set(head):
        wanted = "a table with the columns scan and rating, separated by tabs"
        raise UsageError("ratings-table", wanted, ", ".join(head), "save it from the cohort's page")
    said: dict[tuple[str, str], Rating] = {}
    for number, row in rows.items():
        rating = _rating(row, f"line {number} of {files.name_of(uri)}")
        before = said.setdefault((rating.cohort, rating.scan), rating)
        if before.rating != rating.rating:
            got = f"{before.rating or 'none'} and {rating.rating or 'none'} of {rating.scan}"
            raise UsageError("ratings-twice", "one rating a scan", got, "keep one of its lines")
    return list(said.values())


def _rating(row: Row, where: str) -> Rating:
    cohort, word, remark = ("" if row.get(name, "") in NOTHING else row[name] for name in ("cohort", "rating", "remark"))
    if word and word.lower() not in RATINGS:
        raise UsageError("ratings-word", f"one of {', '.join(RATINGS)}, or n/a", f"{word!r} in {where}", "correct it")
    return Rating(cohort, row.get("scan", ""), word.lower(), remark)


def by_site(
    ratings: Sequence[Rating], sites: Mapping[str, Sequence[str]], keys: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, Rating]]:
    """Ratings by site and key of scan.

    Args:
        ratings: of a table.
        sites: what a site's cohort may be called, by the site's name.
        keys: of the site's scans, by the site's name.

    Raises:
        UsageError: ratings-unclear, where a scan of that name is at several sites and its cohort is none of theirs.
    """
    placed: dict[str, dict[str, Rating]] = defaultdict(dict)
    for rating in ratings:
        there = [site for site in sites if rating.scan in keys[site]]
        named = [site for site in there if rating.cohort in {site, *sites[site]}]
        if len(there) > 1 and len(named) != 1:
            got = f"{rating.scan} of {rating.cohort or 'no cohort'}, which {' and '.join(there)} have"
            raise UsageError("ratings-unclear", "ratings of scans of one site each", got, "name the site in the column cohort")
        for site in named or there:
            placed[site][rating.scan] = rating
    return placed
