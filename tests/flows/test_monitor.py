"""``isovox monitor``: new features against a reference's, and the warning."""

from __future__ import annotations

import numpy as np
import pytest

from cli import main as cli
from core.errors import UsageError
from core.harmonize.tables.table import Features
from core.settings.harmonize import MonitorSettings
from tasks.harmonize.watch import check_table, compare, rows, said, write_table


def table(path, *, shift: float = 0.0, names=("snr", "gm_ml"), n: int = 60, seed: int = 0) -> str:
    draw = np.random.default_rng(seed)
    values = draw.normal(100, 10, (n, len(names)))
    values[:, 0] += shift
    scans = tuple(f"a/sub-{number:03}_T1w" for number in range(n))
    Features(scans, ("a",) * n, {"age": tuple(map(float, range(n)))}, names, values).to_tsv(str(path))
    return str(path)


def test_a_shift_is_found_first_in_the_table_and_no_shift_is_none(tmp_path):
    reference = table(tmp_path / "features.tsv")
    moved = rows(compare(MonitorSettings(new=table(tmp_path / "new.tsv", shift=15, seed=1), reference=str(tmp_path))))
    assert [(line["feature"], line["verdict"]) for line in moved] == [("snr", "drift"), ("gm_ml", "ok")]
    still = rows(compare(MonitorSettings(new=table(tmp_path / "other.tsv", seed=2), reference=reference)))
    assert {line["verdict"] for line in still} == {"ok"}
    write_table(str(tmp_path / "drift.tsv"), moved)
    head, first, *_ = (tmp_path / "drift.tsv").read_text().splitlines()
    assert head.split("\t")[:2] == ["feature", "verdict"]
    assert first.split("\t")[:2] == ["snr", "drift"]


def test_sites_that_the_reference_has_not_are_named(tmp_path):
    settings = MonitorSettings(new=table(tmp_path / "new.tsv", seed=1), reference=table(tmp_path / "features.tsv"))
    assert said(settings, compare(settings)) == "2 features: 2 ok"
    text = (tmp_path / "new.tsv").read_text().replace("\ta\t", "\tb\t")
    (tmp_path / "new.tsv").write_text(text)
    assert said(settings, compare(settings)) == "2 features: 2 unknown; nothing is told of sites not in the reference: b"


def test_a_table_that_a_spreadsheet_wrote_is_read_or_told(tmp_path):
    reference, new = table(tmp_path / "features.tsv"), tmp_path / "new.tsv"
    text = (tmp_path / "features.tsv").read_text().replace("\ta\t", "\tKöln\t").replace("\n", "\r\n")
    new.write_bytes(text.encode("utf-16"))
    settings = MonitorSettings(new=str(new), reference=reference)
    assert said(settings, compare(settings)) == "2 features: 2 unknown; nothing is told of sites not in the reference: Köln"
    new.write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError, match=r"table-encoding: .* but got other bytes in line 2 of new\.tsv"):
        compare(settings)


def test_only_what_both_have_or_what_is_asked_for_is_compared(tmp_path):
    reference = table(tmp_path / "features.tsv", names=("snr", "gm_ml", "cnr"))
    new = table(tmp_path / "new.tsv", names=("snr", "gm_ml"), seed=1)
    assert {one.feature for one in compare(MonitorSettings(new=new, reference=reference))} == {"snr", "gm_ml"}
    (one,) = compare(MonitorSettings(new=new, reference=reference, features=("gm_ml",)))
    assert one.feature == "gm_ml"
    with pytest.raises(UsageError, match=r"feature-missing: .*got cnr"):
        compare(MonitorSettings(new=new, reference=reference, features=("cnr",)))


def test_a_table_that_is_not_there_or_is_none_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"features-missing: expected a table of features at .*features.tsv"):
        compare(MonitorSettings(new=str(tmp_path), reference=str(tmp_path)))
    (tmp_path / "features.tsv").write_text("a\tb\n1\t2\n")
    with pytest.raises(UsageError, match="features-head"):
        compare(MonitorSettings(new=str(tmp_path), reference=str(tmp_path)))


def test_a_table_of_others_and_a_file_are_not_written_over(tmp_path):
    check_table(str(tmp_path / "new"))
    write_table(str(tmp_path / "drift.tsv"), [])
    check_table(str(tmp_path))  # of an earlier look
    (tmp_path / "drift.tsv").write_text("mine\n")
    with pytest.raises(UsageError, match=r"out-taken: expected a folder without a drift\.tsv of others, but got one in"):
        check_table(str(tmp_path))
    with pytest.raises(UsageError, match="out-is-file"):
        check_table(str(tmp_path / "drift.tsv"))


@pytest.mark.parametrize("mark", [",", ";", "|"])
def test_a_table_with_other_marks_is_told_before_anything_starts(tmp_path, mark, monkeypatch, capsys):
    monkeypatch.setattr("infra.services.prefect_server", lambda _: pytest.fail("started"))
    reference = table(tmp_path / "features.tsv")
    (tmp_path / "new.tsv").write_text((tmp_path / "features.tsv").read_text().replace("\t", mark))
    assert cli.main(["monitor", str(tmp_path / "new.tsv"), reference]) == 2
    assert "table-delimiter: expected columns separated by tabs, but got" in capsys.readouterr().err
    assert cli.main(["monitor", str(tmp_path / "none.tsv"), reference]) == 2
    assert "features-missing" in capsys.readouterr().err
    assert cli.main(["monitor", reference, reference, "--out", reference]) == 2
    assert "out-is-file" in capsys.readouterr().err


@pytest.mark.slow
def test_drift_is_an_exit_code_and_a_line_that_names_the_feature(tmp_path, capsys):
    reference = table(tmp_path / "features.tsv")
    words = ["monitor", table(tmp_path / "new.tsv", shift=15, seed=1), reference, "--out", str(tmp_path)]
    assert cli.main(words) == 3
    told = capsys.readouterr().out
    assert "drift of snr" in told
    assert (tmp_path / "drift.tsv").exists()
    assert cli.main(["monitor", reference, reference, "--quiet"]) == 0
    assert cli.main(["monitor", str(tmp_path / "none.tsv"), reference]) == 2
