"""Services stay on this machine, start with their databases where they belong, and end with whoever started them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from configparser import ConfigParser
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from infra import services
from infra.group import health, secrets
from infra.group.secrets import mlflow_users
from infra.group.state import State
from infra.programs import START
from infra.quiet import ServiceError
from infra.services import Service, guarded, local_state, prefect_environment, prefect_server, serve_ui
from tasks.tracking.database import make_database

ROOT = Path(__file__).resolve().parents[2]


def test_state_lies_in_a_local_output_and_beside_the_user_for_a_remote_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert local_state(str(tmp_path / "out")) == tmp_path / "out" / "isovox"
    remote = local_state("s3://bucket/a study")
    assert remote.parent == tmp_path / "isovox"
    assert remote == local_state("s3://bucket/a study/") != local_state("s3://other/a study")


@pytest.mark.parametrize("name", ["a?b", "a#b%41"])
def test_databases_lie_in_the_state_of_an_output_whatever_its_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    out = tmp_path / name / "out"
    state = local_state(str(out))
    assert state == (out / "isovox" if "?" not in name else state)
    assert state != local_state(str(tmp_path / "a" / "out"))
    state.mkdir(parents=True)
    make_database(state)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [state / "mlflow.db"]
    users = ConfigParser()  # as MLflow reads them
    users.read(mlflow_users(State(state)))
    assert users["mlflow"]["database_uri"] == f"sqlite:///{state / 'mlflow-users.db'}"


def test_prefect_is_quiet_and_at_home_in_the_state(tmp_path: Path) -> None:
    added = prefect_environment(tmp_path, {})
    assert added["PREFECT_HOME"] == str(tmp_path / "prefect")
    assert float(added["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"]) == START
    assert (added["DO_NOT_TRACK"], added["MLFLOW_DISABLE_TELEMETRY"]) == ("true", "true")
    assert (added["PREFECT_SERVER_ANALYTICS_ENABLED"], added["PREFECT_SERVER_UI_V2_ENABLED"]) == ("false", "false")
    assert "PREFECT_API_URL" not in added


def test_what_the_user_set_is_kept(tmp_path: Path) -> None:
    added = prefect_environment(tmp_path, {"PREFECT_API_URL": "http://prefect.example/api", "DO_NOT_TRACK": "1"})
    assert not added.keys() & {"PREFECT_API_URL", "PREFECT_HOME", "DO_NOT_TRACK"}
    assert added["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_prefect_takes_these_settings(tmp_path: Path) -> None:
    code = """
from prefect.logging.configuration import DEFAULT_LOGGING_SETTINGS_PATH, load_logging_config
from prefect.settings import get_current_settings
s, log = get_current_settings(), load_logging_config(DEFAULT_LOGGING_SETTINGS_PATH)
seconds, console = s.server.ephemeral.startup_timeout_seconds, log["handlers"]["console"]["level"]
print([str(s.home), seconds, s.server.analytics_enabled, s.server.ui.v2_enabled, console])
"""
    environment = {**os.environ, **prefect_environment(tmp_path, {})}
    told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True).stdout
    assert told == f"{[str(tmp_path / 'prefect'), int(START), False, False, 'WARNING']}\n"


@pytest.mark.parametrize("host", ["0.0.0.0", "", "192.0.2.1", "example.org", "::"])  # noqa: S104
def test_nothing_listens_wider_than_this_machine(host: str, tmp_path: Path) -> None:
    with (
        pytest.raises(ServiceError, match=r"not-loopback: expected one of 127\.0\.0\.1.*, but got"),
        serve_ui(str(tmp_path), host=host),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_a_port_in_use_is_passed_over() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        usual = taken.getsockname()[1]
        assert services.free_port("127.0.0.1", usual) not in {usual, 0}
    assert services.free_port("127.0.0.1", usual) == usual


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[str], Service]]:
    """Starts a small server by Python code that is told its port."""
    started: list[Service] = []

    def start(code: str) -> Service:
        port = services.free_port("127.0.0.1", 0)
        url = f"http://127.0.0.1:{port}"
        started.append(services._start("Test", url, url, ["-c", code, str(port)], settings={"TOLD": "yes"}, state=tmp_path))
        return started[-1]

    yield start
    for service in started:
        service.stop()


SERVE = """
import http.server, sys
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""

SERVE_LATE = f"import time; time.sleep(60){SERVE}"


