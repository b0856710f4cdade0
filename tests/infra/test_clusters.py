"""Work runs where it is told to, is bounded, survives dead workers, never waits for ever and leaves no process behind."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pytest

from core import logs
from core.errors import UsageError
from core.settings.run import Compute
from infra import clusters, dispatch, pools
from infra.clusters import ClusterError, Pool, cancel, check_cluster, open_cluster
from infra.dispatch import run_bounded
from infra.services import free_port
from tasks.pipeline.context import DEADLINE

THREADS = Compute(workers=2)
LOCAL = Compute(cluster="local", workers=2)
bounded = partial(run_bounded, window=8, deadline=60)


def double(number: int) -> int:
    return 2 * number


def process_of(_: int) -> tuple[int, str | None, int]:
    import torch

    logging.getLogger("tasks.restore").info("here is %d", os.getpid())
    time.sleep(0.05)
    return os.getpid(), os.environ.get("OMP_NUM_THREADS"), torch.get_num_threads()


def count(log: Path, item: str) -> int:
    """Note the attempt; die of "poison", and once only of "fragile"."""
    with log.open("a") as file:
        file.write(f"{item}\n")
    attempts = log.read_text().split().count(item)
    if item == "poison" or (item == "fragile" and attempts == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    if item == "faulty":
        raise ValueError(item)
    time.sleep(0.1)
    return attempts


def hold_the_gil(seconds: float) -> float:
    ctypes.PyDLL(None).sleep(int(seconds))
    return seconds


def hold_the_gil_once(log: Path, seconds: float) -> int:
    """How many times this was tried; only the first time takes so long."""
    with log.open("a") as file:
        file.write("tried\n")
    attempts = log.read_text().count("tried")
    if attempts == 1:
        hold_the_gil(seconds)
    return log.read_text().count("tried")


def hang_once(log: Path, item: str) -> int:
    """How many times this was tried; "straggler" hangs the first time."""
    with log.open("a") as file:
        file.write(f"{item}\n")
    attempts = log.read_text().split().count(item)
    if item == "straggler" and attempts == 1:
        time.sleep(600)
    return attempts


def take_long_once(log: Path, item: str) -> int:
    """How many times this was tried; "long-60" takes 60 seconds when it is tried first."""
    with log.open("a") as file:
        file.write(f"{item}\n")
    attempts = log.read_text().split().count(item)
    if item.startswith("long") and attempts == 1:
        time.sleep(float(item.partition("-")[2]))
    return attempts


def pid_after(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def children() -> list[psutil.Process]:
    """Processes of the clusters that this process has started; not the servers that other tests keep."""
    found = [(child, " ".join(child.cmdline())) for child in psutil.Process().children(recursive=True)]
    return [child for child, words in found if "spawn_main" in words and "tracker" not in words]


def gone(processes: list[int], within: float) -> bool:
    end = time.monotonic() + within
    while alive := [pid for pid in processes if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]:
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return not alive


def test_each_item_comes_back_once_with_its_result() -> None:
    with open_cluster(THREADS) as pool:
        assert dict(bounded(pool, double, range(50))) == {i: 2 * i for i in range(50)}


def test_no_more_than_the_window_is_in_flight() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for item in range(40):
            taken += 1
            yield item

    with open_cluster(Compute(workers=8)) as pool:
        for finished, _ in enumerate(bounded(pool, double, items(), window=3), start=1):
            assert taken - finished < 3
    assert taken == 40


def test_an_exception_belongs_to_its_item(tmp_path: Path) -> None:
    told: list[str] = []
    with open_cluster(THREADS) as pool:
        outcomes = dict(bounded(pool, partial(count, tmp_path / "log"), ["a", "faulty", "b"], on_done=told.append))
    assert isinstance(outcomes["faulty"], ValueError)
    assert outcomes["a"] == outcomes["b"] == 1
    assert sorted(told) == ["a", "b", "faulty"]


def test_a_large_call_is_refused() -> None:
    with (
        open_cluster(THREADS) as pool,
        pytest.raises(ClusterError, match=r"call-too-large: expected .*4096 bytes, but got \d{4,} bytes"),
    ):
        list(bounded(pool, double, [b"x" * 5000]))


def test_nothing_finishing_ends_the_wait_and_names_every_item() -> None:
    release = threading.Event()
    with open_cluster(THREADS) as pool:
        outcomes = list(run_bounded(pool, Waiter(release), range(9), window=2, deadline=0.3))
        release.set()
    assert sorted(item for item, _ in outcomes) == list(range(9))
    assert all("too-late" in str(outcome) for _, outcome in outcomes)


@pytest.mark.parametrize("told", [True, False])
def test_silence_ends_the_wait_and_not_length(told: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "POLL", 0.05)
    release, asked = threading.Event(), []

    def heard(item: int) -> bool:
        asked.append(item)
        return told and item == 1

    with open_cluster(THREADS) as pool:
        threading.Timer(1.5, release.set).start()
        outcomes = dict(run_bounded(pool, Waiter(release), range(2), window=2, deadline=0.4, heard=heard))
    assert set(asked) == {0, 1}
    assert [isinstance(outcome, ClusterError) for outcome in outcomes.values()] == [not told] * 2


def test_a_call_that_falls_silent_ends_the_wait_after_its_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "POLL", 0.05)
    release, start = threading.Event(), time.monotonic()
    with open_cluster(THREADS) as pool:
        ((_, outcome),) = run_bounded(
            pool, Waiter(release), [1], window=1, deadline=0.5, heard=lambda _: time.monotonic() - start < 1.0
        )
        release.set()
    assert "too-late" in str(outcome)
    assert 1.4 <= time.monotonic() - start < 10


class Waiter:
    """Waits for an event of this process."""

    events: ClassVar[dict[int, threading.Event]] = {}

    def __init__(self, event: threading.Event) -> None:
        self.number = id(event)
        self.events[self.number] = event

    def __call__(self, _: int) -> bool:
        return self.events[self.number].wait(30)


def test_cancelling_from_another_thread_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "POLL", 0.1)
    release = threading.Event()
    with open_cluster(THREADS) as pool:
        threading.Timer(0.3, cancel, [pool]).start()
        outcomes = dict(bounded(pool, Waiter(release), range(20)))
        release.set()
    assert len(outcomes) == 20
    assert all(isinstance(outcome, ClusterError) for outcome in outcomes.values())


def test_a_consumer_that_leaves_drops_what_waits() -> None:
    release = threading.Event()
    with open_cluster(Compute(workers=1)) as pool:
        outcomes = bounded(pool, Waiter(release), range(20))
        threading.Timer(0.2, release.set).start()
        next(outcomes)
        outcomes.close()
        assert dict(bounded(pool, double, [3])) == {3: 6}


def test_an_interrupt_does_not_wait_for_the_work_in_hand() -> None:
    release, began = threading.Event(), time.monotonic()
    with pytest.raises(KeyboardInterrupt), open_cluster(THREADS) as pool:  # noqa: PT012
        pool.submit(Waiter(release), 0)
        raise KeyboardInterrupt
    assert time.monotonic() - began < 5
    release.set()


def test_threads_of_this_process_compute_single_threaded_and_give_it_back(monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np
    import torch
    from threadpoolctl import threadpool_info

    assert np.ones((2, 2)).sum() == 4
    monkeypatch.setattr(pools, "SINGLE", {"ISOVOX_TEST_THREADS": "1"})
    before = [library["num_threads"] for library in threadpool_info()], torch.get_num_threads()
    torch.set_num_threads(2)
    with open_cluster(THREADS) as pool:
        inside = pool.submit(lambda: (os.environ["ISOVOX_TEST_THREADS"], torch.get_num_threads())).result()
        blas = {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}
    assert (inside, blas) == (("1", 1), {1})
    assert "ISOVOX_TEST_THREADS" not in os.environ
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before[1])


@pytest.mark.parametrize(
    ("compute", "error", "message"),
    [
        (Compute(cluster="nowhere"), UsageError, r"unknown-cluster: expected .*local.*slurm.*'nowhere'.*tcp://"),
        (Compute(cluster="cuda"), ClusterError, r"gpu-missing.*--cluster local"),
        (Compute(cluster="tcp://127.0.0.1:9"), ClusterError, r"cluster-unreachable: expected .*127\.0\.0\.1:9"),
        (Compute(cluster="slurm"), ClusterError, r"extra-missing: expected dask-jobqueue.*make -C .* setup EXTRAS=slurm"),
        (Compute(cluster="kubernetes"), ClusterError, r"extra-missing: expected dask-kubernetes.*make -C .* setup EXTRAS=k8s"),
    ],
)
def test_what_is_missing_is_named_with_its_remedy(
    compute: Compute, error: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clusters, "gpu_names", list)
    monkeypatch.setattr(clusters, "CONNECT", 0.5)
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    monkeypatch.setitem(sys.modules, "dask_kubernetes", None)
    with pytest.raises(error, match=message), open_cluster(compute):
        pass


@pytest.mark.parametrize("limit", ["bogus", "0", "0GiB", "-1GiB", "", "8", "inf", "1e400"])
@pytest.mark.parametrize("cluster", ["in-process", "local", "slurm"])
def test_a_memory_limit_that_cannot_be_is_refused_before_anything_starts(cluster: str, limit: str) -> None:
    for check in (check_cluster, lambda compute: open_cluster(compute).__enter__()):
        with pytest.raises(UsageError, match=r"memory-limit: .*8GiB.*Give --memory-limit so"):
            check(Compute(cluster=cluster, memory_limit=limit))


@pytest.mark.parametrize("limit", ["auto", "0.5", "1", "8GiB", "2e9", "500 MB"])
def test_memory_limits_that_dask_reads_are_taken(limit: str) -> None:
    check_cluster(Compute(cluster="local", memory_limit=limit))


def test_an_unknown_cluster_is_refused_before_anything_starts() -> None:
    with pytest.raises(UsageError, match=r"unknown-cluster: .*'foo'.*tcp://"):
        check_cluster(Compute(cluster="foo"))


def test_the_cuda_cluster_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "gpu_names", lambda: ["GPU 0"])
    monkeypatch.setitem(sys.modules, "dask_cuda", None)
    with (
        pytest.raises(ClusterError, match=r"extra-missing: expected dask-cuda.*make -C .* setup EXTRAS=gpu"),
        open_cluster(Compute(cluster="cuda")),
    ):
        pass


def test_a_scheduler_that_asks_nobody_is_refused_unless_it_is_isolated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "_extra", lambda *_: None)
    monkeypatch.delenv(clusters.ISOLATED, raising=False)
    with pytest.raises(ClusterError, match=r"cluster-open: .*network policy"), open_cluster(Compute(cluster="kubernetes")):
        pass
    monkeypatch.setenv(clusters.ISOLATED, "1")
    with pytest.raises(UsageError, match=r"memory-limit"), open_cluster(Compute(cluster="kubernetes")):  # further on
        pass


def test_slurm_wants_the_memory_of_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "_extra", lambda *_: None)
    with pytest.raises(UsageError, match=r"memory-limit: .*--memory-limit 8GiB"), open_cluster(Compute(cluster="slurm")):
        pass


def test_a_worker_killed_outright_costs_its_item_one_attempt_and_a_poison_only_itself(tmp_path: Path) -> None:
    log = tmp_path / "log"
    items = ["a", "poison", "b", "fragile", "c", "d", "faulty", *map(str, range(20))]
    with open_cluster(LOCAL) as pool:
        outcomes = dict(bounded(pool, partial(count, log), items, deadline=240))
        assert isinstance(pool, Pool)
    attempts = log.read_text().split()
    assert str(outcomes.pop("poison")).startswith("worker-killed: expected a worker that survives")
    assert isinstance(outcomes.pop("faulty"), ValueError)
    assert attempts.count("poison") in {4, 8}  # again alone, where another call stood behind it at its worker
    assert int(outcomes.pop("fragile")) >= 2  # 3 where its result lay on a worker that died before it was fetched
    assert set(outcomes) == set(items) - {"poison", "faulty", "fragile"}
    assert all(isinstance(outcome, int) for outcome in outcomes.values())
    deaths = attempts.count("poison") + 1
    assert len(attempts) <= len(items) + (deaths - 1) + deaths  # attempts more by design, and at most one redone for each death
    assert children() == []


@pytest.mark.slow
def test_calls_behind_a_poison_at_its_worker_do_not_share_its_fate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools.Workers, "slots", lambda _: 4)
    with open_cluster(Compute(cluster="local", workers=1)) as pool:
        outcomes = dict(bounded(pool, partial(count, tmp_path / "log"), ["poison", "a", "b", "c"]))
    assert getattr(outcomes.pop("poison"), "code", "") == "worker-killed"
    assert set(outcomes) == {"a", "b", "c"}
    assert all(isinstance(outcome, int) for outcome in outcomes.values())


def test_local_workers_are_processes_with_one_thread_that_are_heard_and_end_with_the_block(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(logs.SHOWN, "1")
    caplog.set_level(logging.INFO)

    def fail(pool: Pool) -> None:
        seen.update(outcome for _, outcome in bounded(pool, process_of, range(8)))
        end = time.monotonic() + 20
        while caplog.text.count("here is") < 8 and time.monotonic() < end:
            time.sleep(0.05)
        raise RuntimeError("on purpose")

    seen: set[Any] = set()
    with pytest.raises(RuntimeError, match="on purpose"), open_cluster(LOCAL) as pool:
        fail(pool)
    assert {outcome[1:] for outcome in seen} == {("1", 1)}
    told = [record.getMessage() for record in caplog.records if record.name == "tasks.restore"]
    assert set(told) == {f"here is {pid}" for pid, *_ in seen}
    assert len(told) == 8
    assert len({outcome[0] for outcome in seen} - {os.getpid()}) == 2
    assert gone([outcome[0] for outcome in seen], within=0)


def test_workers_that_do_not_end_in_time_are_killed_and_the_work_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise TimeoutError

    seen: set[Any] = set()
    with open_cluster(Compute(cluster="local", workers=1)) as pool:
        seen.update(outcome for _, outcome in bounded(pool, process_of, range(2)))
        cluster = pool._cluster  # type: ignore[attr-defined]
        monkeypatch.setattr(cluster, "close", never)
    monkeypatch.undo()
    assert gone([outcome[0] for outcome in seen], within=5)
    cluster.close(timeout=60)


def test_settings_of_dask_are_set_for_the_block_only() -> None:
    import dask

    before = dask.config.get("distributed.scheduler.worker-ttl")
    with clusters._configured(LOCAL):
        assert dask.config.get("distributed.scheduler.worker-ttl") == "6 hours"
        assert dask.config.get("distributed.scheduler.allowed-failures") == 3
    assert dask.config.get("distributed.scheduler.worker-ttl") == before


RUN = """
import sys, time
sys.path[:0] = {path!r}
from core.settings.run import Compute
from infra.clusters import open_cluster
from infra.dispatch import run_bounded
from infra.services import free_port
from tests_infra_clusters import hold_the_gil, process_of

