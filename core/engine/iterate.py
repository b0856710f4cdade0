"""The engine of methods with state: makes their steps, keeps the state of every few minutes, and goes on from it.

A state is kept beside the store, whole or not at all, with the digest of what it belongs to. How often follows from what it
costs: at most ``SHARE`` of the time goes into it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.errors import StoreError
from core.geometry.grid import Array
from core.io import files
from core.io.arrays.named_arrays import read_about, read_arrays, write_arrays
from core.methods.base import Piece
from core.methods.iterative import Beside, Figures, IterativeMethod, State

SHARE = 0.01  # of the time, that goes into keeping states
POINTS = 200  # of a figure, that are kept once a scan is restored

Tell = Callable[[int, int], object]

_log = logging.getLogger(__name__)


class Checkpoint:
    """Where the state of a restoration is kept.

    Args:
        uri: of the file, local or s3://….
        digest: of all that the restored scan depends on; a state with another digest is none.
        seconds: between two states at least.
        clock: gives seconds.
    """

    def __init__(self, uri: str, digest: str, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._uri, self._digest, self._seconds, self._clock = uri, digest, seconds, clock
        self._began = self._saved = clock()
        self._cost, self._spent = 0.0, 0.0  # of the last state, and of all
        self.before = 0.0  # seconds that the work of the state took that was loaded

    def load(self) -> State | None:
        """The state that was kept; None where there is none of this digest that is whole, and then the file is removed."""
        try:
            arrays, about = read_arrays(self._uri)
        except FileNotFoundError:
            return None
        except StoreError as error:
            _log.warning("a state is begun anew: %s", error)
            self.remove()
            return None
        if about["digest"] != self._digest:
            self.remove()
            return None
        self.before = float(about.get("seconds", 0.0))
        figures = {name: [(int(step), float(value)) for step, value in rows] for name, rows in about["figures"].items()}
        return State(arrays, about["values"], figures, about["step"], about["finished"])

    def save(self, state: State) -> None:
        """Keep a state."""
        start = self._clock()
        seconds = self.before + start - self._began
        about = {"digest": self._digest, "step": state.step, "finished": state.finished, "seconds": seconds}
        write_arrays(self._uri, state.arrays, about | {"values": state.values, "figures": state.figures})
        self._saved = self._clock()
        self._cost = self._saved - start
        self._spent += self._cost

    def offer(self, state: State) -> None:
        """Keep a state where it is time, and one more that costs as the last leaves all within their share."""
        now = self._clock()
        if now - self._saved >= self._seconds and self._spent + self._cost <= SHARE * (now - self._began):
            self.save(state)

    def remove(self) -> None:
        """Remove what was kept; nothing where there is none."""
        files.remove(self._uri)


def made_of(uri: str) -> str | None:
    """The digest in the file of a state; None where it cannot be told."""
    try:
        digest: str = read_about(uri)["digest"]
    except (FileNotFoundError, StoreError):
        return None
    return digest


@dataclass
class Driver:
    """A method with state in the place of ``Method.restore_many``; for scans that are one tile.

    Attributes:
        method: how.
        checkpoint: where the state is kept; None where it is not.
        tell: told after each step how many were made, of how many at most.
        figures: what the steps of the last restoration told.
        beside: its maps and figures.
        step_seconds: what a step took on average; None where none was left to make.
    """

    method: IterativeMethod[Any]
    checkpoint: Checkpoint | None = None
    tell: Tell | None = None
    figures: Figures = field(default_factory=dict)
    beside: Beside = field(default_factory=Beside)
    step_seconds: float | None = None

    def __call__(self, pieces: Sequence[Piece]) -> list[list[Array]]:
        """Restore each piece by steps, from the state that was kept where there is one.

        Raises:
            RestorationError: where the method cannot give a finite answer.
        """
        return [self._restore(piece) for piece in pieces]

    def _restore(self, piece: Piece) -> list[Array]:
        problem = self.method.prepare(piece.measured, piece.target)
        state = self.checkpoint.load() if self.checkpoint else None
        if state is None:
            state = self.method.start(problem)
        else:
            _log.info("goes on from step %d of %d", state.step, self.method.total())
        begun, start = state.step, time.monotonic()
        for _ in self.method.steps(problem, state):
            if self.tell:
                self.tell(state.step, self.method.total())
            if self.checkpoint:
                self.checkpoint.offer(state)
        made = state.step - begun
        self.step_seconds = (time.monotonic() - start) / made if made else None
        self.figures, self.beside = state.figures, self.method.beside(problem, state)
        return self.method.result(problem, state)


def thinned(figures: Figures) -> Figures:
    """At most ``POINTS`` points of each figure, evenly over the steps, the first and the last among them."""
    return {name: _thinned(rows) for name, rows in figures.items()}


def _thinned(rows: list[tuple[int, float]]) -> list[tuple[int, float]]:
    if len(rows) <= POINTS:
        return list(rows)
    return [rows[round(n * (len(rows) - 1) / (POINTS - 1))] for n in range(POINTS)]
