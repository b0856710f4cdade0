"""The folder in which a group's services keep what they keep, and what a client must know to use them.

    STATE_DIR/
      environment    what a client needs, KEY=VALUE; there only while the group is up
      settings.json  what ``isovox up`` was told, and the ports; with a database's password where its URL holds one
      group.json     the supervisor and its parts, as they are now
      lock           held by the supervisor as long as it lives
      secrets/       passwords and keys
      logs/          of each part
      prefect/ mlflow.db mlflow-users.db mlartifacts/   databases and artifacts

The folder can be entered by its owner alone, and each file with a secret is of mode 600 from its first byte.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import BusyError
from infra.home import home
from infra.quiet import QUIET, ServiceError

POOL = "isovox"
TAG = "isovox"  # of its flow runs
AGAIN = "begun-anew"  # of one that crashed and was begun anew
MARK = "ISOVOX_PART"  # in the environment of each process of a group: whose it is


@dataclass(frozen=True)
class State:
    """The files of one group.

    Attributes:
        folder: absolute.
    """

    folder: Path

    @classmethod
    def at(cls, folder: Path | None) -> State:
        """Of a folder; None for the user's own group."""
        return cls((folder or home() / "group").expanduser().resolve())

    def make(self) -> None:
        """Make the folder, for its owner alone."""
        for folder in (self.folder, self.secrets, self.logs):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)

    @property
    def environment(self) -> Path:
        """What a client needs."""
        return self.folder / "environment"

    @property
    def settings(self) -> Path:
        """What the group was told."""
        return self.folder / "settings.json"

    @property
    def status(self) -> Path:
        """The supervisor and its parts."""
        return self.folder / "group.json"

    @property
    def secrets(self) -> Path:
        """The folder of passwords and keys."""
        return self.folder / "secrets"

    @property
    def logs(self) -> Path:
        """The folder of what each part says."""
        return self.folder / "logs"

    @property
    def mark(self) -> str:
        """Of this group's processes, in their environment."""
        return hashlib.sha256(str(self.folder).encode()).hexdigest()[:16]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the group; the kernel lets go however this process ends.

        Raises:
            BusyError: another process holds it.
        """
        with (self.folder / "lock").open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                got = f"one that runs the group in {self.folder}"
                raise BusyError("group-up", "one supervisor of a group", got, "end it by isovox down") from error
            yield

    def held(self) -> bool:
        """Whether a supervisor lives."""
        if not self.folder.is_dir():
            return False
        try:
            with self.locked():
                return False
        except BusyError:
            return True


def write_private(path: Path, text: str) -> None:
    """Write a file that its owner alone can read, whole or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """What a file says; empty where there is none or it is torn."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_environment(state: State, values: Mapping[str, str]) -> None:
    """Say what a client needs, as a shell reads it."""
    write_private(state.environment, "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items()))


def environment(state_dir: Path | None = None) -> dict[str, str]:
    """What a client of a group needs: addresses, passwords, certificates' files.

    Args:
        state_dir: the group's folder; None for the user's own.

    Returns:
        names and values; empty where no group is up.
    """
    try:
        lines = State.at(state_dir).environment.read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return {name: " ".join(shlex.split(value)) for name, value in pairs}


def enter(state_dir: Path | None = None) -> dict[str, str]:
    """Make this process a client of a group, before prefect or mlflow is imported.

    Where no group is up here, what the environment says already (a container's, a cluster's) is kept.

    Args:
        state_dir: the group's folder; None for the user's own.

    Returns:
        what was added to ``os.environ``.

    Raises:
        ServiceError: no group is up, and the environment names no Prefect server either.
    """
    variables = environment(state_dir)
    if not variables and (state_dir is not None or "PREFECT_API_URL" not in os.environ):
        folder = State.at(state_dir).folder
        raise ServiceError(
            "no-group", f"a group's services, up in {folder}", "none", f"start it: isovox up {shlex.quote(str(folder))}"
        )
    added = {name: value for name, value in QUIET.items() if name not in os.environ} | past_proxies(os.environ) | variables
    os.environ.update(added)
    return added


def past_proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """Settings by which loopback is asked directly where a machine's web goes by a proxy."""
    known = (environ.get("NO_PROXY") or environ.get("no_proxy") or "").split(",")
    places = ",".join(dict.fromkeys([*filter(None, known), "127.0.0.1", "localhost"]))
    return {"NO_PROXY": places, "no_proxy": places}
