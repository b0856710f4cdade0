"""The README's way for a group, from nothing to a cohort in S3: up, deploy, notify; passwords, TLS and a real S3 server."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import s3fs

from tests.deployments.cohorts import phantoms
from tests.seaweed import KEY, SECRET, seaweed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
PLACE = "tests/derivatives/study"
Isovox = Callable[..., str]


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[dict[str, str]]:
    (tmp_path / "s3").mkdir()
    with seaweed(tmp_path / "s3") as variables:
        yield variables


@pytest.fixture
def disk(bucket: dict[str, str]) -> s3fs.S3FileSystem:
    url = bucket["AWS_ENDPOINT_URL"]
    return s3fs.S3FileSystem(endpoint_url=url, key=KEY, secret=SECRET, use_listings_cache=False, skip_instance_cache=True)


@pytest.fixture
def isovox(tmp_path: Path, bucket: dict[str, str]) -> Iterator[Isovox]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_", "ISOVOX_"))}
    environment = kept | bucket | {"ISOVOX_HOME": str(tmp_path / "home")}

    def run(*words: str) -> str:
        command = [sys.executable, "-m", "cli", *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    try:
        yield run
    finally:
        run("down")


def test_a_newcomer_has_a_cohort_in_s3_restored(tmp_path: Path, disk: s3fs.S3FileSystem, isovox: Isovox) -> None:
    phantoms(tmp_path / "bids", 3)
    disk.put(str(tmp_path / "bids"), "tests/study", recursive=True)
    isovox("up", "--workers", "1")
    said = isovox("deploy", "--cohort", f"study=s3://tests/study=s3://{PLACE}", "--method", "cubic", "--voxel-size", "2")
    assert "deployed: reprocess-cohort/study, at '0 2 * * *'" in said
    isovox("notify", "study")
    end = time.monotonic() + 300
    while not disk.exists(f"{PLACE}/isovox/run.json"):
        assert time.monotonic() < end, isovox("doctor")
        time.sleep(1)
    assert "planned 3 = 3 done" in isovox("status", f"s3://{PLACE}")
    assert "no problem" in isovox("verify", f"s3://{PLACE}")
    assert not list(tmp_path.glob("home/**/sub-*.nii.gz"))  # no copy of the cohort stays here
