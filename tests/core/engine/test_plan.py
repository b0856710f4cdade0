"""The plan: digests that follow what they depend on and nothing else, forecasts, refusals."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

import core
from core.engine import planning
from core.engine.fit import RECORDS, check_fits, check_not_mixed, check_room
from core.engine.plan import CohortPlan, MaskImage, Refusal, ScanPlan, Way, Weights
from core.engine.planning import complete
from core.errors import GridError, PlanError
from core.geometry.grid import Grid
from core.methods.base import Method
from core.models.bundle import read_bundle, read_part, save_model
from core.models.domain import Domain, read_domain, write_domain
from core.operators.forward_model import LowField, SliceProfile
from core.settings.run import RunSettings


def scan(key: str = "sub-01_T1w", sha256: str = "a" * 64, **changes: Any) -> ScanPlan:
    grid = Grid((50, 60, 20), np.diag([2.0, 2, 6, 1])).to_json()
    named = changes.get("entities", {})
    made = ScanPlan(
        key=key,
        uris=(f"/data/{key}.nii.gz",),
        relative=f"{key}.nii.gz",
        kind="nifti",
        stem="_".join([key, *([f"ce-{named['ce']}"] if "ce" in named else []), "desc-restored", named.get("suffix", "MRI")]),
        group=key,
        sha256=sha256,
        source=grid,
        target=grid,
        forward=SliceProfile(),
    )
    return made.model_copy(update=changes)


def settings(**changes: Any) -> RunSettings:
    return RunSettings(input="in", out="out", method="cubic", voxel_size=2, **changes)


CUBIC = Way("cubic", {}, None)


def plan(*scans: ScanPlan, **changes: Any) -> CohortPlan:
    return complete(settings(**changes), scans or (scan(),), ())


def test_a_plan_survives_json_and_gives_isotropic_targets() -> None:
    made = plan(scan(), scan("sub-02_T1w"))
    assert CohortPlan.model_validate_json(made.model_dump_json()) == made
    assert made.scans[0].target_grid.spacing == pytest.approx((2, 2, 2))
    assert made.planned == 2


@pytest.mark.parametrize(
    "change",
    [
        {"method": "linear"},
        {"voxel_size": 1.5},
        {"slices": {"slice_profile": "gaussian"}},
        {"seed": 1},
        {"tiling": {"patch": 32}},
        {"repair": False},
    ],
)
def test_what_the_voxels_depend_on_changes_the_digests(change: dict[str, Any]) -> None:
    other = complete(RunSettings(**{**settings().model_dump(), **change}), [scan()], ())
    assert other.settings_digest != plan().settings_digest
    assert other.scans[0].restore_digest != plan().scans[0].restore_digest
    assert other.scans[0].ingest_digest == plan().scans[0].ingest_digest


def test_a_new_revision_of_the_repair_makes_all_scans_anew_that_are_repaired(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fused, turned, masked and plain ones; not one of another contrast, which is not repaired."""
    turned = np.array([[0.8, -0.6, 0, 0], [0.6, 0.8, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]) @ np.diag([2.0, 2, 6, 1])
    fused = [scan("a", group="ab"), scan("b", group="ab", source=Grid((50, 60, 20), turned).to_json())]
    mask = MaskImage(uri="mask.nii", sha256="b" * 64)

    def digests(**how: Any) -> dict[str, str]:
        together = complete(settings(**how, fuse=True).model_copy(update={"method": "unires"}), fused, ())
        alone = plan(scan("d"), scan("c", mask=mask), scan("e", forward=LowField(), mask=mask), **how)
        return {made.key: made.restore_digest for made in (*together.scans, *alone.scans)}

    before, plain = digests(), digests(repair=False)
    monkeypatch.setattr("core.engine.planning.REVISION", 99)
    after = digests()
    assert {key for key in before if after[key] != before[key]} == {"a", "b", "c", "d"}
    assert digests(repair=False) == plain


@pytest.mark.parametrize(
    "change", [{"compute": {"workers": 7}}, {"out": "elsewhere"}, {"tiling": {"mode": "tile"}}, {"tracking_uri": "x"}]
)
def test_where_it_runs_changes_no_digest(change: dict[str, Any]) -> None:
    other = complete(RunSettings(**{**settings().model_dump(), **change}), [scan()], ())
    assert (other.settings_digest, other.scans[0].digest, other.digest) == (
        plan().settings_digest,
        plan().scans[0].digest,
        plan().digest,
    )


def test_a_threshold_changes_the_export_alone() -> None:
    other = plan(quality={"max_seam": 2})
    assert other.scans[0].restore_digest == plan().scans[0].restore_digest
    assert other.scans[0].digest != plan().scans[0].digest


@pytest.mark.parametrize("change", [{"metadata": {"EchoTime": 0.1}}, {"stem": "elsewhere"}, {"reference": "/truth.nii"}])
def test_what_the_sidecar_and_the_scores_depend_on_changes_the_export_alone(change: dict[str, Any]) -> None:
    (before,), (after,) = plan().scans, plan(scan(**change)).scans
    assert after.restore_digest == before.restore_digest
    assert after.ingest_digest == before.ingest_digest
    assert after.digest != before.digest


def test_changed_bytes_and_a_new_version_change_what_depends_on_them(monkeypatch: pytest.MonkeyPatch) -> None:
    first = plan(scan(), scan("sub-02_T1w"))
    second = plan(scan(sha256="b" * 64), scan("sub-02_T1w"))
    assert first.scans[0].ingest_digest != second.scans[0].ingest_digest
    assert first.scans[1].digest == second.scans[1].digest
    monkeypatch.setattr(planning, "__version__", "9.9")
    assert plan(scan(), scan("sub-02_T1w")).scans[1].digest != first.scans[1].digest


def test_what_cannot_fit_is_refused_naming_the_worst() -> None:
    made = plan(scan(), scan("big", source=Grid((300, 300, 300), np.eye(4)).to_json()))
    with pytest.raises(
        PlanError, match=r"memory-too-small: expected at most 100 MiB .* got big, which needs .*\. Choose a larger voxel"
    ):
        check_fits(made, memory=100 << 20, disk=1 << 40)
    with pytest.raises(PlanError, match=r"disk-too-small: expected at most 1 MiB on disk.*\. Free space"):
        check_fits(made, memory=1 << 40, disk=1 << 20)
    with pytest.raises(PlanError, match="disk-too-small"):  # of the scans alone: their records want room too
        check_fits(made, memory=1 << 40, disk=made.forecast.disk)
    check_fits(made, memory=1 << 40, disk=1 << 40)


def test_scans_that_are_there_already_want_no_room() -> None:
    made = plan(scan(), scan("sub-02_T1w"))
    needed = made.scans[1].forecast.disk + RECORDS
    check_fits(made, memory=1 << 40, disk=needed, done={"sub-01_T1w"})
    with pytest.raises(PlanError, match=r"disk-too-small: .* for 1 scans and the run's records"):
        check_fits(made, memory=1 << 40, disk=needed - 1, done={"sub-01_T1w"})
    check_fits(made, memory=1 << 40, disk=0, done={"sub-01_T1w", "sub-02_T1w"})


def test_a_disk_without_room_for_the_records_of_a_run_is_refused() -> None:
    with pytest.raises(PlanError, match=r"disk-too-small: expected at most 3 MiB on disk, but got a forecast of 32 MiB for the"):
        check_room(3 << 20)
    check_room(RECORDS)


def test_mixed_settings_are_refused_unless_all_are_made_anew() -> None:
    made = plan()
    with pytest.raises(
        PlanError, match=r"mixed-settings: .*got 1 scan made with other settings.*other.*\. Choose another output"
    ):
        check_not_mixed(made, {"sub-01_T1w": "old", "other": "old"})
    check_not_mixed(made, {"sub-01_T1w": "old", "other": made.settings_digest})


def test_refused_scans_count_and_name_the_plan() -> None:
    one = Refusal(key="bad", uri="bad.nii", code="file-empty", reason="file-empty: …")
    made = complete(settings(), [scan()], [one])
    assert made.planned == 2
    assert made.digest != plan().digest


def test_memory_counts_the_tile_in_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    before = plan().forecast.memory
    check_fits(plan(), memory=1 << 40, disk=1 << 40, gpu=1 << 20)  # cubic takes no memory of a GPU
    monkeypatch.setattr(Method, "bytes_per_tile_voxel", 1e4)
    assert plan().forecast.memory - before == pytest.approx(1e4 * np.prod(plan().scans[0].target["shape"]))
    check_fits(plan(), memory=1 << 40, disk=1 << 40)
    with pytest.raises(PlanError, match=r"gpu-too-small: expected at most 1.0 GiB.* got 1.7 GiB for one tile of .*--patch"):
        check_fits(plan(), memory=1 << 40, disk=1 << 40, gpu=1 << 30)
    whole = plan().model_copy(update={"scans": tuple(scan.model_copy(update={"steps": 5}) for scan in plan().scans)})
    with pytest.raises(PlanError, match=r"gpu-too-small: .*Choose a larger voxel size, or"):
        check_fits(whole, memory=1 << 40, disk=1 << 40, gpu=1 << 30)


def test_the_forecast_of_disk_counts_all_that_is_written() -> None:
    (made,) = plan().scans
    measured, target = np.prod(made.source_grid.shape), np.prod(made.target_grid.shape)
    on_the_scan, on_the_target = 2, 2  # measured and consistency; the store's restored image and the NIfTI
    drawn = 2  # cubic and restored, of 8 bits, beside the page
    assert made.forecast.disk == 4 * (on_the_scan * measured + on_the_target * target) + drawn * target


def test_a_revision_of_a_method_makes_its_scans_anew_and_the_first_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from core.methods.interpolation.method import Cubic

    before = plan()
    assert "revision" not in planning.restoration_settings(settings(), CUBIC, Cubic.revision)
    monkeypatch.setattr(Cubic, "revision", 2)
    after = plan()
    assert after.scans[0].ingest_digest == before.scans[0].ingest_digest
    assert after.scans[0].restore_digest != before.scans[0].restore_digest
    assert after.scans[0].digest != before.scans[0].digest


def test_a_switch_that_says_what_is_done_anyway_counts_as_not_said() -> None:
    """A form sends every switch that it shows: its run and that of the command line are one."""
    digests = [by_network(thick("four", 4), method_options=said).digest for said in ({}, {"compiled": False}, {"compiled": True})]
    assert digests[0] == digests[1] != digests[2]


def test_a_plan_says_how_many_steps_a_method_makes() -> None:
    made = complete(settings().model_copy(update={"method": "unires", "method_options": {"iterations": 7}}), (scan(),), ())
    assert made.scans[0].pieces == ("steps", 7)
    assert plan().scans[0].pieces == ("tiles", 1)


# -- the handshake --------------------------------------------------------------------------------------------------------------

SHIPPED = Path(core.__file__).parent / "methods" / "unet" / "weights" / "resunet-3d"
WEIGHTS = Weights(folder=str(SHIPPED), sha256=read_bundle(str(SHIPPED)).digest, name="resunet-3d")


def thick(key: str, mm: float, **changes: Any) -> ScanPlan:
    """A skull-stripped T1w in slices of so many mm."""
    grid = Grid((50, 60, 20), np.diag([1.0, 1, mm, 1])).to_json()
    told = {"entities": {"suffix": "T1w"}, "metadata": {"SkullStripped": True}}
    return scan(key, source=grid, target=grid, **told | changes)


def by_network(*scans: ScanPlan, **changes: Any) -> CohortPlan:
    return complete(RunSettings(input="in", out="out", method="resunet-3d", **changes), scans, (), WEIGHTS)


def test_scans_outside_the_models_domain_are_refused_by_name_and_figures() -> None:
    others = (thick("three", 3), thick("head", 4, metadata={"SkullStripped": False}), thick("t2", 4, entities={"suffix": "T2w"}))
    made = by_network(thick("four", 4), thick("two", 2), *others)
    assert [one.key for one in made.scans] == ["four"]
    reasons = {one.key: one.reason for one in made.refused}
    assert {one.code for one in made.refused} == {"outside-domain"}
    assert re.fullmatch(
        r"outside-domain: expected a scan that resunet-3d is for, but got slices of 2 mm; trained for 3\.5 to 4\.5 mm; "
        r"a factor of 2; .*\. Choose another --method or a --fallback for such scans, or restore it all "
        r"the same, flagged, by --outside-domain\.",
        reasons["two"],
    )
    assert "slices of 3 mm; trained for 3.5 to 4.5 mm" in reasons["three"]
    assert "a whole head; trained for skull-stripped brain" in reasons["head"]
    assert "T2w; trained for T1w" in reasons["t2"]


def test_outside_the_domain_all_the_same_changes_no_restored_voxel() -> None:
    scans = thick("four", 4), thick("two", 2)
    within, told = by_network(*scans), by_network(*scans, outside_domain=True)
    assert [one.key for one in told.scans] == ["four", "two"]
    assert told.scan("two").outside[0] == "slices of 2 mm; trained for 3.5 to 4.5 mm"
    assert told.settings_digest == within.settings_digest
    assert told.scan("four").restore_digest == within.scan("four").restore_digest
    assert told.scan("four").digest != within.scan("four").digest  # its flags are looked at anew


def test_flips_are_told_in_the_forecast() -> None:
    once, flipped = by_network(thick("four", 4)), by_network(thick("four", 4), method_options={"flips": 8})
    seconds = [plan.scans[0].forecast.stages["restore"] for plan in (once, flipped)]
    assert seconds[1] == pytest.approx(8 * seconds[0])
    assert flipped.notes == ("each tile is restored 8 times, flipped, and averaged",)


def test_what_becomes_coarser_is_told_and_auto_keeps_each_scans_finest_voxels() -> None:
    fine = scan("fine", source=Grid((50, 60, 20), np.diag([0.7, 0.7, 5, 1])).to_json())
    near = scan("near", source=Grid((50, 60, 20), np.diag([1.98, 1.98, 6, 1])).to_json())
    fixed = complete(RunSettings(input="in", out="out", method="cubic", voxel_size=2), [fine, near], ())
    assert fixed.notes == ("1 scan has voxels of 0.7 mm, which become 2 mm; --voxel-size auto keeps each scan's smallest",)
    nearly = scan("nearly", source=Grid((50, 60, 20), np.diag([0.70001, 0.70001, 5, 1])).to_json())
    alike = complete(RunSettings(input="in", out="out", method="cubic", voxel_size=2), [fine, nearly], ())
    assert alike.notes[0].startswith("2 scans have voxels of 0.7 mm, which become 2 mm")
    own = complete(RunSettings(input="in", out="out", method="cubic", voxel_size="auto"), [fine, near], ())
    assert own.notes == ()
    assert [one.target_grid.spacing for one in own.scans] == [pytest.approx((0.7,) * 3), pytest.approx((1.98,) * 3)]
    together = [one.model_copy(update={"group": "g"}) for one in (fine, near)]
    fused = complete(RunSettings(input="in", out="out", method="unires", voxel_size="auto", fuse=True), together, ())
    assert [one.target_grid.spacing for one in fused.scans] == [pytest.approx((0.7,) * 3)] * 2
    with pytest.raises(ValidationError, match="voxel_size"):
        RunSettings(input="in", out="out", voxel_size="fine")


def test_a_method_without_a_domain_hears_nothing_of_it() -> None:
    plain, told = plan(), plan(outside_domain=True)
    assert (plain.digest, plain.scans[0].digest, plain.notes) == (told.digest, told.scans[0].digest, ())


def test_what_could_not_be_looked_at_is_told(tmp_path: Path) -> None:
    made = by_network(thick("four", 4, metadata={}), thick("also", 4, metadata={}, entities={}))
    assert [one.key for one in made.scans] == ["also", "four"]
    assert made.notes == (
        "not told of 2 scans, and so not held against the model: head or brain",
        "not told of 1 scans, and so not held against the model: contrast",
    )
    spec = read_bundle(str(SHIPPED))
    save_model(str(tmp_path), spec.network, spec.config, read_part(str(SHIPPED), spec.part), "", residual=True, multiple=8)
    silent = WEIGHTS.model_copy(update={"folder": str(tmp_path)})
    old = complete(RunSettings(input="in", out="out", method="resunet-3d"), [thick("two", 2)], (), silent)
    assert old.notes == ("the model of resunet-3d does not say which scans it is for: none is refused by it",)
    assert [one.key for one in old.scans] == ["two"]


def test_a_copy_of_the_shipped_model_from_before_there_were_domains_is_for_the_same_scans(tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((SHIPPED / name).read_bytes())
    copied = WEIGHTS.model_copy(update={"folder": str(tmp_path)})
    made = complete(RunSettings(input="in", out="out", method="resunet-3d"), [thick("two", 2), thick("four", 4)], (), copied)
    assert [one.code for one in made.refused] == ["outside-domain"]
    assert [one.key for one in made.scans] == ["four"]


# -- how work is cut ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "scans", "workers", "expected"),
    [
        ("auto", 1, 2, "tile"),  # fewer scans than the workers could share
        ("auto", 8, 2, "scan"),
        ("tile", 8, 2, "tile"),
        ("scan", 1, 2, "scan"),
    ],
)
def test_tiles_are_spread_where_asked_for_or_where_scans_are_few(mode: str, scans: int, workers: int, expected: str) -> None:
    wanted = {"tiling": {"mode": mode}, "compute": {"workers": workers, "cluster": "local"}}
    fine = RunSettings(input="in", out="out", method="cubic", voxel_size=0.5, **wanted)
    made = complete(fine, [scan(f"sub-{n:02d}_T1w") for n in range(scans)], ())
    assert {each.mode for each in made.scans} == {expected}
    assert made.scans[0].tiles > 1


def test_one_tile_and_scans_that_are_fused_are_never_spread() -> None:
    compute = {"workers": 4, "cluster": "local"}
    tiling = {"mode": "tile"}
    (alone,) = plan(scan(), tiling=tiling, compute=compute).scans
    assert (alone.tiles, alone.mode) == (1, "scan")
    both = [scan(key, group="sub-01") for key in ("sub-01_acq-ax_T1w", "sub-01_acq-sag_T1w")]
    fused = complete(
        RunSettings(input="in", out="out", method="unires", voxel_size=2, fuse=True, tiling=tiling, compute=compute), both, ()
    )
    assert {each.mode for each in fused.scans} == {"scan"}


def test_fused_scans_share_one_target_and_others_have_their_own() -> None:
    moved = Grid((50, 60, 20), np.array([[2.0, 0, 0, 40], [0, 2, 0, 0], [0, 0, 6, 0], [0, 0, 0, 1]])).to_json()
    both = [scan("sub-01_acq-ax_T1w", group="sub-01"), scan("sub-01_acq-ax2_T1w", group="sub-01", source=moved)]
    apart = complete(RunSettings(input="in", out="out", method="unires", voxel_size=2), both, ()).scans
    together = complete(RunSettings(input="in", out="out", method="unires", voxel_size=2, fuse=True), both, ()).scans
    assert apart[0].target != apart[1].target
    assert together[0].target == together[1].target
    assert together[0].target_grid.extent[0] == pytest.approx(100 + 40)


def test_what_is_known_of_a_person_is_of_the_restored_voxels_where_it_is_used() -> None:
    digests = [plan(scan(covariates=known)).scans[0].restore_digest for known in (None, {"age": 40.0}, {"age": 50.0})]
    assert len(set(digests)) == 3
    assert digests[0] == plan(scan()).scans[0].restore_digest


def test_the_first_revision_of_a_method_is_not_told() -> None:
    """So that plans of before there were revisions keep their digests."""
    said = [planning.restoration_settings(settings(), CUBIC, *revision) for revision in ((), (1,), (2,))]
    assert "revision" not in said[0]
    assert said[0] == said[1]
    assert said[2]["revision"] == 2


def test_a_group_that_cannot_be_planned_is_refused_by_its_code_and_the_others_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    real = planning._with_targets

    def targets(group, settings):
        if group[0].key == "sub-02_T1w":
            raise GridError("grids-not-parallel", "parallel grids", "turned ones", "look at the headers")
        return real(group, settings)

    monkeypatch.setattr(planning, "_with_targets", targets)
    made = plan(scan(), scan("sub-02_T1w"), scan("sub-03_T1w"))
    assert [each.key for each in made.scans] == ["sub-01_T1w", "sub-03_T1w"]
    assert [(each.key, each.code) for each in made.refused] == [("sub-02_T1w", "grids-not-parallel")]


# -- a method of its own for a scan ---------------------------------------------------------------------------------------------


def test_a_fallback_restores_what_is_outside_the_models_domain_and_says_why() -> None:
    scans = thick("four", 4), thick("two", 2)
    made = by_network(*scans, fallback="unires")
    assert not made.refused
    assert [(each.key, made.way(each).method) for each in made.scans] == [("four", "resunet-3d"), ("two", "unires")]
    assert "slices of 2 mm; trained for 3.5 to 4.5 mm" in made.scan("two").why
    assert made.scan("two").outside == ()
    assert made.notes == (f"1 scan by unires: {made.scan('two').why}",)
    assert made.scan("four").restore_digest == by_network(*scans).scan("four").restore_digest
    by_unires = complete(RunSettings(input="in", out="out", method="unires"), [thick("two", 2)], ())
    assert made.scan("two").restore_digest == by_unires.scan("two").restore_digest


def test_a_fallback_that_is_not_for_the_scan_either_leaves_it_refused(tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((SHIPPED / name).read_bytes())
    settings = RunSettings(input="in", out="out", method="resunet-3d", fallback="unet-3d")
    made = complete(settings, [thick("two", 2)], (), WEIGHTS, others={"unet-3d": WEIGHTS})
    assert [each.code for each in made.refused] == ["outside-domain"]


def test_a_scan_outside_is_flagged_and_not_handed_on_where_that_was_asked_for() -> None:
    made = by_network(thick("two", 2), outside_domain=True, fallback="unires")
    assert made.way(made.scan("two")).method == "resunet-3d"
    assert made.scan("two").outside


def test_the_fallbacks_scans_bring_no_mask_that_it_does_not_take() -> None:
    from core.engine.plan import MaskImage

    mask = MaskImage(uri="lesion.nii.gz", sha256="0" * 64)
    made = by_network(thick("two", 2, mask=mask, covariates={"age": 40.0}), thick("four", 4, mask=mask), fallback="unires")
    assert (made.scan("two").mask, made.scan("two").covariates) == (None, None)
    assert made.scan("four").mask == mask


def chosen(*scans: ScanPlan, others: dict[str, Weights] | None = None, **changes: Any) -> CohortPlan:
    return complete(RunSettings(input="in", out="out", method="auto", **changes), scans, (), others=others)


@pytest.fixture
def cells(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables of two cells: in one the network that isovox brings did best, in the other cubic interpolation did."""
    from core.methods.auto import pick

    how = {"contrast": "T1w", "spacing": (1.5, 4.5), "gap": (0, 0.1), "persons": 8}
    cell = pick.Cell(**how, methods=("resunet-3d", "unires", "nearest"), gains=((2.3, 1.9), (0.9, 0.8), (0.1, 0.0)))
    flair = pick.Cell(**how | {"contrast": "FLAIR"}, methods=("cubic", "unires"), gains=((1.1, 1.0), (0.9, 0.8)))
    monkeypatch.setattr(pick, "table", lambda: pick.Table(cells=(cell, flair)))


@pytest.mark.usefixtures("cells")
def test_a_choice_takes_what_did_best_where_it_is_for_the_scan_and_all_of_that_is_known() -> None:
    scans = thick("four", 4), thick("two", 2), thick("untold", 4, metadata={}), thick("t2", 4, entities={"suffix": "T2w"})
    scans += (thick("agent", 4, entities={"suffix": "T1w", "ce": "gadolinium"}),)
    made = chosen(*scans, others={"resunet-3d": WEIGHTS})
    assert {each.key: made.way(each).method for each in made.scans} == {
        "four": "resunet-3d",
        "two": "unires",
        "untold": "unires",
        "t2": "unires",
        "agent": "unires",
    }
    assert "+2.30 dB over cubic" in made.scan("four").why
    assert "no trained model was measured on such scans" in made.scan("t2").why
    assert made.scan("untold").why.endswith("but: head or brain is not told")
    assert "slices of 2 mm; trained for 3.5 to 4.5 mm" in made.scan("two").why
    assert made.others == {"resunet-3d": WEIGHTS}
    assert made.scan("four").restore_digest == by_network(thick("four", 4)).scan("four").restore_digest
    assert CohortPlan.model_validate_json(made.model_dump_json()) == made


@pytest.mark.usefixtures("cells")
def test_a_choice_does_without_a_model_that_is_not_there() -> None:
    made = chosen(thick("four", 4))
    assert made.way(made.scans[0]).method == "unires"
    assert made.scans[0].why.endswith("but: its model is not there")


@pytest.mark.usefixtures("cells")
def test_a_choice_passes_over_a_model_that_does_not_say_which_scans_it_is_for(tmp_path: Path) -> None:
    spec = read_bundle(str(SHIPPED))
    part = read_part(str(SHIPPED), spec.part)
    save_model(
        str(tmp_path), spec.network, spec.config, part | {name: 2 * part[name] for name in list(part)[:1]}, "", residual=True
    )
    own = Weights(folder=str(tmp_path), sha256=read_bundle(str(tmp_path)).digest)
    (made,) = chosen(thick("four", 4), others={"resunet-3d": own}).scans
    assert made.method == "unires"
    assert made.why.endswith("but: its model does not say which scans it is for")


@pytest.mark.usefixtures("cells")
def test_without_the_repair_a_choice_passes_over_the_baseline_which_gains_by_nothing_else() -> None:
    flair = thick("flair", 4, entities={"suffix": "FLAIR"})
    repaired, plain = chosen(flair), chosen(flair, repair=False)
    assert [made.way(made.scans[0]).method for made in (repaired, plain)] == ["cubic", "unires"]


@pytest.mark.usefixtures("cells")
def test_scans_that_are_fused_have_one_method_and_one_that_fuses() -> None:
    made = chosen(thick("a", 4, group="one"), thick("b", 4, group="one"), others={"resunet-3d": WEIGHTS}, fuse=True)
    assert [made.way(each).method for each in made.scans] == ["unires", "unires"]


def test_a_choice_takes_no_options_and_no_model() -> None:
    for given in ({"method_options": {"iterations": 3}}, {"model": "models:/a@b"}):
        with pytest.raises(ValueError, match="expected no more than the method auto"):
            RunSettings(input="in", out="out", method="auto", **given)


def test_the_last_word_of_the_choice_is_for_any_scan() -> None:
    from core.methods.auto.pick import OTHERWISE, among
    from core.methods.registry import build_method, methods

    assert set(among()) <= set(methods())
    assert not build_method(OTHERWISE, {}).domain.stated


def test_values_are_looked_at_once_and_only_where_the_choice_hangs_on_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a choice and of a fallback: a scan whose method takes no values below 0; it is handed on where it has some."""
    read: list[str] = []

    def with_values(scan: ScanPlan, _: RunSettings) -> ScanPlan:
        read.append(scan.key)
        return scan.model_copy(update={"lowest": -0.5})

    monkeypatch.setattr(planning, "_with_values", with_values)
    domains = {"resunet-3d": Domain(sign="non-negative", factor=(3.5, 4.5)), "unires": Domain()}
    own = SimpleNamespace(model=None)
    methods: Any = {name: SimpleNamespace(name=name, domain=domain, fuses=True, settings=own) for name, domain in domains.items()}
    monkeypatch.setattr(planning, "resolve", lambda _: lambda *_: [("resunet-3d", "did best"), ("unires", "")])
    for how in ({"method": "auto"}, {"method": "resunet-3d", "fallback": "unires"}):
        settings, scans = RunSettings(input="in", out="out", **how), [thick("four", 4), thick("eight", 8)]
        inside, _ = planning._chosen(scans, settings, methods, {})
        looked_at = planning._looked_at(inside, settings, methods)
        assert (read, list(looked_at)) == (["four"], ["four"])
        again, refused = planning._chosen([looked_at.get(each.key, each) for each in scans], settings, methods, {})
        assert ({each.key: each.method for each in again}, refused) == ({"four": "unires", "eight": "unires"}, ())
        assert "values down to -0.5" in next(each.why for each in again if each.key == "four")
        read.clear()
    plain = RunSettings(input="in", out="out", method="resunet-3d")
    assert planning._looked_at(inside, plain, methods) == {}


@pytest.mark.usefixtures("cells")
def test_a_noisy_scan_is_passed_over_by_a_choice_and_refused_of_a_method_that_is_named(tmp_path: Path) -> None:
    spec = read_bundle(str(SHIPPED))
    save_model(str(tmp_path), spec.network, spec.config, read_part(str(SHIPPED), spec.part), "", residual=True, multiple=8)
    write_domain(str(tmp_path), Domain(noise=(0, 0.04)))
    weights = WEIGHTS.model_copy(update={"folder": str(tmp_path)})
    scans = thick("noisy", 4, noise=0.08, lowest=0.0), thick("quiet", 4, noise=0.02, lowest=0.0)
    made = chosen(*scans, others={"resunet-3d": weights})
    assert {scan.key: made.way(scan).method for scan in made.scans} == {"noisy": "unires", "quiet": "resunet-3d"}
    words = "noise of 0.08 of the brightest; trained for 0 to 0.04"
    assert made.scan("noisy").why.endswith(f"but: {words}")
    named = complete(RunSettings(input="in", out="out", method="resunet-3d"), scans, (), weights)
    assert [scan.key for scan in named.scans] == ["quiet"]
    assert words in named.refused[0].reason


def test_values_that_are_known_are_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning.readers, "slabs", lambda *_: pytest.fail("read again"))
    known = thick("four", 4, noise=0.08, lowest=0.0)
    assert planning._with_values(known, settings()) is known


def test_a_copy_of_the_shipped_model_from_before_a_bound_was_stated_has_that_bound(tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((SHIPPED / name).read_bytes())
    write_domain(str(tmp_path), Domain(contrasts=("T1w", "T2w")))
    domain = Way("resunet-3d", {}, WEIGHTS.model_copy(update={"folder": str(tmp_path)})).build().domain
    assert (domain.contrasts, domain.slice_thickness) == (("T1w", "T2w"), read_domain(str(SHIPPED)).slice_thickness)
