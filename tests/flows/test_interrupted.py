"""Kill it anywhere, run it again, and it completes with the same bytes; what is done is not done again, and the counts add up."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from pathlib import Path

import nibabel
import numpy as np
import pytest

from tests.flows.conftest import HOW, Run, fingerprints, write_scan

POINTS = [
    pytest.param("core.io.store:Store.write_block", 2, id="restore"),
    pytest.param("core.io.output:Output.write_record", 1, id="record", marks=pytest.mark.slow),
    pytest.param("tasks.work:_ingest", 1, id="ingest", marks=pytest.mark.slow),
    pytest.param("core.io.nifti:save", 2, id="export", marks=pytest.mark.slow),
    pytest.param("tasks.pages:_report", 2, id="report", marks=pytest.mark.slow),
    pytest.param("flows.reprocess:_close", 1, id="close", marks=pytest.mark.slow),
]


def statuses(out: Path) -> set[str]:
    with sqlite3.connect(out / "isovox" / "mlflow.db") as database:
        return {status for (status,) in database.execute("select status from runs")}


def states(out: Path) -> dict[str, str]:
    return {path.stem: json.loads(path.read_text())["state"] for path in (out / "isovox" / "scans").glob("*.json")}


@pytest.mark.parametrize(("where", "number"), POINTS)
def test_a_killed_run_goes_on_to_the_same_bytes(
    run: Run, cohort: Path, tmp_path: Path, undisturbed, where: str, number: int
) -> None:
    out = tmp_path / "out"
    assert run("run", cohort, out, *HOW, at=where, number=number).returncode == -9
    assert fingerprints(out) != undisturbed or where in {"tasks.pages:_report", "flows.reprocess:_close"}
    again = run("run", cohort, out, *HOW)
    assert again.returncode == 0, again.stderr
    assert fingerprints(out) == undisturbed
    assert not list(out.rglob("*.tmp"))
    assert statuses(out) <= {"FINISHED", "KILLED"}
    assert set(states(out).values()) == {"done"}


def test_a_finished_cohort_is_left_alone_and_only_what_changed_is_done(run: Run, cohort: Path, copied: Path, anatomy) -> None:
    out = copied
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    again = run("run", cohort, out, *HOW, at="flows.commands:run_flow", action="os._exit(99)")
    assert again.returncode == 0, "a flow was started"
    assert "2 skipped" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == before
    _, affine = anatomy
    image = np.asarray(nibabel.load(cohort / "sub-02/anat/sub-02_T1w.nii.gz").dataobj)
    nibabel.save(nibabel.Nifti1Image(image + 1, affine), cohort / "sub-02/anat/sub-02_T1w.nii.gz")
    assert "1 done + 1 skipped" in run("run", cohort, out, *HOW).stdout
    first = out / "sub-01/anat/sub-01_desc-restored_T1w.nii.gz"
    assert first.stat().st_mtime_ns == before[first]


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "out"))


def test_each_damaged_artefact_is_made_anew(run: Run, cohort: Path, copied: Path, undisturbed) -> None:
    out = copied
    image = out / "sub-01/anat/sub-01_desc-restored_T1w.nii.gz"
    image.write_bytes(image.read_bytes()[:1000])
    (out / "sub-02/anat/sub-02_desc-restored_T1w.json").unlink()
    (out / "reports/sub-02_T1w.html").unlink()
    shard = max((out / "isovox/cohort.zarr/sub-01_T1w/cubic/restored/image/c").rglob("0"), key=lambda path: path.stat().st_size)
    shard.write_bytes(shard.read_bytes()[:5000])
    told = run("status", out)
    assert told.returncode == 3
    assert "output-missing" in told.stdout
    again = run("run", cohort, out, *HOW)
    assert again.returncode == 0, again.stdout + again.stderr
    assert fingerprints(out) == undisturbed
    assert (out / "reports/sub-02_T1w.html").exists()


def test_bad_scans_are_told_and_the_others_go_on(run: Run, cohort: Path, tmp_path: Path, anatomy, undisturbed) -> None:
    image, affine = anatomy
    broken = write_scan(cohort, "03", image, affine)
    broken.write_bytes(broken.read_bytes()[:20000])
    write_scan(cohort, "04", np.full(image.shape, np.nan, np.float32), affine)
    write_scan(cohort, "05", np.stack([image, image], axis=-1), affine)
    out = tmp_path / "out"
    done = run("run", cohort, out, *HOW)
    assert done.returncode == 3, done.stderr
    assert "planned 5 = 2 done + 0 skipped + 0 flagged + 3 failed" in done.stdout
    codes = {path.stem: json.loads(path.read_text())["code"] for path in (out / "isovox" / "scans").glob("*.json")}
    assert codes == {
        "sub-01_T1w": "",
        "sub-02_T1w": "",
        "sub-03_T1w": "file-truncated",
        "sub-04_T1w": "voxels-nonfinite",
        "sub-05_T1w": "not-3d",
    }
    images = {name: digest for name, digest in undisturbed.items() if name.endswith(".nii.gz")}
    assert images.items() <= fingerprints(out).items()
    page = (out / "report.html").read_text()
    assert all(word in page for word in ("sub-03_T1w", "file-truncated", "not-3d", "3 failed"))


@pytest.mark.slow
def test_a_deleted_output_fails_the_run_and_the_next_repairs_it(run: Run, cohort: Path, copied: Path) -> None:
    out = copied
    lost = f"__import__('pathlib').Path({str(out)!r}, 'sub-01/anat/sub-01_desc-restored_T1w.nii.gz').unlink()"
    done = run("run", cohort, out, *HOW, "--max-seam", "2", at="flows.reprocess:_close", action=lost)
    assert done.returncode == 3
    assert "output-missing" in done.stdout
    assert run("run", cohort, out, *HOW, "--max-seam", "2").returncode == 0


@pytest.mark.slow
def test_a_full_disk_is_named_and_leaves_nothing_half_written(run: Run, cohort: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    full = "raise OSError(28, 'No space left on device')"
    done = run("run", cohort, out, *HOW, at="core.io.nifti:save", action=full)
    assert done.returncode == 3, done.stderr
    assert "disk-full" in json.dumps([json.loads(path.read_text()) for path in (out / "isovox" / "scans").glob("*.json")])
    assert not list(out.rglob("*.tmp"))
    assert run("run", cohort, out, *HOW).returncode == 0


def test_modes_and_clusters_give_the_same_bytes(run: Run, cohort: Path, tmp_path: Path, undisturbed) -> None:
    out = tmp_path / "out"
    done = run("run", cohort, out, *HOW, "--mode", "tile", "--cluster", "local", "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert fingerprints(out) == undisturbed


@pytest.mark.slow
def test_a_worker_that_dies_is_followed_by_another(run: Run, cohort: Path, tmp_path: Path, undisturbed) -> None:
    out = tmp_path / "out"
    mark = tmp_path / "died"
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import os, threading, time, signal, pathlib\n"
        f"mark = pathlib.Path({str(mark)!r})\n"
        f"out = pathlib.Path({str(out)!r}, 'isovox/cohort.zarr')\n"
        "def watch():\n"
        "    while not list(out.glob('*/cubic/restored')):\n"
        "        time.sleep(0.002)\n"
        "    try:\n"
        "        mark.touch(exist_ok=False)\n"
        "    except FileExistsError:\n"
        "        return\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "if os.environ.get('DASK_PARENT') or 'spawn_main' in ' '.join(__import__('sys').orig_argv):\n"
        "    threading.Thread(target=watch, daemon=True).start()\n"
    )
    environ = dict(os.environ)
    os.environ["PYTHONPATH"] = str(site)
    try:
        done = run("run", cohort, out, *HOW, "--cluster", "local", "--workers", "2")
    finally:
        os.environ.clear()
        os.environ.update(environ)
    assert mark.exists(), "no worker was killed"
    assert done.returncode == 0, done.stdout + done.stderr
    assert fingerprints(out) == undisturbed


def test_mixed_settings_are_refused(run: Run, cohort: Path, copied: Path, undisturbed) -> None:
    out = copied
    done = run("run", cohort, out, "--method", "linear", "--voxel-size", "2", "--participant-label", "01")
    assert done.returncode == 2
    assert "mixed-settings" in done.stderr
    assert fingerprints(out) == undisturbed