def test_a_server_is_waited_for_found_and_stopped(serve: Callable[[str], Service], tmp_path: Path) -> None:
    service = serve(SERVE)
    service.wait_healthy(20)
    service.check()
    with services._announced(tmp_path, service):
        assert services._running(tmp_path, "Test") == service.url
        told = json.loads((tmp_path / "test-server.json").read_text())
        (tmp_path / "test-server.json").write_text(json.dumps({**told, "born": 0}))
        assert services._running(tmp_path, "Test") is None
    assert services._running(tmp_path, "Test") is None
    family = psutil.Process(service.process.pid).children(recursive=True)
    service.stop()
    assert family
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in family)


def test_a_server_that_dies_says_its_last_words(serve: Callable[[str], Service]) -> None:
    service = serve("raise SystemExit('no such thing')")
    with pytest.raises(
        ServiceError, match=r"service-died: expected Test running, but got exit status 1, no such thing\. See .*test\.log"
    ):
        service.wait_healthy(20)


def test_a_server_that_dies_on_a_full_disk_says_so(serve: Callable[[str], Service], monkeypatch: pytest.MonkeyPatch) -> None:
    service = serve("raise SystemExit(3)")
    monkeypatch.setattr(services.space, "is_full", lambda path: path == service.log)
    with pytest.raises(ServiceError, match=rf"but got exit status 3, no word, and a full disk at {service.log.parent}\. See"):
        service.wait_healthy(20)


def test_a_server_whose_port_another_took_does_not_pass_for_it_and_is_begun_anew(serve: Callable[[str], Service]) -> None:
    first = serve(SERVE)
    first.wait_healthy(20)

    def unlucky() -> Service:
        log = first.log.with_name("unlucky.log")
        with log.open("wb") as said:
            process = guarded(["-c", SERVE_LATE, first.url.rpartition(":")[2]], {}, log.parent, said)
        return replace(first, log=log, process=process)

    with pytest.raises(ServiceError, match=r"port-taken: expected Test at .* got another server there"):
        unlucky().wait_healthy(20)
    starts = iter([unlucky, lambda: serve(SERVE)])

    def start() -> Service:
        return next(starts)()

    with services._up(start) as third:
        assert third.url != first.url
    assert next(starts, None) is None


def test_a_server_that_does_not_answer_is_given_up(serve: Callable[[str], Service]) -> None:
    with pytest.raises(ServiceError, match=r"service-late: expected Test up within 0 s"):
        serve("import time; time.sleep(60)").wait_healthy(0.3)


def test_a_server_of_another_process_that_ends_before_the_run_is_told_so(serve: Callable[[str], Service]) -> None:
    other = serve(SERVE)
    other.wait_healthy(20)

    def fail(error: Exception) -> None:
        with services._lasting(f"{other.url}/api"):  # where it answers, if only that there is no such thing
            raise error

    with pytest.raises(KeyError):
        fail(KeyError("a fault of the run's own"))
    other.stop()
    with pytest.raises(
        ServiceError, match=r"service-gone: expected the Prefect server at .* until the run ends, but got no answer"
    ):
        fail(ConnectionError("refused"))
    with pytest.raises(ServiceError, match="late"):
        fail(ServiceError("late", "a", "b", "c"))


def test_a_prefect_server_that_the_user_named_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {**os.environ, "PREFECT_API_URL": "http://prefect.example/api"})
    with prefect_server(tmp_path) as url:
        assert url == "http://prefect.example"
    assert os.environ["PREFECT_API_URL"] == "http://prefect.example/api"


