"""Paces: forecasts that they give, and paces that seconds give, are one another's inverse."""

from __future__ import annotations

import pytest

from core.engine.pace import EACH, median_pace, pace_of, seconds_at

PACE = {"ingest": 0.25, "restore": 4.0, "export": 1.5, "report": 0.5}


@pytest.mark.parametrize("scans", [1, 3])
def test_what_was_measured_is_forecast(scans: int) -> None:
    shape = (100, 200, 300)
    seconds = seconds_at(PACE, shape)
    assert seconds["restore"] == pytest.approx(4.0 * 6)
    assert seconds["export"] == pytest.approx(1.5 * (6 + EACH / 1e6))
    together = {stage: scans * each for stage, each in seconds.items()}
    assert pace_of(together, shape, scans) == pytest.approx(PACE)


def test_the_middle_is_taken_stage_by_stage_and_what_took_no_time_tells_nothing() -> None:
    assert pace_of({"ingest": 0.0, "restore": 2.0, "other": 1.0}, (100, 100, 100)) == {"restore": 2.0}
    assert median_pace([{"restore": 1.0, "report": 7.0}, {"restore": 9.0}, {"restore": 2.0}]) == {"restore": 2.0, "report": 7.0}
    assert median_pace([]) == {}
