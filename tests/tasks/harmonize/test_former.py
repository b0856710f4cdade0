"""What another model made, or somebody rejected, is gone: images, records, maps, lines of the table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from core.io import files
from tasks.harmonize import work
from tasks.harmonize.former import take_away
from tasks.harmonize.maps import COMBAT, map_of
from tests.tasks.harmonize.test_work import cohort, harmonized  # noqa: F401 - a fixture


def written(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def persons(folder: Path) -> list[str]:
    return [line.split("\t")[0] for line in (folder / "participants.tsv").read_text().splitlines()[1:]]


def test_scans_that_were_asked_for_and_not_made_go_with_their_maps(cohort, tmp_path):  # noqa: F811
    made = harmonized([cohort[0], cohort[1], cohort[4]])
    for member in made:
        work.write_persons(str(tmp_path), member.piece.site)
        for desc in (work.LABEL, COMBAT):
            for path in (uri := map_of(member.piece, desc), uri.replace(".nii.gz", ".json")):
                files.write_atomic(path, b"map")
    mine = tmp_path / "maps" / "bonn" / "mine.txt"
    mine.write_text("somebody's own")
    first, maps = written(tmp_path / "harmonized" / "oslo"), written(tmp_path / "maps" / "oslo")
    asked = {member.piece.name for member in made}
    assert take_away(str(tmp_path), made, asked) == []
    assert written(tmp_path / "harmonized" / "oslo") == first  # nothing goes without a reason
    assert written(tmp_path / "maps" / "oslo") == maps
    assert take_away(str(tmp_path), made[:1], {made[0].piece.name}) == []  # last month's, by the same model
    assert written(tmp_path / "maps" / "oslo") == maps
    assert take_away(str(tmp_path), made[:1], asked) == ["bonn/sub-00_T1w", "oslo/sub-01_T1w"]
    assert written(tmp_path / "harmonized" / "oslo") == {path for path in first if "sub-01" not in path}
    assert written(tmp_path / "maps" / "oslo") == {path for path in maps if "sub-01" not in path}
    assert persons(tmp_path / "harmonized" / "oslo") == ["sub-00"]
    assert persons(tmp_path / "harmonized" / "bonn") == []
    assert not list((tmp_path / "harmonized" / "bonn").rglob("sub-*"))
    assert written(tmp_path / "maps" / "bonn") == {"mine.txt"}
    assert take_away(str(tmp_path), made[:1], asked) == []


def test_maps_of_another_fit_go_where_their_scans_stay(cohort, tmp_path):  # noqa: F811
    made = harmonized([cohort[0], cohort[1]])
    for member in made:
        for desc in (work.LABEL, COMBAT):
            for path in (uri := map_of(member.piece, desc), uri.replace(".nii.gz", ".json")):
                files.write_atomic(path, b"map")
    maps, asked = written(tmp_path / "maps"), {member.piece.name for member in made[:1]}
    assert take_away(str(tmp_path), made[:1], asked, made[:1]) == []
    assert written(tmp_path / "maps") == {path for path in maps if "sub-00" in path}
    assert take_away(str(tmp_path), made[:1], asked, []) == []  # this call makes no maps
    assert written(tmp_path / "maps") == set()
    assert made[1].piece.harmonized.done(made[1].piece.key, made[1].record.digest)


def test_what_another_model_made_goes_whoever_asked(cohort, tmp_path):  # noqa: F811
    made = harmonized([cohort[0], cohort[1]])
    other = replace(made[0], piece=replace(made[0].piece, model="another"))
    assert take_away(str(tmp_path), [other], {other.piece.name}) == ["oslo/sub-01_T1w"]
    assert made[0].piece.harmonized.done(made[0].piece.key, made[0].record.digest)


def test_the_note_of_a_scan_that_failed_stays(cohort, tmp_path):  # noqa: F811
    made = harmonized(cohort[:2])
    work.note_failed(made[1].piece, ValueError("odd"))
    assert take_away(str(tmp_path), made[:1], {member.piece.name for member in made}) == []
    assert made[1].piece.harmonized.read_record(made[1].piece.key).state == "failed"
