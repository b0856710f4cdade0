"""The services a run leans on, on this machine: the environment of Prefect and MLflow, and their servers, on loopback only."""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import psutil

from core.errors import IsovoxError
from core.io import space
from core.places import at_home
from infra.group.secrets import ADMIN, prefect_login, secret, write_logins
from infra.group.state import State
from infra.own_prefect import flush, known
from infra.processes import guard
from infra.processes.signals import terminable
from infra.programs import START, mlflow_door, mlflow_program, prefect_home, prefect_program, runs_page
from infra.quiet import QUIET, ServiceError

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
STARTS = 5  # of a server whose port another takes in the same moment


def local_state(out: str) -> Path:
    """The folder on this machine for the services' databases: in the output itself, or in the user's state.

    There for an output on S3, and for one with a ? in its path: no address of a database (sqlite:///…) can hold that, quoted or
    not, and MLflow and Prefect would write to the path before it.

    Args:
        out: the output of a run, a path or s3://….
    """
    if "://" not in out:
        out = str(Path(at_home(out)).resolve())
        if "?" not in out:
            return Path(out) / "isovox"
    states = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", out.rstrip("/").rpartition("/")[2])
    return states / "isovox" / f"{name}-{hashlib.sha256(out.rstrip('/').encode()).hexdigest()[:12]}"


