"""``isovox simulate``, ``verify`` and ``clean`` on a real S3 server."""

from __future__ import annotations

import fsspec
import pytest

from cli import main as cli
from core.io import files
from core.io.inventory.folder import inventory
from tests.faults.cohorts import build_cohort
from tests.outputs import restore_all
from tests.seaweed import PUBLIC

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def source(s3, tmp_path_factory) -> str:
    cohort = build_cohort(tmp_path_factory.mktemp("cohort") / "bids", 3, (30, 36, 10))
    fsspec.filesystem("s3", skip_instance_cache=True).put(f"{cohort}/", "tests/keep/", recursive=True)
    return files.join(s3, "keep")


def isovox(*words: object) -> int:
    return cli.main([str(word) for word in words])


def test_damage_in_s3_is_told_mended_and_made_anew(source, s3, capsys):
    out = files.join(s3, "verify-out")
    restore_all(source, out)
    assert isovox("verify", out) == 0
    assert "verified 3 scans: 6 files by sha256, 9 images by every block; no problem" in capsys.readouterr().out
    image = files.join(out, "sub-02/anat/sub-02_desc-restored_T1w.nii.gz")
    block = files.join(out, "isovox/cohort.zarr/sub-01_T1w/cubic/restored/image/c/0/0/0")
    whole = files.read_bytes(image)
    files.remove(image)
    files.write_atomic(block, files.read_bytes(block)[:1000])
    files.write_atomic(files.join(out, "reports/sub-03_T1w.html"), b"<html>")
    assert isovox("verify", out, "--mend") == 3
    told = capsys.readouterr().out
    assert [line.split(": ")[1] for line in told.splitlines()[:3]] == ["block-torn", "output-missing", "page-damaged"]
    restore_all(source, out)
    assert isovox("verify", out) == 0
    assert files.read_bytes(image) == whole


def test_orphans_and_unfinished_uploads_go_from_s3_and_nothing_else(source, s3, capsys):
    out = files.join(s3, "clean-out")
    restore_all(source, out)
    before = set(inventory(out))
    disk = fsspec.filesystem("s3", skip_instance_cache=True)
    disk.call_s3("create_multipart_upload", Bucket="tests", Key="clean-out/sub-01/anat/half.nii.gz")
    files.write_atomic(files.join(out, "sub-03/notes.txt"), b"mine")
    files.remove(files.join(source, "sub-03"))
    restore_all(source, out)
    assert isovox("clean", out) == 0
    assert "1 unfinished uploads" in capsys.readouterr().out
    assert before < set(inventory(out))
    assert isovox("clean", out, "--yes") == 0
    assert set(inventory(out)) == {path for path in before if "sub-03" not in path} | {"sub-03/notes.txt"}
    assert isovox("verify", out) == 0


@pytest.mark.parametrize("where", ["both", "truth", "simulation"])
def test_scans_are_simulated_from_s3_into_s3(source, s3, tmp_path, capsys, where):
    cohort = build_cohort(tmp_path / "bids", 2, (48, 48, 16))
    fsspec.filesystem("s3", skip_instance_cache=True).put(f"{cohort}/", f"tests/sharp-{where}/", recursive=True)
    truth = str(cohort) if where == "simulation" else files.join(s3, f"sharp-{where}")
    out = str(tmp_path / "sim") if where == "truth" else files.join(s3, f"sim-{where}")
    words = ("simulate", truth, out, "--operator", "slice-profile", "--factor", 2, "--axis", "R", "--seed", 3)
    assert isovox(*words) == 0
    assert "planned 2 = 2 done" in capsys.readouterr().out
    assert isovox(*words) == 0
    assert "0 done + 2 skipped" in capsys.readouterr().out
    assert isovox("simulate", cohort, tmp_path / "here", *words[3:]) == 0
    name = "sub-01/anat/sub-01_rec-sliceprofile2R_T1w.nii.gz"
    assert name in files.walk(out)
    assert files.sha256(files.join(out, name)) == files.sha256(str(tmp_path / "here" / name))
    plan = restore_all(out, str(tmp_path / "out"), reference=truth)
    assert [scan.reference for scan in plan.scans] == [files.join(truth, f"sub-0{n}/anat/sub-0{n}_T1w.nii.gz") for n in (1, 2)]


@pytest.mark.parametrize(
    ("source_uri", "out", "said"),
    [
        ("s3://nowhere/in", "s3://tests/out", "bucket-missing: expected a bucket nowhere"),
        ("s3://tests/keep", "s3://nowhere/out", "bucket-missing: expected a bucket nowhere"),
    ],
)
def test_a_bucket_that_is_not_there_is_an_error_of_use(source, source_uri, out, said, capsys):
    assert isovox("plan", source_uri, out, "--method", "cubic") == 2
    assert said in capsys.readouterr().err


def test_an_input_without_credentials_says_what_to_set(source, tmp_path, capsys, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    assert isovox("plan", source, tmp_path / "out", "--method", "cubic") == 2
    told = capsys.readouterr().err
    assert "input-forbidden: expected credentials for the bucket tests, but got none" in told
    assert "AWS_ACCESS_KEY_ID" in told
    assert not (tmp_path / "out").exists()


def test_a_public_bucket_is_restored_here_without_credentials(source, tmp_path, monkeypatch):
    disk = fsspec.filesystem("s3", skip_instance_cache=True)
    for path in disk.find("tests/keep/sub-01"):
        disk.pipe_file(path.replace("tests/keep", f"{PUBLIC}/ds"), disk.cat_file(path))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    plan = restore_all(f"s3://{PUBLIC}/ds", str(tmp_path / "out"))
    assert [scan.key for scan in plan.scans] == ["sub-01_T1w"]
    assert (tmp_path / "out/sub-01/anat/sub-01_desc-restored_T1w.nii.gz").exists()
    assert isovox("verify", tmp_path / "out") == 0


def test_an_output_that_may_not_be_written_is_an_error_of_use(source, capsys, monkeypatch):
    out = f"s3://{PUBLIC}/kept-out"
    restore_all(source, out)
    monkeypatch.setenv("ISOVOX_S3_ANONYMOUS", "1")
    assert isovox("clean", out) == 2
    assert "storage-forbidden: expected access to s3://public/kept-out/isovox/lock.json" in capsys.readouterr().err
