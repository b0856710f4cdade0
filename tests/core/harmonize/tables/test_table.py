"""Tables of features: bits kept through TSV, lengths and names checked, unknown stays unknown."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import FeaturesError, UsageError
from core.harmonize.tables.table import Features, concatenate
from core.io import files

NUMBERS = st.floats(allow_infinity=False)
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=8).filter(
    lambda name: name.lower() not in {"n/a", "na", "nan", "none", "inf", "infinity"} and not name[0].isdigit()
)


def small() -> Features:
    covariates = {"age": (60.5, None, 41.0), "sex": ("F", "M", None)}
    return Features(
        ("sub-1", "sub-2", "sub-3"), ("x", "y", "x"), covariates, ("gm", "wm"), np.array([[1, 2], [3, math.nan], [5, 6]])
    )


def same(one: Features, other: Features) -> bool:
    return (
        (one.scans, one.site, one.covariates, one.names) == (other.scans, other.site, other.covariates, other.names)
    ) and np.array_equal(one.values, other.values, equal_nan=True)


@given(st.data())
def test_every_bit_survives_the_table(tmp_path_factory, data: st.DataObject) -> None:
    n, f = data.draw(st.integers(0, 4)), data.draw(st.integers(0, 4))
    scans = tuple(data.draw(st.lists(NAMES, min_size=n, max_size=n, unique=True)))
    sites = tuple(data.draw(st.lists(NAMES, min_size=n, max_size=n)))
    ages = tuple(data.draw(st.lists(st.none() | st.floats(0, 100), min_size=n, max_size=n)))
    sexes = tuple(data.draw(st.lists(st.none() | NAMES, min_size=n, max_size=n)))
    values = np.array(data.draw(st.lists(NUMBERS, min_size=n * f, max_size=n * f)), np.float64).reshape(n, f)
    features = Features(scans, sites, {"age": ages, "sex": sexes}, tuple(f"f{i}" for i in range(f)), values)
    uri = str(tmp_path_factory.mktemp("table") / "features.tsv")
    features.to_tsv(uri)
    assert same(Features.from_tsv(uri), features)


def test_the_columns_are_scan_site_covariates_features(tmp_path: Path) -> None:
    small().to_tsv(str(tmp_path / "features.tsv"))
    lines = (tmp_path / "features.tsv").read_text().splitlines()
    assert lines[0] == "scan\tsite\tage\tsex\tgm\twm"
    assert lines[2] == "sub-2\ty\tn/a\tM\t3.0\tn/a"


def test_a_failed_write_leaves_the_old_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = str(tmp_path / "features.tsv")
    small().to_tsv(uri)
    monkeypatch.setattr(files.os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        small().select([0]).to_tsv(uri)
    assert same(Features.from_tsv(uri), small())
    assert [path.name for path in tmp_path.iterdir()] == ["features.tsv"]


def test_sex_coded_as_numbers_stays_a_category(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("scan\tsite\tage\tsex\tgm\nsub-1\tx\t60\t1\t3\nsub-2\tx\t\t2\tnan\n")
    read = Features.from_tsv(str(tmp_path / "t.tsv"))
    assert read.covariates == {"age": (60.0, None), "sex": ("1", "2")}
    assert math.isnan(read.values[1, 0])


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "features-head.*no scan, site in t.tsv"),
        ("scan\tgm\nsub-1\t2\n", "features-head.*no site"),
        ("scan\tsite\tgm\tgm\nsub-1\tx\t2\t3\n", "feature-twice.*gm"),
        ("scan\tsite\tgm\nsub-1\tx\n", "features-line: expected 3 cells a line, but got 2 in line 2"),
        ("scan\tsite\tgm\nsub-1\tx\tlarge\n", "feature-text.*'large' for sub-1"),
        ("scan\tsite\tgm\nsub-1\tx\tinf\n", "feature-infinite.*gm of sub-1"),
        ("scan\tsite\tgm\nsub-1\tx\t1\nsub-1\tx\t2\n", "scan-twice.*sub-1"),
        ("scan\tsite\tgm\nsub-1\t\t1\n", "site-missing.*sub-1"),
    ],
)
def test_tables_that_cannot_be_meant_are_refused(tmp_path: Path, text: str, code: str) -> None:
    (tmp_path / "t.tsv").write_text(text)
    with pytest.raises(FeaturesError, match=code):
        Features.from_tsv(str(tmp_path / "t.tsv"))


def test_a_table_that_a_spreadsheet_saved_is_read_and_one_of_other_bytes_is_refused(tmp_path: Path) -> None:
    text, there = "scan\tsite\tgm\nsub-1\tx\t2\n", tmp_path / "t.tsv"
    for content in (text.encode("utf-16"), text.replace("\n", "\r").encode(), text.encode("utf-8-sig")):
        there.write_bytes(content)
        assert Features.from_tsv(str(there)).values.tolist() == [[2.0]]
    there.write_bytes(text.replace("x", "Zürich").encode("latin-1"))
    with pytest.raises(UsageError, match=r"table-encoding: .* other bytes in line 2 of t\.tsv\. Save it as text in UTF-8"):
        Features.from_tsv(str(there))


def test_parts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(FeaturesError, match=r"features-length.*1 of site"):
        Features(("a", "b"), ("x",), {}, (), np.zeros((2, 0)))
    with pytest.raises(FeaturesError, match="features-shape"):
        Features(("a", "b"), ("x", "x"), {}, ("f",), np.zeros((1, 1)))
    with pytest.raises(FeaturesError, match=r"covariate-infinite.*age"):
        Features(("a",), ("x",), {"age": (math.nan,)}, (), np.zeros((1, 0)))
    with pytest.raises(FeaturesError, match="features-name"):
        Features(("a\tb",), ("x",), {}, (), np.zeros((1, 0))).to_tsv("/nowhere")


def test_values_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValueError, match="read-only"):
        small().values[0, 0] = 1


def test_a_table_that_a_statistics_program_quoted_is_read_as_it_was(tmp_path) -> None:
    features = replace(small(), of=("p", "q", "p"))
    features.to_tsv(str(tmp_path / "features.tsv"))
    lines = [line.split("\t") for line in (tmp_path / "features.tsv").read_text().splitlines()]
    (tmp_path / "quoted.tsv").write_text("".join("\t".join(f' "{cell}"' for cell in line) + "\n" for line in lines))
    plain, quoted = (Features.from_tsv(str(tmp_path / f"{name}.tsv")) for name in ("features", "quoted"))
    assert quoted.values.tobytes() == plain.values.tobytes()
    assert (quoted.scans, quoted.site, quoted.names, quoted.covariates, quoted.of) == (
        plain.scans,
        plain.site,
        plain.names,
        plain.covariates,
        plain.of,
    )


def test_selections_keep_rows_together() -> None:
    chosen = small().select([2, 0])
    assert (chosen.scans, chosen.covariates["age"]) == (("sub-3", "sub-1"), (41.0, 60.5))
    assert chosen.only(["wm"]).values.tolist() == [[6], [2]]
    assert small().rows(["x"]) == [0, 2]
    with pytest.raises(FeaturesError, match=r"feature-missing.*no csf"):
        small().only(["csf"])


def test_tables_are_joined_by_name_not_by_place() -> None:
    other = Features(("sub-9",), ("z",), {"age": (30.0,)}, ("wm", "gm"), np.array([[20.0, 10.0]]))
    joined = concatenate([small(), other])
    assert joined.values[3].tolist() == [10, 20]
    assert joined.covariates == {"age": (60.5, None, 41.0, 30.0), "sex": ("F", "M", None, None)}
    assert joined.sites == ("x", "y", "z")
    with pytest.raises(FeaturesError, match="scan-twice"):
        concatenate([small(), small()])
    with pytest.raises(FeaturesError, match=r"features-differ.*wm"):
        concatenate([small(), other.only(["gm"])])
    with pytest.raises(FeaturesError, match="features-none"):
        concatenate([])


def test_one_scan_of_each_person_whatever_their_order() -> None:
    scans = ("sub-1_run-1", "sub-1_run-2", "sub-2_run-1", "sub-1_run-3")
    whole = Features(scans, ("a",) * 4, {}, ("x",), np.arange(4.0)[:, None])
    chosen = whole.one_each()
    assert sorted(chosen.persons) == ["a/sub-1", "a/sub-2"]
    assert set(whole.select([3, 2, 1, 0]).one_each().scans) == set(chosen.scans)


def test_a_person_is_of_a_site() -> None:
    scans = ("sub-1_ses-1_T1w", "sub-1_ses-2_T1w", "sub-1_T1w", "phantom", "cohort/sub-7/anat")
    features = Features(scans, ("x", "x", "y", "x", "x"), {}, (), np.zeros((5, 0)))
    assert features.persons == ("x/sub-1", "x/sub-1", "y/sub-1", "x/phantom", "x/sub-7")
    moved = replace(features, of=("p1", "p1", "p1", "p2", "p3"))
    assert moved.select([2, 4]).persons == ("p1", "p3")
    assert concatenate([moved.select([0]), features.select([2])]).persons == ("p1", "y/sub-1")
    with pytest.raises(FeaturesError, match=r"features-length.*1 of person"):
        replace(features, of=("p1",))


def test_the_persons_of_a_table_are_read_again(tmp_path) -> None:
    features = replace(small(), of=("p", "q", "p"))
    features.to_tsv(str(tmp_path / "features.tsv"))
    again = Features.from_tsv(str(tmp_path / "features.tsv"))
    assert (again.persons, again.names, again.covariates) == (("p", "q", "p"), features.names, features.covariates)
