"""Tables of ratings: what is read, what is refused, and which site's scan is meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import UsageError
from core.io.ratings import Rating, by_site, read_ratings

HEAD = "cohort\tscan\trating\tremark\trated\n"


def table(folder: Path, text: str) -> str:
    (folder / "ratings.tsv").write_text(text)
    return str(folder / "ratings.tsv")


def test_ratings_are_read_with_their_remarks(tmp_path: Path) -> None:
    uri = table(tmp_path, HEAD + "study\ta\tReject\tghost\tnow\nn/a\tb\tn/a\tdark\tn/a\n")
    assert read_ratings(uri) == [Rating("study", "a", "reject", "ghost"), Rating("", "b", "", "dark")]
    assert [rating.text() for rating in read_ratings(uri)] == ["reject: ghost", "dark"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("scan\tverdict\n", "ratings-table: expected a table with the columns scan and rating.*scan, verdict"),
        (HEAD + "s\ta\tbad\t\t\n", "ratings-word: expected one of keep, doubt, reject.*'bad' in line 2"),
        (HEAD + "s\ta\tkeep\t\t\ns\ta\treject\t\t\n", "ratings-twice: expected one rating a scan.*keep and reject of a"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        read_ratings(table(tmp_path, text))


def test_no_table_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ratings-missing.*[Ss]ave it from the cohort's page"):
        read_ratings(str(tmp_path / "none.tsv"))


def test_a_scan_of_one_site_needs_no_cohort_and_of_two_needs_one() -> None:
    sites, keys = {"oslo": ["study-1"], "lyon": ["study-2"]}, {"oslo": ["a", "b"], "lyon": ["b", "c"]}
    rating = Rating("", "a", "reject", "")
    assert by_site([rating], sites, keys) == {"oslo": {"a": rating}}
    rating = Rating("study-2", "b", "reject", "")
    assert by_site([rating], sites, keys) == {"lyon": {"b": rating}}
    assert by_site([Rating("", "elsewhere", "reject", "")], sites, keys) == {}
    with pytest.raises(UsageError, match=r"ratings-unclear.*b of no cohort, which oslo and lyon have"):
        by_site([Rating("", "b", "reject", "")], sites, keys)
