"""Bringing a group up and down: ``isovox up`` and ``isovox down``."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from core.errors import UsageError
from infra.clusters import gpu_names
from infra.group.parts import GroupSettings, checked_database, client_environment, free_ports
from infra.group.secrets import all_secrets, redacted
from infra.group.state import MARK, State, read_json, write_private
from infra.group.supervisor import LONGEST_WAIT, supervise, sweep
from infra.quiet import ServiceError

UP = 600.0  # seconds within which all parts answer; the first start makes databases
DOWN = 60.0  # seconds within which all have ended
HOPELESS = 3  # deaths of a part before it was ever well


def up(state: State, changes: dict[str, Any], note: Callable[[str], None] = lambda _: None) -> bool:
    """Bring a group up, in the background; returns when all parts are well.

    Args:
        state: the group's.
        changes: fields of ``GroupSettings`` to change; what was told before is kept.
        note: given a line as each part comes up; never a secret.

    Returns:
        False where it was up already.

    Raises:
        UsageError: settings that cannot be.
        ServiceError: a part does not start; nothing is left running.
    """
    if state.held():
        _wait(state, note)
        return False
    for last in (False, False, True):
        settings = prepare(state, changes)
        try:
            _start(state, note)
        except ServiceError:
            if last or free_ports(settings.ports) == settings.ports:
                raise
            note("a port was taken by another program meanwhile: others are tried")
        else:
            break
    return True


def _start(state: State, note: Callable[[str], None]) -> None:
    """Start the supervisor in the background, until all parts are well; else nothing is left running."""
    with (state.logs / "supervisor.log").open("ab") as log:
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "infra.group.reviver", str(state.folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=state.folder,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2]), MARK: f"{state.mark}/supervisor"},
        )
    try:
        _wait(state, note, process)
    except BaseException:
        process.terminate()
        down(state)
        raise


def prepare(state: State, changes: dict[str, Any]) -> GroupSettings:
    """Make or renew the folder, its secrets and its settings; end what an earlier supervisor's death left."""
    settings = replace(GroupSettings.kept(state), **changes)
    if settings.database:
        settings = replace(settings, database=checked_database(settings.database))
    if settings.cluster == "cuda" and not gpu_names():
        raise ServiceError("gpu-missing", "a GPU for --cluster cuda", "none that nvidia-smi lists", "use --cluster local")
    if settings.workers < 1:
        raise UsageError("workers", "at least 1 worker", str(settings.workers), "give --workers 1 or more")
    state.make()
    sweep(state.mark)
    state.status.unlink(missing_ok=True)
    settings = replace(settings, ports=free_ports(settings.ports))
    write_private(state.settings, json.dumps(settings.to_json()))
    client_environment(state, settings.ports)  # draws the secrets, so that a fault shows here
    return settings


def foreground(state: State, changes: dict[str, Any]) -> None:
    """Bring a group up and keep it in this process, until Ctrl-C or SIGTERM."""
    state.make()
    with state.locked():
        prepare(state, changes)
        supervise(state)


def _wait(state: State, note: Callable[[str], None], process: subprocess.Popen[bytes] | None = None) -> None:
    """Until all parts are well."""
    end, start, noted = time.monotonic() + UP, time.monotonic(), set[str]()
    while True:
        parts = read_json(state.status).get("parts", {})
        for name, part in parts.items():
            if part["condition"] == "healthy" and name not in noted:
                noted.add(name)
                note(f"{part['title']}: up after {time.monotonic() - start:.0f} s {part['url']}".rstrip())
        if parts and len(noted) == len(parts):
            return
        _check(state, parts, noted, process, late=time.monotonic() > end)
        time.sleep(0.2)


def _check(state: State, parts: dict[str, Any], noted: set[str], process: subprocess.Popen[bytes] | None, *, late: bool) -> None:
    if process is not None and process.poll() is not None:
        raise _fault(state, "supervisor", "the supervisor running", "service-died")
    for name, part in parts.items():
        if name not in noted and part["deaths"] >= HOPELESS:
            raise _fault(state, name, f"{part['title']} running", "service-died")
    if late:
        missing = ", ".join(part["title"] for name, part in parts.items() if name not in noted) or "the supervisor"
        raise _fault(state, "supervisor", f"{missing} up within {UP:.0f} s", "service-late")


def _fault(state: State, name: str, wanted: str, code: str) -> ServiceError:
    log = state.logs / f"{name}.log"
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()] if log.exists() else []
    telling = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)]  # an exception's last line
    words = redacted([*lines, *telling][-1][-200:] if lines else "no word", all_secrets(state))
    return ServiceError(code, wanted, words, f"see {log}")


def down(state: State) -> bool:
    """End a group and all that it started; whether anything ran."""
    was_up = state.held()
    if was_up and (supervisor := _supervisor(state)):
        supervisor.terminate()
        try:
            supervisor.wait(DOWN)
        except psutil.TimeoutExpired:
            supervisor.kill()
    left = sweep(state.mark)
    for path in (state.environment, state.status):
        path.unlink(missing_ok=True)
    return was_up or left > 0


def _supervisor(state: State) -> psutil.Process | None:
    """The process that holds the group; waits for one that begins just now."""
    end = time.monotonic() + LONGEST_WAIT
    while state.held() and time.monotonic() < end:
        if (process := _told_by(read_json(state.status))) is not None:
            return process
        time.sleep(0.1)
    return None


def _told_by(status: dict[str, Any]) -> psutil.Process | None:
    """The process that a group's status names; None before it is written, and where it is gone."""
    try:
        process = psutil.Process(status["pid"])
        return process if abs(process.create_time() - status["born"]) < 1 else None
    except (KeyError, psutil.Error):
        return None
