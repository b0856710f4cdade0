"""What ``isovox doctor`` says of a group: each part asked, each door tried without its key."""

from __future__ import annotations

import shlex
import stat
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

from infra.doctor import Check
from infra.group import health
from infra.group.parts import GroupSettings, addresses
from infra.group.secrets import ends
from infra.group.state import State, environment, read_json

SOON = timedelta(days=30)


def group_checks(state: State, *, asked: bool = True) -> Iterator[Check]:
    """Look at a group, in seconds.

    Args:
        state: the group's.
        asked: the user named it: say so where it is not up.
    """
    client = environment(state.folder)
    if not state.held():
        remedy = f"isovox up {shlex.quote(str(state.folder))}"
        if client:
            yield Check("group", "missing", f"its supervisor in {state.folder} was killed", remedy)
        elif asked:
            yield Check("group", "optional", f"not up in {state.folder}", remedy)
        return
    yield _supervisor(state)
    if not client:
        return
    for look in (_prefect, _mlflow, _worker, _dask):
        yield from look(state, client)
    yield from _secrets(state)


def _supervisor(state: State) -> Check:
    parts = read_json(state.status).get("parts", {})
    worse = {part["title"]: part["condition"] for part in parts.values() if part["condition"] != "healthy"}
    restarts = sum(part["restarts"] for part in parts.values())
    description = f"up in {state.folder}, {restarts} restarts of parts"
    if not worse and parts:
        return Check("group", "ok", description)
    words = ", ".join(f"{title} {condition}" for title, condition in worse.items()) or "nothing started yet"
    return Check("group", "warning", f"{description}; {words}", f"see {state.logs}")


def _door(name: str, state: State, url: str, login: str) -> Check:
    """A server that lets in who knows the password, and no other."""
    within, without = health.ask(url, login)[0], health.ask(url)[0]
    if within == 200 and without == 401:
        return Check(name, "ok", "answers, and asks for its password")
    if within == 200:
        return Check(name, "missing", f"lets in who has no password ({without})", "isovox down, then isovox up")
    words = "no answer" if within == 0 else f"refuses its own password ({within})"
    return Check(name, "missing", words, f"see {state.logs}")


def _prefect(state: State, client: Mapping[str, str]) -> Iterator[Check]:
    login = client["PREFECT_API_AUTH_STRING"]
    yield _door("group's Prefect", state, f"{client['PREFECT_API_URL']}/admin/version", login)


def _mlflow(state: State, client: Mapping[str, str]) -> Iterator[Check]:
    login = f"{client['MLFLOW_TRACKING_USERNAME']}:{client['MLFLOW_TRACKING_PASSWORD']}"
    yield _door("group's MLflow", state, f"{client['MLFLOW_TRACKING_URI']}/version", login)


def _worker(state: State, client: Mapping[str, str]) -> Iterator[Check]:
    online = health.worker_online(client["PREFECT_API_URL"], client["PREFECT_API_AUTH_STRING"])
    remedy = "" if online else f"see {state.logs / 'worker.log'}"
    description = f"{'online' if online else 'not heard of lately'} in pool {client['ISOVOX_POOL']}"
    yield Check("group's worker", "ok" if online else "missing", description, remedy)


def _dask(state: State, client: Mapping[str, str]) -> Iterator[Check]:
    settings, address = GroupSettings.kept(state), addresses(GroupSettings.kept(state).ports)[2]
    alive = health.workers_alive(state.folder / "dask" / "workers.json")
    words = f"{alive} workers ({settings.cluster})"
    if not health.speaks_tls(address, client):
        yield Check("group's Dask", "missing", "no answer by its certificates", f"see {state.logs / 'scheduler.log'}")
    elif health.speaks_tls(address, None):
        yield Check("group's Dask", "missing", "lets in who has no certificate", "isovox down, then isovox up")
    elif alive < (1 if settings.cluster == "cuda" else settings.workers):
        yield Check("group's Dask", "warning", words, f"see {state.logs / 'workers.log'}")
    else:
        yield Check("group's Dask", "ok", f"{words}, to those with a certificate")


def _secrets(state: State) -> Iterator[Check]:
    files = [state.environment, state.settings, *state.secrets.iterdir()]
    open_ = [path.name for path in files if stat.S_IMODE(path.stat().st_mode) & 0o077]
    if open_ or stat.S_IMODE(state.folder.stat().st_mode) & 0o077:
        words = f"{', '.join(open_) or state.folder} can be read by others"
        yield Check("group's secrets", "warning", words, f"chmod -R go= {state.folder}")
    else:
        yield Check("group's secrets", "ok", f"{len(files)} files, for their owner alone")
    end = ends(state.secrets / "dask-cert.pem")
    good = end > datetime.now(UTC) + SOON
    remedy = "" if good else "isovox down, then isovox up, makes new ones"
    yield Check("group's certificates", "ok" if good else "warning", f"good until {end:%Y-%m-%d}", remedy)
