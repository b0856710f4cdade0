"""A harmonisation's workers and tables, on restored phantoms: same bytes, skipped when done, one bad scan alone."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from core.engine.records import ScanRecord
from core.errors import InputError
from core.geometry.grid import Grid
from core.harmonize import model
from core.harmonize.features import NAMES
from core.harmonize.images.intensity import Normaliser
from core.harmonize.images.volume import VolumeModel
from core.harmonize.tables.combat import Combat
from core.harmonize.tables.sites import site_accuracy
from core.harmonize.tables.table import Features
from core.io import files, nifti
from core.io.output import Output
from core.settings.harmonize import HarmonizeSettings
from tasks.harmonize import combat, maps, tables, work
from tasks.harmonize.combat import adjust, write_tables
from tasks.harmonize.sites import Person
from tasks.harmonize.tables import Member
from tasks.harmonize.work import Piece
from tasks.report.harmonize import ByCombat
from tests.phantoms import brain

EXTENT = (150.0, 160.0, 170.0)
GAINS = {"oslo": 1.0, "bonn": 9.0}


def restored(out: str, site: str, key: str, image, *, state: str = "done", stripped: bool = True) -> ScanRecord:
    """What ``isovox run`` leaves of a scan, as far as a harmonisation reads it."""
    folder = Output(files.join(out, site))
    grid = Grid(image.shape, np.diag([4.0, 4.0, 4.0, 1.0]))
    stem = f"{key.removesuffix('_T1w')}/anat/{key.removesuffix('_T1w')}_desc-restored_T1w"
    digest = nifti.save(folder.path(f"{stem}.nii.gz"), image.astype(np.float32), grid)
    files.write_json(folder.path(f"{stem}.json"), {"SkullStripped": stripped, "EchoTime": 0.003, "Isovox": {"Secret": 1}})
    outputs = {f"{stem}.nii.gz": digest, f"{stem}.json": files.sha256(folder.path(f"{stem}.json"))}
    record = ScanRecord(key=key, state=state, reason="odd" * (state == "flagged"), outputs=outputs, quality={"consistency": 1.5})
    folder.write_record(record)
    return record


@pytest.fixture
def cohort(tmp_path) -> list[Member]:
    members = []
    for site, gain in GAINS.items():
        for number in range(4):
            key = f"sub-{number:02}_T1w"
            image = gain * brain((36, 36, 36), seed=number + len(members) * 10, noise=3 + number)[0]
            record = restored(str(tmp_path), site, key, image)
            piece = Piece(str(tmp_path), site, key, "T1w", "nyul", EXTENT)
            members.append(Member(piece, record, Person(20.0 + 3 * number + len(members), "MF"[number % 2])))
    return members


def here(function, items, *, window, deadline):
    """Run each in this process, as ``run_bounded`` would."""
    for item in items:
        try:
            yield item, function(item)
        except Exception as error:  # noqa: BLE001
            yield item, error


def fitted(members) -> model.Harmonizer:
    readings = [work.read_measured(member.piece)["Reading"] for member in members]
    said = {"contrast": "T1w", "method": "cubic", "voxel_size": 4.0, "field_of_view": EXTENT}
    return model.Harmonizer(intensity=Normaliser.fit_readings("nyul", readings).to_json(), **said)


def harmonized(members) -> list[Member]:
    assert not work.run(here, work.measure, [member.piece for member in members], 1)
    made = fitted(members)
    model.save(work.model_folder(members[0].piece.out), made, "card")
    ready = [replace(member, piece=replace(member.piece, model=made.digest)) for member in members]
    assert not work.run(here, work.harmonize, [member.piece for member in ready], 1)
    return [replace(one, record=one.piece.harmonized.read_record(one.piece.key)) for one in ready]


def images(members) -> dict[str, bytes]:
    return {
        member.piece.name: Path(member.piece.harmonized.path(work.image_of(member.record) + ".nii.gz")).read_bytes()
        for member in members
    }


def test_scans_of_all_sites_come_to_one_grid_and_one_scale(cohort):
    made = harmonized(cohort)
    found = tables.after(made)
    assert {member.record.state for member in made} == {"done"}
    medians = [np.median(found.only(["wm_intensity"]).values[found.rows([site])]) for site in GAINS]
    assert medians[0] == pytest.approx(medians[1], rel=0.02)
    before = tables.before(made).only(["wm_intensity"]).values
    assert before.max() > 8 * before.min()
    for member in made:
        path = member.piece.harmonized.path(work.image_of(member.record) + ".nii.gz")
        image = nibabel.load(path)
        assert image.shape == tuple(round(mm / 4) for mm in EXTENT)
        assert nibabel.aff2axcodes(image.affine) == ("R", "A", "S")
        sidecar = json.loads(Path(path.replace(".nii.gz", ".json")).read_text())
        assert sidecar["EchoTime"] == 0.003
        assert set(sidecar["Isovox"]) == {"Harmonized", "Inputs"}
        assert sidecar["Sources"][0].endswith("_desc-restored_T1w.nii.gz")


def test_the_same_scan_gives_the_same_bytes_next_month(cohort, tmp_path):
    first = images(harmonized(cohort))
    files.remove(str(tmp_path / "harmonized"))
    for member in cohort:
        work.harmonize(replace(member.piece, model=model.read(work.model_folder(member.piece.out)).digest))
    again = [replace(one, record=one.piece.harmonized.read_record(one.piece.key)) for one in cohort]
    assert images(again) == first


def test_what_is_done_is_skipped_and_what_changed_is_not(cohort, monkeypatch):
    made = harmonized(cohort)
    loaded: list[str] = []
    load = work._load
    monkeypatch.setattr(work, "_load", lambda piece: loaded.append(piece.name) or load(piece))
    pieces = [member.piece for member in made]
    work.run(here, work.measure, pieces, 1)
    work.run(here, work.harmonize, pieces, 1)
    assert loaded == []
    torn = Path(pieces[0].harmonized.path(work.image_of(made[0].record) + ".nii.gz"))
    torn.write_bytes(torn.read_bytes()[:-9])
    restored(pieces[1].out, pieces[1].site, pieces[1].key, 2 * brain((36, 36, 36), seed=77)[0])
    work.run(here, work.measure, pieces, 1)
    work.run(here, work.harmonize, pieces, 1)
    assert sorted(set(loaded)) == sorted({pieces[0].name, pieces[1].name})


def test_one_bad_scan_is_told_with_its_reason_and_the_others_go_on(cohort, tmp_path):
    bad = cohort[2]
    restored(str(tmp_path), bad.piece.site, bad.piece.key, np.zeros((36, 36, 36)))
    failed = work.run(here, work.measure, [member.piece for member in cohort], 1)
    assert list(failed) == [bad.piece.name]
    record = work.note_failed(bad.piece, failed[bad.piece.name])
    assert (record.state, record.code) == ("failed", "voxels-zero")
    assert bad.piece.harmonized.read_record(bad.piece.key) == record


def test_a_failure_removes_what_an_earlier_run_made(cohort):
    made = harmonized(cohort)[0]
    path = made.piece.harmonized.path(work.image_of(made.record) + ".nii.gz")
    assert files.exists(path)
    work.note_failed(made.piece, InputError("x", "a", "b", "c"))
    assert not files.exists(path)


def test_a_brain_beyond_the_field_of_view_and_a_flagged_restoration_are_flagged(cohort, tmp_path):
    work.run(here, work.measure, [member.piece for member in cohort], 1)
    made = fitted(cohort)
    model.save(work.model_folder(str(tmp_path)), made, "card")
    narrow = replace(cohort[0].piece, extent=(60.0, 160.0, 160.0), model=made.digest)
    work.harmonize(narrow)
    record = narrow.harmonized.read_record(narrow.key)
    assert (record.state, record.code) == ("flagged", "field-of-view")
    assert "60 x 160 x 160 mm" in record.reason
    restored(str(tmp_path), "oslo", "sub-09_T1w", brain((36, 36, 36))[0], state="flagged")
    other = replace(cohort[0].piece, key="sub-09_T1w", model=made.digest)
    work.harmonize(other)
    assert "odd" in other.harmonized.read_record("sub-09_T1w").reason


def test_a_harmonised_brain_that_lost_its_cortex_is_flagged(cohort, tmp_path, monkeypatch):
    work.run(here, work.measure, [member.piece for member in cohort], 1)
    made = fitted(cohort)
    model.save(work.model_folder(str(tmp_path)), made, "card")
    apply = VolumeModel.apply

    def eroded(self, scan):
        return replace(apply(self, scan), mask=binary_erosion(scan.mask, iterations=6))

    monkeypatch.setattr(VolumeModel, "apply", eroded)
    piece = replace(cohort[0].piece, model=made.digest)
    work.harmonize(piece)
    record = piece.harmonized.read_record(piece.key)
    assert (record.state, record.code) == ("flagged", "brain-volume")
    assert "the brain mask of the harmonised scan has" in record.reason
    assert "of the restored scan" not in record.reason


def test_tables_hold_every_scan_its_person_and_finite_figures(cohort, tmp_path):
    made = harmonized(cohort)
    settings = HarmonizeSettings(sites=("x",), out=str(tmp_path))
    found = adjust(settings, made, None)
    write_tables(str(tmp_path), found)
    table = Features.from_tsv(str(tmp_path / "features.tsv"))
    assert table.names == NAMES
    assert table.scans == tuple(member.piece.name for member in made)
    assert table.covariates["age"][1] == made[1].person.age
    assert math.isnan(table.only(["local"]).values[0, 0])  # no figure of the restoration said it
    assert np.isfinite(table.only(["gm_ml", "snr", "consistency"]).values).all()
    told = json.loads((tmp_path / "features.json").read_text())
    assert set(NAMES) <= set(told)
    assert told["gm_ml"]["Units"] == "ml"
    assert found.adjusted is not None
    assert Features.from_tsv(str(tmp_path / "features_harmonized.tsv")).scans == table.scans
    means = [found.adjusted.only(["snr"]).values[found.adjusted.rows([site])].mean() for site in GAINS]
    assert means[0] == pytest.approx(means[1], rel=0.1)


def test_combat_of_before_takes_known_sites_and_leaves_new_ones_out(cohort, tmp_path):
    made = harmonized(cohort)
    settings = HarmonizeSettings(sites=("x",), out=str(tmp_path))
    first = adjust(settings, made, None)
    bent = adjust(settings.model_copy(update={"smooth_age": True}), made, None)
    assert {*bent.notes} - {*first.notes} == {"age is preserved as a straight line: a spline takes 8 values"}
    given = fitted(cohort).model_copy(update={"combat": json.loads(json.dumps(first.combat))})
    again = adjust(settings, made, given)
    assert np.array_equal(again.adjusted.values, first.adjusted.values, equal_nan=True)
    rome = []
    for seed, member in enumerate(made[:3], start=5):
        restored(str(tmp_path), "rome", member.piece.key, brain((36, 36, 36), seed=seed)[0])
        rome.append(replace(member, piece=replace(member.piece, site="rome")))
        work.measure(rome[-1].piece)
    found = adjust(settings, [*made, *rome], given)
    assert found.adjusted.scans == first.adjusted.scans
    assert "rome" in found.notes[0]
    assert found.figures == again.figures  # of the scans that ComBat takes, before it as after it


def test_the_page_of_a_given_model_tells_volumes_from_the_table_and_fits_nothing(cohort, tmp_path, monkeypatch):
    made, pages = harmonized(cohort), []
    settings = HarmonizeSettings(sites=("x",), out=str(tmp_path), seed=7)
    first = adjust(settings.model_copy(update={"bayes": False, "person_intercept": True}), made, None)
    given = fitted(cohort).model_copy(update={"combat": json.loads(json.dumps(first.combat))})
    monkeypatch.setattr(Combat, "fit", None)
    later = adjust(settings, made, given)
    monkeypatch.setattr("tasks.report.harmonize.write_page", lambda *args, **options: pages.append((args, options)))
    combat.report(settings, made, later, {})
    (_, before, after, *_), options = pages[0]
    for shown, table in ((before, later.before), (after, first.adjusted), (options["between"], later.after)):
        assert np.array_equal(shown.values, table.values, equal_nan=True)
    assert options["combat"] == ByCombat(["age", "sex"], None, given=True, intercept=True, changed=later.changed)
    assert options["seed"] == 7
    assert later.figures["site_accuracy_intensity"] == site_accuracy(later.after, permutations=1, seed=7).balanced
    assert later.figures["site_accuracy_combat"] == site_accuracy(first.adjusted, permutations=1, seed=7).balanced


def test_features_of_the_reference_stay_and_a_table_has_the_numbers_of_maps(cohort, tmp_path):
    made = harmonized(cohort)
    settings = HarmonizeSettings(sites=("x",), out=str(tmp_path), reference_site="oslo")
    by_table = adjust(settings, made, None)
    rows = by_table.after.rows(["oslo"])
    assert np.array_equal(by_table.adjusted.values[rows], by_table.after.values[rows], equal_nan=True)
    assert not np.allclose(by_table.adjusted.values, by_table.after.values, equal_nan=True)
    by_maps = maps.fitted_on(settings, tables.after(made)).apply(tables.after(made), missing="mean")
    assert np.array_equal(by_table.adjusted.values, by_maps.values, equal_nan=True)


def test_the_held_out_combat_knows_the_reference_too(cohort, tmp_path, monkeypatch):
    options = []
    monkeypatch.setattr(combat, "by_combat", lambda *_, **given: options.append(given))
    adjust(HarmonizeSettings(sites=("x",), out=str(tmp_path), reference_site="oslo"), harmonized(cohort), None)
    assert [given["reference_site"] for given in options] == ["oslo"]


def test_a_cohort_that_combat_cannot_take_keeps_its_features_and_says_why(cohort, tmp_path):
    made = harmonized(cohort[:1])
    found = adjust(HarmonizeSettings(sites=("x",), out=str(tmp_path)), made, None)
    assert found.adjusted is None
    assert "features are as they were" in found.notes[0]
    off = adjust(HarmonizeSettings(sites=("x",), out=str(tmp_path), combat=False), made, None)
    assert (off.adjusted, off.notes) == (None, ())


def test_histograms_have_the_same_edges_and_all_voxels(cohort):
    made = harmonized(cohort)
    for found in (tables.histograms_before(made), tables.histograms_after(made)):
        assert set(found) == set(GAINS)
        (first, counts), (second, others) = found.values()
        assert np.array_equal(first, second)
        voxels = sum(member.record.provenance["Voxels"] for member in made)
        assert 0.97 * voxels < counts.sum() + others.sum() <= 1.001 * voxels


def test_heads_on_coarse_voxels_are_told(tmp_path):
    members = []
    for number, stripped in enumerate((True, False, False)):
        image = brain((36, 36, 36), seed=number, head=not stripped)[0]
        record = restored(str(tmp_path), "oslo", f"sub-{number:02}_T1w", image, stripped=stripped)
        members.append(Member(Piece(str(tmp_path), "oslo", f"sub-{number:02}_T1w", "T1w", "nyul", EXTENT), record, Person()))
    for member in members:
        work.measure(member.piece)
    assert tables.coarse_heads(members, 2.0) == tables.coarse_heads(members[:1], 4.0) == []
    (note,) = tables.coarse_heads(members, 4.0)
    assert note.startswith("2 of 3 scans are of heads on voxels of 4 mm: beyond 2 mm their rough brain mask holds skull")


def test_without_scans_there_is_no_page_and_without_combat_none_of_its_files(cohort, tmp_path):
    settings = HarmonizeSettings(sites=("x",), out=str(tmp_path), combat=False)
    for name in ("report.html", "features_harmonized.tsv", "features_harmonized.json"):
        (tmp_path / name).write_text("of an earlier call")
    combat.report(settings, [], adjust(settings, [], None), {})
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {
        f"{name}.{ending}" for name in ("features", "features_restored") for ending in ("tsv", "json")
    }
