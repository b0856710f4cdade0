"""An evaluation: its figures are those of the parts put together by hand, nothing is done twice, and what fails is a row."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient

from core.banding import banding
from core.digest import digest_of_voxels
from core.engine.plan import Weights
from core.errors import InputError, IsovoxError, UsageError, WeightsError
from core.evaluation.metrics.restoration import restoration_scores
from core.evaluation.metrics.ring_correlation import invented
from core.evaluation.protocol import RESTORATION, Measure, Metric, Protocol
from core.geometry.grid import Box, Grid
from core.geometry.resample import interpolate
from core.io import nifti, readers
from core.io.bids import Source
from core.methods import registry
from core.methods.family import ProtocolEntry
from core.models.bundle import save_model
from core.models.card import Card, TrainingData, write_card
from core.models.domain import Domain
from core.operators.forward_model import SliceProfile
from core.settings.degradation import Degradation
from core.settings.evaluate import EvaluationSettings
from core.stats import scan_stats
from tasks.evaluate import candidates as who
from tasks.evaluate import evaluation
from tasks.evaluate.candidates import Candidate
from tasks.evaluate.cases import Case, Trained, covered, find_cases, trained_of
from tasks.evaluate.comparisons import beaten, comparisons_csv, pairwise_comparisons, too_few
from tasks.evaluate.evaluation import Evaluation, Score, evaluate
from tasks.evaluate.report import _best, figures_of, tell_mlflow, view_of, write, write_own
from tasks.evaluate.scorers import Scorer, Scoring
from tasks.evaluate.segmenters import CommandSegmenter, NetworkSegmenter, TissueSegmenter, fastsurfer, segmenter_of
from tasks.evaluate.tables import metric_of, scores_csv, summaries, summary_csv
from tasks.evaluate.words import words
from tasks.report.box_plot import box_plot
from tasks.report.evaluation import evaluation_page, letters
from tasks.tracking.database import make_database
from tests.phantoms import brain

CUBIC, LINEAR, UNIRES = (Candidate(name, name) for name in ("cubic", "linear", "unires"))
BY_HAND = {"cubic": 3, "linear": 1}
GRID = Grid((12, 12, 12), np.eye(4))


def put(root: Path, label: str) -> Path:
    path = root / f"sub-{label}" / "anat" / f"sub-{label}_T1w.nii.gz"
    path.parent.mkdir(parents=True)
    image, _ = brain((44, 42, 41), seed=int(label))
    nibabel.save(nibabel.Nifti1Image(image[::-1].copy(), np.diag([-1.5, 1.5, 1.5, 1.0])), path)
    return path


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("people")
    for label in ("01", "02"):
        put(root, label)
    return root


def said(cohort: Path, out: Path, **more) -> EvaluationSettings:
    return EvaluationSettings(protocol="thick-slice", cohort=str(cohort), out=str(out), **more)


def run(wanted: EvaluationSettings, candidates=(CUBIC, LINEAR), scoring=Scoring()) -> list[Score]:  # noqa: B008 - frozen
    return evaluate(Evaluation(wanted, tuple(find_cases(wanted)), tuple(candidates), scoring), lambda *_: None)


def row(scan: str, method: str, state: str = "done", **figures: float) -> Score:
    return Score(scan=scan, method=method, state=state, figures=figures, seconds=1.0)


def case_of(uri: str, person: str = "01") -> Case:
    return Case("key", person, "", Source("key", (uri,), "nifti", "key", "key", "key"))


# -- properties -------------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(*[st.integers(8, 30)] * 3),
    st.integers(0, 2),
    st.integers(2, 8),
    st.sampled_from(["slice-profile", "slice-mask", "low-field"]),
)
def test_the_target_is_what_the_slices_cover(shape, axis, factor, operator):
    grid = Grid(shape, np.array([[0.9, 0.1, 0, -3], [-0.1, 0.9, 0, 5], [0, 0, 1.1, 8], [0, 0, 0, 1.0]]))
    stop = [n - n % factor if at == axis else n for at, n in enumerate(shape)]
    found = covered(grid, Degradation(operator=operator, factor=factor).forward.degraded_grid(grid, axis))
    assert found.start == (0, 0, 0)
    ends = [stop[axis]] if operator != "slice-mask" else range(stop[axis] - factor + 1, stop[axis] + 1)
    assert found.stop[axis] in ends  # a slice that was kept stands for half a distance either way
    assert all(found.stop[at] == stop[at] for at in range(3) if at != axis)


def test_scans_apart_have_nothing_to_compare():
    with pytest.raises(InputError, match="truth-elsewhere"):
        covered(GRID, Grid((4, 4, 4), np.array([[1, 0, 0, 100], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])))


@settings(deadline=None)
@given(st.lists(st.floats(-50, 50), min_size=1, max_size=9))
def test_a_box_plot_keeps_the_order_of_its_figures(values):
    plot = box_plot("PSNR", {"a": [(str(n), value) for n, value in enumerate(values)], "b": [("0", 0.0)]}, {"a"})
    box = plot.rows[0]
    assert box.ends[0] <= box.ends[1]
    assert box.quartiles[0] <= box.median <= box.quartiles[1]
    assert len(box.dots) == len(values)
    assert all(0 <= x <= 340 and 0 <= y <= plot.height for x, y, _ in box.dots)
    assert [each.best for each in plot.rows] == [True, False]


# -- the path ---------------------------------------------------------------------------------------------------------------


def test_what_is_repaired_agrees_with_its_scan_as_after_a_run(cohort, tmp_path):
    repaired = Candidate("cubic+repair", "cubic", repair=True)
    plain, mended = run(said(cohort, tmp_path), [CUBIC, repaired])[:2]
    assert (mended.method, mended.digest == plain.digest) == ("cubic+repair", False)
    assert mended.figures["psnr"] > plain.figures["psnr"] + 0.1
    truth, grid, _ = nifti.load(str(cohort / "sub-01" / "anat" / "sub-01_T1w.nii.gz"))
    forward = SliceProfile(factor=4)
    scan = forward.degrade(truth, grid, 2, np.random.default_rng(0))
    left = []
    for one in (plain, mended):
        image, on, _ = nifti.load(str(tmp_path / one.image))
        left.append(float(np.abs(scan.image - forward.operator(scan.grid, on).forward(image)).mean()))
    assert left[1] < 0.5 * left[0]


def test_a_repair_does_not_bring_back_the_banding_that_a_method_takes_out(cohort, tmp_path):
    wanted = said(cohort, tmp_path / "even", factor=2, selection={"participant_label": ["01"]})
    run(wanted, [CUBIC])
    (path,) = (tmp_path / "even" / "simulated").rglob("*_T1w.nii.gz")
    scan, grid, stored = nifti.load(str(path))
    nifti.save(str(path), scan * np.where(np.arange(scan.shape[2]) % 2, 1, 1.12).astype(np.float32), grid, stored)
    given = said(tmp_path / "even" / "simulated", tmp_path / "out")
    left = {}
    for each in run(given, [CUBIC, UNIRES, replace(UNIRES, label="unires+repair", repair=True)]):
        image, on, _ = nifti.load(str(tmp_path / "out" / each.image))
        seen_again = np.maximum(SliceProfile().operator(grid, on).forward(image), np.float32(0))
        bands = banding(seen_again, grid, scan_stats(seen_again))
        assert bands is not None
        left[each.method] = abs(bands.gain)
    assert left["cubic"] > 0.06
    assert left["unires"] < 0.02
    assert left["unires+repair"] < 0.02


@pytest.mark.parametrize("repair", [True, False])
def test_a_choice_by_the_scan_is_repaired_or_not_as_its_candidate_says(cohort, tmp_path, monkeypatch, repair):
    """Without the repair the baseline gains nothing, and is passed over."""
    from core.methods.auto import pick

    gains = {"methods": ("cubic", "unires"), "gains": ((1.1, 1.0), (0.9, 0.8))}
    cell = pick.Cell(contrast="T1w", spacing=(5, 7), gap=(0, 0.1), persons=8, **gains)
    monkeypatch.setattr(pick, "table", lambda: pick.Table(cells=(cell,)))
    chooser = Candidate("chosen", "auto", choices=(CUBIC, UNIRES), repair=repair)
    wanted = said(cohort, tmp_path, selection={"participant_label": ["01"]})
    (chosen,) = run(wanted, [chooser])
    assert chosen.note.startswith("cubic: " if repair else "unires: ")


def test_a_choice_by_the_scan_takes_part_as_the_method_that_it_chose(cohort, tmp_path):
    chooser = Candidate("auto", "auto", choices=(Candidate("anyscan", "anyscan", reason="model-missing"), UNIRES))
    chosen, itself = run(said(cohort, tmp_path), [chooser, UNIRES])[:2]
    assert re.match(r"unires: anyscan did best on T1w with slices 5\.5 to 7 mm apart.*but: its model is not there", chosen.note)
    assert (chosen.method, chosen.chosen, chosen.figures) == ("auto", "unires", itself.figures)
    assert itself.chosen == ""


def test_figures_are_those_of_degrading_restoring_and_scoring_by_hand(cohort, tmp_path):
    rows = run(said(cohort, tmp_path, factor=4))
    assert [(one.scan, one.method, one.state) for one in rows] == [
        (f"sub-{label}_T1w", method, "done") for label in ("01", "02") for method in ("cubic", "linear")
    ]
    for one in rows:
        truth, grid, _ = nifti.load(str(cohort / one.scan[:6] / "anat" / f"{one.scan}.nii.gz"))
        made = SliceProfile(factor=4).degrade(truth, grid, 2, np.random.default_rng(0))
        box = Box((0, 0, 0), (44, 42, 40))
        by_hand = interpolate(made.image, made.grid, grid.crop(box), BY_HAND[one.method])
        seen = restoration_scores(by_hand, truth[box.slices]) | invented(by_hand, truth[box.slices], grid.crop(box), made.grid)
        assert one.figures == pytest.approx(seen, rel=1e-6)
        assert one.spacing == pytest.approx(6.0)  # mm: four sharp voxels of 1.5
        image, on, _ = nifti.load(str(tmp_path / one.image))
        np.testing.assert_array_equal(image, by_hand)
        np.testing.assert_allclose(on.affine, grid.affine, atol=1e-5)


def test_nothing_is_restored_or_scored_twice_unless_something_changed(cohort, tmp_path, monkeypatch):
    wanted = said(cohort, tmp_path, selection={"participant_label": ["01"]})
    before = run(wanted)
    done = []
    real = evaluation._restored
    monkeypatch.setattr(
        evaluation,
        "_restored",
        lambda evaluation, candidate, kept: done.append(candidate.method) or real(evaluation, candidate, kept),
    )
    monkeypatch.setattr("core.evaluation.protocol.restoration_scores", lambda *_: done.append("scored") or {"psnr": 1.0})
    assert run(wanted) == before
    assert done == []
    (again,) = run(wanted, [CUBIC], Scoring("tissues"))  # new figures of a restored scan
    assert done == ["scored"]
    assert 0.3 < again.figures["miou"] < 1
    run(said(cohort, tmp_path, factor=6, selection={"participant_label": ["01"]}), [LINEAR])
    assert done == ["scored", "linear", "scored"]
    (tmp_path / "restored" / "linear" / "sub-01_T1w.nii.gz").write_bytes(b"torn")
    (tmp_path / "scores" / "linear" / "sub-01_T1w.json").unlink()
    run(said(cohort, tmp_path, factor=6, selection={"participant_label": ["01"]}), [LINEAR])
    assert done[3:] == ["linear", "scored"]


def test_other_options_and_another_seed_restore_anew_and_where_the_work_runs_does_not(cohort, tmp_path, monkeypatch):
    done: list[dict[str, int]] = []

    def ones(case, candidate, checkpoint):
        done.append(candidate.options)
        return np.ones(case.images.target.shape, np.float32), {}

    monkeypatch.setattr(evaluation, "_restored", ones)

    def restored(options: dict[str, int], **more) -> int:
        """How many scans are restored by it."""
        before = len(done)
        rows = run(said(cohort, tmp_path, selection={"participant_label": ["01"]}, **more), [Candidate("u", "unires", options)])
        assert [one.state for one in rows] == ["done"]
        return len(done) - before

    assert restored({"iterations": 2}) == 1
    assert restored({"iterations": 2}, tiling={"mode": "tile"}) == 0
    assert restored({"iterations": 3}) == 1
    assert restored({"iterations": 3}, seed=1) == 1
    assert restored({"iterations": 3}, seed=1, tiling={"patch": 32}) == 1


def test_a_cohort_that_was_simulated_before_is_scored_against_the_truth_that_it_names(cohort, tmp_path):
    first = run(said(cohort, tmp_path / "a"), [CUBIC])
    again = run(said(tmp_path / "a" / "simulated", tmp_path / "b"), [CUBIC])
    assert [one.figures for one in again] == [one.figures for one in first]
    assert [one.scan for one in again] == ["sub-01_rec-sliceprofile4_T1w", "sub-02_rec-sliceprofile4_T1w"]
    assert not (tmp_path / "b" / "simulated").exists()


def test_a_scan_whose_sidecar_tells_of_other_slices_is_restored_anew(cohort, tmp_path):
    run(said(cohort, tmp_path / "a", selection={"participant_label": ["01"]}), [CUBIC])
    given, unires = tmp_path / "a" / "simulated", replace(UNIRES, options={"iterations": 2})
    (before,) = run(said(given, tmp_path / "b"), [unires])
    (side,) = given.glob("sub-01/anat/*.json")
    told = json.loads(side.read_text())
    told["Isovox"]["Degradation"]["slice_gap"] = 0.5
    side.write_text(json.dumps(told | {"SliceThickness": told["SliceThickness"] / 2}))
    (after,) = run(said(given, tmp_path / "b"), [unires])
    assert after.figures != before.figures
    assert run(said(given, tmp_path / "c"), [unires])[0].figures == after.figures


def test_a_truth_in_thick_slices_is_named(cohort, tmp_path):
    path = tmp_path / "thick" / "sub-03" / "anat" / "sub-03_T1w.nii.gz"
    path.parent.mkdir(parents=True)
    nibabel.save(nibabel.Nifti1Image(brain((44, 42, 63))[0][:, :, ::3].copy(), np.diag([1.5, 1.5, 4.5, 1.0])), path)
    (thick,) = run(said(tmp_path / "thick", tmp_path / "a"), [CUBIC])
    assert (thick.state, thick.note) == ("done", "a truth in voxels of 1.5 x 1.5 x 4.5 mm is not sharp itself")
    assert {one.note for one in run(said(cohort, tmp_path / "b"), [CUBIC])} == {""}


def test_low_field_is_scored_by_tissues_and_the_truth_overlaps_itself(cohort, tmp_path):
    wanted = EvaluationSettings(
        protocol="iqt", cohort=str(cohort), out=str(tmp_path), factor=4, selection={"participant_label": ["01"]}
    )
    assert wanted.degradations == {"": Degradation(operator="low-field", factor=4)}
    (one,) = run(wanted, [CUBIC], Scoring("tissues"))
    assert one.state == "done"
    assert 0.1 < one.figures["miou"] < 0.95
    image, labels = brain((40, 40, 40))
    scorer = Scorer(TissueSegmenter(), perceptual=lambda a, b: float(np.abs(a - b).mean()))
    same = scorer.score(image, Grid(image.shape, np.eye(4)), scorer.prepare(image, Grid(image.shape, np.eye(4))))
    assert same == {"lpips": 0.0, "miou": 1.0, "iou_csf": 1.0, "iou_gm": 1.0, "iou_wm": 1.0}
    found = TissueSegmenter().labels(image, GRID, image)
    assert (found[labels > 0] == labels[labels > 0]).mean() > 0.9
    assert not found[labels == 0].any()


def test_a_network_segments_by_its_largest_channel(tmp_path):
    torch = pytest.importorskip("torch")
    from core.networks import build

    config = {"spatial_dims": 3, "in_channels": 1, "channels": [4, 8], "strides": [2]}
    torch.manual_seed(0)
    networks = {name: build("UNet", config | {"out_channels": n}) for name, n in (("four", 4), ("one", 1))}
    for (name, network), n in zip(networks.items(), (4, 1), strict=True):
        save_model(str(tmp_path / name), "UNet", config | {"out_channels": n}, network.state_dict(), "# x\n", multiple=2)
    weights = Weights(folder=str(tmp_path / "four"), sha256="0" * 64, name="four", version="1")
    segmenter = segmenter_of("models:/four/1", "T1w", weights)
    image, _ = brain((21, 12, 12))
    labels = segmenter.labels(image, Grid(image.shape, np.eye(4)), image)
    padded = np.pad(image, [(0, 1), (0, 0), (0, 0)], mode="symmetric") / np.percentile(image, 99.9).astype(np.float32)
    with torch.no_grad():
        by_hand = networks["four"](torch.from_numpy(padded)[None, None])[0].argmax(0).numpy()[:21]
    np.testing.assert_array_equal(labels, by_hand)
    assert len(np.unique(labels)) > 1
    np.testing.assert_array_equal(labels, segmenter.labels(image * 3, Grid(image.shape, np.eye(4)), image))
    with pytest.raises(WeightsError, match="two channels out or more"):
        NetworkSegmenter.of(weights.model_copy(update={"folder": str(tmp_path / "one")}))


def test_any_command_segments_and_fastsurfer_is_found_where_it_is_installed(tmp_path, monkeypatch):
    image, _ = brain((12, 12, 12))
    copy = f'{sys.executable} -c "import shutil,sys; shutil.copy(sys.argv[1], sys.argv[2])" {{image}} {{labels}}'
    np.testing.assert_array_equal(CommandSegmenter(copy).labels(image, GRID, image), image.round())
    monkeypatch.setenv("FASTSURFER_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    with pytest.raises(UsageError, match="fastsurfer-missing"):
        fastsurfer()
    program = tmp_path / "run_fastsurfer.sh"
    program.write_text(
        '#!/bin/sh\n[ "$1" = --t1 ] && [ "$3" = --sd ] && [ "$5 $6" = "--sid scan" ] || exit 1\n'
        f'mkdir -p "$4/scan/mri" && {sys.executable} -c "import nibabel, sys; i = nibabel.load(sys.argv[1]); '
        "nibabel.save(nibabel.MGHImage(i.get_fdata().round().astype('int32'), i.affine), sys.argv[2])\" "
        '"$2" "$4/scan/mri/aparc.DKTatlas+aseg.deep.mgz"\n'
    )
    program.chmod(0o755)
    np.testing.assert_array_equal(fastsurfer().labels(image, GRID, image), image.round())


# -- tables and page --------------------------------------------------------------------------------------------------------


def many(gain: float, scans: int = 14) -> list[Score]:
    """Method a better than b by ``gain`` dB, in LPIPS by less; c as b."""
    draw = np.random.default_rng(0)
    rows = []
    for n in range(scans):
        level, spread = draw.normal(30, 3), draw.normal(0, 0.2, 4)
        rows += [
            row(f"s{n}", "a", psnr=level + gain + spread[0], lpips=0.3 - gain / 20 + spread[2] / 100),
            row(f"s{n}", "b", psnr=level + spread[1], lpips=0.3 + spread[3] / 100),
        ]
    return rows


def test_a_summary_has_means_and_sample_standard_deviations():
    rows = [row("s1", "a", psnr=30.0, ssim=0.9), row("s2", "a", psnr=34.0, ssim=0.8), row("s1", "b", psnr=20.0, ssim=0.5)]
    rows.append(row("s2", "b", "failed"))
    lines = list(csv.DictReader(io.StringIO(summary_csv(rows, ["lpips"]))))
    assert list(lines[0])[:6] == ["method", "psnr", "psnr_sd", "ssim", "ssim_sd", "lpips"]
    assert (float(lines[0]["psnr"]), float(lines[0]["psnr_sd"])) == pytest.approx((32, 8**0.5), abs=1e-4)
    assert lines[1] | {"seconds": ""} == {
        "method": "b", "psnr": "20", "psnr_sd": "", "ssim": "0.5", "ssim_sd": "", "lpips": "not available", "lpips_sd": "",
        "seconds": "", "scans": "1", "failed": "1", "model": "",
    }  # fmt: skip
    every = list(csv.DictReader(io.StringIO(scores_csv(rows))))
    assert [(one["scan"], one["method"], one["state"], one["psnr"]) for one in every][-1] == ("s2", "b", "failed", "")
    assert figures_of(rows)["a/psnr"] == 32
    assert figures_of(rows)["b/failed"] == 1


def test_a_clear_gain_is_significant_both_ways_of_reading_and_none_is_not():
    clear, none = pairwise_comparisons(many(1.0)), pairwise_comparisons(many(0.0))
    assert [(one.comparison.metric, one.winner) for one in clear] == [("psnr", "a"), ("lpips", "a")]
    assert beaten(clear) == {("a", "psnr"): ["b"], ("a", "lpips"): ["b"]}
    assert [one.winner for one in none] == ["", ""]
    assert beaten(none) == {}
    swapped = [one.model_copy(update={"method": {"a": "b", "b": "a"}[one.method]}) for one in many(1.0)]
    assert {one.winner for one in pairwise_comparisons(swapped)} == {"b"}
    table = list(csv.DictReader(io.StringIO(comparisons_csv(clear))))
    assert [(one["a"], one["b"], one["better"], one["persons"]) for one in table] == [("a", "b", "a", "14")] * 2


def test_p_is_adjusted_over_all_pairs_and_few_scans_are_told():
    rows = many(1.0, scans=7)
    assert {one.winner for one in pairwise_comparisons(rows)} == {"a"}
    third = [one.model_copy(update={"method": "c"}) for one in rows if one.method == "b"]
    crowded = pairwise_comparisons([*rows, *third])
    assert [(one.a, one.b) for one in crowded] == [("a", "b")] * 2 + [("a", "c")] * 2 + [("b", "c")] * 2
    assert {one.winner for one in crowded} == {""}  # 6 comparisons of 7 persons: 6 / 64 is not below 0.05
    assert "7 persons cannot show a difference: with 6 comparisons at least 8 are needed" in too_few(crowded)
    assert too_few(pairwise_comparisons(many(1.0))) == ""


def test_several_scans_of_a_person_count_once():
    rows = [each.model_copy(update={"person": f"p{n // 4}"}) for n, each in enumerate(many(1.0))]
    assert {pair.comparison.n for pair in pairwise_comparisons(rows)} == {7}


def test_only_scans_that_both_have_are_compared():
    rows = many(1.0)
    rows[1] = row("s0", "b", "failed")
    assert {one.comparison.n for one in pairwise_comparisons(rows)} == {13}
    equal = [row("s1", "a", psnr=float("inf")), row("s1", "b", psnr=30.0)]
    assert pairwise_comparisons(equal) == []
    assert summaries(equal)[0].means["psnr"] == float("inf")


def test_the_words_to_cite_name_what_a_choice_by_the_scan_chose():
    """The method that restored and its papers, of one whose label says only who chose."""
    picked = {"s0": {"chosen": "unires"}, "s1": {"chosen": "cubic", "model": "own/1"}}
    rows = [row(scan, "auto+repair").model_copy(update=by) for scan, by in picked.items()] + [row("s0", "cubic")]
    made = words(said(Path("cohort"), Path("out")), rows, [], "slices of 5 mm", {"numpy": "2"})
    chose = r"auto, which chose unires \(.* \[2, 3\]\) and cubic \(.* \[4\]\), model own/1, as auto\+repair"
    assert re.search(rf"Methods: {chose}; cubic \(.* \[4\]\)\.", made.paragraph)
    assert "Brudfors" in made.references[1]


def test_the_words_to_cite_tell_of_comparisons_only_where_one_could_be_shown():
    for scans, could in ((14, True), (1, False)):
        rows = many(1.0, scans=scans)
        text = words(
            said(Path("cohort"), Path("out")), rows, pairwise_comparisons(rows), "slices of 5 mm", {"numpy": "2"}
        ).paragraph
        assert ("Holm" in text) is could
        assert ("by Student's t excludes 0 and p of the sign-flip permutation test" in text) is could


def test_all_that_read_as_the_best_are_marked_and_none_where_all_read_alike():
    """A tie is no win of the first, a lone figure none over anybody; coverage is best next to what the interval promises."""
    figures = {
        "a": {"psnr": 30.001, "invented": 0.0, "coverage": 0.99, "half_width": 2.0},
        "b": {"psnr": 30.002, "invented": 0.0, "coverage": 0.88},
        "c": {"psnr": 29.0, "invented": 0.01, "coverage": 0.92},
    }
    summed = summaries([row("s0", method, **own) for method, own in figures.items()])
    best = {name: _best(summed, metric_of(name)) for name in ("psnr", "invented", "coverage", "half_width", "ssim")}
    assert best == {"psnr": {"a", "b"}, "invented": set(), "coverage": {"b", "c"}, "half_width": set(), "ssim": set()}


def test_the_page_marks_the_best_and_the_beaten_and_asks_nobody(cohort, tmp_path):
    wanted = said(cohort, tmp_path)
    scorer = Scorer(TissueSegmenter(), missing=(("lpips", "lpips-missing: expected <b>VGG</b>, but got none. Install it"),))
    broken = Candidate(
        "unet-3d", "unet-3d", reason="model-missing: expected a model at /home/jane/secret/m, but got none. Train <one>"
    )
    rows = run(wanted, [CUBIC, LINEAR, broken], Scoring("tissues"))
    text = Path(write(wanted, find_cases(wanted), rows, scorer)).read_text()
    assert not re.search(r"(src|href)=\"(?!data:|#|CITATION.md)", text)
    words = (tmp_path / "CITATION.md").read_text()
    assert "on 2 scans of 2 persons whose truth is known, degraded so: " in words
    assert "10.1109/TIP.2003.819861" in words  # SSIM is among the figures
    assert "10.1109/CVPR.2018.00068" not in words  # LPIPS could not be had
    assert "2 others could not be made or scored" in words
    assert "<b>VGG</b>" not in text
    assert "/home/jane" not in text
    assert "2 persons cannot show a difference" in text
    assert "with persons as units: Student's t interval" in text
    assert "LPIPS: not available" in text
    assert ">LPIPS</th>" not in text  # no column of what no method has
    assert text.count("2 failed") == 1
    best = max(summaries(rows)[:2], key=lambda one: one.means["psnr"])
    assert f"<b>{best.means['psnr']:.2f} ±\N{NO-BREAK SPACE}{best.sds['psnr']:.2f}</b>" in text
    assert text.count('class="strip grey"') == 3 * 4  # planes by truth, input, cubic, linear
    assert {path.name for path in tmp_path.glob("*.csv")} == {"scores.csv", "summary.csv", "comparisons.csv"}
    marked = evaluation_page(view_of(wanted, [], many(1.0), Scorer()))
    assert "</b><sup>b</sup>" in marked
    assert "significantly better than b" in marked
    assert letters(28)[-3:] == ["z", "aa", "ab"]


# -- faults -----------------------------------------------------------------------------------------------------------------


def test_a_bad_scan_and_a_bad_method_are_rows_and_the_others_go_on(cohort, tmp_path, monkeypatch):
    root = tmp_path / "data"
    put(root, "03")
    path = put(root, "04")
    path.write_bytes(path.read_bytes()[:3000])

    def boom(*_):
        raise ZeroDivisionError("no such luck")

    real = who.build_method
    monkeypatch.setattr(who, "build_method", lambda name, *rest: boom() if name == "nearest" else real(name, *rest))
    candidates = [CUBIC, Candidate("nearest", "nearest"), Candidate("unet-3d", "unet-3d", reason="model-missing: expected one")]
    rows = run(said(root, tmp_path / "out"), candidates)
    assert [(one.scan[:6], one.method, one.state, one.code) for one in rows] == [
        ("sub-03", "cubic", "done", ""),
        ("sub-03", "nearest", "failed", "ZeroDivisionError"),
        ("sub-03", "unet-3d", "failed", "model-missing"),
        ("sub-04", "cubic", "failed", "file-truncated"),
        ("sub-04", "nearest", "failed", "file-truncated"),
        ("sub-04", "unet-3d", "failed", "file-truncated"),
    ]
    assert "no such luck" in rows[1].reason


CARD = "# m\n\nCohort `people`: 3 scans.\n\n- train: 01, 03\n- validation: 02\n- test: 04\n"


def test_a_model_is_not_scored_on_whom_it_was_trained_on(cohort, tmp_path):
    (tmp_path / "README.md").write_text(CARD.replace("people", cohort.name))
    learned = Candidate("cubic", "cubic", trained=trained_of(str(tmp_path)))
    rows = run(said(cohort, tmp_path / "out"), [learned])
    assert [(one.state, one.code) for one in rows] == [("failed", "trained-on"), ("done", "")]
    assert "Leave the person out" in rows[0].reason
    assert rows[1].note == "02 was in the validation part of the training"


def test_a_model_knows_a_scan_that_was_packed_anew_by_its_voxels(cohort, tmp_path):
    wanted = said(cohort, tmp_path / "out", selection={"participant_label": ["01"]})
    truth = find_cases(wanted)[0].truth
    seen = {
        "sha256": {"sub-01_T1w": "0" * 64},
        "voxels": {"sub-01_T1w": digest_of_voxels(readers.load(truth.kind, truth.uris)[0])},
    }
    (tmp_path / "split.json").write_text(json.dumps({"people": {"train": ["77"]}, "cohort": cohort.name} | seen))
    (row,) = run(wanted, [Candidate("cubic", "cubic", trained=trained_of(str(tmp_path)))])
    assert (row.state, row.code) == ("failed", "trained-on")


STRUCTURED = Card(
    title="m", data=(TrainingData(name="people", persons={"train": ("01", "03"), "validation": ("02",), "test": ("04",)}),)
)


def test_a_card_says_as_a_value_what_it_said_as_text(tmp_path):
    write_card(str(tmp_path / "old"), CARD)
    write_card(str(tmp_path / "new"), STRUCTURED)
    old, new = trained_of(str(tmp_path / "old")), trained_of(str(tmp_path / "new"))
    assert (new.cohort, new.people["train"], new.people["validation"]) == (old.cohort, *old.people.values())
    (tmp_path / "new" / "README.md").write_text("- train: 99\n")  # the text is for readers alone
    assert trained_of(str(tmp_path / "new")) == new


def test_a_case_outside_the_domain_is_restored_and_its_row_says_so(cohort, tmp_path):
    narrow = replace(CUBIC, domain=Domain(factor=(8, 8), contrasts=("T1w",)))
    wanted = said(cohort, tmp_path, selection={"participant_label": ["01"]})
    (plain,) = run(wanted, [CUBIC])
    (told,) = run(wanted, [narrow])
    assert (plain.state, plain.note) == ("done", "")
    assert told.state == "done"
    assert told.note == "outside what cubic is for: a factor of 4; trained for 8"
    assert (told.figures, told.seconds) == (plain.figures, plain.seconds)  # it was not restored again
    assert run(wanted, [narrow])[0].note == told.note  # also of a row that was kept


def test_persons_of_another_cohort_with_the_same_label_are_strangers(tmp_path):
    def unread() -> str:
        pytest.fail("the voxels are not asked for")

    (tmp_path / "README.md").write_text(CARD)
    by_card = trained_of(str(tmp_path))
    assert by_card.part(case_of("/data/people/sub-01.nii"), "x", unread) == "train"
    assert by_card.part(case_of("/data/others/sub-01.nii"), "x", unread) == ""
    assert by_card.part(case_of("/data/people/sub-04.nii", "04"), "x", unread) == ""
    told = {"people": {"train": ["01"]}, "cohort": "people", "sha256": {"sub-01_T1w": "cafe"}}
    (tmp_path / "split.json").write_text(json.dumps(told))
    by_bytes = trained_of(str(tmp_path))
    assert by_bytes.part(case_of("/data/renamed/sub-77.nii", "77"), "cafe", unread) == "train"
    assert by_bytes.part(case_of("/data/people/sub-01.nii"), "beef", unread) == ""
    (tmp_path / "split.json").write_text(json.dumps({"train": ["01"], "validation": ["02"], "test": []}))
    assert trained_of(str(tmp_path)).part(case_of("/anywhere/sub-02.nii", "02"), "x", unread) == "validation"
    assert trained_of(str(tmp_path / "none")) == Trained()
    (tmp_path / "split.json").write_text("")
    with pytest.raises(WeightsError, match=r"split-unreadable: expected a model's split\.json in .*\. Copy the model again"):
        trained_of(str(tmp_path))


def test_a_command_that_fails_or_writes_nothing_is_told_with_its_last_words():
    image, _ = brain((12, 12, 12))
    with pytest.raises(IsovoxError, match=r"segmenter-failed: .*exit code 3, the last words"):
        CommandSegmenter("sh -c 'echo first; echo the last words >&2; exit 3' {image} {labels}").labels(image, GRID, image)
    with pytest.raises(IsovoxError, match="segmenter-silent"):
        CommandSegmenter("true {image} {labels}").labels(image, GRID, image)
    awk = 'sh -c \'printf "f\\374r %s" "$(echo a b | awk "{print \\$2}")" >&2; exit 3\' {image} {labels}'
    with pytest.raises(IsovoxError, match="exit code 3, f\ufffdr b"):  # braces of its own, and a word in Latin-1
        CommandSegmenter(awk).labels(image, GRID, image)
    with pytest.raises(IsovoxError, match="segmenter-failed: expected no-such-tool to run"):
        CommandSegmenter("no-such-tool {image} {labels}").labels(image, GRID, image)
    with pytest.raises(UsageError, match="segmenter-unknown"):
        segmenter_of("magic", "T1w", None)


# -- protocols --------------------------------------------------------------------------------------------------------------


OWN = Protocol(
    "half-and-half",
    {"": {"operator": "slice-profile", "factor": 4}},
    measures=(
        RESTORATION,
        Measure(
            lambda a, b, _: {"bias": float(abs(a - b).mean())}, (Metric("bias", "Bias", 2, "mean difference", higher=False),)
        ),
    ),
    takes=lambda entities: entities.get("suffix") == "T1w",
    folds=2,
)


@pytest.fixture
def own_protocol(monkeypatch) -> None:
    """A protocol that a family declares."""
    where = f"{__name__}:OWN"
    declared = registry.protocols() | {OWN.name: ProtocolEntry(OWN.name, where, "for tests")}
    real = registry.resolve
    monkeypatch.setattr(registry, "protocols", lambda: declared)
    monkeypatch.setattr(registry, "resolve", lambda name: OWN if name == where else real(name))


@pytest.mark.usefixtures("own_protocol")
def test_a_family_s_protocol_scores_its_fold_by_its_own_figures_in_all_tables(cohort, tmp_path):
    wanted = EvaluationSettings(protocol="half-and-half", cohort=str(cohort), out=str(tmp_path), fold=2)
    rows = run(wanted)
    assert [(one.scan, one.method) for one in rows] == [("sub-02_T1w", "cubic"), ("sub-02_T1w", "linear")]
    assert not (tmp_path / "simulated" / "sub-01").exists()
    assert rows[0].figures["bias"] > 0
    assert "bias" in scores_csv(rows).splitlines()[0]
    text = Path(write(wanted, find_cases(wanted), rows, Scorer())).read_text()
    assert "Bias" in text
    with pytest.raises(UsageError, match=r"fold-unknown: .*from 1 to 2 of half-and-half, but got 3"):
        find_cases(wanted.model_copy(update={"fold": 3}))


@pytest.mark.usefixtures("own_protocol")
def test_a_protocol_for_which_no_scan_counts_is_told(cohort, tmp_path, monkeypatch):
    wanted = EvaluationSettings(protocol="half-and-half", cohort=str(cohort), out=str(tmp_path))
    monkeypatch.setattr(registry, "protocol", lambda _: replace(OWN, takes=lambda entities: entities["suffix"] == "FLAIR"))
    with pytest.raises(
        UsageError, match=r"no-cases: expected scans that count by the protocol half-and-half, but got none of 2\. Select"
    ):
        find_cases(wanted)


@pytest.mark.usefixtures("own_protocol")
def test_another_protocol_s_figures_are_not_taken_for_its_own(cohort, tmp_path):
    one = {"participant_label": ["01"]}
    (shared,) = run(said(cohort, tmp_path, selection=one), [CUBIC])
    (own,) = run(EvaluationSettings(protocol="half-and-half", cohort=str(cohort), out=str(tmp_path), selection=one), [CUBIC])
    assert own.digest != shared.digest
    assert own.figures == shared.figures | {"bias": own.figures["bias"]}
    assert own.seconds == shared.seconds  # restored once


@pytest.mark.usefixtures("own_protocol")
def test_each_degradation_of_a_protocol_has_its_rows_its_lines_and_its_comparisons(cohort, tmp_path, monkeypatch):
    (alone,) = run(said(cohort, tmp_path / "b", selection={"participant_label": ["01"]}), [CUBIC])
    ways = {
        "thick": {"operator": "slice-profile", "factor": 4},
        "dropped": {"operator": "slice-mask", "factor": 4},
    }
    monkeypatch.setattr(registry, "protocol", lambda _: replace(OWN, degradations=ways, folds=1))
    wanted = EvaluationSettings(protocol="half-and-half", cohort=str(cohort), out=str(tmp_path / "a"))
    rows = run(wanted)
    assert [(each.degradation, each.scan[:6], each.method) for each in rows] == [
        (way, f"sub-{label}", method) for way in ways for label in ("01", "02") for method in ("cubic", "linear")
    ]
    assert alone.figures.items() <= rows[0].figures.items()
    assert rows[4].figures["psnr"] != rows[0].figures["psnr"]
    assert rows[4].image == "restored/cubic/dropped/sub-01_T1w.nii.gz"
    summed = summaries(rows)
    assert [line.label for line in summed] == ["cubic, thick", "linear, thick", "cubic, dropped", "linear, dropped"]
    assert summed[2].means["psnr"] == pytest.approx((rows[4].figures["psnr"] + rows[6].figures["psnr"]) / 2)
    pairs = pairwise_comparisons(rows)
    assert {(pair.degradation, pair.a, pair.b, pair.comparison.n) for pair in pairs} == {
        (way, "cubic", "linear", 2) for way in ways
    }
    for text in (scores_csv(rows), summary_csv(rows), comparisons_csv(pairs)):
        assert [line.partition(",")[0] for line in text.splitlines()][:2] == ["degradation", "thick"]
    assert figures_of(rows)["linear, dropped/psnr".replace(",", "_")] == summed[3].means["psnr"]
    page = Path(write(wanted, find_cases(wanted), rows, Scorer())).read_text()
    assert "cubic, dropped" in page
    assert "Bias, thick" in page
    again = find_cases(wanted.model_copy(update={"cohort": str(tmp_path / "a" / "simulated" / "dropped"), "out": str(tmp_path)}))
    assert [case.degradation for case in again] == ["dropped", "dropped"]


def test_outputs_of_one_name_in_two_places_are_two_runs_of_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of two studies that each say SHARP --out trial."""
    make_database(tmp_path)
    uri, how = f"sqlite:///{tmp_path / 'mlflow.db'}", EvaluationSettings(protocol="thick-slice", cohort="SHARP", out="trial")
    for study in ("first", "second", "first"):
        (tmp_path / study).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / study)
        tell_mlflow(uri, how, [])
    client = MlflowClient(tracking_uri=uri)
    assert len(client.search_runs([each.experiment_id for each in client.search_experiments()])) == 2


def test_a_protocols_own_tables_tell_the_scans_of_a_person_apart(tmp_path: Path) -> None:
    rows = [
        Score(
            scan=f"sub-a_ses-{visit}_T1w",
            person="a",
            degradation="4mm0box",
            contrast="T1w",
            method=method,
            figures={"psnr": psnr},
        )
        for visit, level in (("1", 30.0), ("2", 24.0))
        for method, psnr in (("cubic", level), ("unires", level + 1))
    ]
    written = write_own(EvaluationSettings(protocol="any-scan", cohort="", out=str(tmp_path)), rows)
    assert {"domain.md", "domain.json", "choice.json"} == set(written)
    (cell,) = json.loads((tmp_path / "domain.json").read_text())["unires"]
    assert (cell["gain"], cell["persons"]) == (pytest.approx(1.0), 1)
