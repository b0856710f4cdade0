"""Cohorts that lie in S3 and are restored into S3, while one request in twenty fails: nothing lost, nothing copied here."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from core.io import files
from core.io.inventory.folder import inventory
from tests.faults.bad_server import WAYS, BadServer
from tests.faults.cohorts import build_cohort, short_sha
from tests.faults.conftest import OPTIONS, Run, Runner
from tests.outputs import restore_all

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SHAPE = (30, 36, 10)
VOLUMES = (".nii", ".nii.gz", "zarr.json")
PASSING = (".isovox", *VOLUMES)


@pytest.fixture
def bad(s3: str) -> Iterator[BadServer]:
    server = BadServer(int(os.environ["AWS_ENDPOINT_URL"].rpartition(":")[2]))
    yield server
    server.close()


def upload(cohort: Path, name: str) -> None:
    fsspec.filesystem("s3", skip_instance_cache=True).put(f"{cohort}/", f"tests/{name}/", recursive=True)


def images(uri: str) -> dict[str, str]:
    return {path: short_sha(files.read_bytes(files.join(uri, path))) for path in files.walk(uri) if path.endswith(".nii.gz")}


class Watch:
    """The most volumes that lay in a folder at once on their way to S3, and how often it looked."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.most, self.looks, self._ended = folder, 0, 0, threading.Event()
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while not self._ended.wait(0.02):
            self.most = max(self.most, sum(path.endswith(PASSING) for path in inventory(str(self.folder))))
            self.looks += 1

    def end(self) -> int:
        self._ended.set()
        assert self.looks > 100
        return self.most


def local_volumes(*folders: Path) -> list[Path]:
    return [path for folder in folders for path in folder.rglob("*") if path.name.endswith(VOLUMES)]


def start(isovox: Runner, folder: Path, bad: BadServer, *words: str) -> Run:
    """A run in a process of its own whose every folder on this machine is below ``folder``."""
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    own = {"TMPDIR": str(folder / "tmp"), "HOME": str(folder / "home"), "XDG_STATE_HOME": str(folder / "state")}
    named = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    env = isovox.environment | named | own | {"AWS_ENDPOINT_URL": bad.url}
    return isovox.start_alone("run", *words, *OPTIONS, "--cluster", "local", "--workers", "2", "--retries", "6", env=env)


def test_twenty_scans_in_s3_are_restored_into_s3_by_two_workers_while_requests_fail(
    isovox: Runner, bad: BadServer, tmp_path: Path
) -> None:
    cohort = build_cohort(tmp_path / "bids", 20, SHAPE)
    upload(cohort, "twenty")
    began = time.monotonic()
    run = start(isovox, tmp_path / "here", bad, "s3://tests/twenty", "s3://tests/twenty-out")
    watch = Watch(tmp_path / "here" / "tmp")
    assert run.wait() == 0, run.text[-4000:]
    seconds = time.monotonic() - began
    assert "planned 20 = 20 done + 0 skipped + 0 flagged + 0 failed" in run.text
    assert bad.requests > 1000
    assert set(bad.harm) == set(WAYS)
    assert sum(bad.harm.values()) >= bad.requests // 20
    print(f"{bad.requests} requests, {dict(bad.harm)} failed, {seconds:.0f} s")  # noqa: T201 - for the record
    restore_all(str(cohort), str(tmp_path / "expected"))
    assert images("s3://tests/twenty-out") == images(str(tmp_path / "expected"))
    assert len(images("s3://tests/twenty-out")) == 20
    assert local_volumes(tmp_path / "here") == []
    assert watch.end() <= 2  # one a worker
    env = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    assert "verified 20 scans: 40 files by sha256, 60 images by every block; no problem" in isovox(
        "verify", "s3://tests/twenty-out", env=env
    )
    assert "nothing to remove" in isovox("clean", "s3://tests/twenty-out", env=env)


def test_a_run_that_is_killed_goes_on_where_it_was(isovox: Runner, bad: BadServer, tmp_path: Path) -> None:
    cohort = build_cohort(tmp_path / "bids", 3, SHAPE)
    upload(cohort, "three")
    run = start(isovox, tmp_path / "here", bad, "s3://tests/three", "s3://tests/three-out")
    watch = Watch(tmp_path / "here" / "tmp")
    run.wait_for(lambda: files.listdir("s3://tests/three-out/isovox/scans"))
    os.kill(run.pid, 9)
    run.wait()
    assert local_volumes(tmp_path / "here") == []
    again = start(isovox, tmp_path / "here", bad, "s3://tests/three", "s3://tests/three-out")
    assert again.wait() == 0, again.text[-4000:]
    restore_all(str(cohort), str(tmp_path / "expected"))
    assert images("s3://tests/three-out") == images(str(tmp_path / "expected"))
    assert watch.end() <= 4  # a worker that outlives the killed run may still be at its last scan
