"""The steps of volumes on the path of a harmonisation: fitted in two looks, written, told in sidecars, the same for new scans."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from core.engine.records import ScanRecord
from core.errors import UsageError, WeightsError
from core.geometry.grid import Grid
from core.harmonize import model
from core.harmonize.images import fit, volume
from core.harmonize.images.bias import POWERS
from core.harmonize.images.fit import Look
from core.harmonize.tables.combat import Combat
from core.harmonize.voxelwise import Maps
from core.io import files, nifti
from core.settings.harmonize import HarmonizeSettings, VolumeSteps
from core.settings.scans import AcquisitionSettings
from flows.harmonize import Run, _check_sites, _first_look, _fit, _intensities_alone, _lost, _with_method_of
from flows.runs.sites import given_harmonizer, given_maps, plans_of, restoration_of, sites_for
from tasks.harmonize import work
from tasks.harmonize.sites import Person, Site
from tasks.harmonize.tables import Member
from tasks.harmonize.work import Piece
from tests.core.harmonize.tables.sites import cohort
from tests.phantoms import brain
from tests.tasks.harmonize.test_work import EXTENT, here, restored

STEPS = VolumeSteps(bias_field=True, resolution=True, curve=True, noise_level=True, brain_only=True)
NOISE = {"oslo": 1.0, "bonn": 6.0}


class Here(Run):
    """Stages in this process."""

    def through(self, name, function, members):
        assert not self._stage(name, function, [member.piece for member in members])
        return list(members)


@pytest.fixture
def members(tmp_path) -> list[Member]:
    found = []
    for site, noise in NOISE.items():
        for number in range(2):
            key = f"sub-{number:02}_T1w"
            image = (9 if site == "bonn" else 1) * brain((36, 36, 36), seed=number, noise=noise)[0]
            record = restored(str(tmp_path), site, key, image)
            found.append(Member(Piece(str(tmp_path), site, key, "T1w", "tissues", EXTENT, steps=STEPS), record, Person()))
    return found


def settings_of(members) -> HarmonizeSettings:
    out = members[0].piece.out
    said = {"intensity": "tissues", "steps": STEPS, "reference_site": "oslo", "voxel_size": 4.0, "field_of_view": EXTENT}
    return HarmonizeSettings(sites=(f"oslo={out}/a", f"bonn={out}/b"), out=out, **said)


def test_steps_are_fitted_written_told_and_used_again(members, tmp_path):
    settings = settings_of(members)
    run = Here(settings, here)
    run.through("measure", work.measure, members)
    fitted, left = _fit(settings, run, members)
    assert len(left) == 4
    assert fitted.sites == {"oslo": 2}
    assert set(fitted.volumes.resolution.added) == set(NOISE)
    done = run.apply(fitted, left)
    sidecar = json.loads((tmp_path / "harmonized/bonn/sub-00/anat/sub-00_desc-harmonized_T1w.json").read_text())
    assert sidecar["Isovox"]["Harmonized"]["Steps"] == STEPS.wanted()
    assert sidecar["Isovox"]["Harmonized"]["BrainMask"].startswith("rough")
    power = {member.piece.site: member.record.provenance["Features"]["spectrum_high"] for member in done}
    assert power["oslo"] == pytest.approx(power["bonn"], abs=0.15)
    white = [member.record.provenance["Features"]["wm_intensity"] for member in done]
    assert white == pytest.approx([white[0]] * 4, rel=0.05)
    next_month = model.Harmonizer.model_validate_json(fitted.model_dump_json())
    assert next_month.digest == fitted.digest
    image = work.image_of(done[3].record) + ".nii.gz"
    before = nifti.load(done[3].piece.harmonized.path(image))[0]
    files.remove(done[3].piece.harmonized.path(image))
    assert _with_method_of(settings, next_month).steps == VolumeSteps()
    alone = replace(done[3], piece=replace(members[3].piece, steps=VolumeSteps()))
    run.apply(next_month, [alone])
    assert np.array_equal(nifti.load(done[3].piece.harmonized.path(image))[0], before)


def test_sites_of_several_scans_are_mended_together_by_slopes_of_few(members, tmp_path, monkeypatch):
    monkeypatch.setattr(fit, "ROUNDS", 2)
    monkeypatch.setattr(fit, "FEWEST", 2)
    monkeypatch.setattr(volume, "SHOWN", 1)
    run = Here(settings_of(members), here)
    run.through("measure", work.measure, members)
    fitted, left = _fit(run.settings, run, members)
    assert len(left) == 4
    looked = [len(list((tmp_path / "isovox" / f"look-{number}").glob("*/sub-*.json"))) for number in range(2, 10)]
    assert looked == [4, 4, 2, 4, 4, 4, 4, 0]  # each part alone, slopes of a scan of each site, all together
    assert fitted.volumes.mend is None
    assert "mend" not in fitted.model_dump_json()


def test_who_was_scanned_is_known_in_the_first_look(members):
    first, second = (replace(members[0].piece, key=f"sub-00_ses-{number}_T1w") for number in (1, 2))
    assert _first_look(replace(members[0], piece=first), {}) == _first_look(replace(members[1], piece=second), {})
    named = replace(members[0], person=Person(name="somebody"))
    assert _first_look(named, {"Look": {"trend": [0.5]}}) == Look("oslo", [0.5], person="somebody")


class Blind(Run):
    """Looks of which some sites' scans do not come through."""

    def __init__(self, settings, failing):
        super().__init__(settings, here)
        self.failing = failing

    def look(self, number, at, members):  # noqa: ARG002 - as the flow calls it
        through = [member for member in members if number < 3 or member.piece.site not in self.failing]
        powers = {"powers": [4.0] * 9, "quiet": [3.0] * 9}
        marks = {"landmarks": list(range(20, 110, 10)), "sharpness": [1.0, 1.0, 1.0]} | powers
        seen = {member.piece.name: Look(member.piece.site, reading=[30.0, 75.0, 105.0], **marks) for member in through}
        return through, seen


