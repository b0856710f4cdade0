"""Starts a group's supervisor again where it was killed: ``python -m infra.group.reviver STATE_DIR``, which ``isovox up`` starts.

It does nothing else, so there is little that could end it; when the supervisor ends because it was told to, so does this.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from threading import Event

from infra.group.supervisor import FIRST_WAIT, LONGEST_WAIT, WELL, say

EARLY = 10.0  # seconds within which a supervisor that ends by a fault of its own would only do so again


def revive(
    start: Callable[[], subprocess.Popen[bytes]], ending: Event, *, first: float = FIRST_WAIT, early: float = EARLY
) -> int:
    """Keep what ``start`` starts alive until it ends well; each time after a longer wait; a while of health shortens it.

    Args:
        start: the supervisor.
        ending: set once this is to end.
        first: seconds before the first new start.
        early: seconds within which a fault ends it for good; a kill never does.

    Returns:
        its exit status.
    """
    pause = first
    while True:
        born = time.monotonic()
        process = start()
        status = _ended(process, ending)
        lived = time.monotonic() - born
        if ending.is_set() or status == 0 or (status > 0 and lived < early):
            return status
        pause = first if lived > WELL else min(2 * pause, LONGEST_WAIT)
        say(f"the supervisor ended with status {status}; started again in {pause:.0f} s")
        if ending.wait(pause):
            return 0


def _ended(process: subprocess.Popen[bytes], ending: Event) -> int:
    """The status of a process once it has ended; it is told to where this one is."""
    asked = False
    while (status := process.poll()) is None:
        if ending.wait(0.2) and not asked:
            process.terminate()
            asked = True
        elif asked:
            time.sleep(0.2)
    return status


def main(argv: list[str]) -> int:
    """Keep the supervisor of a state folder alive."""
    ending = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ending.set())
    return revive(lambda: subprocess.Popen([sys.executable, "-m", "infra.group.supervisor", argv[0]]), ending)  # noqa: S603


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
