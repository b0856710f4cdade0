"""What commands show of their progress."""

from __future__ import annotations

import pytest

from flows.runs import progress


def shown_by(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """What bars of a command say, what they count, and where they tell other processes of it, as it begins them."""
    shown: list[tuple[object, ...]] = []
    bars = progress.bars

    def noted(doing, totals, forecast=None, told_at=None):
        shown.append((doing, totals, told_at))
        return bars(doing, totals, forecast, told_at)

    monkeypatch.setattr(progress, "bars", noted)
    monkeypatch.setattr(progress, "_quiet", False)
    return shown
