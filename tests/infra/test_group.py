"""A group's state, secrets and supervisor: what is private stays so, what dies comes back, and nothing outlives the group."""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest

from cli.up import _database, _say_where, _told
from core.errors import BusyError, UsageError
from core.settings.run import Compute
from infra.clusters import ClusterError, open_cluster
from infra.group import checks, health, launch, secrets, supervisor
from infra.group.parts import GroupSettings, Part, addresses, checked_database, client_environment, parts
from infra.group.state import MARK, State, enter, environment, read_json, write_environment, write_private
from infra.quiet import ServiceError

ROOT = Path(__file__).resolve().parents[2]
PORTS = {"prefect": 4201, "mlflow": 5001, "scheduler": 8791}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def state(tmp_path: Path) -> State:
    state = State.at(tmp_path / "group")
    state.make()
    return state


@pytest.fixture
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that a test may change, without a group's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_", "ISOVOX_CLUSTER"))}
    monkeypatch.setattr(os, "environ", kept)


def test_what_clients_need_is_written_for_the_owner_alone_and_read_back(state: State) -> None:
    assert environment(state.folder) == {}
    wanted = client_environment(state, PORTS)
    write_environment(state, wanted)
    assert environment(state.folder) == wanted
    assert mode(state.environment) == 0o600
    assert set(wanted) == {
        *("PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME"),
        *("MLFLOW_TRACKING_PASSWORD", "ISOVOX_CLUSTER", "ISOVOX_TLS_CA", "ISOVOX_TLS_CERT", "ISOVOX_TLS_KEY", "ISOVOX_POOL"),
    }
    assert wanted["ISOVOX_CLUSTER"] == "tls://127.0.0.1:8791"


def test_a_folder_with_spaces_is_read_by_shells_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = State.at(tmp_path / "my $group's")
    state.make()
    wanted = client_environment(state, PORTS)
    write_environment(state, wanted)
    assert environment(state.folder) == wanted
    _say_where(state)
    (into_a_shell,) = re.findall(r"in a shell: (.+)", capsys.readouterr().out)
    done = subprocess.run(["sh", "-euc", f"{into_a_shell}; env -0"], capture_output=True, text=True, check=True)
    assert wanted.items() <= dict(line.split("=", 1) for line in done.stdout.split("\0") if line).items()


def test_a_file_is_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_private(tmp_path / "a", "secret")
        assert mode(tmp_path / "a") == 0o600
    finally:
        os.umask(before)


def test_entering_makes_this_process_a_client(state: State, surroundings: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "NO_PROXY", "hospital.example")
    write_environment(state, {"PREFECT_API_URL": "http://127.0.0.1:1/api", "ISOVOX_POOL": "a=b"})
    enter(state.folder)
    assert os.environ["PREFECT_API_URL"] == "http://127.0.0.1:1/api"
    assert os.environ["ISOVOX_POOL"] == "a=b"
    assert os.environ["DO_NOT_TRACK"] == "true"
    assert os.environ["NO_PROXY"] == os.environ["no_proxy"] == "hospital.example,127.0.0.1,localhost"


def test_entering_where_no_group_is_up(state: State, surroundings: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "ISOVOX_HOME", str(state.folder / "none"))
    for folder in (state.folder, None):
        with pytest.raises(ServiceError, match=r"no-group: expected .* got none\. Start it: isovox up "):
            enter(folder)
    monkeypatch.setitem(os.environ, "PREFECT_API_URL", "http://prefect.example/api")  # a container's
    enter()
    assert os.environ["PREFECT_API_URL"] == "http://prefect.example/api"


def test_a_cluster_of_a_group_that_is_not_up(state: State, surroundings: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "ISOVOX_HOME", str(state.folder))
    with pytest.raises(ClusterError, match=r"no-group: .*Start one: isovox up"), open_cluster(Compute(cluster="group")):
        pass


def test_a_scheduler_on_tls_wants_certificates(surroundings: None) -> None:
    for name in ("CA", "CERT", "KEY"):
        os.environ.pop(f"ISOVOX_TLS_{name}", None)
    with (
        pytest.raises(ClusterError, match=r"no-certificate: .*ISOVOX_TLS_CA"),
        open_cluster(Compute(cluster="tls://127.0.0.1:9")),
    ):
        pass


def test_secrets_are_drawn_once_and_each_is_another(state: State) -> None:
    first = client_environment(state, PORTS)
    assert client_environment(state, PORTS) == first
    drawn = [secrets.secret(state, name) for name in ("prefect", "mlflow", "mlflow-sessions")]
    assert len(set(drawn)) == 3
    assert min(map(len, drawn)) >= 43  # 32 bytes
    secrets.mlflow_users(state)
    assert all(mode(path) == 0o600 for path in state.secrets.iterdir())
    assert {mode(folder) for folder in (state.folder, state.secrets, state.logs)} == {0o700}


