"""How far a run is, by the seconds of its workers: what each stage of each scan takes, as forecast and as measured so far."""

from __future__ import annotations

import statistics
import threading
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence

LATEST = 20  # pieces of work of a stage by which the others of that stage are judged
NOTHING = 1e-6  # seconds, below which sums of floats are none


class Effort:
    """Counts work that is done against all of it; safe from several threads.

    What a stage was forecast to take is multiplied by what it took, over its forecast, in the scans that came through it: the
    median of the latest, so that a first one, which imports what the others find there, says little.

    Args:
        forecasts: seconds of one worker, by the scan's key and by stage.
    """

    def __init__(self, forecasts: Mapping[str, Mapping[str, float]]) -> None:
        self._forecasts = forecasts
        self._totals: defaultdict[str, float] = defaultdict(float)
        for stages in forecasts.values():
            for stage, seconds in stages.items():
                self._totals[stage] += seconds
        self._done: defaultdict[str, float] = defaultdict(float)  # of the totals
        self._parts: dict[tuple[str, str], float] = {}
        self._ratios: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=LATEST))
        self._lock = threading.Lock()

    def part(self, keys: Sequence[str], stage: str, part: float) -> None:
        """Scans are this far, from 0 to 1, in a stage."""
        with self._lock:
            for key in keys:
                self._set(key, stage, part)

    def over(self, keys: Sequence[str], stage: str, seconds: float) -> None:
        """Scans came through a stage together, in seconds of one worker."""
        said = sum(self._forecasts.get(key, {}).get(stage, 0.0) for key in keys)
        with self._lock:
            if said > 0:
                self._ratios[stage].append(seconds / said)
            for key in keys:
                self._set(key, stage, 1.0)

    def end(self, keys: Sequence[str]) -> None:
        """Nothing is to be done for scans any more: what was not done, such as the pages of one that failed, is no work."""
        with self._lock:
            for key in keys:
                for stage, seconds in self._forecasts.get(key, {}).items():
                    self._totals[stage] -= seconds * (1.0 - self._parts.get((key, stage), 0.0))
                    self._parts[key, stage] = 1.0

    def _set(self, key: str, stage: str, part: float) -> None:
        said = self._forecasts.get(key, {}).get(stage, 0.0)
        self._done[stage] += said * (part - self._parts.get((key, stage), 0.0))
        self._parts[key, stage] = part

    def share(self) -> float:
        """Of all the work that is done, from 0 to 1."""
        with self._lock:
            ratios = {stage: statistics.median(self._ratios[stage]) if self._ratios[stage] else 1.0 for stage in self._totals}
            total = sum(ratios[stage] * seconds for stage, seconds in self._totals.items())
            if total < NOTHING:
                return 1.0 if self._forecasts else 0.0
            return min(sum(ratios[stage] * self._done[stage] for stage in ratios) / total, 1.0)
