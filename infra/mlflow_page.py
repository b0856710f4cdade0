"""An MLflow server in this very process: ``python -m infra.mlflow_page server …``, as mlflow's own command.

That command starts its server as a child, which would outlive it where it is killed outright.
"""

from __future__ import annotations

import os
from typing import Any, NoReturn


def _in_place(command: list[str], *, extra_env: dict[str, str] | None = None, **_: Any) -> NoReturn:
    os.execvpe(command[0], command, {**os.environ, **(extra_env or {})})  # noqa: S606 - what mlflow would run as a child


def main() -> None:
    """Serve until told to end."""
    from mlflow import cli, server

    vars(server)["_exec_cmd"] = _in_place  # mlflow has no other way to serve without a child
    cli.cli()


if __name__ == "__main__":
    main()
