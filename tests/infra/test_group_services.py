"""A group's services for real: who has no password is turned away, what is killed comes back, and nothing is left at the end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from core.settings.run import Compute
from infra.clusters import ClusterError, open_cluster
from infra.group import health, secrets, supervisor
from infra.group.checks import group_checks
from infra.group.state import State, environment, read_json
from infra.services import free_port
from tests.deployments.cohorts import phantoms

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

PARTS = ("prefect", "mlflow", "scheduler", "workers", "worker")
LONGEST = 600.0
PROBE = """
import json, os
from pathlib import Path
from prefect import flow

@flow
def probe(told: str):
    from mlflow import MlflowClient
    from core.settings.run import Compute
    from infra.clusters import open_cluster
    with open_cluster(Compute(cluster="group")) as pool:
        worker = pool.submit(os.getpid).result(timeout=60)
    found = [one.name for one in MlflowClient().search_experiments()]
    Path(told).write_text(json.dumps({"worker": worker, "experiments": found}))
"""
DEPLOY = """
import sys
from prefect import flow
from prefect.deployments import run_deployment
made = flow.from_source(source=sys.argv[1], entrypoint="probe.py:probe")
made.deploy(name="probe", work_pool_name="isovox", build=False, push=False, print_next_steps=False)
run = run_deployment("probe/probe", parameters={"told": sys.argv[2]}, timeout=400, poll_interval=1)
print(run.state.type.value)
"""


def isovox(*words: object, **added: str) -> str:
    """What a command says."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_"))}
    command = [sys.executable, "-m", "cli", *map(str, words)]
    ran = subprocess.run(command, env={**kept, **added}, capture_output=True, text=True, timeout=700, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def family(state: State, name: str = "") -> list[psutil.Process]:
    return list(supervisor._marked(f"{state.mark}/{name}" if name else state.mark))


def wait_for(come: Callable[[], Any], what: Callable[[], Any] = lambda: "did not come") -> Any:
    end = time.monotonic() + LONGEST
    while not (found := come()):
        assert time.monotonic() < end, what()
        time.sleep(0.3)
    return found


def wait_until_none_is_left(state: State) -> None:
    wait_for(lambda: not family(state), lambda: [one.cmdline() for one in family(state)])
    assert not state.held()


def conditions(state: State) -> dict[str, Any]:
    return read_json(state.status).get("parts", {})


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[State]:
    state = State.at(tmp_path_factory.mktemp("group") / "state")
    try:
        isovox("up", state.folder, "--workers", 1)
        yield state
    finally:
        isovox("down", state.folder)


def test_the_doctor_finds_each_part_well_and_each_door_closed(group: State) -> None:
    found = {one.name: one for one in group_checks(group)}
    assert {one.state for one in found.values()} == {"ok"}, found
    assert len(found) == 7
    told = isovox("doctor", group.folder)
    assert "group's Prefect" in told
    assert not [word for word in secrets.all_secrets(group) if word in told]


def test_without_a_password_every_door_but_that_of_health_is_closed(group: State) -> None:
    client = environment(group.folder)
    api, mlflow = client["PREFECT_API_URL"], client["MLFLOW_TRACKING_URI"]
    users = f"{client['MLFLOW_TRACKING_USERNAME']}:{client['MLFLOW_TRACKING_PASSWORD']}"
    search = f"{mlflow}/api/2.0/mlflow/experiments/search"
    for url, login, body in (
        (f"{api}/flow_runs/filter", client["PREFECT_API_AUTH_STRING"], {}),
        (f"{api}/admin/settings", client["PREFECT_API_AUTH_STRING"], None),
        (search, users, {"max_results": 1}),
    ):
        assert health.ask(url, None, body)[0] == health.ask(url, "isovox:wrong", body)[0] == 401
        assert health.ask(url, login, body)[0] == 200
    assert health.ask(mlflow)[0] == 401
    assert secrets.secret(group, "prefect") not in json.dumps(
        health.ask(f"{api}/admin/settings", client["PREFECT_API_AUTH_STRING"])
    )


def test_dask_turns_away_who_has_no_certificate(group: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client, other = environment(group.folder), State.at(tmp_path)
    other.make()
    with pytest.raises(ClusterError, match="no-certificate"), open_cluster(Compute(cluster=client["ISOVOX_CLUSTER"])):
        pass
    foreign = secrets.certificates(other) | {"ISOVOX_TLS_CA": client["ISOVOX_TLS_CA"]}
    assert health.speaks_tls(client["ISOVOX_CLUSTER"], client)
    assert not health.speaks_tls(client["ISOVOX_CLUSTER"], foreign)
    assert not health.speaks_tls(client["ISOVOX_CLUSTER"], None)
    for name in ("ISOVOX_TLS_CA", "ISOVOX_TLS_CERT", "ISOVOX_TLS_KEY", "ISOVOX_CLUSTER"):
        monkeypatch.setenv(name, client[name])
    for cluster in (client["ISOVOX_CLUSTER"], "group"):
        with open_cluster(Compute(cluster=cluster)) as pool:
            assert pool.slots() == 1
            assert pool.submit(os.getpid).result(timeout=60) in [one.pid for one in family(group, "workers")]


def test_all_listen_on_loopback_only(group: State) -> None:
    places = {c.laddr.ip for one in family(group) for c in one.net_connections() if c.status == psutil.CONN_LISTEN}
    assert places == {"127.0.0.1"}


def test_a_flow_that_the_worker_runs_finds_all_services(group: State, tmp_path: Path) -> None:
    (tmp_path / "probe.py").write_text(PROBE)
    command = [sys.executable, "-c", DEPLOY, str(tmp_path), str(tmp_path / "told.json")]
    ran = subprocess.run(
        command, env={**os.environ, **environment(group.folder)}, capture_output=True, text=True, timeout=600, check=False
    )
    assert ran.stdout.split()[-1:] == ["COMPLETED"], ran.stdout + ran.stderr
    told = json.loads((tmp_path / "told.json").read_text())
    assert told["worker"] in [one.pid for one in family(group, "workers")]
    assert told["experiments"] == ["Default"]


def test_the_pages_ask_for_a_password_and_no_other_host(group: State) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs the Python package playwright")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("needs chromium on the PATH")
    client, asked = environment(group.folder), set[str]()
    quiet = "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync"
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=quiet.split())
        login = {"username": client["MLFLOW_TRACKING_USERNAME"], "password": client["MLFLOW_TRACKING_PASSWORD"]}
        page = browser.new_context(http_credentials=login).new_page()
        page.on("request", lambda request: asked.add(urlsplit(request.url).netloc))
        read_prefect(page, client)
        read_mlflow(page, client["MLFLOW_TRACKING_URI"])
        with pytest.raises(sync_api.Error, match="INVALID_AUTH_CREDENTIALS"):
            browser.new_page().goto(client["MLFLOW_TRACKING_URI"])
        browser.close()
    own = {urlsplit(client[name]).netloc for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI")}
    assert asked - {""} == own  # data: and blob: have no host


def read_prefect(page: Any, client: dict[str, str]) -> None:
    url = client["PREFECT_API_URL"].removesuffix("/api")
    page.goto(f"{url}/log-in")
    page.evaluate("localStorage.setItem('prefect-password', btoa('isovox:one-of-before'))")
    page.goto(url)
    page.locator("input[type=password]").fill(client["PREFECT_API_AUTH_STRING"])
    page.keyboard.press("Enter")
    page.get_by_text("Dashboard", exact=True).first.wait_for(timeout=60_000)
    for place in ("runs", "deployments", "work-pools", "work-pools/work-pool/isovox", "automations", "settings"):
        page.goto(f"{url}/{place}")
        page.wait_for_load_state("load")
        page.wait_for_timeout(2000)
        assert page.locator("input[type=password]").count() == 0, place
    page.goto(f"{url}/work-pools")
    page.get_by_text("isovox").first.wait_for(timeout=60_000)


def read_mlflow(page: Any, url: str) -> None:
    page.goto(url)
    page.wait_for_load_state("load")
    for place in ("experiments", "models", "settings"):
        page.goto(f"{url}/#/{place}")
        page.wait_for_timeout(3000)
    page.goto(f"{url}/#/experiments")
    page.get_by_text("Default").first.wait_for(timeout=60_000)


def test_each_part_that_is_killed_comes_back(group: State) -> None:
    before = {name: (part["pid"], part["restarts"]) for name, part in conditions(group).items()}
    for guard, _ in before.values():
        for child in psutil.Process(guard).children():
            child.kill()
    begun = time.monotonic()
    wait_for(lambda: all(part["restarts"] > before[name][1] for name, part in conditions(group).items()))
    wait_for(lambda: {part["condition"] for part in conditions(group).values()} == {"healthy"}, lambda: conditions(group))
    sys.stdout.write(f"all five killed: back after {time.monotonic() - begun:.0f} s\n")
    assert {one.state for one in group_checks(group)} == {"ok"}
    assert not {part["pid"] for part in conditions(group).values()} & {guard for guard, _ in before.values()}


def test_no_secret_is_in_lists_of_processes_nor_in_logs(group: State) -> None:
    hidden = secrets.all_secrets(group)
    assert len(hidden) == 3
    listed = subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True, check=True).stdout
    assert "infra.group.supervisor" in listed
    assert not [word for word in hidden if word in listed]
    holding = {
        path.relative_to(group.folder)
        for path in group.folder.rglob("*")
        if path.is_file() and any(word.encode() in path.read_bytes() for word in hidden)
    }
    assert {group.environment.name} == {str(path) for path in holding if path.parts[0] != "secrets"}
    logs = {path.stem: path.read_text(errors="replace") for path in group.logs.iterdir()}
    assert {"supervisor", *PARTS} <= logs.keys()
    assert "PRIVATE KEY" not in "".join(logs.values())


def test_up_again_where_it_is_up(group: State) -> None:
    pid = read_json(group.status)["pid"]
    told = isovox("up", group.folder)
    assert f"already up in {group.folder}" in told
    assert read_json(group.status)["pid"] == pid


@pytest.mark.parametrize("what", ["scheduler", "worker", "supervisor"])
def test_a_cohort_ends_whole_whatever_is_killed_in_its_middle(group: State, what: str, tmp_path: Path) -> None:
    source, out = phantoms(tmp_path / "bids", 6, 64), tmp_path / "out"
    isovox("deploy", group.folder, "--cohort", f"{what}={source}={out}", "--method", "unires", "--cron", "")
    client = environment(group.folder)
    api, login = client["PREFECT_API_URL"], client["PREFECT_API_AUTH_STRING"]
    deployment = health.ask(f"{api}/deployments/name/reprocess-cohort/{what}", login)[1]["id"]
    run = health.ask(f"{api}/deployments/{deployment}/create_flow_run", login, {})[1]["id"]
    wait_for(lambda: list((out / "isovox" / "scans").glob("*.json")))
    if what == "supervisor":
        os.kill(read_json(group.status)["pid"], signal.SIGKILL)
    else:
        guard = psutil.Process(conditions(group)[what]["pid"])
        for process in (*guard.children(), guard):
            process.kill()

    def state() -> str:
        return str(((health.ask(f"{api}/flow_runs/{run}", login)[1] or {}).get("state") or {}).get("type"))

    wait_for(lambda: state() in {"COMPLETED", "FAILED"}, state)
    assert state() == "COMPLETED"
    assert len(list(out.glob("sub-*/anat/*desc-restored_T1w.nii.gz"))) == 6
    wait_for(lambda: {part["condition"] for part in conditions(group).values()} == {"healthy"}, lambda: conditions(group))


def test_a_killed_supervisor_comes_back_with_the_same_secrets_and_database(group: State) -> None:
    before, pid = environment(group.folder), read_json(group.status)["pid"]
    login, variable = before["PREFECT_API_AUTH_STRING"], f"{before['PREFECT_API_URL']}/variables"
    assert health.ask(f"{variable}/", login, {"name": "kept", "value": 7})[0] == 201
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: read_json(group.status).get("pid") not in {None, pid})
    wait_for(lambda: {part["condition"] for part in conditions(group).values()} == {"healthy"}, lambda: conditions(group))
    assert environment(group.folder) == before
    assert health.ask(f"{variable}/name/kept", login)[1]["value"] == 7
    isovox("down", group.folder)
    wait_until_none_is_left(group)
    assert environment(group.folder) == {}
    assert "nothing was up" in isovox("down", group.folder)


