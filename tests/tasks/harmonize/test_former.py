"""What earlier calls harmonised and this one did not is gone: images, records, maps, lines of the table."""

from __future__ import annotations

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


def test_only_scans_of_the_latest_call_stay_with_their_maps(cohort, tmp_path):  # noqa: F811
    made = harmonized([cohort[0], cohort[1], cohort[4]])
    for member in made:
        work.write_persons(str(tmp_path), member.piece.site)
        for desc in (work.LABEL, COMBAT):
            for path in (uri := map_of(member.piece, desc), uri.replace(".nii.gz", ".json")):
                files.write_atomic(path, b"map")
    mine = tmp_path / "maps" / "bonn" / "mine.txt"
    mine.write_text("somebody's own")
    first, maps = written(tmp_path / "harmonized" / "oslo"), written(tmp_path / "maps" / "oslo")
    assert take_away(str(tmp_path), made) == []
    assert written(tmp_path / "harmonized" / "oslo") == first  # nothing goes without a reason
    assert written(tmp_path / "maps" / "oslo") == maps
    assert take_away(str(tmp_path), made[:1]) == ["bonn/sub-00_T1w", "oslo/sub-01_T1w"]  # rejected, of a site not named any more
    assert written(tmp_path / "harmonized" / "oslo") == {path for path in first if "sub-01" not in path}
    assert written(tmp_path / "maps" / "oslo") == {path for path in maps if "sub-01" not in path}
    assert persons(tmp_path / "harmonized" / "oslo") == ["sub-00"]
    assert persons(tmp_path / "harmonized" / "bonn") == []
    assert not list((tmp_path / "harmonized" / "bonn").rglob("sub-*"))
    assert written(tmp_path / "maps" / "bonn") == {"mine.txt"}
    assert take_away(str(tmp_path), made[:1]) == []


def test_the_note_of_a_scan_that_failed_stays(cohort, tmp_path):  # noqa: F811
    made = harmonized(cohort[:2])
    work.note_failed(made[1].piece, ValueError("odd"))
    assert take_away(str(tmp_path), made[:1]) == []
    assert made[1].piece.harmonized.read_record(made[1].piece.key).state == "failed"
