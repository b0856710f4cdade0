"""How far work is: counts, rate, and a time left that follows the forecast at first and what is measured soon after."""

from __future__ import annotations

import pytest

from tasks.course import Course, Standing, spoken
from tasks.events import Advanced, Began, Reached


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_finest_unit_moves_within_one_scan(clock: Clock) -> None:
    course = Course("restoring", {"scans": 1, "tiles": 40, "steps": 0}, clock=clock)
    clock.now = 10.0
    course.hear(Advanced("tiles", 10))
    standing = course.standing()
    assert standing.line() == "restoring: 25 %, about 30 s left, 0/1 scans, 10/40 tiles, 1 tiles/s"
    assert Standing.of_json(standing.to_json()).left == pytest.approx(30)
    assert "steps" not in standing.counts


@pytest.mark.parametrize(
    ("rate", "words"), [(1 / 110, "110 s a scan"), (1 / 2.46, "2.5 s a scan"), (134.0, "134 scans/s"), (1.26, "1.3 scans/s")]
)
def test_rates_have_no_exponents(rate: float, words: str) -> None:
    assert Standing("restoring", 50.0, {}, rate, "scans", None).text().endswith(f", {words}")


def test_a_slow_unit_is_told_by_the_time_of_each(clock: Clock) -> None:
    course = Course("restoring", {"steps": 100}, clock=clock)
    clock.now = 60.0
    course.hear(Advanced("steps", 15))
    assert "4 s a step" in course.standing().line()


def test_what_was_forecast_too_short_is_renewed_by_what_is_measured(clock: Clock) -> None:
    """A forecast of 26 s for work that takes 182: at a fifth of it the time left is within a tenth of the truth."""
    course = Course("restoring", {"scans": 1}, forecast=26.0, clock=clock)
    assert course.standing().left == pytest.approx(26)
    for second in range(1, 183):
        clock.now = float(second)
        course.hear(Reached(100 * second / 182))
        if second > 182 / 5:
            assert course.standing().left == pytest.approx(182 - second, rel=0.1, abs=1)
    assert course.standing().left == pytest.approx(0)


def test_a_forecast_that_is_over_is_not_believed_before_the_first_scan(clock: Clock) -> None:
    course = Course("restoring", {"scans": 10}, forecast=30.0, clock=clock)
    clock.now = 60.0
    course.hear(Reached(5.0))
    assert course.standing().left == pytest.approx(60 * 19, rel=0.01)


def test_what_an_earlier_run_did_speeds_nothing_up(clock: Clock) -> None:
    course = Course("training", {"steps": 1000}, clock=clock)
    course.hear(Advanced("steps", 500))
    clock.now = 100.0
    for _ in range(50):
        course.hear(Advanced("steps"))
    standing = course.standing()
    assert standing.counts == {"steps": (550, 1000)}
    assert standing.left == pytest.approx(900)


def test_a_total_that_becomes_known_later_is_counted(clock: Clock) -> None:
    course = Course("looking at scans", {}, clock=clock)
    assert course.standing().line() == "looking at scans: 0 %"
    course.hear(Began("scans", 4))
    clock.now = 1.0
    course.hear(Advanced("scans"))
    assert course.standing().line() == "looking at scans: 25 %, about 3 s left, 1/4 scans, 1 scans/s"


def test_what_is_over_has_no_time_left(clock: Clock) -> None:
    course = Course("looking at scans", {"scans": 2}, clock=clock)
    clock.now = 3.0
    course.hear(Advanced("scans", 2))
    assert course.standing().line() == "looking at scans: 100 %, 2/2 scans"


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.2, "about 1 s"), (89, "about 89 s"), (600, "about 10 min"), (9000, "about 2.5 h")]
)
def test_times_are_spoken(seconds: float, said: str) -> None:
    assert spoken(seconds) == said
