"""How far work has come, how fast it goes and how long it will still take: from events, in a line."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

from tasks.events import Advanced, Began, Event, Reached

RECENT = 120.0  # seconds over which the rate is taken
SURE = 0.2  # share of the work from which the time left follows what was measured alone, and no more the forecast
AT_ONCE = 1.0  # seconds within which what is told was done by an earlier run


@dataclass(frozen=True)
class Standing:
    """How far work has come.

    Attributes:
        doing: what is done, such as "restoring".
        per_cent: of all the work.
        counts: how many of how many, by what is counted.
        rate: of what is counted finest and not over, a second; None where that is not known.
        unit: what that is.
        left: seconds, or None where nobody can know.
    """

    doing: str
    per_cent: float
    counts: dict[str, tuple[int, int]]
    rate: float | None
    unit: str
    left: float | None

    def text(self) -> str:
        """All but what is done, in a line."""
        parts = [f"{self.per_cent:.0f} %"] + ([] if self.left is None or self.per_cent >= 100 else [f"{spoken(self.left)} left"])
        parts += [f"{done}/{total} {unit}" for unit, (done, total) in self.counts.items()]
        if self.rate:
            each = f"{_figure(1 / self.rate)} s a {self.unit.removesuffix('s')}"
            parts.append(f"{_figure(self.rate)} {self.unit}/s" if self.rate >= 1 else each)
        return ", ".join(parts)

    def line(self) -> str:
        """In a line."""
        return f"{self.doing}: {self.text()}"

    def to_json(self) -> dict[str, object]:
        """For another process; ``of_json`` reads it."""
        return asdict(self)

    @classmethod
    def of_json(cls, value: Mapping[str, object]) -> Standing:
        """What ``to_json`` gave.

        Raises:
            TypeError, ValueError: it gave something else.
        """
        standing = cls(**value)  # type: ignore[arg-type]
        float(standing.per_cent)
        return standing


def _figure(value: float) -> str:
    """A number of at least two digits, without an exponent."""
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def spoken(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    minutes = seconds / 60
    return f"about {round(minutes)} min" if minutes < 90 else f"about {minutes / 60:.1f} h"


class Course:
    """Hears of work as it goes on; safe from several threads.

    Args:
        doing: what is done, such as "restoring".
        totals: how many there are to do, by what is counted; the finest last.
        forecast: seconds that all of it was said to take; None where nobody said.
        clock: gives seconds.
    """

    def __init__(
        self, doing: str, totals: Mapping[str, int], forecast: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._doing, self._forecast, self._clock = doing, forecast, clock
        self._totals = {unit: total for unit, total in totals.items() if total}
        self._done = dict.fromkeys(self._totals, 0)
        self._reached: float | None = None
        self._lock = threading.Lock()
        self._start = clock()
        self._before = 0.0  # share that an earlier run had done
        self._steps: deque[tuple[float, str, int]] = deque()

    def hear(self, event: Event) -> None:
        """Take an event in."""
        with self._lock:
            now = self._clock()
            if isinstance(event, Reached):
                self._reached = event.per_cent / 100
            elif isinstance(event, Began):
                self._totals[event.unit], self._done[event.unit] = event.total, 0
            elif isinstance(event, Advanced) and event.unit in self._totals:
                self._done[event.unit] = min(self._done[event.unit] + event.count, self._totals[event.unit])
                self._steps.append((now, event.unit, event.count))
                if event.count > 1 and now - self._start < AT_ONCE:
                    self._before = self._share()
                    self._steps.clear()

    def _share(self) -> float:
        """Of all the work that is done, from 0 to 1."""
        if self._reached is not None:
            return self._reached
        shares = [self._done[unit] / total for unit, total in self._totals.items() if total]
        return shares[-1] if shares else 0.0

    def standing(self) -> Standing:
        """How far it is now."""
        with self._lock:
            now, share = self._clock(), self._share()
            while self._steps and now - self._steps[0][0] > RECENT:
                self._steps.popleft()
            under_way = [unit for unit, total in self._totals.items() if 0 < self._done[unit] < total]
            unit = under_way[-1] if under_way else ""
            moved = sum(count for _, each, count in self._steps if each == unit)
            spent = now - (self._steps[0][0] if len(self._steps) > 1 and now - self._start > RECENT else self._start)
            counts = {unit: (self._done[unit], total) for unit, total in self._totals.items()}
            rate = moved / spent if unit and moved and spent > 0 else None
            return Standing(self._doing, 100 * share, counts, rate, unit, self._left(now, share))

    def _left(self, now: float, share: float) -> float | None:
        """Seconds, by what was measured; near the start by the forecast, where there is one."""
        done = (share - self._before) / max(1 - self._before, 1e-9)
        measured = (now - self._start) * (1 - done) / done if done > 0 else None
        if self._forecast is None:
            return measured
        said = max(self._forecast * (1 - done), 0.0)
        if measured is None:
            return said
        trust = min(done / SURE, 1.0)
        return trust * measured + (1 - trust) * max(said, measured if now - self._start > self._forecast else 0.0)
