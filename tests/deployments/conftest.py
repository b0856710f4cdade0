"""A Prefect server, a worker that starts processes, and ``isovox deploy`` as its user calls it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from infra.quiet import QUIET
from infra.services import _up, start_prefect

LONGEST = 240.0
FINAL = {"COMPLETED", "FAILED", "CANCELLED", "CRASHED"}


@dataclass
class Group:
    """The server, and processes that know it."""

    url: str
    folder: Path
    environment: dict[str, str]

    def ask(self, path: str, question: Any = None, method: str = "") -> Any:
        """The server's answer."""
        data = None if question is None else json.dumps(question).encode()
        how = method or ("GET" if data is None else "POST")
        request = urllib.request.Request(f"{self.url}/api/{path}", data, {"Content-Type": "application/json"}, method=how)  # noqa: S310
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return json.loads(answer.read() or b"null")

    def isovox(self, *words: object, code: int = 0) -> str:
        """What a command says."""
        command = [sys.executable, "-m", "cli", *map(str, words)]
        ran = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=LONGEST, cwd=self.folder, check=False
        )
        assert ran.returncode == code, ran.stdout + ran.stderr
        return ran.stdout + ran.stderr

    def deploy(self, *words: object, code: int = 0) -> str:
        """What ``isovox deploy`` says."""
        return self.isovox("deploy", "--directory", self.folder, "--heartbeat", "30", *words, code=code)

    def deployment(self, name: str) -> dict[str, Any]:
        return self.ask(f"deployments/name/{name}")

    def start(self, name: str, **parameters: Any) -> str:
        """Start a run as the form does; its id."""
        made = self.ask(f"deployments/{self.deployment(name)['id']}/create_flow_run", {"parameters": parameters})
        return str(made["id"])

    def run(self, run: str) -> dict[str, Any]:
        return self.ask(f"flow_runs/{run}")

    def wait(self, come: Callable[[], Any], longest: float = LONGEST, every: float = 0.3) -> Any:
        """What has come about, once it has."""
        end = time.monotonic() + longest
        while not (found := come()):
            assert time.monotonic() < end, f"did not come; log: {self.log()}"
            time.sleep(every)
        return found

    def ended(self, run: str, longest: float = LONGEST) -> dict[str, Any]:
        """A run once it is over."""
        return self.wait(lambda: (found := self.run(run))["state"]["type"] in FINAL and found, longest)

    def artifacts(self, run: str, key: str) -> list[dict[str, Any]]:
        return self.ask("artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run]}, "key": {"any_": [key]}}})

    def log(self) -> str:
        return (self.folder / "worker.log").read_text(errors="replace")[-3000:]


@pytest.fixture(scope="session")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    """A server on its own database."""
    folder = tmp_path_factory.mktemp("group")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_"))}
    own = {"ISOVOX_HOME": str(folder / "home"), "COLUMNS": "140", "PREFECT_WORKER_QUERY_SECONDS": "2"}
    with _up(partial(start_prefect, folder / "server")) as service:
        named = {"PREFECT_API_URL": f"{service.url}/api", "PREFECT_HOME": str(folder / "prefect"), "OMP_NUM_THREADS": "1"}
        yield Group(service.url, folder, kept | QUIET | named | own)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a worker with all that it started."""
    with suppress(psutil.NoSuchProcess):
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
    if process.poll() is None:
        process.kill()
        process.wait()


def start_worker(group: Group) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "isovox", "--type", "process"]
    with (group.folder / "worker.log").open("ab") as log:
        return subprocess.Popen(command, env=group.environment, stdout=log, stderr=log, cwd=group.folder)


@pytest.fixture(scope="module")
def worker(group: Group) -> Iterator[subprocess.Popen[bytes]]:
    """A worker of the pool."""
    group.deploy()
    process = start_worker(group)
    try:
        yield process
    finally:
        end(process)
