"""A cohort over a real SLURM: what ends is replaced, what stays away ends the run, a driver goes on after its walltime."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from core import logs
from core.errors import UsageError
from core.settings.run import Compute
from infra import clusters, slurm_keeper
from infra.clusters import open_cluster
from infra.dispatch import run_bounded
from infra.slurm_keeper import lifetime, walltime_seconds
from tests.deployments.cohorts import phantoms
from tests.infra.slurm import Slurm, slurm

ROOT = Path(__file__).resolve().parents[2]
TWO = Compute(cluster="slurm", workers=2, memory_limit="1GiB")
JOBQUEUE = """
jobqueue:
  slurm:
    queue: normal
    walltime: "00:30:00"
    interface: lo
    shared-temp-directory: {folder}
    log-directory: {folder}/jobs
    python: {python}
"""


@pytest.mark.parametrize(
    ("walltime", "seconds"),
    [("30", 1800), ("10:30", 630), ("08:00:00", 28800), ("2-0", 172800), ("1-12:30", 131400), ("1-00:00:01", 86401)],
)
def test_a_walltime_is_read_as_slurm_reads_it(walltime: str, seconds: int) -> None:
    assert walltime_seconds(walltime) == seconds


@pytest.mark.parametrize("walltime", ["24:00:00", "480", "8h", "'1:2:3:4'"])
def test_a_walltime_that_slurm_would_not_read_so_is_refused_before_anything_is_started(walltime: str) -> None:
    """Without quotes YAML makes numbers of the first two, which SLURM would take for minutes."""
    with pytest.raises(UsageError, match=r"walltime: expected a walltime .* in quotes, such as .*jobqueue\.yaml"):
        lifetime(yaml.safe_load(walltime))


@pytest.mark.parametrize("walltime", ["8:00:00", "00:10:00", "2"])
def test_a_worker_leaves_before_its_walltime_whatever_the_stagger(walltime: str) -> None:
    life, stagger = (int(word.rstrip("s")) for word in lifetime(walltime)[1::2])
    assert 0.8 * walltime_seconds(walltime) < life + stagger < walltime_seconds(walltime)


@pytest.mark.parametrize("walltime", ["UNLIMITED", "infinite", "0", "00:00:00"])
def test_a_worker_of_a_job_that_nothing_ends_stays(walltime: str) -> None:
    assert lifetime(walltime) == []


@pytest.fixture(scope="module")
def one() -> Iterator[Slurm]:
    with slurm() as started:
        yield started


@pytest.fixture
def cluster(one: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slurm:
    """A SLURM to which this process, and what it starts, give jobs."""
    pytest.importorskip("dask_jobqueue", reason="needs isovox[slurm]: make setup EXTRAS=slurm")
    import dask

    (tmp_path / "jobqueue.yaml").write_text(JOBQUEUE.format(folder=tmp_path, python=sys.executable))
    monkeypatch.setenv("SLURM_CONF", str(one.conf))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(slurm_keeper, "EVERY", 2.0)
    own = dask.config.collect([str(tmp_path / "jobqueue.yaml")], env={})["jobqueue"]["slurm"]
    with dask.config.set({f"jobqueue.slurm.{name}": value for name, value in own.items()}):
        yield one


def worked(seconds: float, number: int) -> int:
    logging.getLogger("tasks.restore").info("call %d", number)
    time.sleep(seconds)
    return os.getpid()


def waited(come: Callable[[], Any], longest: float = 600.0) -> Any:
    end = time.monotonic() + longest
    while not (found := come()):
        assert time.monotonic() < end
        time.sleep(0.5)
    return found


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_jobs_that_end_are_asked_for_anew_and_what_they_log_is_heard(
    cluster: Slurm, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logs, "shown", lambda: True)  # as --verbose has it
    caplog.set_level(logging.INFO)
    with open_cluster(TWO) as pool:
        waited(lambda: pool.slots() == 2)
        first = set(cluster.jobs())
        assert len(first) == 2
        threading.Timer(2, cluster.run, ("scancel", *first)).start()
        outcomes = dict(run_bounded(pool, partial(worked, 1.0), range(40), window=8, deadline=300))
        assert {type(outcome) for outcome in outcomes.values()} == {int}
        assert len(outcomes) == 40
        second = waited(lambda: set(cluster.jobs()) - first)
    assert second
    waited(lambda: not set(cluster.jobs()))
    said = capfd.readouterr().err
    assert "2 of 2 worker jobs ended" in said
    assert "2 of 2 workers are connected; jobs: 2 running" in said
    assert "Traceback" not in said
    assert any(record.message == "call 7" for record in caplog.records)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_where_no_worker_is_to_be_had_the_run_ends_with_its_reason(
    cluster: Slurm, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm_keeper, "BARREN", 0)
    monkeypatch.setattr(clusters, "RETURN", 6.0)
    with open_cluster(TWO) as pool:
        waited(lambda: pool.slots() == 2)
        threading.Timer(1, cluster.run, ("scancel", *cluster.jobs())).start()
        outcomes = dict(run_bounded(pool, partial(worked, 30.0), range(4), window=4, deadline=300))
    assert len(outcomes) == 4
    assert all("expected a cluster that lives, but got no worker for" in str(outcome) for outcome in outcomes.values())
    assert "none are given any more" in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_jobs_that_wait_for_their_turn_are_waited_for(cluster: Slurm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "RETURN", 60.0)
    cluster.run("scontrol", "update", "PartitionName=normal", "State=DOWN")
    threading.Timer(75, cluster.run, ("scontrol", "update", "PartitionName=normal", "State=UP")).start()
    with open_cluster(TWO) as pool:
        time.sleep(3)
        outcomes = dict(run_bounded(pool, partial(worked, 0.1), range(4), window=4, deadline=300))
    assert {type(outcome) for outcome in outcomes.values()} == {int}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_driver_near_its_walltime_stops_in_order_and_is_queued_again(cluster: Slurm, tmp_path: Path) -> None:
    """SLURM sends the signal that a driver asks for by --signal=B:TERM@180 as scancel --batch does."""
    source, out, log = phantoms(tmp_path / "bids", 6, 48), tmp_path / "out", tmp_path / "driver.log"
    words = ["--cpus-per-task=1", "--mem=1G", f"--output={log}", f"--chdir={ROOT}", "infra/slurm/driver.sbatch"]
    words = [str(ROOT / words[-1]) if word == words[-1] else word for word in words]
    os.environ |= {"JOBQUEUE": str(tmp_path / "jobqueue.yaml"), "WORKERS": "2", "MEMORY": "1GiB"}
    driver = cluster.run("sbatch", *words, source, out, "--method", "unires").split()[-1]
    waited(lambda: list((out / "isovox" / "scans").glob("*.json")))
    cluster.run("scancel", "--batch", "--signal=TERM", driver)
    waited(lambda: "queued again, for the 1. time" in log.read_text())
    waited(lambda: cluster.jobs().get(driver) == "PENDING")
    assert set(cluster.jobs()) == {driver}  # no worker of it is left
    cluster.run("scontrol", "update", f"JobId={driver}", "StartTime=now")
    waited(lambda: driver not in cluster.jobs(), 900)
    said = log.read_text()
    assert "isovox: stopped by SIGTERM; what is finished is kept" in said
    assert "planned 6 = " in said
    assert "0 failed" in said
    assert "Traceback" not in said
    assert "KeyError" not in said
    assert len(list(out.glob("sub-*/anat/*desc-restored_T1w.nii.gz"))) == 6
