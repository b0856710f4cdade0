"""The command ``isovox up``: the services of a group on this machine."""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cli.helpers.console import OK, say
from core.errors import UsageError

if TYPE_CHECKING:
    from infra.group.state import State

HELP = "folder of the group's databases, secrets and logs (default: group in isovox's own folder)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.add_argument("state_dir", nargs="?", type=Path, metavar="STATE_DIR", help=HELP)
    database = "of Prefect: postgresql+asyncpg://USER@HOST/NAME; @FILE reads it from a file, as one with a password must be, or "
    parser.add_argument("--database", metavar="URL", help=database + "set ISOVOX_DATABASE (default: a sqlite file)")
    parser.add_argument("--workers", type=int, metavar="N", help="of the Dask cluster (default: 2)")
    parser.add_argument("--cluster", choices=("local", "cuda"), help="kind of its workers; cuda: one a GPU (default: local)")
    parser.add_argument("--memory-limit", metavar="SIZE", help="of each worker, such as 8GiB (default: an even share)")
    parser.add_argument("--foreground", action="store_true", help="stay, and end all with Ctrl-C")


def _told(options: argparse.Namespace) -> dict[str, Any]:
    """What this call changes of the group's settings."""
    given = {name: getattr(options, name) for name in ("workers", "cluster", "memory_limit")}
    return {name: value for name, value in (given | {"database": _database(options.database)}).items() if value is not None}


def _database(said: str | None) -> str | None:
    if said is None:
        return os.environ.get("ISOVOX_DATABASE") or None
    if said.startswith("@"):
        try:
            return Path(said[1:]).expanduser().read_text(encoding="utf-8").strip()
        except OSError as error:
            raise UsageError("database", "a file with the database's URL", str(error), "name one that can be read") from error
    if urlsplit(said).password:
        remedy = "put the URL into a file and give --database @FILE, or set ISOVOX_DATABASE"
        raise UsageError(
            "password-shown", "no password among arguments, which all users of a machine see", "one in --database", remedy
        )
    return said


def execute(options: argparse.Namespace) -> int:
    """Bring the services up and say where they are; never a secret."""
    from infra.group.launch import foreground
    from infra.group.launch import up as bring_up
    from infra.group.state import State

    state, changed = State.at(options.state_dir), _told(options)
    if options.foreground:
        foreground(state, changed)
        return OK
    if not bring_up(state, changed, say):
        say(f"already up in {state.folder}" + ("; isovox down first, to change its settings" if changed else ""))
    _say_where(state)
    return OK


def _say_where(state: State) -> None:
    from infra.group.state import environment
    from infra.programs import runs_page

    client = environment(state.folder)
    login = f"{client['MLFLOW_TRACKING_USERNAME']}:{client['MLFLOW_TRACKING_PASSWORD']}"
    say(f"runs: {client['PREFECT_API_URL'].removesuffix('/api')}/runs and {runs_page(client['MLFLOW_TRACKING_URI'], login)}")
    folder, file = (shlex.quote(str(path)) for path in (state.folder, state.environment))
    say(f"addresses and passwords: {state.environment}, for your eyes only; in a shell: set -a; . {file}; set +a")
    say(f"logs: {state.logs}; isovox doctor {folder} looks at each part; isovox down {folder} ends them")
