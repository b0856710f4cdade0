"""What age and sex do to features within the sites, before and after a harmonisation, with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from core.harmonize.tables.variance import SITE, Share

Shares = Mapping[str, Share]
Interval = tuple[float, float, float]


@dataclass(frozen=True)
class EffectLine:
    """What a factor does to a feature within the sites: partial correlations, before and after."""

    factor: str
    name: str
    texts: tuple[str, str]
    apart: bool


def effects(pairs: Mapping[str, tuple[Shares, Shares]]) -> list[EffectLine]:
    """Of each factor but the site, of each feature; said to be apart where neither interval holds the other's middle."""
    lines = []
    for factor in (factor for factor in pairs if factor != SITE):
        old, new = pairs[factor]
        for name in dict.fromkeys([*old, *new]):
            intervals = [share.correlation if (share := shares.get(name)) else None for shares in (old, new)]
            if any(intervals):
                lines.append(EffectLine(factor, name, (_interval(intervals[0]), _interval(intervals[1])), _apart(*intervals)))
    return lines


def _interval(interval: Interval | None) -> str:
    return "–" if interval is None else "{:+.2f} ({:+.2f} to {:+.2f})".format(*interval).replace("-", "\N{MINUS SIGN}")


def _apart(old: Interval | None, new: Interval | None) -> bool:
    return old is not None and new is not None and not (old[1] <= new[0] <= old[2] or new[1] <= old[0] <= new[2])
