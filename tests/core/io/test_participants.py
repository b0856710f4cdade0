"""What participants.tsv tells of persons."""

from __future__ import annotations

from pathlib import Path

from core.io.participants import people


def test_columns_are_told_by_person_as_numbers_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "participants.tsv").write_text(
        "participant_id\tAge\tsex\tgroup\nsub-01\t39\tm\tn/a\nsub-02\tinf\t\tn/a\nsub-03\tn/a\tn/a\t\n"
    )
    assert people(str(tmp_path)) == {"01": {"age": 39.0, "sex": "m"}, "02": {"age": "inf"}}
    assert people(str(tmp_path), ["sex"]) == {"01": {"sex": "m"}}


def test_a_dataset_without_the_table_tells_nothing(tmp_path: Path) -> None:
    assert people(str(tmp_path)) == {}
    assert people(str(tmp_path / "missing.tsv")) == {}
