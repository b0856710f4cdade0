"""How sites are named: pairs, one table, a dataset with a column; ages and sexes beside them."""

from __future__ import annotations

import json
import re

import pytest

from core.engine.records import ScanRecord
from core.errors import UsageError
from tasks.harmonize.sites import Person, lines_of, sites_of, write_table
from tasks.harmonize.tables import Member, lone_groups
from tasks.harmonize.work import Piece


@pytest.fixture
def dataset(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    lines = ["participant_id\tage\tsex\tsite", "sub-01\t31\tm\toslo", "sub-02\tn/a\tFemale\tbonn", "sub-03\t89+\tF\toslo"]
    (folder / "participants.tsv").write_text("\n".join(lines) + "\n")
    return folder


def test_pairs_take_the_name_and_folders_their_own(dataset):
    one, two = sites_of([f"x={dataset}", f"y={dataset}"])
    assert (one.name, two.name, one.input) == ("x", "y", str(dataset))
    assert one.person("", "01") == Person(31.0, "M")
    assert one.person("", "02") == Person(None, "F")
    assert one.person("", "99") == Person()
    (plain,) = sites_of([str(dataset.parent)])
    assert plain.name == dataset.parent.name


def test_a_dataset_with_a_column_site_falls_into_its_sites(dataset):
    oslo, bonn = sites_of([str(dataset)])
    assert (oslo.name, oslo.participants) == ("oslo", ("01", "03"))
    assert (bonn.name, bonn.participants) == ("bonn", ("02",))
    assert oslo.person("", "03") == Person(89.0, "F")


def test_a_dataset_whose_column_site_says_nothing_is_one_site(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "participants.tsv").write_text("participant_id\tage\tsite\nsub-01\t31\tn/a\nsub-02\t32\t\n")
    (site,) = sites_of([str(tmp_path / "data")])
    assert (site.name, site.participants, site.person("", "02")) == ("data", (), Person(32.0))


def test_what_a_table_names_beside_its_scans_is_found_from_the_sites_tables(tmp_path):
    (tmp_path / "all.tsv").write_text("path\tsite\tmask\treference\na.nii\tA\tm.nii\tn/a\nb.nii\tA\t\ts3://c/t.nii\n")
    (site,) = sites_of([str(tmp_path / "all.tsv")])
    assert [(row["mask"], row["reference"]) for row in site.rows] == [(f"{tmp_path}/m.nii", "n/a"), ("", "s3://c/t.nii")]


def test_a_table_falls_into_its_sites_with_whole_paths(tmp_path):
    table = tmp_path / "all.tsv"
    table.write_text("path\tsite\tage\tsex\na/x.nii.gz\tA\t20\tF\n/b/y.nii.gz\tB\t130\t\ns3://c/z.nii\tA\t\tm\n")
    one, two = sites_of([str(table)])
    assert [row["path"] for row in one.rows] == [f"{tmp_path}/a/x.nii.gz", "s3://c/z.nii"]
    assert one.person(f"{tmp_path}/a/x.nii.gz", "") == Person(20.0, "F")
    assert one.person("s3://c/z.nii", "") == Person(None, "M")
    assert two.person("/b/y.nii.gz", "") == Person()  # no one is 130
    write_table(str(tmp_path / "one.tsv"), one.rows)
    assert (tmp_path / "one.tsv").read_text().splitlines()[0] == "path\tsite\tage\tsex"


def test_a_pair_may_name_a_table(tmp_path):
    table = tmp_path / "one.tsv"
    table.write_text("path\tage\nx.nii.gz\t44\n")
    (site,) = sites_of([f"here={table}"])
    assert not site.rows
    assert site.person(f"{tmp_path}/x.nii.gz", "") == Person(44.0, None)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["a b=/x"], "site-name"),
        (["..=/y"], "site-name"),
        (["harmonized=/y"], "site-name"),
        ([".hidden=/y"], "site-name"),
        (["a=/x", "A=/y"], "site-twice"),
        (["missing.tsv"], "site-table"),
    ],
)
def test_names_that_cannot_be_folders_and_tables_without_sites_are_refused(words, code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=rf"{code}: expected .*, but got .*\. "):
        sites_of(words)


def test_a_line_without_a_site_is_refused(tmp_path):
    table = tmp_path / "all.tsv"
    table.write_text("path\tsite\nx.nii\tA\ny.nii\tn/a\n")
    with pytest.raises(UsageError, match=r"site-missing: .*y.nii"):
        sites_of([str(table)])


