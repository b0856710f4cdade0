"""Words to cite say what a run did, method by method, and number their references."""

from __future__ import annotations

import re
from typing import get_args

import numpy as np

from core.engine.records import ScanRecord
from core.harmonize.images.intensity import Normaliser
from core.harmonize.images.volume import VolumeModel
from core.harmonize.model import Harmonizer
from core.harmonize.tables.table import Features
from core.io import files
from core.io.output import Output
from core.settings.harmonize import HarmonizeSettings, VolumeSteps
from core.settings.run import RunSettings
from tasks.harmonize.combat import Adjusted
from tasks.harmonize.words import INTENSITY, STEPS
from tasks.harmonize.words import words as harmonisation
from tasks.pipeline.discover import plan_cohort
from tasks.pipeline.pages import write_cohort_page
from tasks.report.citation import citation
from tests.cases.makers import bids


def words(tmp_path, records, **how):
    bids(tmp_path / "in", "01", "02")
    settings = {"input": str(tmp_path / "in"), "out": str(tmp_path / "out"), "voxel_size": 6} | how
    plan = plan_cohort(RunSettings.model_validate(settings))
    return plan, citation(plan, records, {"isovox": "1", "numpy": "2.0"})


def record(key, method, **more):
    return ScanRecord(key=key, state="done", method=method, outputs={f"{key}.nii.gz": "ab"}, **more)


def test_each_method_that_restored_something_is_named_with_its_model_and_papers(tmp_path):
    model = {"name": "anyscan", "version": "3", "sha256": "0123456789abcdef"}
    anyscan = record("sub-01_T1w", "anyscan", provenance={"Model": model})
    records = [record("sub-02_T1w", "unires"), anyscan, record("c", "unires")]
    plan, made = words(tmp_path, [*records, ScanRecord(key="d", state="failed", method="cubic")])
    text = made.paragraph
    assert "3 scans were restored: 2 by unires (" in text
    assert "; 1 by anyscan (" in text
    assert "with the model anyscan, version 3, SHA-256 0123456789ab" in text
    assert "by cubic" not in text
    assert "chosen by isovox" in text
    assert text.index("3 scans were restored") < text.index("Of these, 2 scans had smaller voxels and became coarser.")
    assert plan.digest[:12] in text
    numbers = {int(number) for group in re.findall(r"\[([\d, ]+)\]", text) for number in group.split(", ")}
    assert numbers == set(range(1, len(made.references) + 1))
    assert any("10.1007/978-3-319-95921-4_21" in reference for reference in made.references)


def test_a_run_by_one_method_says_no_more_than_it_did(tmp_path):
    _, made = words(tmp_path, [record("a", "nearest")], method="nearest", repair=False, voxel_size="auto")
    assert "chosen" not in made.paragraph
    assert "smoothly" not in made.paragraph
    assert "1 scan was restored: 1 by nearest" in made.paragraph
    assert len(made.references) == 2


def test_of_a_run_that_restored_nothing_nothing_is_said_of_checks(tmp_path):
    text = words(tmp_path, [ScanRecord(key=key, state="failed", method="cubic") for key in "ab"], method="cubic")[1].paragraph
    assert text.startswith("Thick-slice MRI was to be restored to isotropic voxels")
    assert "No scan was restored. 2 scans could not be restored." in text
    assert "flagged" not in text


def test_a_repair_is_told_where_a_scan_was_repaired(tmp_path):
    left, mended = (record(key, "cubic", provenance={"Repaired": key == "b"}) for key in "ab")
    assert "smoothly" not in words(tmp_path / "none", [left], method="cubic")[1].paragraph
    assert "smoothly" in words(tmp_path / "some", [left, mended], method="cubic")[1].paragraph


def test_the_page_and_the_file_carry_the_paragraph(tmp_path):
    records = [record("sub-01_T1w", "cubic")]
    plan, made = words(tmp_path, records, method="cubic")
    out = Output(str(tmp_path / "out"))
    write_cohort_page(out, plan, records)
    assert "1 scan was restored: 1 by cubic" in files.read_bytes(out.citation).decode()
    page = files.read_bytes(out.cohort_page).decode()
    assert "Words to cite" in page
    assert "10.1109/79.799930" in page
    assert made.paragraph.split(" (")[0] in page
    assert "which become 6 mm" in page


