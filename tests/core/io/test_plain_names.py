"""Names of outputs of scans that are not BIDS: readable, safe, one each, and the same whatever else was selected."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.io.plain_names import Unnamed, safe_description, stems_of, suffix_of

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
