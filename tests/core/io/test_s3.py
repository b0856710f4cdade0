"""Everything that works on this machine's files works on a real S3 server."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from core.engine.iterate import Checkpoint, made_of
from core.errors import InputError
from core.geometry.grid import Grid
from core.io import bids, derivatives, files, nifti
from core.methods.iterative import State
from core.settings.scans import Selection

pytestmark = pytest.mark.slow


def test_files_are_written_listed_hashed_and_removed(s3, tmp_path):
    root = files.join(s3, "files")
    assert not files.exists(root)
    assert files.listdir(root) == []
    files.write_atomic(files.join(root, "a", "b.bin"), b"123")
    files.write_atomic(files.join(root, "c.bin"), lambda handle: files.void(handle.write(b"45")))
    files.write_json(files.join(root, ".hidden.json"), {"a": 1})
    assert files.walk(root) == ["a/b.bin", "c.bin"]
    assert files.walk(root, "a") == ["a/b.bin"]
    assert files.listdir(root) == [".hidden.json", "a", "c.bin"]
    assert files.is_folder(files.join(root, "a"))
    assert not files.is_folder(files.join(root, "c.bin"))
    assert files.size(files.join(root, "a/b.bin")) == 3
    files.write_atomic(str(tmp_path / "a/b.bin"), b"123")
    files.write_atomic(str(tmp_path / "c.bin"), b"45")
    assert files.sha256(root + "/a/b.bin") == files.sha256(str(tmp_path / "a/b.bin"))
    assert files.sha256(root + "/a") == files.sha256(str(tmp_path / "a"))
    files.remove(root)
    files.remove(root)
    assert files.walk(root) == []
    with pytest.raises(FileNotFoundError):
        files.read_json(files.join(root, ".hidden.json"))
    with pytest.raises(FileNotFoundError):
        files.sha256(files.join(root, "c.bin"))


def test_a_file_that_another_client_replaces_is_read_anew(s3):
    uri = files.join(s3, "changing.json")
    for n in range(3):
        files.write_json(uri, {"n": n, "more": "x" * n})
        assert files.read_json(uri)["n"] == n


def test_a_writer_that_fails_uploads_nothing(s3):
    def fail(handle):
        handle.write(b"half")
        raise OSError("a fault")

    with pytest.raises(OSError, match="a fault"):
        files.write_atomic(files.join(s3, "failed.bin"), fail)
    assert not files.exists(files.join(s3, "failed.bin"))


def test_of_several_writers_one_creates_a_json_file(s3):
    won: list[int] = []
    uri = files.join(s3, "lock.json")
    threads = [threading.Thread(target=lambda n=n: files.create_json(uri, {"n": n}) and won.append(n)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert files.read_json(uri) == {"n": won[0]}


def test_a_scan_has_the_same_bytes_there_as_here(s3, tmp_path):
    image = np.random.default_rng(0).random((40, 50, 60)).astype(np.float32)
    grid = Grid(image.shape, np.diag([2.0, 2, 2, 1]))
    here, there = str(tmp_path / "a.nii.gz"), files.join(s3, "scans", "a.nii.gz")
    assert nifti.save(here, image, grid) == nifti.save(there, image, grid) == files.sha256(there)
    back, again, _ = nifti.load(there)
    np.testing.assert_array_equal(back, image)
    assert again == nifti.header(there).grid == grid


def test_bad_files_have_their_reasons_there_too(s3):
    files.write_atomic(files.join(s3, "bad/empty.nii.gz"), b"")
    files.write_atomic(files.join(s3, "bad/text.nii.gz"), b"no gzip at all")
    for name, code in {"empty": "file-empty", "text": "not-gzip", "none": "file-missing"}.items():
        with pytest.raises(InputError, match=code):
            nifti.load(files.join(s3, f"bad/{name}.nii.gz"))


def test_datasets_folders_and_tables_are_found_there(s3, make_scan, tmp_path):
    scan = make_scan(tmp_path / "a.nii.gz").read_bytes()
    for path in ("bids/sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz", "bids/sub-02/anat/sub-02_T2w.nii.gz", "plain/x/T1.nii.gz"):
        files.write_atomic(files.join(s3, path), scan)
    files.write_json(files.join(s3, "bids/dataset_description.json"), {"Name": "a", "BIDSVersion": "1.8.0"})
    files.write_json(files.join(s3, "bids/T1w.json"), {"EchoTime": 0.1})
    files.write_atomic(files.join(s3, "table/scans.tsv"), b"path\tparticipant_id\tsuffix\n../plain/x/T1.nii.gz\t07\tT1w\n")
    found = bids.discover(files.join(s3, "bids"))
    assert [one.key for one in found] == ["sub-01_ses-1_T1w", "sub-02_T2w"]
    assert found[0].sidecar == {"EchoTime": 0.1}
    assert found[0].uris == (files.join(s3, "bids/sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz"),)
    assert [one.key for one in bids.discover(files.join(s3, "bids"), Selection(suffix=("T2w",)))] == ["sub-02_T2w"]
    assert [one.stem for one in bids.discover(files.join(s3, "plain"))] == ["sub-x/anat/sub-x_desc-restored_T1w"]
    derivatives.write_dataset_files(files.join(s3, "out"), files.join(s3, "bids"), {})
    assert files.read_json(files.join(s3, "out/dataset_description.json"))["DatasetLinks"] == {"raw": "s3://tests/bids"}


def test_a_state_is_kept_gone_on_with_and_removed(s3):
    uri = files.join(s3, "state", "sub-01.safetensors")
    state = State({"image": np.arange(300_000.0).reshape(3, -1)}, {"seed": 2**60}, {"loss": [(1, 0.5)]}, step=1)
    Checkpoint(uri, "digest", 0).save(state)
    found = Checkpoint(uri, "digest", 0).load()
    assert found is not None
    assert found.arrays["image"].tobytes() == state.arrays["image"].tobytes()
    assert (found.values, found.figures, found.step) == (state.values, state.figures, state.step)
    assert made_of(uri) == "digest"
    assert Checkpoint(uri, "another", 0).load() is None
    assert not files.exists(uri)
