"""What participants.tsv tells of persons."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UsageError
from core.io.participants import Lines, lines_in, people, write_lines
from tasks.harmonize.sites import sites_of


def test_columns_are_told_by_person_as_numbers_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "participants.tsv").write_text(
        "participant_id\tAge\tsex\tgroup\nsub-01\t39\tm\tn/a\nsub-02\tinf\t\tn/a\nsub-03\tn/a\tn/a\t\n"
    )
    assert people(str(tmp_path)) == {"01": {"age": 39.0, "sex": "m"}, "02": {"age": "inf"}}
    assert people(str(tmp_path), ["sex"]) == {"01": {"sex": "m"}}


def test_a_dataset_without_the_table_tells_nothing(tmp_path: Path) -> None:
    assert people(str(tmp_path)) == {}
    assert people(str(tmp_path / "missing.tsv")) == {}


WORDS = st.text("ab1 .", min_size=1, max_size=3).map(str.strip).filter(bool)
TABLES = st.dictionaries(st.sampled_from("0123"), st.fixed_dictionaries({"age": WORDS, "sex": WORDS}), max_size=4)


@given(TABLES, st.lists(st.sets(st.sampled_from("0123")), max_size=3))
def test_lines_of_some_persons_after_others_are_those_of_all_at_once(table, calls):
    lines = Lines(
        {"age": "Age", "sex": "sex"}, {label: [{"participant_id": f"sub-{label}"} | row] for label, row in table.items()}
    )
    made = Lines()
    for call in calls:
        made = made.with_people(lines, {label: label for label in call})
    every = set().union(*calls)
    assert made.text() == Lines().with_people(lines, {label: label for label in every}).text()
    assert set(made.rows) == every & set(table)


def test_lines_keep_columns_order_and_several_lines_of_a_person(tmp_path: Path) -> None:
    (tmp_path / "participants.tsv").write_bytes(
        "\ufeffage\tParticipant_ID\tHand side\r\n40\tsub-02\tleft\r\n39\t01\r\n41\t01\t\r\n".encode()
    )
    lines = lines_in(str(tmp_path))
    made = Lines({"note": "note"}, {"x1": [{"note": "kept"}], "": [{"note": "whose"}]}).with_people(
        lines, {"x1": "01", "3": "03"}
    )
    assert made.with_people(lines, {"3": "03", "x1": "01"}) is made
    (tmp_path / "out").mkdir()
    write_lines(str(tmp_path / "out"), made)
    assert (tmp_path / "out" / "participants.tsv").read_text() == (
        "participant_id\tnote\tage\tHand side\nn/a\twhose\tn/a\tn/a\nsub-x1\tkept\t39\tn/a\nsub-x1\tkept\t41\tn/a\n"
    )
    again = lines_in(str(tmp_path / "out"))
    assert again.with_people(lines, {"x1": "01"}) is again
    assert lines_in(str(tmp_path / "nowhere")) == Lines()


@pytest.mark.parametrize(
    ("text", "ages"),
    [
        ('"participant_id"\t"age"\n"sub-01"\t"39"\n', {"01": {"age": 39.0}}),
        ('"participant_id"\t"age"\nsub-01\t39\n', {"01": {"age": 39.0}}),
        ('participant_id\tnotes\nsub-01\t"said ""fine""\tthen left"\n', {"01": {"notes": 'said "fine" then left'}}),
        ('participant_id\tnotes\tage\nsub-01\t"left\t39\n', {"01": {"notes": '"left', "age": 39.0}}),
    ],
)
def test_cells_in_double_quotes_are_read_without_them(tmp_path: Path, text: str, ages: dict[str, dict[str, float]]) -> None:
    (tmp_path / "participants.tsv").write_text(text)
    assert people(str(tmp_path)) == ages


UNNAMED = {
    "blanks": ("participant_id age\nsub-01 39\n", "participants-columns.*'participant_id age'"),
    "bars": ("participant_id|age\nsub-01|39\n", "table-delimiter.*bars"),
    "no first line": ("sub-01\t39\nsub-02\t40\n", "participants-columns.*data in its first line"),
    "subject_id": ("subject_id\tage\nsub-01\t39\n", "participants-columns.*'subject_id', 'age'.*Name the column"),
    "id": ("id\tage\n01\t39\n", "participants-columns.*'id', 'age'"),
}


@pytest.mark.parametrize("name", UNNAMED)
def test_a_table_that_does_not_name_the_persons_is_refused_and_never_ignored(tmp_path: Path, name: str) -> None:
    text, said = UNNAMED[name]
    (tmp_path / "participants.tsv").write_text(text)
    with pytest.raises(UsageError, match=said):
        people(str(tmp_path))
    with pytest.raises(UsageError, match=said):
        lines_in(str(tmp_path))
    with pytest.raises(UsageError, match=said):
        sites_of([str(tmp_path)])