def test_a_site_that_is_lost_in_a_look_is_told_and_the_others_are_fitted(members, monkeypatch):
    monkeypatch.setattr(fit, "ROUNDS", 2)
    marks = {"trend": [0.0] * len(POWERS), "sharpness": [1.0, 1.0, 1.0]}
    monkeypatch.setattr(work, "read_measured", lambda _: {"Look": marks, "Reading": [30.0, 75.0, 105.0]})
    settings = settings_of(members)
    fitted, left = _fit(settings, Blind(settings, {"bonn"}), members)
    assert {member.piece.site for member in left} == {"oslo"}
    assert set(fitted.volumes.fields.added) == set(fitted.volumes.resolution.added) == {"oslo"}
    assert _lost(members, left) == ["bonn is not in the fit: no scan of it came through the looks"]
    with pytest.raises(UsageError, match=r"site-lost: expected scans of each site, but got none that came through all looks"):
        _fit(settings, Blind(settings, set(NOISE)), members)


def test_a_site_without_a_scan_is_refused_with_the_reason_of_its_first_whatever_stage_it_failed_in(members):
    sites = [Site(name, name) for name in ("bonn", "oslo")]
    oslo = [member for member in members if member.piece.site == "oslo"]
    first = next(member.piece for member in members if member.piece.site == "bonn")
    gone = [(first, ScanRecord(key=first.key, state="failed", code="brain-not-found", reason="brain-not-found: none."))]
    with pytest.raises(UsageError, match=r"none of bonn that could .*; bonn/sub-00_T1w: brain-not-found: none\. Mend its scans"):
        _check_sites(sites, oslo, gone, None)
    _check_sites(sites, members, [], None)


def test_a_harmoniser_without_steps_says_nothing_of_them():
    plain = model.Harmonizer(contrast="T1w", method="cubic", voxel_size=1.0, field_of_view=EXTENT)
    assert "volume" not in json.loads(plain.model_dump_json())
    assert plain.volumes.steps == VolumeSteps()


def test_a_folder_that_is_no_harmoniser_is_refused_by_where_harmonisers_are(tmp_path):
    settings = HarmonizeSettings(sites=("a=a",), out="out", model=str(tmp_path))
    with pytest.raises(
        WeightsError, match=r"harmonizer-missing: .* Name OUT/isovox/harmonizer of an isovox harmonize, or models:/"
    ):
        given_harmonizer(settings)


def test_effects_that_cannot_be_preserved_are_refused_before_any_work():
    with pytest.raises(ValidationError, match="expected age, sex or none"):
        HarmonizeSettings(sites=("a=a",), out="out", preserve=("Age", "sex", "group"))
    made = [HarmonizeSettings(sites=("a=a",), out="out", preserve=names).preserve for names in (("none",), (), ("sex", "sex"))]
    assert made == [(), (), ("sex",)]


