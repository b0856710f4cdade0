"""What age and sex do to features within the sites, restored and harmonised, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.harmonize.tables.variance import SITE, Share

Shares = Mapping[str, Share]
Interval = tuple[float, float, float]


@dataclass(frozen=True)
class EffectLine:
    """What a factor does to a feature within the sites: partial correlations by stage; of the later ones, whether they differ."""

    factor: str
    name: str
    texts: list[str]
    apart: list[bool]


def effects(by_factor: Mapping[str, Sequence[Shares]]) -> list[EffectLine]:
    """Of each factor but the site, of each feature, by stage.

    A later stage is said to be apart from the first where neither interval holds the other's middle.
    """
    lines = []
    for factor in (factor for factor in by_factor if factor != SITE):
        for name in dict.fromkeys(name for shares in by_factor[factor] for name in shares):
            intervals = [share.correlation if (share := shares.get(name)) else None for shares in by_factor[factor]]
            if any(intervals):
                apart = [_apart(intervals[0], later) for later in intervals[1:]]
                lines.append(EffectLine(factor, name, [_interval(interval) for interval in intervals], apart))
    return lines


def _interval(interval: Interval | None) -> str:
    return "–" if interval is None else "{:+.2f} ({:+.2f} to {:+.2f})".format(*interval).replace("-", "\N{MINUS SIGN}")


def _apart(old: Interval | None, new: Interval | None) -> bool:
    return old is not None and new is not None and not (old[1] <= new[0] <= old[2] or new[1] <= old[0] <= new[2])