def test_a_harmonisation_names_the_steps_that_ran_and_no_other():
    table = Features(("a", "b"), ("bonn", "oslo"), {}, ("f", "g"), np.zeros((2, 2)))
    none = Harmonizer(contrast="T1w", method="cubic", voxel_size=2, field_of_view=(10, 10, 10))
    wanted = HarmonizeSettings(sites=("a=a", "b=b"), out="out", voxel_size=2)
    records = [record("a", "cubic"), record("b", "cubic")]
    made = harmonisation(wanted, none, records, Adjusted(table, table), {"done": 2}, {"isovox": "1", "numpy": "2.0"})
    assert "MRI of 2 sites was restored to isotropic voxels (2 mm) and harmonised with isovox" in made.paragraph
    assert "Intensities were left as they are." in made.paragraph
    assert "ComBat" not in made.paragraph
    assert "N4" not in made.paragraph
    assert "to one space" not in made.paragraph
    assert len(made.references) == 2  # isovox and the splines
    steps = VolumeSteps(bias_field=True, brain_only=True)
    whole = none.model_copy(
        update={
            "intensity": Normaliser("nyul", "T1w", {"percentiles": [], "scale": []}, 2).to_json(),
            "volume": VolumeModel(steps).to_json(),
            "combat": {"terms": [{"name": "age"}], "feature_flags": {"overshoot": "constant"}, "reference": None},
            "maps": {"voxel": 8.0, "combat": {}},
        }
    )
    table = Features(table.scans, table.site, {}, ("p50", "overshoot", "local"), np.zeros((2, 3)))
    states, wanted = {"done": 2, "failed": 1, "skipped": 3}, wanted.model_copy(update={"maps": True})
    made = harmonisation(wanted, whole, records, Adjusted(table, table, table, whole.combat), states, {"numpy": "2.0"})
    for words in (
        "by the cohort's mean deciles (Nyúl) [4, 5], fitted on the scans of all sites",
        "what N4 finds of a bias field beyond the reference's was taken away [3]; what lies beyond a rough brain mask",
        (
            "taken out of 2 features (1 of the image and 1 of the restoration's quality) by ComBat [6, 7]: "
            "the effects of age preserved, the sites' effects drawn together"
        ),
        "one space (voxels of 8 mm) by affine registration, and what is the sites' was taken out of each voxel by ComBat [6, 7].",
        "1 scan could not be restored or measured; 3 scans were rejected by rating and left out",
        whole.sha256[:12],
    ):
        assert words in made.paragraph
    assert any("10.1093/biostatistics/kxj037" in reference for reference in made.references)
    # a model of before, whose options are its own; and what was asked for and could not be fitted is not said
    terms = [{"name": "age", "knots": [40.0, 60.0]}, {"name": "sex", "knots": None}]
    other = whole.combat | {"terms": terms, "bayes": False, "ratio": [0.5], "spreads": [[0.0]], "reference": "oslo"}
    later = whole.model_copy(update={"combat": other, "maps": {"voxel": 8.0, "combat": None}})
    made = harmonisation(wanted, later, records, Adjusted(table, table, table, other), states, {"numpy": "2.0"})
    how = (
        "each feature alone, the others brought to oslo, effects on the spread preserved too, age as a cubic spline, an intercept"
    )
    assert f"the effects of age and sex preserved, {how} for each person." in made.paragraph
    assert "to one space (voxels of 8 mm) by affine registration. 1 scan" in made.paragraph
    asked = wanted.model_copy(update={"smooth_age": True, "spread": True})
    made = harmonisation(asked, whole, records, Adjusted(table, table, table, whole.combat), states, {"numpy": "2.0"})
    assert "the effects of age preserved, the sites' effects drawn together by empirical Bayes." in made.paragraph


def test_every_way_of_harmonising_has_its_words():
    assert set(INTENSITY) == set(get_args(HarmonizeSettings.model_fields["intensity"].annotation)) - {"none"}
    assert set(STEPS) == set(VolumeSteps.model_fields)


def test_words_say_whose_banding_was_taken_out(tmp_path):
    _, plain = words(tmp_path, [record("a", "unires")])
    assert "evened" not in plain.paragraph
    _, made = words(tmp_path, [record("a", "unires", quality={"banding_removed": -0.05}), record("b", "unires")])
    assert "Every second slice of 1 scan was brighter or darker than those beside it, and was evened first." in made.paragraph