def test_a_column_names_a_person_across_sites(tmp_path):
    table = tmp_path / "all.tsv"
    table.write_text("path\tsite\tperson\n/a.nii\tA\tann\n/b.nii\tB\tann\n/c.nii\tB\tn/a\n")
    one, two = sites_of([str(table)])
    assert one.person("/a.nii", "").name == two.person("/b.nii", "").name == "ann"
    assert two.person("/c.nii", "").name == ""


def members_of(table) -> list[Member]:
    """A scan a line of a table, whose first column is its path."""
    record = ScanRecord(key="x", state="done")
    return [
        Member(Piece("", site.name, "x", "T1w", "none", (1, 1, 1)), record, site.person(row["path"], ""))
        for site in sites_of([str(table)])
        for row in site.rows
    ]


def test_a_group_at_one_site_alone_is_told(tmp_path):
    table = tmp_path / "all.tsv"
    table.write_text("path\tsite\tgroup\n/a.nii\tA\tpatients\n/b.nii\tA\tcontrols\n/c.nii\tB\tcontrols\n")
    members = members_of(table)
    (note,) = lone_groups(members)
    assert note.startswith("group patients occurs at site A only: its effect cannot be separated from the site's")
    assert lone_groups(members[1:]) == lone_groups(members[:2]) == []


def test_patients_of_one_dataset_beside_another_that_names_no_group_are_told(tmp_path):
    table = tmp_path / "all.tsv"
    table.write_text("path\tsite\tgroup\n/a.nii\tA\tpatients\n/b.nii\tA\tpatients\n/c.nii\tB\tn/a\n/d.nii\tC\tn/a\n")
    members = members_of(table)
    (note,) = lone_groups(members)
    assert note.startswith("group patients occurs at site A only: its effect cannot be separated from the site's")
    assert lone_groups(members[:2]) == lone_groups(members[2:]) == []  # nobody elsewhere; nobody of a group


def test_in_a_table_of_one_dataset_a_label_is_the_same_person_at_every_site(tmp_path):
    table = tmp_path / "all.tsv"
    paths = [f"/{data}/sub-1/ses-{visit}/anat/sub-1_ses-{visit}_T1w.nii.gz" for data, visit in ("ma", "mb", "na")]
    table.write_text("path\tsite\n" + "".join(f"{path}\t{site}\n" for path, site in zip(paths, "ABB", strict=True)))
    one, two = sites_of([str(table)])
    first, second, other = (site.person(path, "1").name for path, site in zip(paths, (one, two, two), strict=True))
    assert first == second != other
    assert re.fullmatch(r"m-[0-9a-f]{8}/sub-1", first)


def test_datasets_whose_folders_are_called_alike_have_persons_of_their_own(tmp_path):
    table = tmp_path / "all.tsv"
    paths = [f"/data/{city}/rawdata/sub-01/anat/sub-01_T1w.nii.gz" for city in ("oslo", "bonn")]
    table.write_text("path\tsite\n" + "".join(f"{path}\t{site}\n" for path, site in zip(paths, "AB", strict=True)))
    names = {person.name for site in sites_of([str(table)]) for person in site.people.values()}
    assert len(names) == 2
    assert all(re.fullmatch(r"rawdata-[0-9a-f]{8}/sub-01", name) for name in names)


def test_a_table_tells_the_age_at_each_visit(tmp_path):
    table = tmp_path / "all.tsv"
    table.write_text("path\tsite\tage\n/d/sub-1/ses-a/x.nii\tA\t70\n/d/sub-1/ses-b/x.nii\tA\t72\n")
    first, second = sites_of([str(table)])[0].people.values()
    assert (first.age, second.age) == (70.0, 72.0)
    assert first.name == second.name != ""


def test_a_pair_of_files_a_folder_and_a_table_in_capitals_keep_their_ages(tmp_path):
    table = tmp_path / "ALL.TSV"
    table.write_text("path\tsite\tage\na.img\tA\t20\nseries/\tA\t30\nb.nii\tB\t40\n")
    one, two = sites_of([str(table)])
    assert one.person(f"{tmp_path}/a.hdr", "", f"{tmp_path}/a.img").age == 20
    assert one.person(f"{tmp_path}/series/1.dcm", "", f"{tmp_path}/series/2.dcm").age == 30
    assert two.person(f"{tmp_path}/b.nii", "").age == 40
    (alone,) = sites_of([f"x={table}"])
    assert alone.person(f"{tmp_path}/b.nii", "").age == 40
    assert len(lines_of(alone)) == 3


