"""Further inputs of the kinds that were reported: each right, or told by name."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import nrrd
import numpy as np
import pytest

from cli.harmonize import _show
from cli.main import main
from core.errors import UsageError
from core.io import claim, files
from core.io.bids import survey
from core.io.names import role
from core.io.scans import Refused
from core.settings.harmonize import HarmonizeSettings
from core.settings.run import RunSettings
from core.settings.scans import Selection
from tasks.pipeline.discover import plan_cohort
from tests.cases.makers import bids, head, nifti, series


def codes(root: Path) -> dict[str, str]:
    """The refusals of a plan; files add up, each in one state."""
    plan = plan_cohort(RunSettings(input=str(root), out=str(root) + "-out"))
    there = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_symlink() or not path.is_dir()}
    account = plan.files
    assert len(there) == account.seen == account.taken + account.refused + sum(account.left.values())
    return {refusal.key: refusal.code for refusal in plan.refused}


@pytest.mark.parametrize(("word", "kind"), [("M", None), ("P", "phase"), ("PHASE MAP", "phase"), ("I", "phase")])
def test_phase_images_in_dicom_are_left_out_by_their_type(tmp_path, word, kind):
    series(tmp_path / "in" / "mag")
    series(tmp_path / "in" / "x", edit=lambda plane, _: setattr(plane, "ImageType", ["ORIGINAL", "PRIMARY", word, "ND"]))
    found = survey(str(tmp_path / "in"))
    assert {scan.key for scan in found.scans} == ({"mag"} if kind else {"mag", "x"})
    assert set(found.ledger.left.values()) == ({kind} if kind else set())


def test_magnitude_and_phase_of_one_series_are_no_duplicates(tmp_path):
    def alternate(plane, number):
        plane.ImageType = ["ORIGINAL", "PRIMARY", "MP"[number % 2]]
        plane.ImagePositionPatient[2] -= 10.0 * (number % 2)

    series(tmp_path / "in" / "s", shape=(24, 24, 24), edit=alternate)
    plan = plan_cohort(RunSettings(input=str(tmp_path / "in"), out=str(tmp_path / "out")))
    assert [scan.source["shape"][2] for scan in plan.scans] == [12]
    assert plan.files.left == {"phase": 12}


def test_an_image_type_of_one_word_is_no_list_of_letters(tmp_path):
    series(tmp_path / "in" / "s", edit=lambda plane, _: setattr(plane, "ImageType", "ORIGINAL"))
    assert not codes(tmp_path / "in")


@pytest.mark.parametrize("how", ["packed", "link", "loop"])
def test_slices_that_are_packed_or_links_to_nowhere_fail_their_series(tmp_path, how):
    folder = series(tmp_path / "in" / "s", name="IM{:03d}.dcm")
    for path in sorted(folder.iterdir())[-2:]:
        content = path.read_bytes()
        path.unlink()
        if how == "packed":
            (folder / f"{path.name}.gz").write_bytes(gzip.compress(content))
        else:
            path.symlink_to("../.git/annex/gone" if how == "link" else path.name)
    assert codes(tmp_path / "in") == {"s": "dicom-members"}


def test_an_image_whose_content_is_elsewhere_is_refused_and_a_mask_is_not(tmp_path):
    root = bids(tmp_path / "in", "01")
    for suffix in ("T2w", "desc-x_mask"):
        (root / "sub-01" / "anat" / f"sub-01_{suffix}.nii.gz").symlink_to("../../.git/annex/objects/gone")
    assert codes(root) == {"sub-01_T2w": "file-unreadable"}
    chosen = survey(str(root), Selection(suffix=("T1w",)))
    assert not any(isinstance(scan, Refused) for scan in chosen.scans)


@pytest.mark.parametrize("name", ["x.nii.gz.gpg", "x.nii.crdownload", "x.nii.gz.gz", "x.mgz.part", "X.NRRD.TMP"])
def test_what_was_made_of_a_scan_is_refused_by_its_name(tmp_path, name):
    nifti(tmp_path / "in" / "good.nii.gz")
    (tmp_path / "in" / name).write_bytes(bytes(range(200, 256)) * 9)
    assert list(codes(tmp_path / "in").values()) == ["format-unread"]


def test_voxels_of_nrrd_that_are_gone_a_folder_or_shared_are_counted_once(tmp_path):
    root = tmp_path / "in"
    root.mkdir()
    about = {"space": "left-posterior-superior", "space directions": np.diag([5.0, 5, 10]), "space origin": [-60.0, -60, -60]}
    nrrd.write(str(root / "whole.nhdr"), head().astype(np.int16), about, detached_header=True)
    lines = (root / "whole.nhdr").read_text()
    for name, data in (("gone", "nowhere.raw.gz"), ("folder", "inner"), ("shared", "whole.raw.gz")):
        (root / f"{name}.nhdr").write_text(lines.replace("whole.raw.gz", data))
    (root / "inner").mkdir()
    assert codes(root) == {"gone": "file-missing", "folder": "file-missing"}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("mask_T1", "mask"),
        ("T1_brain_mask_edit", "mask"),
        ("T1_LesionSeg", "mask"),
        ("lesionmask", "mask"),
        ("segmentation_T1", "mask"),
        ("T1_pve_0", "mask"),
        ("wmh", "mask"),
        ("phase", "phase"),
        ("p_phasediff", "phase"),
        ("p_phase1", "phase"),
        ("sub-01_acq-mask_T1w", ""),
        ("sub-seg_T1w", ""),
        ("T1_masked", ""),
        ("sub-01_task-phase_T1w", ""),
    ],
)
def test_names_of_masks_and_phase_images(name, kind):
    assert role(f"in/{name}.nii.gz") == kind


def test_json_too_deep_is_that_scans_reason(tmp_path):
    root = bids(tmp_path / "in", "01", "02")
    (root / "sub-01" / "anat" / "sub-01_T1w.json").write_text("[" * 100_000)
    assert codes(root) == {"sub-01_T1w": "sidecar-unreadable"}


def test_a_table_of_ratings_that_rejects_nothing_says_so_and_one_of_commas_is_refused(tmp_path):
    root = bids(tmp_path / "in", "01", "02")
    table = tmp_path / "ratings.tsv"
    table.write_text("participant_id\trating\nsub-01\tgood\n")
    assert survey(str(root), Selection(exclude=(str(table),))).ledger.filters == [f"--exclude {table}: kept 2 of 2"]
    commas = tmp_path / "ratings.csv"
    commas.write_text("participant_id,rating\nsub-01,bad\n")
    with pytest.raises(UsageError, match="table-delimiter: expected columns separated by tabs"):
        survey(str(root), Selection(exclude=(str(commas),)))


def test_a_broken_link_in_the_place_of_an_output_is_refused_by_its_own_path(tmp_path):
    (tmp_path / "lost").symlink_to(tmp_path / "gone" / "out")
    with pytest.raises(UsageError, match=f"out-is-file: .* broken link at {tmp_path / 'lost'}\\."):
        claim.check_place(str(tmp_path / "lost"))
    with pytest.raises(UsageError, match=f"out-is-file: .* broken link at {tmp_path / 'lost'}\\."):
        claim.check_place(str(tmp_path / "lost" / "derivatives" / "out"))
    (tmp_path / "gone").mkdir()
    (tmp_path / "gone" / "out").mkdir()
    claim.check_place(str(tmp_path / "lost" / "derivatives" / "out"))


@pytest.mark.parametrize(
    ("out", "code"),
    [
        ("file", "out-is-file"),
        ("file/below", "out-is-file"),
        ("loop", "out-is-file"),
        ("pipe/x", "out-is-file"),
        ("", "out-unnamed"),
        ("s3://", "out-unnamed"),
        ("http://x.org/y", "out-unnamed"),
    ],
)
def test_an_output_that_can_be_no_folder_is_refused_by_every_command(tmp_path, monkeypatch, capsys, out, code):
    monkeypatch.chdir(tmp_path)
    root = bids(tmp_path / "in", "01")
    (tmp_path / "file").write_text("x")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match=f"{code}: expected a folder"):
        claim.check(out, [str(root)], "harmonize")
    for words in (["plan", str(root), out], ["run", str(root), out], ["simulate", str(root), out]):
        assert main(words) == 2
        assert f"isovox: {code}: expected a folder" in capsys.readouterr().err


def test_a_refused_simulation_has_written_nothing(tmp_path, capsys):
    root = bids(tmp_path / "in", "01")
    before = sorted(root.rglob("*"))
    assert main(["simulate", str(root), str(root / "x")]) == 2
    assert "out-in-input" in capsys.readouterr().err
    assert sorted(root.rglob("*")) == before


@pytest.mark.timeout(120)
def test_what_an_option_names_may_be_a_pipe(tmp_path, capsys):
    root, pipe = bids(tmp_path / "in", "01"), tmp_path / "pipe.tsv"
    os.mkfifo(pipe)
    plan = ["plan", str(root), str(tmp_path / "out")]
    for words in (
        ["plan", str(pipe), str(tmp_path / "out")],
        [*plan, "--exclude", str(pipe)],
        [*plan, "--config", str(pipe)],
    ):
        assert main(words) == 2
        assert "special-file: expected a regular file, but got a pipe at pipe.tsv" in capsys.readouterr().err


def test_what_the_system_says_is_one_line(tmp_path, capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "/x")

    monkeypatch.setattr("cli.plan.make_plan", full)
    assert main(["plan", str(tmp_path), str(tmp_path / "out")]) == 3
    assert capsys.readouterr().err.startswith(
        "isovox: storage-fault: expected files that can be read and written, but got No space"
    )


def test_labels_are_carried_from_folders_alone_and_how_many_is_told(tmp_path, capsys):
    root = bids(tmp_path / "in", "01")
    anat = root / "sub-01" / "anat"
    nifti(anat / "sub-01_desc-a_mask.nii.gz", voxels=(head() > 300) * 1)
    nifti(anat / "sub-01_desc-b_mask.nii.gz", shape=(20, 20, 12))
    out = str(tmp_path / "out")
    assert main(["plan", str(root), out, "--carry-labels"]) == 0
    assert "--carry-labels: 1 of 2 masks and labels carried" in capsys.readouterr().out
    (tmp_path / "t.tsv").write_text(f"path\n{anat / 'sub-01_T1w.nii.gz'}\n")
    assert main(["plan", str(tmp_path / "t.tsv"), out, "--carry-labels"]) == 2
    assert "labels-of-table: expected masks and labels beside the scans" in capsys.readouterr().err


def test_the_list_of_files_looks_into_headers(tmp_path, capsys):
    root = tmp_path / "in"
    nifti(root / "good.nii.gz")
    (root / "empty.nii.gz").write_bytes(b"")
    assert main(["plan", str(root), str(tmp_path / "out"), "--files"]) == 3
    told = capsys.readouterr().out
    assert "refused empty\tempty.nii.gz" in told
    assert "files: 2 seen = 1 of scans + 1 refused + 0 left out" in told


def test_harmonize_tells_what_became_of_each_sites_files(tmp_path, capsys):
    for name in ("a", "b"):
        root, out = bids(tmp_path / "in" / name, "01"), tmp_path / "out" / name
        plan = plan_cohort(RunSettings(input=str(root), out=str(out)))
        files.write_json(str(out / "isovox" / "plan.json"), plan.model_dump(mode="json"))
    rows = [{"site": name, "scan": "sub-01_T1w", "state": "done", "reason": ""} for name in ("a", "b")]
    files.write_json(str(tmp_path / "out" / "isovox" / "harmonized.json"), {"Scans": rows})
    _show(HarmonizeSettings(sites=("a", "b"), out=str(tmp_path / "out")), "", quiet=False)
    told = capsys.readouterr().out
    assert all(f"{name}: files: 2 seen = 1 of scans + 0 refused + 1 left out" in told for name in ("a", "b"))
