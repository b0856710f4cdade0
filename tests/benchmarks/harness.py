"""What every benchmark is made of: both sides measured in turns in one process, and rows that say whether the aim is met.

A module ``goalN_name.py`` has ``rows()`` and ends with ``if __name__ == "__main__": tell(rows())``; the command
``python -m tests.benchmarks`` runs each in a process of its own, with one thread, and prints all rows as one table.
"""

from __future__ import annotations

import importlib.util
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def faster(goal: int, what: str, ours: float, peer: float, times: float) -> Row:
    """A row of seconds: we take at most ``1 / times`` of what the peer takes."""
    ratio = peer / ours
    return {"goal": goal, "what": what, "ours": ours, "peer": peer, "ratio": ratio, "aim": f">= {times:g}", "met": ratio >= times}


def share(goal: int, what: str, ours: float, peer: float, most: float) -> Row:
    """A row of anything that is better small: ours is at most ``most`` of the peer's."""
    ratio = ours / peer
    return {"goal": goal, "what": what, "ours": ours, "peer": peer, "ratio": ratio, "aim": f"<= {most:g}", "met": ratio <= most}


def within(goal: int, what: str, ours: float, most: float, peer: float | None = None) -> Row:
    """A row of a figure with a limit of its own; the peer's is told for comparison."""
    aim = f"ours <= {most:g}"
    return {"goal": goal, "what": what, "ours": ours, "peer": peer, "ratio": None, "aim": aim, "met": ours <= most}


def missing(goal: int, what: str, package: str) -> Row:
    """A row that could not be measured for want of a package."""
    return {"goal": goal, "what": f"{what}: {package} is not installed", "ours": None, "peer": None, "ratio": None, "met": None}


def installed(package: str) -> bool:
    """Whether a peer's package is there."""
    return importlib.util.find_spec(package) is not None


def in_turns(works: Sequence[Callable[[], object]], rounds: int, clock: Callable[[], float] = time.process_time) -> list[float]:
    """Median seconds of each, measured in turns after one round to warm up; CPU seconds, unless another clock is given."""
    taken: list[list[float]] = [[] for _ in works]
    for _ in range(rounds + 1):
        for work, seconds in zip(works, taken, strict=True):
            start = clock()
            work()
            seconds.append(clock() - start)
    return [statistics.median(seconds[1:]) for seconds in taken]


def _status(name: str) -> int:
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)]
    return 1024 * int(line.split()[1])


def peak_growth(work: Callable[[], object]) -> int:
    """Bytes by which the process's resident memory rose at most while working (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")  # sets the peak back to what is resident now
    before = _status("VmRSS")
    work()
    return _status("VmHWM") - before


def tell(rows: Iterable[Row]) -> None:
    """Write rows to the standard output, for the process that collects them."""
    json.dump(list(rows), sys.stdout, indent=2)