if __name__ == "__main__":
    with open_cluster(Compute(cluster="local", workers=2)) as pool:
        pids = sorted({{outcome[0] for _, outcome in run_bounded(pool, process_of, range(8), window=4, deadline=60)}})
        print(*pids, flush=True)
        list(run_bounded(pool, hold_the_gil, [600, 600], window=4, deadline=900))
"""


@pytest.fixture
def busy_run(tmp_path: Path) -> Iterator[Callable[[], tuple[subprocess.Popen[str], list[int]]]]:
    """Starts a process whose two Dask workers are in calls that hold the GIL; gives it and the workers' ids."""
    started: list[subprocess.Popen[str]] = []

    def start() -> tuple[subprocess.Popen[str], list[int]]:
        (tmp_path / "tests_infra_clusters.py").symlink_to(__file__)
        script = tmp_path / "run.py"
        script.write_text(RUN.format(path=[str(tmp_path), str(Path(__file__).parents[2])]))
        run = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
        started.append(run)
        assert run.stdout is not None
        workers = [int(pid) for pid in run.stdout.readline().split()]
        time.sleep(1)
        return run, workers

    yield start
    for run in started:
        run.kill()
        run.wait()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_stopped_leaves_no_worker(
    number: signal.Signals, busy_run: Callable[[], tuple[subprocess.Popen[str], list[int]]]
) -> None:
    run, workers = busy_run()
    assert len(workers) == 2
    run.send_signal(number)
    assert run.wait(timeout=40) in {143, 130, -number}
    assert gone(workers, within=10)