@contextmanager
def postgres() -> Iterator[str]:
    """A PostgreSQL server; the URL of its database, with a password."""
    homes = [Path(found).parent for found in filter(None, [shutil.which("initdb")])]
    homes += sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    bins = next((home for home in homes if (home / "initdb").exists() and (home / "pg_ctl").exists()), None)
    if bins is None:
        pytest.skip("needs PostgreSQL's initdb and pg_ctl, as of the package postgresql")
    user = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}  # it refuses to run as root
    folder, port = Path(tempfile.mkdtemp(prefix="isovox-pg")), free_port("127.0.0.1", 0)
    (folder / "password").write_text("hunter-2-hunter")
    for path in (folder, folder / "password"):
        shutil.chown(path, user.get("user") or os.geteuid())

    def run(*words: str) -> None:
        subprocess.run([*words], **user, check=True, cwd=folder, stdout=subprocess.DEVNULL)  # type: ignore[call-overload]

    run(
        str(bins / "initdb"),
        "-D",
        "data",
        "-U",
        "isovox",
        "--auth=scram-sha-256",
        "--pwfile=password",
        "-E",
        "UTF8",
        "--locale=C",
    )
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
    run(str(bins / "pg_ctl"), "-D", "data", "-l", "log", "-o", options, "-w", "start")
    try:
        yield f"postgresql://isovox:hunter-2-hunter@127.0.0.1:{port}/postgres"
    finally:
        run(str(bins / "pg_ctl"), "-D", "data", "-m", "immediate", "stop")
        shutil.rmtree(folder)