def test_a_table_named_by_a_relative_path_keeps_its_ages_and_its_scans_places(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "all.tsv").write_text("path\tsite\tage\na/x.nii\tA\t20\n./b.nii\tA\t30\ns3://c/z.nii\tA\t40\n")
    (site,) = sites_of(["all.tsv"])
    assert [row["path"] for row in site.rows] == [f"{tmp_path}/a/x.nii", f"{tmp_path}/b.nii", "s3://c/z.nii"]
    ages = [site.person(uri, "").age for uri in (f"{tmp_path}/a/x.nii", "./b.nii", "s3://c/z.nii")]
    assert ages == [20, 30, 40]
    (alone,) = sites_of(["here=all.tsv"])
    assert alone.person("./a/x.nii", "").age == 20  # as a run of the table itself names it
    assert lines_of(alone)[0]["path"] == f"{tmp_path}/a/x.nii"


def test_the_description_beside_a_table_tells_the_unit_of_ages_and_what_codes_of_sex_mean(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "participants.tsv").write_text("participant_id\tAge\tsex\nsub-01\t18\t1\nsub-02\t140\t2\nsub-03\t3 y\t9\n")
    said = {"Age": {"Units": "months"}, "sex": {"Levels": {"1": "Male", "2": {"Description": "female"}, "9": "not asked"}}}
    (folder / "participants.json").write_text(json.dumps(said))
    people = sites_of([str(folder)])[0].people
    assert people["01"] == Person(1.5, "M")
    assert people["02"].age == pytest.approx(140 / 12)
    assert (people["02"].sex, people["03"]) == ("F", Person(3.0, "9"))
    table = tmp_path / "t.tsv"
    table.write_text("path\tsite\tage\nx.nii.gz\ta\t26\n")
    (tmp_path / "t.json").write_text(json.dumps({"age": {"Units": "postmenstrual weeks"}, "remark": "of nobody"}))
    assert next(iter(sites_of([str(table)])[0].people.values())).age == pytest.approx(26 / 52.1775)
    (tmp_path / "t.json").write_text("{")
    with pytest.raises(UsageError, match=r"table-description: .* got t.json, which is none .*Correct it, or remove it"):
        sites_of([str(table)])


def test_a_persons_table_of_sessions_tells_the_age_at_each_visit(dataset):
    for label, lines in (("01", ["ses-a\t372", "ses-b\tn/a"]), ("04", ["ses-a\t600"])):
        (dataset / f"sub-{label}").mkdir()
        table = dataset / f"sub-{label}" / f"sub-{label}_sessions.tsv"
        table.write_text("\n".join(["session_id\tage", *lines]) + "\n")
        table.with_suffix(".json").write_text(json.dumps({"age": {"Units": "months"}}))
    (site,) = sites_of([f"x={dataset}"])

    def seen(label, visit):
        return site.person(str(dataset / f"sub-{label}" / f"ses-{visit}" / "anat" / "x_T1w.nii.gz"), label)

    assert seen("01", "a") == Person(31.0, "M")
    assert seen("01", "c") == Person(31.0, "M")  # a visit without a line
    (dataset / "participants.tsv").write_text("participant_id\tage\tsex\nsub-01\t30\tm\n")
    (site,) = sites_of([f"x={dataset}"])
    assert seen("01", "a") == Person(31.0, "M")
    assert seen("01", "b") == Person(30.0, "M")  # a line that tells no age
    assert seen("04", "a") == Person(50.0)  # a person without a line in participants.tsv


@pytest.mark.parametrize(("word", "sex"), [("woman", "F"), ("W", "F"), ("Man", "M"), ("male", "M")])
def test_words_for_a_sex_are_one_at_all_sites(word, sex, tmp_path):
    (tmp_path / "participants.tsv").write_text(f"participant_id\tage\tsex\nsub-01\t40\t{word}\n")
    assert sites_of([f"u={tmp_path}"])[0].people["01"].sex == sex


@pytest.mark.parametrize("word", ["U", "unknown", "Not reported", "?", "n/a"])
def test_a_sex_that_is_not_told_is_no_sex_of_its_own(word, tmp_path):
    (tmp_path / "participants.tsv").write_text(f"participant_id\tage\tsex\nsub-01\t>=89\t{word}\nsub-02\t40\tother\n")
    people = sites_of([f"u={tmp_path}"])[0].people
    assert people == {"01": Person(89.0, None), "02": Person(40.0, "other")}
