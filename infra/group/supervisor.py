"""Keeps the parts of a group alive: ``python -m infra.group.supervisor STATE_DIR``, as ``isovox up`` has it started.

A part that dies, or says nothing for long, is started again, each time after a longer wait. When this process ends, however it
ends, so do the parts: each is run by ``infra.processes.guard``, which waits for the end of a pipe from here. Where it was killed,
``infra.group.reviver`` starts it again, and it starts them.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import psutil

from infra.group.parts import GroupSettings, Part, client_environment, parts
from infra.group.state import MARK, POOL, State, write_environment, write_private
from infra.group.sweeper import Sweeper
from infra.processes import guard
from infra.processes.signals import Terminated, terminable
from infra.services import guarded

Condition = Literal["waiting", "starting", "healthy", "silent"]

TICK = 0.5  # seconds between two looks at all parts
LOOK = 10.0  # seconds between two questions to a part that is well
LATE = 300.0  # seconds within which a part answers after its start; a first start makes databases
SILENT = 120.0  # seconds without an answer after which a part that runs counts as hung
WELL = 60.0  # seconds of health after which its earlier deaths are forgotten
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds before it is started again, doubled each time
LARGEST_LOG = 16 * 2**20  # bytes, above which a log is put aside at the next start


@dataclass
class Keeper:
    """Keeps one part alive.

    Attributes:
        part: which.
        state: of the group.
        condition: waiting (for its turn), starting, healthy, or silent.
        restarts: since the supervisor began.
    """

    part: Part
    state: State
    condition: Condition = "waiting"
    restarts: int = 0
    deaths: int = 0
    process: subprocess.Popen[bytes] | None = None
    _due: float = 0.0  # when it may be started, by the monotonic clock
    _born: float = 0.0
    _asked: float = 0.0
    _heard: float = 0.0
    _well_since: float = field(default=0.0)

    def look(self, healthy: set[str]) -> None:
        """Start it, ask it, or note its end, as is due."""
        now = time.monotonic()
        if self.process is None:
            if now >= self._due and (self.part.after is None or self.part.after in healthy):
                self._start(now)
        elif self.process.poll() is not None:
            self._bury(now, f"ended with status {self.process.returncode}")
        elif now - self._asked >= (LOOK if self.condition == "healthy" else TICK):
            self._ask(now)

    def _start(self, now: float) -> None:
        sweep(f"{self.state.mark}/{self.part.name}")  # what a guard that was killed left; it would hold the port
        self._born, self._heard, self.condition = time.time(), now, "starting"
        with _log(self.state, self.part.name).open("ab") as log:
            self.process = guarded(self.part.command, self.part.settings, self.state.folder, log)

    def _ask(self, now: float) -> None:
        self._asked = now
        if self.part.lives(self._born):
            if self.condition != "healthy":
                say(f"{self.part.title}: up after {time.time() - self._born:.0f} s")
                self._well_since = now
            self.condition, self._heard = "healthy", now
            if now - self._well_since > WELL:
                self.deaths = 0
        elif now - self._heard > (LATE if self.condition == "starting" else SILENT):
            self.stop()
            self._bury(now, f"said nothing for {now - self._heard:.0f} s")
        elif self.condition == "healthy":
            self.condition = "silent"

    def _bury(self, now: float, how: str) -> None:
        pause = min(FIRST_WAIT * 2**self.deaths, LONGEST_WAIT)
        say(f"{self.part.title}: {how}; started again in {pause:.0f} s, see {_log(self.state, self.part.name)}")
        self.process, self.condition, self._due = None, "waiting", now + pause
        self.deaths += 1
        self.restarts += 1

    def stop(self) -> None:
        """Ask it to end; its guard sees to it."""
        if self.process is not None and self.process.stdin:
            self.process.stdin.close()

    def wait(self) -> None:
        """Until it has ended."""
        if self.process is not None:
            try:
                self.process.wait(guard.GRACE + 5)
            except subprocess.TimeoutExpired:
                self.process.kill()

    def told(self) -> dict[str, Any]:
        """For the state's file."""
        known = {"title": self.part.title, "condition": self.condition, "restarts": self.restarts, "deaths": self.deaths}
        return known | {"url": self.part.url, "pid": self.process.pid if self.process else None}


def _log(state: State, name: str) -> Path:
    """The log of a part; one that grew large is put aside."""
    path = state.logs / f"{name}.log"
    if path.exists() and path.stat().st_size > LARGEST_LOG:
        path.replace(path.with_suffix(".log.1"))
    return path


def say(text: str) -> None:
    """To the supervisor's own log."""
    sys.stderr.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {text}\n")
    sys.stderr.flush()


def supervise(state: State, *, until: Callable[[], bool] = lambda: False) -> None:
    """Keep all parts alive until SIGTERM comes; then end them, the flows' worker first.

    Args:
        state: made, with its settings.
        until: asked at each look; ends it too.
    """
    settings = GroupSettings.kept(state)
    keepers = [Keeper(part, state) for part in parts(state, settings)]
    try:
        with terminable():
            client = client_environment(state, settings.ports)
            write_environment(state, client)
            sweeper = Sweeper(client["PREFECT_API_URL"], client["PREFECT_API_AUTH_STRING"], POOL)
            _keep(state, keepers, sweeper, until)
    except (Terminated, KeyboardInterrupt):
        say("told to end")
    finally:
        before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _end(state, keepers)
        signal.signal(signal.SIGTERM, before)


def _keep(state: State, keepers: list[Keeper], sweeper: Sweeper, until: Callable[[], bool]) -> None:
    noted = ""
    while not until():
        healthy = {keeper.part.name for keeper in keepers if keeper.condition == "healthy"}
        for keeper in keepers:
            keeper.look(healthy)
        if (now := repr([keeper.told() for keeper in keepers])) != noted:
            noted = now
            _write_status(state, keepers)
        for line in sweeper.look() if "prefect" in healthy else ():
            say(line)
        time.sleep(TICK)


def _write_status(state: State, keepers: Iterable[Keeper]) -> None:
    own = {"pid": os.getpid(), "born": psutil.Process().create_time()}
    write_private(state.status, json.dumps(own | {"parts": {keeper.part.name: keeper.told() for keeper in keepers}}, indent=1))


def _end(state: State, keepers: list[Keeper]) -> None:
    last, others = keepers[-1], keepers[:-1]
    for some in ([last], others):
        for keeper in some:
            keeper.stop()
        for keeper in some:
            keeper.wait()
    sweep(state.mark)
    state.environment.unlink(missing_ok=True)
    state.status.unlink(missing_ok=True)
    say("ended")


def sweep(mark: str) -> int:
    """End every process of a group, or of one of its parts, whoever its parent is by now; how many there were.

    Args:
        mark: of the group, or of the group and a part's name.
    """
    processes = list(_marked(mark))
    for process in processes:
        with suppress(psutil.Error):
            process.terminate()
    _, left = psutil.wait_procs(processes, timeout=guard.GRACE)
    for process in left:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(left, timeout=5)
    return len(processes)


def _marked(mark: str) -> Iterable[psutil.Process]:
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid not in {os.getpid(), os.getppid()} and f"{process.environ().get(MARK)}/".startswith(f"{mark}/"):
                yield process


def main(argv: list[str]) -> int:
    """Supervise the group of a state folder.

    Returns:
        0 after the end that was asked for.
    """
    state = State.at(Path(argv[0]))
    with state.locked():
        supervise(state)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