def test_certificates_are_kept_until_they_end_soon(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = secrets.certificates(state)
    first = {path: Path(path).read_bytes() for path in paths.values()}
    secrets.certificates(state)
    assert {path: Path(path).read_bytes() for path in paths.values()} == first
    monkeypatch.setattr(secrets, "RENEWED", secrets.YEARS)
    secrets.certificates(state)
    assert all(Path(path).read_bytes() != before for path, before in first.items())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_cert_chain(paths["ISOVOX_TLS_CERT"], paths["ISOVOX_TLS_KEY"])  # they belong together


def test_no_secret_is_in_a_command_nor_in_what_a_part_or_settings_show(state: State) -> None:
    settings = GroupSettings(database="postgresql+asyncpg://me:hunter%202@host/db", ports=PORTS)
    write_private(state.settings, json.dumps(settings.to_json()))
    made = parts(state, settings)
    hidden = secrets.all_secrets(state)
    shown = repr(made) + repr(settings) + " ".join(word for part in made for word in part.command)
    assert {"hunter%202", "hunter 2"} < hidden
    assert len(hidden) == 5
    assert not [word for word in hidden if word in shown]
    assert secrets.redacted("password hunter 2 is wrong", hidden) == "password *** is wrong"


def test_all_parts_listen_on_loopback_only(state: State) -> None:
    assert all("//127.0.0.1:" in url for url in addresses(PORTS))
    for part in parts(state, GroupSettings(ports=PORTS)):
        given = [word for word in part.command if word == "127.0.0.1"]
        assert given == (["127.0.0.1"] if part.name in {"prefect", "mlflow"} else [])
        assert part.settings[MARK] == f"{state.mark}/{part.name}"


def test_databases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert checked_database("postgresql://me@host/db\n") == "postgresql+asyncpg://me@host/db"
    with pytest.raises(UsageError, match=r"database: expected .*postgresql\+asyncpg.*, but got 'mysql'"):
        checked_database("mysql://me@host/db")
    with pytest.raises(UsageError, match=r"password-shown.*@FILE") as refused:
        _database("postgresql://me:hunter2@host/db")
    assert "hunter2" not in str(refused.value)
    (tmp_path / "url").write_text("postgresql://me:hunter2@host/db\n")
    assert _database(f"@{tmp_path / 'url'}") == "postgresql://me:hunter2@host/db"
    with pytest.raises(UsageError, match="database: expected a file"):
        _database(f"@{tmp_path / 'none'}")
    assert _database(None) is None
    monkeypatch.setenv("ISOVOX_DATABASE", "postgresql://me:hunter2@host/db")
    assert _database(None) == "postgresql://me:hunter2@host/db"


def test_what_was_told_before_is_kept(state: State) -> None:
    first = launch.prepare(state, {"workers": 3, "database": "postgresql://me@host/db"})
    second = launch.prepare(state, {"memory_limit": "2GiB"})
    assert (second.workers, second.memory_limit, second.database) == (3, "2GiB", "postgresql+asyncpg://me@host/db")
    assert second.ports == first.ports
    assert mode(state.settings) == 0o600
    said = argparse.Namespace(workers=None, cluster=None, memory_limit="1GiB", database=None)
    assert _told(said) == {"memory_limit": "1GiB"}


def test_settings_that_cannot_be(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "gpu_names", list)
    with pytest.raises(ServiceError, match=r"gpu-missing: .*--cluster local"):
        launch.prepare(state, {"cluster": "cuda"})
    with pytest.raises(UsageError, match="workers: expected at least 1 worker, but got 0"):
        launch.prepare(state, {"workers": 0})
    assert not state.settings.exists()


def test_a_port_that_was_taken_meanwhile_is_not_insisted_on(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []
    taken: list[socket.socket] = []

    def start(_: State, __: Callable[[str], None]) -> None:
        tried.append(GroupSettings.kept(state).ports["prefect"])
        if len(tried) == 1:
            taken.append(socket.create_server(("127.0.0.1", tried[0])))
            raise ServiceError("service-died", "Prefect running", "address in use", "see its log")

    monkeypatch.setattr(launch, "_start", start)
    said: list[str] = []
    assert launch.up(state, {}, said.append)
    taken[0].close()
    assert len(set(tried)) == 2
    assert "taken" in said[0]


def test_a_part_that_does_not_start_for_another_reason_is_tried_once(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def start(_: State, __: Callable[[str], None]) -> None:
        tried.append(1)
        raise ServiceError("service-died", "Prefect running", "no database", "see its log")

    monkeypatch.setattr(launch, "_start", start)
    monkeypatch.setattr(launch, "free_ports", lambda _: PORTS)
    with pytest.raises(ServiceError, match="no database"):
        launch.up(state, {})
    assert tried == [1]


def test_one_supervisor_at_a_time(state: State) -> None:
    assert not state.held()
    with state.locked():
        assert state.held()
        with pytest.raises(BusyError, match=r"group-up: .*isovox down"), state.locked():
            pass
    assert not state.held()


def test_nothing_up_is_said(state: State) -> None:
    assert launch.down(state) is False
    assert list(checks.group_checks(state, asked=False)) == []
    assert [one.state for one in checks.group_checks(state)] == ["optional"]
    write_environment(state, {"PREFECT_API_URL": "http://127.0.0.1:1/api"})  # as a supervisor leaves it that was killed
    assert [(one.state, one.remedy) for one in checks.group_checks(state)] == [("missing", f"isovox up {state.folder}")]
    launch.down(state)
    assert environment(state.folder) == {}


def test_a_server_of_someone_else_on_the_port_is_not_taken_for_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for answers, ours in (({None: 401, "me:x": 200}, True), ({None: 200, "me:x": 200}, False), ({None: 401, "me:x": 401}, False)):
        monkeypatch.setattr(health, "ask", lambda _, login=None, answers=answers: (answers[login], None))
        assert health.closed_door("http://x", "me:x") is ours


def test_the_last_words_of_a_part_are_its_exception_without_secrets(state: State) -> None:
    hidden = secrets.secret(state, "prefect")
    (state.logs / "prefect.log").write_text(
        f"Traceback\nasyncpg.PasswordError: {hidden} is wrong\nERROR: startup failed\nStopped!\n"
    )
    fault = launch._fault(state, "prefect", "Prefect running", "service-died")
    assert "got asyncpg.PasswordError: *** is wrong. See" in str(fault)


def test_doors_that_stand_open_and_files_that_others_read_are_told(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {None: (200, None), "user:right": (200, None)}
    monkeypatch.setattr(checks.health, "ask", lambda _, login=None: answers[login])
    assert "lets in" in checks._door("Prefect", state, "http://x", "user:right").found
    answers[None] = (401, None)
    assert checks._door("Prefect", state, "http://x", "user:right").state == "ok"
    answers["user:right"] = (401, None)
    assert checks._door("Prefect", state, "http://x", "user:right").found == "refuses its own password (401)"
    client_environment(state, PORTS)
    for path in (state.environment, state.settings):
        write_private(path, "")
    assert {one.state for one in checks._secrets(state)} == {"ok"}
    (state.secrets / "prefect").chmod(0o640)
    worse = next(one for one in checks._secrets(state) if one.state != "ok")
    assert worse.found == "prefect can be read by others"


# The supervisor, with parts that take no time.

SLEEP = "import time; time.sleep(600)"


def part(state: State, name: str, code: str, lives: Callable[[float], bool] = lambda _: True, after: str | None = None) -> Part:
    return Part(name, name, ["-c", code], {MARK: f"{state.mark}/{name}"}, lives, after)


@pytest.fixture
def supervised(state: State, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[dict[str, Any]]]:
    """Supervises these parts for some seconds, or until something is so; what the state's file said, in order."""
    monkeypatch.setattr(supervisor, "TICK", 0.05)
    monkeypatch.setattr(supervisor, "LOOK", 0.1)
    monkeypatch.setattr(supervisor, "FIRST_WAIT", 0.2)
    write_private(state.settings, json.dumps(GroupSettings(ports=PORTS).to_json()))

    def supervise(*made: Part, until: Callable[[dict[str, Any]], bool], within: float = 20) -> list[dict[str, Any]]:
        monkeypatch.setattr(supervisor, "parts", lambda *_: list(made))
        told: list[dict[str, Any]] = []
        end = time.monotonic() + within

        def done() -> bool:
            assert time.monotonic() < end, told[-1:]
            if (now := read_json(state.status)) and now not in told:
                told.append(now)
            return bool(told) and until(told[-1]["parts"])

        supervisor.supervise(state, until=done)
        return told

    return supervise


def marked(state: State) -> list[int]:
    return [process.pid for process in supervisor._marked(state.mark)]


def test_a_part_that_dies_is_started_again_after_longer_and_longer(
    state: State, supervised: Callable[..., Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "starts"
    code = f"import time; open({str(log)!r}, 'a').write(str(time.time()) + '\\n')"
    supervised(part(state, "mortal", code), until=lambda parts: parts["mortal"]["restarts"] >= 4)
    starts = [float(line) for line in log.read_text().split()]
    gaps = [later - earlier for earlier, later in pairwise(starts)]
    assert gaps == sorted(gaps)
    assert gaps[-1] - gaps[0] > 0.3  # 0.2, 0.4, 0.8 s and what a start takes
    assert re.findall(r"mortal: ended with status 0; started again in (\d) s", capfd.readouterr().err) == ["0", "0", "1", "2"]


def test_a_part_waits_for_the_one_it_needs(state: State, supervised: Callable[..., Any]) -> None:
    begun = time.time()
    first = part(state, "first", SLEEP, lambda born: time.time() - born > 1)
    told = supervised(
        first, part(state, "second", SLEEP, after="first"), until=lambda parts: parts["second"]["condition"] == "healthy"
    )
    conditions = [(one["parts"]["first"]["condition"], one["parts"]["second"]["condition"]) for one in told]
    assert ("starting", "waiting") in conditions
    assert all(second == "waiting" for first, second in conditions if first == "starting")
    assert time.time() - begun > 1
    assert marked(state) == []


def test_a_part_that_hangs_is_started_again(
    state: State, supervised: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "SILENT", 0.5)
    seen: list[float] = []

    def lives(born: float) -> bool:
        if born not in seen:
            seen.append(born)
        return len(seen) > 1 or time.time() - born < 0.5

    told = supervised(
        part(state, "hung", SLEEP, lives),
        until=lambda parts: parts["hung"]["restarts"] == 1 and parts["hung"]["condition"] == "healthy",
    )
    assert "silent" in [one["parts"]["hung"]["condition"] for one in told]


def test_what_a_killed_guard_leaves_is_ended_before_the_next_start(
    state: State, supervised: Callable[..., Any], tmp_path: Path
) -> None:
    """Else it would hold the port."""
    log = tmp_path / "pids"
    code = f"import os, time; open({str(log)!r}, 'a').write(str(os.getpid()) + '\\n'); {SLEEP}"
    killed: list[int] = []

    def done(parts: dict[str, Any]) -> bool:
        if not killed and log.exists() and log.read_text().strip():
            killed.append(parts["orphaned"]["pid"])
            os.kill(killed[0], signal.SIGKILL)
        if not killed or len(pids := log.read_text().split()) < 2:
            return False
        assert not psutil.pid_exists(int(pids[0])) or psutil.Process(int(pids[0])).status() == psutil.STATUS_ZOMBIE
        return True

    supervised(part(state, "orphaned", code), until=done)
    assert marked(state) == []


def test_parts_whose_names_begin_alike_are_told_apart(state: State, supervised: Callable[..., Any]) -> None:
    def done(parts: dict[str, Any]) -> bool:
        if {one["condition"] for one in parts.values()} != {"healthy"}:
            return False
        assert supervisor.sweep(f"{state.mark}/worker") >= 1
        assert parts["workers"]["pid"] in marked(state)
        return True

    supervised(part(state, "workers", SLEEP), part(state, "worker", SLEEP), until=done)


SCRIPT = """
import sys; sys.path[:0] = [{root!r}, {tests!r}]
from pathlib import Path
from infra.group import supervisor
from infra.group.parts import Part
from infra.group.state import MARK, State
state = State.at(Path({folder!r}))
code = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\\ntime.sleep(600)"
supervisor.parts = lambda *_: [Part(n, n, ["-c", code], {{MARK: state.mark + "/" + n}}, lambda _: True) for n in "ab"]
sys.exit(supervisor.main([{folder!r}]))
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, None])
def test_nothing_outlives_the_supervisor(state: State, end: signal.Signals | None) -> None:
    """Killed outright, told to end, and by ``isovox down``."""
    write_private(state.settings, json.dumps(GroupSettings(ports=PORTS).to_json()))
    script = SCRIPT.format(root=str(ROOT), tests=str(ROOT / "tests"), folder=str(state.folder))
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while len(family := marked(state)) < 6:  # two guards, two parts, two that these started
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert state.held()
    assert environment(state.folder)
    if end is None:
        assert launch.down(state)
    else:
        process.send_signal(end)
    process.wait(30)
    while left := [pid for pid in family if psutil.pid_exists(pid)]:
        assert time.monotonic() < deadline + 20, left
        time.sleep(0.1)
    assert not state.held()
    launch.down(state)
    assert environment(state.folder) == {}