def tables(url: str) -> set[str]:
    import psycopg

    with psycopg.connect(url) as connection:
        found = connection.execute("select tablename from pg_tables where schemaname = 'public'").fetchall()
    return {name for (name,) in found}


def test_prefect_keeps_its_runs_in_postgresql(tmp_path: Path) -> None:
    state = State.at(tmp_path / "state")
    with postgres() as url:
        try:
            isovox("up", state.folder, "--workers", 1, ISOVOX_DATABASE=url)
            client = environment(state.folder)
            login, variable = client["PREFECT_API_AUTH_STRING"], f"{client['PREFECT_API_URL']}/variables"
            assert health.ask(f"{variable}/", login, {"name": "kept", "value": 7})[0] == 201
            assert {"flow_run", "deployment", "variable"} <= tables(url)
            assert not (state.folder / "prefect" / "prefect.db").exists()
            listed = subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True, check=True).stdout
            logs = "".join(path.read_text(errors="replace") for path in state.logs.iterdir())
            assert "hunter-2" not in listed + logs
            assert "hunter-2-hunter" in secrets.all_secrets(state)
            isovox("down", state.folder)
            isovox("up", state.folder)  # which database is kept
            assert health.ask(f"{variable}/name/kept", login)[1]["value"] == 7
        finally:
            isovox("down", state.folder)
    wait_until_none_is_left(state)


def test_what_cannot_start_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    state = State.at(tmp_path / "state")
    port = free_port("127.0.0.1", 0)
    kept = {**os.environ, "ISOVOX_DATABASE": f"postgresql://me:hunter-2-hunter@127.0.0.1:{port}/none"}
    command = [sys.executable, "-m", "cli", "up", str(state.folder)]
    try:
        ran = subprocess.run(command, env=kept, capture_output=True, text=True, timeout=700, check=False)
        left = family(state)
    finally:
        isovox("down", state.folder)
    assert (ran.returncode, left) == (3, [])
    assert "service-died: expected Prefect running, but got ConnectionRefusedError" in ran.stderr
    assert "hunter" not in ran.stdout + ran.stderr