def test_maps_are_the_models_and_one_without_is_refused_where_they_are_wanted(tmp_path):
    folder, said = str(tmp_path), {"contrast": "T1w", "method": "cubic", "voxel_size": 4.0, "field_of_view": EXTENT}
    settings = HarmonizeSettings(sites=("a=a",), out="out", model=folder, voxel_size=4.0, field_of_view=EXTENT)
    model.save(folder, model.Harmonizer(**said), "card")
    assert given_maps(settings, given_harmonizer(settings)) is None
    with pytest.raises(UsageError, match=r"harmonizer-no-maps: expected a model that was fitted with --maps.*Leave out --maps"):
        given_harmonizer(settings.model_copy(update={"maps": True}))
    grid = Grid((2, 2, 2), np.diag([4.0, 4.0, 4.0, 1.0]))
    arrays, about = Maps(np.ones((2, 2, 2), np.float32), grid, np.ones((2, 2, 2), bool)).pack()
    model.save(folder, model.Harmonizer(maps=about, **said), "card", arrays)
    given = given_harmonizer(settings)
    assert given_maps(settings, given).pack() == (arrays, about)
    assert _with_method_of(settings, given).maps
    assert _intensities_alone(given).digest == model.Harmonizer(**said).digest  # scans are the same with maps and without


@pytest.mark.parametrize(
    ("options", "refused"),
    [
        ({"intensity": "tissues", "steps": VolumeSteps(noise_level=True)}, "--intensity tissues, --noise-level"),
        ({"reference_site": "rome"}, "--reference-site rome"),
        ({"preserve": ("age",), "bayes": False}, "--preserve age, --no-bayes"),
        ({"spread": True, "smooth_age": True, "person_intercept": True}, "--spread, --person-intercept, --smooth-age"),
        ({"combat": False, "reference_site": "a", "steps": VolumeSteps(curve=True)}, ""),
    ],
)
def test_options_that_the_given_model_was_not_fitted_by_are_refused_by_name(tmp_path, options, refused):
    said = {"contrast": "T1w", "method": "cubic", "voxel_size": 4.0, "field_of_view": EXTENT}
    table = cohort({"a": 9, "b": 9})
    volumes = volume.VolumeModel(VolumeSteps(curve=True)).to_json()
    fitted = model.Harmonizer(combat=Combat.fit(table).to_json(), volume=volumes, sites={"a": 9}, **said)
    model.save(str(tmp_path), fitted, "card")
    settings = HarmonizeSettings(sites=("a=a",), out="out", model=str(tmp_path), voxel_size=4.0, field_of_view=EXTENT)
    settings = settings.model_copy(update=options)
    if not refused:
        assert given_harmonizer(settings).digest == fitted.digest
        return
    with pytest.raises(UsageError) as error:
        given_harmonizer(settings)
    assert (error.value.code, error.value.got) == ("harmonizer-options", refused)


def test_scans_restored_by_other_options_are_not_mapped_by_the_same_numbers(tmp_path):
    said = {"contrast": "T1w", "method": "unires", "voxel_size": 4.0, "field_of_view": EXTENT}
    settings = HarmonizeSettings(sites=("a=a",), out=str(tmp_path / "out"), method="unires", voxel_size=4.0, field_of_view=EXTENT)
    (site,) = sites_for(settings)
    fitted = model.Harmonizer(restoration=restoration_of(settings, site), **said)
    model.save(str(tmp_path), fitted, "card")
    fitted = model.read(str(tmp_path))
    fitted.check_same(**restoration_of(settings, site))
    other = {"method_options": {"reg_scl": 8.0}, "trust": "qform", "slices": AcquisitionSettings(slice_gap=0.3)}
    for name, value in other.items():
        with pytest.raises(UsageError, match=rf"harmonizer-other: expected .*{name}.*, but got {name}"):
            fitted.check_same(**restoration_of(settings.model_copy(update={name: value}), site))
    with pytest.raises(UsageError, match=r"harmonizer-other: expected .*weights None.* got weights 5f"):
        fitted.check_same(weights="5f")
    with pytest.raises(UsageError, match=r"harmonizer-other: expected .*trust None.* got trust qform"):
        plans_of(settings.model_copy(update={"model": str(tmp_path), "trust": "qform"}))
    assert _intensities_alone(fitted).digest == model.Harmonizer(**said).digest
    model.Harmonizer(**said).check_same(**restoration_of(settings, site))  # of before: it does not know
