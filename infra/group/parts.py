"""The parts of a group: what each runs, with which settings, after which other, and how one knows that it lives."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from core.errors import UsageError
from infra.group import health
from infra.group.secrets import ADMIN, certificates, prefect_login, secret
from infra.group.state import MARK, POOL, State, past_proxies, read_json
from infra.programs import mlflow_door, mlflow_program, prefect_program
from infra.services import free_port

HOST = "127.0.0.1"
USUAL = {"prefect": 4200, "mlflow": 5000, "scheduler": 8786}  # ports
DATABASES = ("postgresql+asyncpg", "sqlite+aiosqlite")


@dataclass(frozen=True)
class GroupSettings:
    """What a group is told.

    Attributes:
        database: SQLAlchemy's URL of Prefect's database; None for a file in the state folder.
        workers: Dask workers, where they are not one a GPU.
        cluster: "local", or "cuda" for one worker a GPU.
        memory_limit: of each worker, such as 8GiB; "auto": an even share of the machine's.
        ports: by part's name.
    """

    database: str | None = field(default=None, repr=False)
    workers: int = 2
    cluster: Literal["local", "cuda"] = "local"
    memory_limit: str = "auto"
    ports: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """For the state's file."""
        return asdict(self)

    @classmethod
    def kept(cls, state: State) -> GroupSettings:
        """What the group was told before; the defaults where it never was."""
        return cls(**read_json(state.settings))


def checked_database(url: str) -> str:
    """A database's URL as Prefect takes it.

    Raises:
        UsageError: it is of another kind.
    """
    url = url.strip()
    if url.startswith("postgresql://"):
        url = "postgresql+asyncpg://" + url.removeprefix("postgresql://")
    if (kind := urlsplit(url).scheme) not in DATABASES:
        remedy = "give postgresql+asyncpg://USER@HOST/NAME, its password by ISOVOX_DATABASE or @FILE"
        raise UsageError("database", f"a database of {' or '.join(DATABASES)}", repr(kind), remedy)
    return url


def free_ports(known: Mapping[str, int]) -> dict[str, int]:
    """A port for each server: the one it had, where that is free."""
    return {name: free_port(HOST, known.get(name, usual)) for name, usual in USUAL.items()}


@dataclass(frozen=True)
class Part:
    """One process of a group, and all that it starts.

    Attributes:
        name: in files and logs.
        title: for people.
        command: arguments of Python; never a secret, for all users of a machine see them.
        settings: environment, with secrets.
        after: the part that must live before this one is started.
        lives: whether it does; given when it was started, in seconds since 1970.
        url: of its page or its scheduler.
    """

    name: str
    title: str
    command: list[str]
    settings: Mapping[str, str] = field(repr=False)
    lives: Callable[[float], bool]
    after: str | None = None
    url: str = ""


def addresses(ports: Mapping[str, int]) -> tuple[str, str, str]:
    """Of Prefect's page, of MLflow's, and of Dask's scheduler."""
    return f"http://{HOST}:{ports['prefect']}", f"http://{HOST}:{ports['mlflow']}", f"tls://{HOST}:{ports['scheduler']}"


def client_environment(state: State, ports: Mapping[str, int]) -> dict[str, str]:
    """What any client of the group needs."""
    prefect, mlflow, dask = addresses(ports)
    return {
        "PREFECT_API_URL": f"{prefect}/api",
        "PREFECT_API_AUTH_STRING": prefect_login(state),
        "MLFLOW_TRACKING_URI": mlflow,
        "MLFLOW_TRACKING_USERNAME": ADMIN,
        "MLFLOW_TRACKING_PASSWORD": secret(state, "mlflow"),
        "ISOVOX_CLUSTER": dask,
        **certificates(state),
        "ISOVOX_POOL": POOL,
    }


def parts(state: State, settings: GroupSettings) -> list[Part]:
    """All of a group's, in the order of their start."""
    client = client_environment(state, settings.ports)
    prefect, mlflow, _ = addresses(settings.ports)
    supervised = [
        _prefect(state, settings, prefect, client["PREFECT_API_AUTH_STRING"]),
        _mlflow(state, mlflow),
        _scheduler(settings, client),
        _workers(state, settings, client),
        _pool_worker(state, client),
    ]
    return [_marked(state, part) for part in supervised]


def _marked(state: State, part: Part) -> Part:
    own = {MARK: f"{state.mark}/{part.name}", "PYTHONUNBUFFERED": "1", "PYTHONPATH": _path()}
    settings = {**past_proxies(os.environ), **part.settings, **own}
    return Part(**{**part.__dict__, "settings": settings})


def _path() -> str:
    """Where isovox lies: parts work in the state folder, and it may run from its sources."""
    return str(Path(__file__).resolve().parents[2])


def _prefect(state: State, settings: GroupSettings, url: str, login: str) -> Part:
    command, added = prefect_program(state.folder, url)
    added |= {"PREFECT_SERVER_API_AUTH_STRING": login, "PREFECT_API_AUTH_STRING": login}
    if settings.database:
        added["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = settings.database
    return Part("prefect", "Prefect", command, added, lambda _: health.closed_door(f"{url}/api/admin/version", login), url=url)


def _mlflow(state: State, url: str) -> Part:
    arguments, added = mlflow_door(state)
    command = [*mlflow_program(state.folder, url), *arguments]
    login = f"{ADMIN}:{secret(state, 'mlflow')}"
    return Part("mlflow", "MLflow", command, added, lambda _: health.closed_door(f"{url}/version", login), url=url)


def _scheduler(settings: GroupSettings, client: Mapping[str, str]) -> Part:
    command = ["-m", "infra.group.cluster", "scheduler", str(settings.ports["scheduler"])]
    url = client["ISOVOX_CLUSTER"]
    return Part("scheduler", "Dask scheduler", command, client, lambda _: health.speaks_tls(url, client), url=url)


def _workers(state: State, settings: GroupSettings, client: Mapping[str, str]) -> Part:
    folder = state.folder / "dask"
    folder.mkdir(exist_ok=True)
    arguments = [client["ISOVOX_CLUSTER"], str(settings.workers), str(folder), "--memory-limit", settings.memory_limit]
    command = ["-m", "infra.group.cluster", "workers", *arguments, *(["--cuda"] if settings.cluster == "cuda" else [])]
    alive = folder / "workers.json"
    return Part("workers", "Dask workers", command, client, lambda born: health.workers_alive(alive, born) > 0, "scheduler")


def _pool_worker(state: State, client: Mapping[str, str]) -> Part:
    """The process that runs flows; they find all services in its environment."""
    command = [
        "-m",
        "prefect",
        "worker",
        "start",
        "--pool",
        POOL,
        "--type",
        "process",
        "--name",
        POOL,
        "--install-policy",
        "never",
    ]
    api, login = client["PREFECT_API_URL"], client["PREFECT_API_AUTH_STRING"]
    home = state.folder / "prefect"
    added = {**client, "PREFECT_HOME": str(home), "PREFECT_PROFILES_PATH": str(home / "profiles.toml")}
    return Part("worker", "Prefect worker", command, added, lambda born: health.worker_online(api, login, born), "prefect")