def prefect_environment(state: Path, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What to add to ``os.environ`` before prefect or mlflow is imported; what the user set already is left as it is.

    With a PREFECT_API_URL of the user's, Prefect keeps that server and its own home. Else its home is in ``state``, and where
    ``serve_ui`` or ``prefect_server`` runs for this state, its server is used, so that a run shows on that page as it goes.

    Args:
        state: what ``local_state`` gives.
        environ: what is set already.
    """
    wanted = dict(QUIET)
    if "PREFECT_API_URL" not in environ:
        wanted |= prefect_home(state)
        if url := _running(state, "Prefect"):
            wanted |= {"PREFECT_API_URL": f"{url}/api", "PREFECT_API_AUTH_STRING": prefect_login(State(state))}
    return {name: value for name, value in wanted.items() if name not in environ}


@dataclass
class Service:
    """A server that runs as a child of this process.

    Attributes:
        name: "Prefect" or "MLflow".
        url: of its page.
        log: the file of what it says.
    """

    name: str
    url: str
    log: Path
    health: str
    process: subprocess.Popen[bytes]

    def wait_healthy(self, deadline: float) -> None:
        """Until it answers.

        Raises:
            ServiceError: it ended, another answers at its port, or it took longer than ``deadline`` seconds.
        """
        end = time.monotonic() + deadline
        while not _answers(self.health):
            self.check()
            if time.monotonic() > end:
                wanted = f"{self.name} up within {deadline:.0f} s"
                raise ServiceError("service-late", wanted, self._last_words(), f"see {self.log}")
            time.sleep(0.1)
        if not self._listens():  # its own start will fail, which may take minutes to come to light
            raise self._port_taken()

    def _port_taken(self) -> ServiceError:
        return ServiceError("port-taken", f"{self.name} at {self.url}", "another server there", "start it again")

    def check(self) -> None:
        """Raises ServiceError where it ended."""
        if self.process.poll() is None:
            return
        if _answers(self.health):
            raise self._port_taken()
        raise ServiceError("service-died", f"{self.name} running", self._last_words(), f"see {self.log}")

    def _listens(self) -> bool:
        """Whether it is this one that answers: another's server may have taken the port since it was found free."""
        port = int(self.url.rpartition(":")[2])
        with suppress(psutil.Error):
            started = psutil.Process(self.process.pid).children(recursive=True)
            return any(_listens(process, port) for process in started)
        return False

    def _last_words(self) -> str:
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        full = f", and a full disk at {self.log.parent}" if space.is_full(self.log) else ""
        return f"exit status {self.process.poll()}, {lines[-1][-200:] if lines else 'no word'}{full}"

    def stop(self) -> None:
        """End it and all that it started."""
        if self.process.stdin:
            self.process.stdin.close()  # what its guard waits for
        try:
            self.process.wait(guard.GRACE + 5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@dataclass(frozen=True)
class Pages:
    """The pages of ``serve_ui``; ``logins`` is the file, for its owner alone, of what they ask for."""

    prefect: str
    mlflow: str
    logins: Path
    services: tuple[Service, ...]

    def wait(self) -> None:
        """Until interrupted.

        Raises:
            ServiceError: one of the servers ended.
        """
        while True:
            for service in self.services:
                service.check()
            time.sleep(1)


@contextmanager
def serve_ui(out: str, *, host: str = "127.0.0.1", tracking_uri: str | None = None) -> Iterator[Pages]:
    """The Prefect and MLflow pages of an output, as long as the block lasts: print the addresses, then ``pages.wait()``.

    Args:
        out: the output of a run.
        host: loopback only.
        tracking_uri: MLflow's database, where it is not the output's own; a server's address is given back as it is.

    Raises:
        ServiceError: a server does not start, or ``host`` can be reached from outside.
    """
    free_port(host, 0)  # refuses one that is not loopback, before anything is written
    state = local_state(out)
    served = tracking_uri if tracking_uri and tracking_uri.startswith("http") else None
    with terminable(), ExitStack() as stack:
        urls, mine = [], []
        starts = {
            "Prefect": partial(start_prefect, login=prefect_login(State(state))),
            "MLflow": partial(start_mlflow, tracking_uri=tracking_uri, closed=True),
        }
        for name, start in starts.items():
            url = served if name == "MLflow" and served else _running(state, name)  # of a run that goes on, or of another page
            if not url:
                mine.append(stack.enter_context(_stopping(start(state, host))))
            urls.append(url or mine[-1].url)
        for service in mine:
            service.wait_healthy(START)
            stack.enter_context(_announced(state, service))
        runs = runs_page(urls[1], f"{ADMIN}:{secret(State(state), 'mlflow')}")
        yield Pages(urls[0], runs, write_logins(State(state)), tuple(mine))


@contextmanager
def prefect_server(state: Path) -> Iterator[str]:
    """A Prefect server for one run; yields its page's address and sets PREFECT_API_URL. Enter before prefect is imported.

    Unlike Prefect's own ephemeral server it ends with this process even where that is killed outright. One that the user names
    by PREFECT_API_URL, or that ``serve_ui`` runs for the same state, is used instead.

    Raises:
        ServiceError: such a server ended before the run did.
    """
    os.environ.update(prefect_environment(state))
    if url := os.environ.get("PREFECT_API_URL"):
        with _lasting(url):
            yield url.removesuffix("/api")
        return
    login = prefect_login(State(state))
    with terminable(), _up(partial(start_prefect, state, login=login)) as service:
        added = {"PREFECT_API_URL": f"{service.url}/api", "PREFECT_API_AUTH_STRING": login}
        os.environ.update(added)
        try:
            with _announced(state, service), known(service.url, login):
                yield service.url
        finally:
            for name in added:
                del os.environ[name]
            flush()


@contextmanager
def _up(start: Callable[[], Service]) -> Iterator[Service]:
    """A server that answers, while the block runs; begun anew where another took its port in the same moment."""
    with ExitStack() as stack:
        for left in reversed(range(STARTS)):
            service = stack.enter_context(_stopping(start()))
            try:
                service.wait_healthy(START)
                break
            except ServiceError as error:
                if error.code != "port-taken" or not left:
                    raise
                stack.close()
        yield service


@contextmanager
def _lasting(url: str) -> Iterator[None]:
    """A fault within, where the server at this address no longer answers, is put down to that."""
    try:
        yield
    except Exception as error:
        if isinstance(error, IsovoxError) or _reached(url):
            raise
        remedy = "run the same command again: what was done is kept"
        raise ServiceError("service-gone", f"the Prefect server at {url} until the run ends", "no answer", remedy) from error


@contextmanager
def _stopping(service: Service) -> Iterator[Service]:
    try:
        yield service
    finally:
        service.stop()


def start_prefect(state: Path, host: str = "127.0.0.1", login: str | None = None) -> Service:
    """Start a Prefect server on its database in ``state``; it is not yet up on return.

    Args:
        state: its home.
        host: loopback only.
        login: user:password that it asks for; None where it asks nobody.
    """
    port = free_port(host, 4200)
    url = f"http://{_bracketed(host)}:{port}"
    command, settings = prefect_program(state, url)
    if login:
        settings |= {"PREFECT_SERVER_API_AUTH_STRING": login, "PREFECT_API_AUTH_STRING": login}
    return _start("Prefect", url, f"{url}/api/health", command, settings, state=state)


def start_mlflow(state: Path, host: str = "127.0.0.1", tracking_uri: str | None = None, *, closed: bool = False) -> Service:
    """Start an MLflow server on the database in ``state``, or another; it is not yet up on return.

    Args:
        state: where its databases and artifacts are.
        host: loopback only.
        tracking_uri: another database.
        closed: it asks for a password.
    """
    port = free_port(host, 5000)
    url = f"http://{_bracketed(host)}:{port}"
    command = mlflow_program(state, url, tracking_uri)
    arguments, settings = mlflow_door(State(state)) if closed else ([], {})
    return _start("MLflow", url, f"{url}/health", [*command, *arguments], settings, state=state)


def _start(name: str, url: str, health: str, command: list[str], settings: dict[str, str], *, state: Path) -> Service:
    state.mkdir(parents=True, exist_ok=True)
    log = state / f"{name.lower()}.log"
    with log.open("wb") as file:
        return Service(name, url, log, health, guarded(command, settings, state, file))


def guarded(command: list[str], settings: Mapping[str, str], folder: Path, log: BinaryIO) -> subprocess.Popen[bytes]:
    """Start Python with these arguments, in ``folder``; it and all it starts end with this process, however this one ends.

    Args:
        command: arguments of Python.
        settings: environment beside this process's own, of which Prefect's and MLflow's settings are left out.
        folder: the working directory.
        log: what it says.
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "MLFLOW_"))}
    return subprocess.Popen(  # noqa: S603
        [sys.executable, guard.__file__, sys.executable, *command],
        env={**environment, **QUIET, "PYTHONPATH": _path(), **settings},
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=subprocess.STDOUT,
        cwd=folder,
        start_new_session=True,  # what tells all of a terminal or of a job to end is for this process to hear: it asks it last
    )


def _path() -> str:
    """Where isovox lies: servers work in a folder of their own, and it may run from its sources."""
    here = str(Path(__file__).resolve().parents[1])
    return os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))


def free_port(host: str, usual: int) -> int:
    """The usual port where it is free, else any.

    Raises:
        ServiceError: ``host`` is not loopback.
    """
    if host not in LOOPBACK:
        remedy = "forward a port over ssh, or run servers of your own with a password"
        raise ServiceError("not-loopback", f"one of {', '.join(sorted(LOOPBACK))}", repr(host), remedy)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in (usual, 0):
        with socket.socket(family) as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            return int(probe.getsockname()[1])
    raise ServiceError("no-port", f"a free port on {host}", "none", "see what listens there")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _listens(process: psutil.Process, port: int) -> bool:
    with suppress(psutil.Error):
        return port in [each.laddr.port for each in process.net_connections("inet") if each.status == psutil.CONN_LISTEN]
    return False


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - our own loopback address
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _reached(url: str) -> bool:
    """Whether a server is there at all, whatever it answers: it may want a password, or be another's."""
    try:
        with urllib.request.urlopen(url, timeout=10):  # noqa: S310 - the address that the run uses
            return True
    except urllib.error.HTTPError:
        return True
    except (urllib.error.URLError, OSError):
        return False


@contextmanager
def _announced(state: Path, service: Service) -> Iterator[None]:
    """While the block runs, other processes find this server by a file in ``state``."""
    process = psutil.Process(service.process.pid)
    path = _announcement(state, service.name)
    path.write_text(json.dumps({"url": service.url, "health": service.health, "pid": process.pid, "born": process.create_time()}))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _announcement(state: Path, name: str) -> Path:
    return state / f"{name.lower()}-server.json"


def _running(state: Path, name: str) -> str | None:
    """The address of a server that a live process on this machine runs for this state."""
    try:
        announced = json.loads(_announcement(state, name).read_text())
        with suppress(FileNotFoundError):
            (State(state).secrets / name.lower()).read_bytes()
        alive = abs(psutil.Process(announced["pid"]).create_time() - announced["born"]) < 1
        return announced["url"] if alive and _answers(announced["health"]) else None
    except (OSError, ValueError, KeyError, psutil.Error):  # a password that cannot be read: the server is another user's
        return None