@pytest.mark.slow
def test_a_run_that_is_stopped_while_it_starts_leaves_no_worker(tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(
        RUN.format(path=[str(Path(__file__).parents[2])]).replace("from tests_infra_clusters import hold_the_gil, process_of", "")
    )
    for delay in (1.5, 2.0, 2.5, 3.0):
        run = subprocess.Popen([sys.executable, script], stderr=subprocess.DEVNULL)
        time.sleep(delay)
        family = [child.pid for child in psutil.Process(run.pid).children(recursive=True)]
        run.terminate()
        run.wait(timeout=40)
        assert gone(family, within=10)


@pytest.mark.parametrize(
    ("patience", "seconds"),
    [
        ("own", 6.0),
        pytest.param("1 s", 6.0, marks=pytest.mark.slow),
        pytest.param("own", 330.0, marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
    ],
)
def test_a_worker_that_holds_the_gil_is_not_taken_for_dead(
    patience: str, seconds: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As Dask comes it waits 300 s; with a patience of 1 s, to see that silence is what it goes by, the call is made again."""
    if patience != "own":
        monkeypatch.setitem(clusters.SETTINGS, "distributed.scheduler.worker-ttl", patience)
    with open_cluster(Compute(cluster="local", workers=1)) as pool:
        ttl = pool._client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.worker_ttl)  # type: ignore[attr-defined]
        silent = partial(hold_the_gil_once, tmp_path / "log")
        ((_, attempts),) = bounded(pool, silent, [seconds], deadline=600)
    assert (attempts == 1) == (patience == "own")
    assert ttl >= DEADLINE or patience != "own"


def dask(program: str, *words: str) -> subprocess.Popen[bytes]:
    """A scheduler or a worker of a process of its own, on loopback."""
    command = [sys.executable, "-m", f"distributed.cli.dask_{program}", "--host", "127.0.0.1", "--no-dashboard", *words]
    environment = {**os.environ, "PYTHONPATH": f"{Path(__file__).parent}:{Path(__file__).parents[2]}"}
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)


@pytest.mark.slow
@pytest.mark.parametrize("comes_back", [False, True])
def test_a_scheduler_that_dies_ends_the_wait_unless_it_comes_back(
    comes_back: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools.Workers, "ANSWER", 3.0)
    if not comes_back:
        monkeypatch.setattr(pools.Workers, "RETURN", 5.0)
    port = str(free_port("127.0.0.1", 0))
    places = [dask("scheduler", "--port", port), dask("worker", f"tcp://127.0.0.1:{port}", "--nthreads", "1", "--no-nanny")]

    def die() -> None:
        places[0].kill()
        places[0].wait()
        if comes_back:
            time.sleep(2)
            places.append(dask("scheduler", "--port", port))
            places.append(dask("worker", f"tcp://127.0.0.1:{port}", "--nthreads", "1", "--no-nanny"))

    monkeypatch.setattr(clusters, "CONNECT", 30.0)
    try:
        with open_cluster(Compute(cluster=f"tcp://127.0.0.1:{port}")) as pool:
            while not pool.slots():
                time.sleep(0.2)
            threading.Timer(1, die).start()
            log = tmp_path / "log"
            outcomes = dict(bounded(pool, partial(count, log), [f"call-{number}" for number in range(30)]))
        assert len(outcomes) == 30
        kinds = {type(outcome).__name__ for outcome in outcomes.values()}
        assert kinds == {"int"} if comes_back else kinds - {"int"} and kinds <= {"int", "ClusterError", "_LostError"}, outcomes
    finally:
        for place in places:
            place.kill()
            place.wait()


@pytest.mark.slow
def test_slurm_jobs_work_and_are_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("dask_jobqueue", reason="needs isovox[slurm]")
    for name, text in {
        "sbatch": 'f=$(mktemp); cp "${@: -1}" $f; setsid bash $f >/dev/null 2>&1 </dev/null & echo "Submitted batch job $!"',
        "scancel": 'for job in "$@"; do kill -- -$job; done',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parent}:{Path(__file__).parents[2]}")
    monkeypatch.setenv("HOME", str(tmp_path))
    with open_cluster(Compute(cluster="slurm", workers=2, memory_limit="1GiB")) as pool:
        seen = {outcome for _, outcome in bounded(pool, process_of, range(40))}
    assert {outcome[1:] for outcome in seen} == {("1", 1)}  # type: ignore[index]
    assert gone([outcome[0] for outcome in seen], within=10)  # type: ignore[index]


@pytest.mark.slow
def test_a_straggler_is_begun_anew_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "POLL", 0.5)
    monkeypatch.setattr(dispatch, "LEAST_STRAGGLING", 3.0)
    monkeypatch.setattr(dispatch, "STRAGGLING", 2)
    items = ["straggler", *(f"quick-{number}" for number in range(6))]
    with open_cluster(LOCAL) as pool:
        outcomes = dict(bounded(pool, partial(hang_once, tmp_path / "log"), items))
    assert outcomes == dict.fromkeys(items, 1) | {"straggler": 2}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("item", "until", "attempts"), [("long-12", 600.0, 1), ("long-600", 2.0, 2)], ids=["told to its end", "silent after a while"]
)
def test_a_long_call_that_tells_of_progress_is_not_begun_anew_before_it_falls_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, item: str, until: float, attempts: int
) -> None:
    monkeypatch.setattr(dispatch, "POLL", 0.5)
    monkeypatch.setattr(dispatch, "LEAST_STRAGGLING", 3.0)
    monkeypatch.setattr(dispatch, "STRAGGLING", 2)
    items, start = [item, *(f"quick-{number}" for number in range(6))], time.monotonic()

    def heard(one: str) -> bool:
        return one == item and time.monotonic() - start < until

    with open_cluster(LOCAL) as pool:
        outcomes = dict(bounded(pool, partial(take_long_once, tmp_path / "log"), items, heard=heard))
    assert outcomes[item] == attempts


@pytest.mark.slow
def test_a_cluster_grows_with_the_work_and_shrinks_after_it() -> None:
    with open_cluster(Compute(cluster="local", workers=2, fewest_workers=0)) as pool:
        outcomes = list(bounded(pool, pid_after, [0.3] * 12))
        assert len({pid for _, pid in outcomes}) == 2
        assert len(outcomes) == 12
        end = time.monotonic() + 60
        while pool._client.scheduler_info()["workers"]:
            assert time.monotonic() < end
            time.sleep(0.2)
        assert [pid for _, pid in bounded(pool, pid_after, [0.0])]  # one comes back for more


def test_the_memory_of_the_smallest_gpu_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\ncase "$1" in -L) echo "GPU 0: one";; *) echo 81559; echo 46068;; esac\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert clusters.gpu_memory(Compute(cluster="cuda")) == 46068 * 2**20
    assert clusters.gpu_memory(LOCAL) is None


def methods_known(_: int) -> list[str]:
    from core.methods import registry

    return list(registry.methods())


def test_workers_that_were_there_before_know_the_families_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "family_of_a_run"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "family.py").write_text(
        "from core.methods.family import Family, MethodEntry\n"
        "FAMILY = Family('family_of_a_run', 'for tests', (MethodEntry('of-a-run', 'nowhere:Nothing', 'nothing', 'none'),))\n"
    )
    with open_cluster(Compute(cluster="local", workers=1)) as pool:
        assert "of-a-run" not in pool.submit(methods_known, 0).result(60)
        monkeypatch.setenv("ISOVOX_FAMILIES", str(folder))
        assert "of-a-run" in pool.submit(methods_known, 0).result(60)
