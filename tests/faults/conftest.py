"""A Prefect server for all tests here, runs of the command line with faults built in, and a finished run to compare with."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from infra.quiet import QUIET
from infra.services import _up, start_prefect
from tests.faults.cohorts import build_cohort, products

INJECT = Path(__file__).with_name("inject.py")
OPTIONS = ("--method", "cubic", "--voxel-size", "2")
LONGEST = 600.0  # seconds for any run


@dataclass
class Run:
    """A run of the command line: its exit code and what it said."""

    pid: int
    log: Path
    poll: Any
    began: float = field(default_factory=time.monotonic)

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for(self, come: Callable[[], object]) -> None:
        """Until something has come about while the run goes on."""
        while not come():
            assert self.poll() is None, self.text
            if time.monotonic() - self.began > LONGEST:
                os.kill(self.pid, signal.SIGKILL)
                pytest.fail(f"did not come:\n{self.text}")
            time.sleep(0.05)

    def wait(self) -> int:
        """The exit code; minus the signal's number where it was killed."""
        while (code := self.poll()) is None:
            if time.monotonic() - self.began > LONGEST:
                os.kill(self.pid, signal.SIGKILL)
                pytest.fail(f"the run took more than {LONGEST} s:\n{self.text}")
            time.sleep(0.05)
        return int(code)


class Runner:
    """Starts runs of the command line in forks of one process that has imported all."""

    def __init__(self, logs: Path, environment: dict[str, str]) -> None:
        self.logs = logs
        command = [sys.executable, str(INJECT), "--serve"]
        errors = (logs / "server.log").open("wb")
        self._server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=environment)
        self._count, self.environment = 0, environment

    def _ask(self, request: dict[str, Any]) -> Any:
        self._server.stdin.write(json.dumps(request).encode() + b"\n")
        self._server.stdin.flush()
        return json.loads(self._server.stdout.readline())

    def _log(self) -> Path:
        self._count += 1
        return self.logs / f"run-{self._count}.log"

    def start(self, *argv: object, **how: Any) -> Run:
        """Start a run, and go on.

        Args:
            argv: words of the command line.
            how: ``faults`` (see inject.py), ``env`` (variables to add), ``constants`` (values by module:NAME).
        """
        request = {"argv": [str(word) for word in argv], "log": str(self._log()), **how}
        pid = self._ask(request)
        return Run(pid, Path(request["log"]), lambda: self._ask({"poll": pid}))

    def start_alone(
        self,
        *argv: object,
        faults: list[dict[str, Any]] | None = None,
        env: dict[str, str] | None = None,
        within: Sequence[str] = (),
    ) -> Run:
        """As ``start``, in a process of its own from the first import on, with the environment ``env``, behind a command."""
        log = self._log()
        request = json.dumps({"argv": [str(word) for word in argv], "faults": faults or []})
        with log.open("wb") as file:
            command = [*within, sys.executable, str(INJECT), request]
            process = subprocess.Popen(command, stdout=file, stderr=file, env=env)
        return Run(process.pid, log, process.poll)

    def __call__(self, *argv: object, code: int = 0, **how: Any) -> str:
        """Run to the end; what it said.

        Args:
            argv: words of the command line.
            code: the exit code that must come.
            how: as for ``start``.
        """
        run = self.start(*argv, **how)
        found = run.wait()
        assert found == code, f"exit code {found}, not {code}:\n{run.text[-4000:]}"
        return run.text

    def close(self) -> None:
        self._server.stdin.close()
        self._server.wait(20)


@pytest.fixture(scope="session")
def plain_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which no server is named."""
    home = tmp_path_factory.mktemp("home")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_"))}
    return kept | {"OMP_NUM_THREADS": "1", "XDG_STATE_HOME": str(home), "COLUMNS": "140"}


@pytest.fixture(scope="session")
def isovox(plain_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    """Runs the command line, with a Prefect server for all runs."""
    logs = tmp_path_factory.mktemp("logs")
    with _up(partial(start_prefect, logs / "server")) as service:
        named = {"PREFECT_API_URL": f"{service.url}/api", "PREFECT_HOME": str(logs / "prefect")}
        runner = Runner(logs, plain_environment | QUIET | named)
        try:
            yield runner
        finally:
            runner.close()


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three scans in BIDS, 50 x 60 x 24 voxels of 2 x 2 x 6 mm: two blocks each once restored."""
    return build_cohort(tmp_path_factory.mktemp("cohort") / "bids")


@pytest.fixture(scope="session")
def reference(isovox: Runner, cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("reference") / "out"
    isovox("run", cohort, folder, *OPTIONS)
    return folder


@pytest.fixture(scope="session")
def database(reference: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables and no runs; making one takes 2 s."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    shutil.copy(reference / "isovox" / "mlflow.db", path)
    with sqlite3.connect(path) as opened:
        tables = [name for (name,) in opened.execute("select name from sqlite_master where type = 'table'")]
        for table in tables:
            if table.startswith(("run", "metric", "param", "latest_metric", "tags", "experiment")):
                opened.execute(f"delete from {table}")  # noqa: S608 - names from the database itself
    return path


@pytest.fixture
def out(tmp_path: Path, database: Path) -> Path:
    """An output folder in which no run was yet."""
    folder = tmp_path / "out"
    (folder / "isovox").mkdir(parents=True)
    shutil.copy(database, folder / "isovox" / "mlflow.db")
    return folder


@pytest.fixture
def finished(reference: Path, tmp_path: Path) -> Path:
    """A copy of that output, to damage."""
    return Path(shutil.copytree(reference, tmp_path / "finished"))


@pytest.fixture(scope="session")
def expected(reference: Path) -> dict[str, str]:
    """Digests of what that run made."""
    return products(reference)
