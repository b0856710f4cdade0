"""Names of outputs of scans that are not BIDS: readable, safe, one each, and the same whatever else was selected."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.io.plain_names import Unnamed, dataset_of, safe_description, stems_of, suffix_of

BIDS = re.compile(
    r"sub-(?P<sub>[0-9A-Za-z]+)/(ses-[0-9A-Za-z]+/)?anat/sub-(?P=sub)(_[a-z]+-[0-9A-Za-z+]+)*_desc-restored_[0-9A-Za-z]+"
)


def named(*paths, root="root", **more):
    return stems_of([Unnamed(path, more.get(path, {})) for path in paths], root)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("T1", "sub-root_desc-restored_T1w"),
        ("T1w_ce", "sub-root_ce-agent_desc-restored_T1w"),
        ("p6/T1CE", "sub-p6_ce-agent_desc-restored_T1w"),
        ("p3/t1c", "sub-p3_ce-agent_desc-restored_T1w"),
        ("p4/T1_post_gd_ax", "sub-p4_acq-ax_ce-gd_desc-restored_T1w"),
        ("p9/t1gd_tra", "sub-p9_acq-tra_ce-gd_desc-restored_T1w"),
        ("p9/T1_Gado", "sub-p9_ce-gd_desc-restored_T1w"),
        ("p10/AX_T1_POST", "sub-p10_acq-ax_ce-agent_desc-restored_T1w"),
        ("T1ce/p10", "sub-p10_ce-agent_desc-restored_T1w"),
        ("p1/post/T1", "sub-p1_acq-post_desc-restored_T1w"),  # of an operation or an agent: nobody knows
        ("p1/T1_without_contrast", "sub-p1_acq-pre_desc-restored_T1w"),
        ("p1/T1_pre_gd", "sub-p1_acq-pre_desc-restored_T1w"),
        ("p1/Ax T1 +C", "sub-p1_acq-ax_ce-agent_desc-restored_T1w"),
        ("p1/AX_T1_GAD", "sub-p1_acq-ax_ce-gd_desc-restored_T1w"),
        ("p1/T1_Gadovist", "sub-p1_ce-gd_desc-restored_T1w"),
        ("p1/t1_tra_KM", "sub-p1_acq-tra_ce-agent_desc-restored_T1w"),
        ("p1/t1_tra_ohne_KM", "sub-p1_acq-traPre_desc-restored_T1w"),
        ("km/gad_T1", "sub-kmgad_desc-restored_T1w"),  # names of persons
        ("p1/T2* tra", "sub-p1_acq-tra_desc-restored_T2starw"),
        ("p1/t2_fl2d_tra_hemo", "sub-p1_acq-fl2dTraHemo_desc-restored_T2starw"),
        ("p1/T2_FFE", "sub-p1_acq-ffe_desc-restored_T2starw"),
        ("p1/t2_tse_tra", "sub-p1_acq-tseTra_desc-restored_T2w"),
        ("p1/T1", "sub-p1_desc-restored_T1w"),
        ("p1/p1_T2_sag", "sub-p1_acq-sag_desc-restored_T2w"),
        ("001_t2_tse_tra", "sub-001_acq-tseTra_desc-restored_T2w"),
        ("patient01_thick/FLAIR", "sub-patient01_acq-thick_desc-restored_FLAIR"),
        ("site A/p-7/T1_2", "sub-siteAp7_run-2_desc-restored_T1w"),
        ("sub05/T1", "sub-05_desc-restored_T1w"),
        ("SUB_1/Sub012_t2", "sub-1Sub012_desc-restored_T2w"),
        ("Sub012_t2", "sub-012_desc-restored_T2w"),
        ("subject05/T1", "sub-subject05_desc-restored_T1w"),
        ("subA/T1", "sub-subA_desc-restored_T1w"),
        ("scan17", "sub-scan17_desc-restored_MRI"),
        ("Łódź/T1", "sub-odz_desc-restored_T1w"),
    ],
)
def test_a_name_says_person_and_contrast(path, name):
    assert named(path)[path].rpartition("/")[2] == name


@pytest.mark.parametrize(
    ("path", "suffix"),
    [("p5/ax_T1_FLAIR", "T1w"), ("p5/ax_T2_FLAIR", "FLAIR"), ("T1/p5_FLAIR", "FLAIR"), ("x/sub-5_acq-T1_FLAIR", "FLAIR")],
)
def test_the_last_word_of_a_name_is_its_contrast_but_for_t1_flair(path, suffix):
    entities = {"acq": "T1"} if "acq" in path else {}
    assert named(path, **{path: {"suffix": "FLAIR"} | entities})[path].rpartition("_")[2] == suffix
    assert named("p1/T1", **{"p1/T1": {"suffix": "FLAIR"}})["p1/T1"].endswith("_FLAIR")  # a table says so


def test_persons_whose_labels_would_be_one_are_told_apart():
    stems = named("a b/T1", "ab/T1", "AB/T2")
    assert len({stem.partition("/")[0].casefold() for stem in stems.values()}) == 3


def test_a_sub_of_the_name_stays_where_a_label_would_be_anothers_without_it():
    def persons(*paths, **more):
        return [stem.partition("/")[0] for stem in named(*paths, **more).values()]

    assert persons("sub05/T1", "sub06/T1", "sub06/T2") == ["sub-05", "sub-06", "sub-06"]
    assert persons("sub05/T1", "05/T1", "sub06/T1") == ["sub-sub05", "sub-05", "sub-06"]
    assert persons("sub05/T1", "x/y", **{"x/y": {"sub": "05"}}) == ["sub-sub05", "sub-05"]
    assert persons("x/y", **{"x/y": {"sub": "sub05"}}) == ["sub-sub05"]
    assert len(set(persons("sub05/T1", "SUB05/T1", "sub 05/T1", "sub0 5/T1"))) == 4


@pytest.mark.parametrize(
    "folders",
    [("张", "李", "王"), ("patient 1", "patient_1", "patient-1"), ("张1", "李1"), ("★", "☆"), ("a/b", "a b"), ("张", "")],
)
def test_persons_who_differ_in_signs_or_letters_beyond_ascii_are_told_apart_and_their_scans_are_not(folders):
    paths = [f"{folder}/{name}".lstrip("/") for folder in folders for name in ("T1", "dicom/T2_sag")]
    persons = {path: stem.partition("/")[0] for path, stem in named(*paths).items()}
    assert len(set(persons.values())) == len(folders)
    assert all(persons[first] == persons[second] for first, second in zip(paths[::2], paths[1::2], strict=True))


def test_files_of_persons_beyond_ascii_are_told_apart_in_one_folder():
    assert len(set(persons_of(named("x/张_T1", "x/李_T1", "x/p 1_T1", "x/p_1_T1")))) == 4


def test_a_lone_persons_label_has_no_hex_digits_and_the_folders_name_in_the_files_changes_nothing():
    assert set(persons_of(named("张/张_T1", "张/T2"))) == {"sub-root"}
    assert set(persons_of(named("patient-1/patient_1_T1", "patient-1/T2"))) == {"sub-patient1"}
    assert named("a b/T1", "ab/T1")["ab/T1"].startswith("sub-ab9650e4/")  # as it was: digits are a function of the words alone


def persons_of(stems):
    return [stem.partition("/")[0] for stem in stems.values()]


def test_a_stated_label_is_one_person_in_a_dataset_and_another_in_the_next():
    def persons(*paths, described=()):
        scans = [Unnamed(path, {"sub": "01"}, dataset=dataset_of(path, "01", set(described))) for path in paths]
        return persons_of(stems_of(scans, "root"))

    one, same, other = persons("siteA/sub-01/sub-01_T1w", "siteA/sub-01/anat/sub-01_T2w", "siteB/sub-01/sub-01_T1w")
    assert one == same != other
    assert re.fullmatch(r"sub-01[0-9a-f]{6}", one)
    for paths in (
        ("siteA/sub-01/sub-01_T1w",),
        ("T1/sub-01_T1w", "T2/sub-01_T2w"),
        ("ses-1/sub-01/T1", "ses-2/sub-01/T1"),
        ("study/rawdata/sub-01/sub-01_T1w", "study/derivatives/x/sub-01/sub-01_T1w", "study/sourcedata/sub-01/T1"),
    ):
        assert set(persons(*paths)) == {"sub-01"}, paths
    assert len(set(persons("T1/sub-01_T1w", "T2/sub-01_T2w", described=("T1", "T2")))) == 2
    assert set(persons("study/rawdata/sub-01/a", "study/derivatives/x/sub-01/b", described=("study",))) == {"sub-01"}


def test_two_long_stated_labels_that_begin_alike_are_two_persons():
    long = "a" * 40
    assert len(set(persons_of(named("1", "2", **{"1": {"sub": f"{long}1"}, "2": {"sub": f"{long}2"}})))) == 2


def of_one_study(*paths):
    return persons_of(stems_of([Unnamed(path, {}, ("1.2.3",)) for path in paths], "root"))


@pytest.mark.parametrize(
    "paths", [("p1/T1", "p2/T1"), ("p1/dicom", "p2/dicom"), ("x/p1/T1", "x/p2/T1"), ("p1", "p2"), ("张/T1", "李/T1")]
)
def test_folders_of_persons_win_over_a_study_that_all_share(paths):
    assert len(set(of_one_study(*paths))) == 2


def test_scans_below_one_folder_are_one_persons_where_another_folder_shares_their_study():
    assert of_one_study("p1/T1", "p1/more/T2", "p2/T1") == ["sub-p1", "sub-p1", "sub-p2"]


@pytest.mark.parametrize(
    ("paths", "person"),
    [
        (("P001/SCANS/4/DICOM", "P001/SCANS/5/DICOM"), "P001"),
        (("SCANS/4/DICOM", "SCANS/5/DICOM"), "root"),
        (("P001/series 1/dicom", "P001/series 2/dicom"), "P001"),
        (("P001/AX T1 5/dicom", "P001/SAG T2 6/dicom"), "P001"),
        (("P001/series-1", "P001/series-2"), "P001"),
        (("P001/T1", "P001/x/T2"), "P001"),
        (("P001/a", "P001/b"), "P001"),
        (("1", "2"), "root"),
    ],
)
def test_folders_of_series_leave_one_person_to_a_study(paths, person):
    assert set(of_one_study(*paths)) == {f"sub-{person}"}


def test_like_scans_of_one_person_are_numbered_by_their_paths():
    stems = named("p/dicom/t1", "p/raw/t1", "p/t1")
    assert [stems[path].split("_")[1] for path in sorted(stems)] == ["run-1", "run-2", "run-3"]


def test_series_of_one_study_are_one_persons_and_others_never():
    flat = [Unnamed(f"all/s{n}", {}, (f"study{n // 2}",), "t1 sag" if n % 2 else "t2 tra") for n in range(4)]
    stems = stems_of(flat, "root")
    persons = [stems[f"all/s{n}"].partition("/")[0] for n in range(4)]
    assert persons[0] == persons[1] != persons[2] == persons[3]
    assert stems["all/s1"].endswith("_acq-sag_desc-restored_T1w")
    assert stems["all/s2"].endswith("_acq-tra_desc-restored_T2w")


def test_a_stated_person_keeps_the_label_and_entities():
    entities = {"sub": "01", "ses": "2", "acq": "ax", "run": "x", "suffix": "T2w"}
    stems = named("x/sub-01_ses-2_acq-ax_run-x_T2w", "01/T1", **{"x/sub-01_ses-2_acq-ax_run-x_T2w": entities})
    assert stems["x/sub-01_ses-2_acq-ax_run-x_T2w"] == "sub-01/ses-2/anat/sub-01_ses-2_acq-ax_desc-restored_T2w"
    assert re.match(r"sub-01[0-9a-f]{6}/", stems["01/T1"])


@pytest.mark.parametrize(
    ("words", "suffix"),
    [
        ("T1 SAG 3D", "T1w"),
        ("t2 flair", "FLAIR"),
        ("T1 FLAIR", "T1w"),
        ("t2 tirm dark fluid", "FLAIR"),
        ("mprage", "T1w"),
        ("PD T2 tse", "MRI"),
        ("localizer", "MRI"),
        ("TOF 3D", "angio"),
        ("inplaneT2", "inplaneT2"),
        ("T2star", "T2star"),
        ("t2s", "T2starw"),
    ],
)
def test_a_contrast_is_told_or_unknown_never_guessed(words, suffix):
    assert suffix_of(words.split()) == suffix


def test_a_description_is_made_safe():
    assert safe_description("t2_tse_tra 5mm DOE^JANE 19700101 Dr. Roe") == "t2 tse tra 5mm"
    assert safe_description(safe_description("T1 SAG p2")) == "T1 SAG p2"


names = st.lists(st.text(min_size=1, max_size=60).filter(lambda text: "/" not in text), min_size=1, max_size=3).map("/".join)


alike = st.sampled_from(["p/T1", "P/t1", "p1/T1_1", "p1/T1", "p1/run-1_T1", "T1 (1)", "T1", "sub1/T1", "1/T1", "Sub1_T1"])


@given(st.lists(names | alike, max_size=6, unique=True))
def test_names_are_bids_and_one_each_in_any_order(paths):
    stems = named(*paths)
    assert all(BIDS.fullmatch(stem) for stem in stems.values())
    assert len({stem.casefold() for stem in stems.values()}) == len(paths)
    assert max((len(stem.rpartition("/")[2]) for stem in stems.values()), default=0) < 200
    assert named(*reversed(paths)) == stems
