"""How far a run is: by seconds that are known, in closed form."""

from __future__ import annotations

import pytest

from tasks.course import Course
from tasks.events import Reached
from tasks.pipeline.effort import Effort

SAID = {"ingest": 1.0, "restore": 2.0, "export": 3.0, "report": 4.0}


def test_each_stage_counts_by_the_seconds_it_is_said_to_take() -> None:
    effort = Effort({"a": SAID, "b": SAID})
    effort.over(["a"], "ingest", 1.0)
    effort.part(["a"], "restore", 0.5)
    assert effort.share() == pytest.approx(2 / 20)
    effort.over(["a"], "restore", 2.0)
    effort.part(["b"], "restore", 0.25)
    assert effort.share() == pytest.approx(3.5 / 20)


def test_what_a_stage_took_is_what_it_will_take() -> None:
    """Pages that were said to take 4 s and took 40: of 92 s, those of two scans, 46 are over."""
    effort = Effort({"a": SAID, "b": SAID})
    for stage, seconds in {**SAID, "report": 40.0}.items():
        effort.over(["a"], stage, seconds)
    assert effort.share() == pytest.approx(0.5)
    effort.over(["b"], "restore", 2.0)
    assert effort.share() == pytest.approx(48 / 92)


def test_the_first_scan_which_imports_says_little_and_what_is_old_nothing() -> None:
    effort = Effort({f"{n}": {"restore": 1.0, "report": 1.0} for n in range(40)})
    for n, seconds in enumerate((30.0, 1.0, 1.0)):
        effort.over([f"{n}"], "restore", seconds)
    assert effort.share() == pytest.approx(3 / 80)
    for n in range(3, 40):
        effort.over([f"{n}"], "restore", 3.0)  # the machine has other work now
    assert effort.share() == pytest.approx(120 / 160)


def test_scans_restored_together_share_their_seconds_and_what_failed_is_no_work() -> None:
    effort = Effort({"a": SAID, "b": SAID, "c": SAID})
    effort.over(["a", "b"], "restore", 4.0)  # as was said
    assert effort.share() == pytest.approx(4 / 30)
    effort.over(["c"], "ingest", 1.0)
    effort.end(["c"])
    effort.end(["c"])
    assert effort.share() == pytest.approx(5 / 21)  # what is not done of it is no work
    effort.end(["a", "b"])
    assert effort.share() == 1.0
    assert Effort({}).share() == 0.0


def test_the_time_left_of_a_quick_method_holds_from_its_third_scan_on() -> None:
    """Ten scans one after the other, whose stages take 1, 1, 4 and 4 s where 0.1 each were said."""
    took, clock = {"ingest": 1.0, "restore": 1.0, "export": 4.0, "report": 4.0}, [0.0]
    effort = Effort({f"{n}": dict.fromkeys(took, 0.1) for n in range(10)})
    course = Course("restoring", {"scans": 10}, forecast=4.0, clock=lambda: clock[0])
    for n in range(10):
        for stage, seconds in took.items():
            clock[0] += seconds
            effort.over([f"{n}"], stage, seconds)
            course.hear(Reached(100 * effort.share()))
            if n >= 2:
                assert course.standing().per_cent == pytest.approx(clock[0])
                assert course.standing().left == pytest.approx(100 - clock[0], abs=0.1)
