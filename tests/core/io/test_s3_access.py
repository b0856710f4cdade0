"""Who may read what on a real S3 server, and what is said where nobody may; large files go in parts."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import fsspec
import numpy as np
import pytest

from core.errors import AccessError, InputError, IsovoxError, UsageError
from core.geometry.grid import Grid
from core.io import bids, files
from core.io import s3 as reaching
from core.io.arrays.store import Store
from tests.seaweed import PUBLIC, SECRET

pytestmark = pytest.mark.slow
GRID = Grid((20, 24, 16), np.eye(4))
OPEN, CLOSED = f"s3://{PUBLIC}", "s3://tests"


@pytest.fixture(scope="module")
def filled(s3: str) -> str:
    """A dataset and a store in the public bucket, and a file in the other."""
    files.write_json(files.join(OPEN, "bids/dataset_description.json"), {"Name": "a", "BIDSVersion": "1.8.0"})
    files.write_atomic(files.join(OPEN, "bids/sub-01/anat/sub-01_T1w.nii.gz"), b"1")
    files.write_json(files.join(CLOSED, "secret.json"), {})
    store = Store(files.join(OPEN, "cohort.zarr"))
    store.create("a/measured", GRID, {})
    store.write_block("a/measured", store.blocks("a/measured")[0], np.ones(GRID.shape, np.float32))
    store.finish("a/measured", "digest")
    return s3


@pytest.fixture
def nobody(filled: str, tmp_path, monkeypatch) -> Iterator[None]:
    """No credentials anywhere."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    return


@pytest.fixture
def stranger(filled: str, monkeypatch) -> Iterator[None]:
    """Credentials that open neither bucket."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "stranger")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    return


@pytest.fixture
def asked(filled: str, monkeypatch) -> Iterator[None]:
    """Told to sign nothing."""
    monkeypatch.setenv(reaching.ANONYMOUS, "1")
    return


@pytest.mark.parametrize("who", ["nobody", "stranger", "asked"])
def test_a_public_bucket_is_read_without_a_signature_and_not_written(who, request):
    request.getfixturevalue(who)
    assert not reaching.access(OPEN).signed
    assert [one.key for one in bids.discover(files.join(OPEN, "bids"))] == ["sub-01_T1w"]
    store = Store(files.join(OPEN, "cohort.zarr"))
    assert store.done("a/measured", "digest")
    assert store.read("a/measured").min() == 1
    with pytest.raises(AccessError) as told:
        files.write_json(files.join(OPEN, "mine.json"), {})
    assert told.value.code in {"no-credentials", "storage-forbidden"}


@pytest.mark.parametrize(
    ("who", "said"),
    [
        ("nobody", r"no-credentials: expected credentials for the bucket tests, but got none.*AWS_ACCESS_KEY_ID.*AWS_PROFILE"),
        (
            "stranger",
            r"storage-forbidden: expected access to s3://tests/.*, but got a refusal by the bucket tests\. Check AWS_PROFILE",
        ),
        ("asked", r"storage-forbidden: .*asked without a signature .*Unset ISOVOX_S3_ANONYMOUS"),
    ],
)
def test_a_closed_bucket_says_why_it_is_and_what_to_do(who, said, request):
    request.getfixturevalue(who)
    with pytest.raises(AccessError, match=said):
        files.read_json(files.join(CLOSED, "secret.json"))
    with pytest.raises(AccessError, match=said):
        files.write_json(files.join(CLOSED, "more.json"), {})
    with pytest.raises(UsageError, match="input-forbidden"):
        bids.discover(files.join(CLOSED, "bids"))
    with pytest.raises(Exception, match=r".") as told:
        Store(files.join(CLOSED, "cohort.zarr")).create("a/measured", GRID, {})
    assert reaching.is_forbidden(told.value)
    assert not files.is_passing(told.value)


def test_a_bucket_that_is_not_there_is_told(filled):
    with pytest.raises(
        UsageError, match=r"bucket-missing: expected a bucket nowhere, but got none of that name\. Check its name"
    ):
        bids.discover("s3://nowhere/bids")
    with pytest.raises(UsageError, match="bucket-missing"):
        files.write_json("s3://nowhere/out/a.json", {})


def test_credentials_come_from_a_profile_too(nobody, tmp_path, monkeypatch):
    (tmp_path / "keys").write_text(f"[group]\naws_access_key_id = tests\naws_secret_access_key = {SECRET}\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "keys"))
    monkeypatch.setenv("AWS_PROFILE", "group")
    assert reaching.access(CLOSED).signed
    assert files.read_json(files.join(CLOSED, "secret.json")) == {}
    store = Store(files.join(CLOSED, "profile.zarr"))
    store.create("a/measured", GRID, {})
    assert store.grid("a/measured") == GRID


def test_large_files_are_uploaded_in_parts_and_unfinished_ones_can_be_given_up(s3, monkeypatch):
    monkeypatch.setattr(reaching, "PART", 5 << 20)
    uri, content = files.join(s3, "large", "a.bin"), np.random.default_rng(0).bytes(13 << 20)
    for way in (content, lambda handle: files.void(handle.write(content))):
        files.remove(uri)
        files.write_atomic(uri, way)
        disk = fsspec.filesystem("s3", skip_instance_cache=True)
        assert disk.info(uri)["ETag"].strip('"').endswith("-3")
        assert files.read_bytes(uri) == content
    begun = disk.call_s3("create_multipart_upload", Bucket="tests", Key="large/b.bin")
    assert reaching.unfinished_uploads(files.join(s3, "large")) == [("large/b.bin", begun["UploadId"])]
    assert reaching.unfinished_uploads(files.join(s3, "larg")) == []
    assert reaching.give_up_uploads(files.join(s3, "large")) == 1
    assert reaching.unfinished_uploads(files.join(s3, "large")) == []


def test_a_refusal_survives_the_way_back_from_a_worker():
    error = AccessError("storage-forbidden", "access", "none", "ask")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert (type(again), str(again)) == (AccessError, str(error))
    assert isinstance(again, IsovoxError)
    assert isinstance(again, PermissionError)
    assert not isinstance(again, InputError)
    assert not files.is_passing(again)