UI = """
import sys; sys.path.insert(0, {root!r})
from infra.services import serve_ui
with serve_ui({out!r}) as pages:
    print(pages.prefect, pages.mlflow.partition("/#")[0], flush=True)
    pages.wait()
"""


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """A process that serves the pages, and their addresses."""
    code = UI.format(root=str(ROOT), out=str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    prefect, mlflow = process.stdout.readline().split()
    yield process, prefect, mlflow
    process.kill()
    process.wait()


def listening(process: psutil.Process) -> set[str]:
    return {place.ip for place in places_of(process)}


def ports_of(process: psutil.Process) -> set[int]:
    return {place.port for place in places_of(process)}


def places_of(process: psutil.Process) -> list[Any]:
    """Where a process and its children listen."""
    family = [process, *process.children(recursive=True)]
    return [c.laddr for one in family for c in one.net_connections("tcp") if c.status == psutil.CONN_LISTEN]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_the_servers_end_with_the_process_that_serves_them(
    number: signal.Signals, pages: tuple[subprocess.Popen[str], str, str]
) -> None:
    process, prefect, mlflow = pages
    family = psutil.Process(process.pid).children(recursive=True)
    assert listening(psutil.Process(process.pid)) == {"127.0.0.1"}
    for url in (f"{prefect}/api/health", f"{mlflow}/health"):
        assert urllib.request.urlopen(url, timeout=5).status == 200  # noqa: S310
    process.send_signal(number)
    process.wait(timeout=30)
    _, left = psutil.wait_procs(family, timeout=20)
    assert left == []


@pytest.mark.slow
def test_a_guard_that_is_killed_with_its_parent_leaves_no_server(pages: tuple[subprocess.Popen[str], str, str]) -> None:
    process = pages[0]
    family = psutil.Process(process.pid).children(recursive=True)
    guards = [child for child in family if "guard.py" in " ".join(child.cmdline())]
    assert len(guards) == 2
    for each in (*guards, psutil.Process(process.pid)):
        each.kill()
    _, left = psutil.wait_procs(family, timeout=20)
    assert left == []


def status_of(url: str, login: str = "") -> int:
    """What a server answers."""
    return health.ask(url, login or None)[0]


@pytest.mark.slow
def test_the_pages_let_nobody_in_who_does_not_know_their_passwords(
    pages: tuple[subprocess.Popen[str], str, str], tmp_path: Path
) -> None:
    process, prefect, mlflow = pages
    state = State(local_state(str(tmp_path)))
    logins = {prefect: secrets.prefect_login(state), mlflow: f"{secrets.ADMIN}:{secrets.secret(state, 'mlflow')}"}
    places = {prefect: "api/admin/settings", mlflow: "version"}
    for url, login in logins.items():
        assert (status_of(f"{url}/{places[url]}"), status_of(f"{url}/{places[url]}", login)) == (401, 200)
    assert {status_of(f"{prefect}/{place}") for place in ("docs", "redoc", "api/docs", "v2", "v2/runs")} == {404}
    ports = {int(url.rpartition(":")[2]) for url in (prefect, mlflow)}
    assert ports_of(psutil.Process(process.pid)) == ports
    kept = [path for path in state.secrets.iterdir() if path.stat().st_mode & 0o077]
    assert not kept
    assert not state.secrets.stat().st_mode & 0o077
    shown = subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True, check=True).stdout
    assert not [word for word in secrets.all_secrets(state) if word in shown]


@pytest.mark.slow
def test_the_pages_show_this_output_and_ask_no_other_host(
    pages: tuple[subprocess.Popen[str], str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from playwright.sync_api import sync_playwright

    from core.engine.records import ScanRecord
    from tasks.tracking.tracker import CohortTracker

    _, prefect, mlflow = pages
    state = local_state(str(tmp_path))
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    page_file = tmp_path / "sub-01.html"
    page_file.write_text("<h1>report</h1>")
    with CohortTracker(state, str(tmp_path)) as tracked:
        tracked.start("cubic 1 mm", "p1", {"method": "cubic"}, {})
        tracked.scan(ScanRecord(key="sub-01_T1w", state="done", digest="d", quality={"consistency": 0.5}), [page_file])
    flow = "from prefect import flow\n@flow(name='reprocess-cohort')\ndef reprocess(): return 1\nreprocess()"
    environment = {**os.environ, **prefect_environment(state, {}), "PREFECT_API_URL": f"{prefect}/api"}
    subprocess.run([sys.executable, "-c", flow], env=environment, check=True, capture_output=True)
    asked: list[str] = []
    with sync_playwright() as play:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
        browser = play.chromium.launch(executable_path="/usr/bin/chromium", args=options)
        keys = State(state)
        login = {"username": secrets.ADMIN, "password": secrets.secret(keys, "mlflow")}
        tabs = [browser.new_context(http_credentials=known).new_page() for known in (None, login)]  # Prefect asks in its page
        for tab in tabs:
            tab.on("request", lambda request: asked.append(request.url))
            tab.on("websocket", lambda socket: asked.append(socket.url))
        tab = tabs[0]
        tab.goto(prefect)
        tab.locator("input[type=password]").fill(secrets.prefect_login(keys))
        tab.keyboard.press("Enter")
        tab.get_by_text("Flow Runs").first.wait_for(timeout=60000)
        tab.goto(f"{prefect}/runs")
        tab.get_by_text("reprocess-cohort").first.wait_for(timeout=60000)
        tab.screenshot(path=tmp_path / "prefect.png")
        tab = tabs[1]
        tab.goto(f"{mlflow}/#/experiments")
        tab.get_by_text("isovox").first.wait_for(timeout=60000)
        tab.goto(f"{mlflow}/#/experiments/1/runs")
        tab.get_by_text("cubic 1 mm").first.wait_for(timeout=60000)
        time.sleep(2)
        tab.screenshot(path=tmp_path / "mlflow.png")
        browser.close()
    local = tuple(f"{scheme}://127.0.0.1:" for scheme in ("http", "ws"))
    assert [url for url in asked if not url.startswith((*local, "data:", "blob:"))] == []
