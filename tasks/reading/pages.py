"""What a reader's browser gets: the page with the series in the reader's own order, and their slices."""

from __future__ import annotations

from typing import Any

from core.evaluation.reading import LEVELS, QUESTIONS, order_of
from tasks.reading.folder import ReadingFolder
from tasks.report.pages import render
from tasks.report.pictures import PLANES


def page(folder: ReadingFolder, reader: str, wrong: str = "") -> str:
    """The page of a reader; where none is named, one that asks for the name.

    Args:
        folder: of the reading.
        reader: name.
        wrong: what is wrong with the name that was given before.

    Raises:
        UsageError: reading-missing, reader-name.
    """
    shared = {"questions": QUESTIONS, "levels": list(enumerate(LEVELS, 1))}
    if not reader:
        return render("reading.html", data=None, wrong=wrong, count=len(folder.content["Series"]), **shared)
    return render("reading.html", data=state(folder, reader), wrong="", count=0, **shared)


def state(folder: ReadingFolder, reader: str) -> dict[str, Any]:
    """The series in a reader's order, and what the reader has answered."""
    name, content = reader.lower(), folder.content
    series = {str(each["Id"]): each for each in content["Series"]}
    answers: dict[str, dict[str, int]] = {each: {} for each in series}
    for (each, question), level in folder.answers(name).items():
        if each in answers:
            answers[each][question] = level
    return {
        "reader": name,
        "series": [_shown(series[each]) for each in order_of(sorted(series), int(content["Seed"]), name)],
        "answers": answers,
        "questions": [question.name for question in QUESTIONS],
    }


def _shown(series: dict[str, Any]) -> dict[str, Any]:
    """A series as the page's script reads it."""
    spoken = {plane.sides: plane.name for plane in PLANES}
    return {
        "id": series["Id"],
        "ratio": series["Ratio"],
        "sides": series["Sides"],
        "plane": spoken[tuple(series["Sides"])],
        "places": series["Places"],
        "bright": series["Bright"],
    }
