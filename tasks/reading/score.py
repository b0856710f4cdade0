"""What came of a reading: which level each method was given, how far the readers agree, and which methods differ.

Methods are compared by the mean level of each person's series over the readers; the unit is the person.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from core.errors import UsageError
from core.evaluation.metrics.significance import LEVEL, Comparison, compare, fewest_persons, holm
from core.evaluation.reading import LEVELS, QUESTIONS, Agreement, agreement, most_frequent
from core.io import files
from tasks.reading.folder import ReadingFolder


@dataclass(frozen=True)
class Answer:
    """An answer with what its series is."""

    reader: str
    scan: str
    person: str
    method: str
    question: str
    level: int


@dataclass(frozen=True)
class Summary:
    """How often each level was given to a method on a question, from the worst on."""

    method: str
    question: str
    counts: tuple[int, ...]

    @property
    def levels(self) -> list[int]:
        """Each answer's level."""
        return [level for level, count in enumerate(self.counts, 1) for _ in range(count)]

    @property
    def mean(self) -> float:
        """Of the levels, 1 to 4."""
        return float(np.mean(self.levels))

    @property
    def most_frequent(self) -> str:
        """The level that was given most often, in words; several where they tie."""
        return ", ".join(LEVELS[level - 1] for level in most_frequent(self.levels))


@dataclass(frozen=True)
class Pair:
    """Method a against method b on a question; p is adjusted over all pairs and questions (Holm)."""

    a: str
    b: str
    comparison: Comparison

    @property
    def better(self) -> str:
        """Which is better: the interval of the difference excludes 0, and p after Holm is below 0.05; else empty."""
        low, _, high = self.comparison.gain
        if self.comparison.p_holm >= LEVEL:
            return ""
        return self.a if low > 0 else self.b if high < 0 else ""


@dataclass(frozen=True)
class Outcome:
    """What came of a reading.

    Attributes:
        answers: all.
        summaries: by method and question.
        agreements: by name of the question.
        pairs: of methods.
        unfinished: readers with the share of their answers that is there.
    """

    answers: list[Answer]
    summaries: list[Summary]
    agreements: dict[str, Agreement]
    pairs: list[Pair]
    unfinished: dict[str, str]

    @property
    def too_few(self) -> str:
        """Why nothing could be significant; empty where something could."""
        persons, fewest = len({answer.person for answer in self.answers}), fewest_persons(max(1, len(self.pairs)))
        if persons >= fewest:
            return ""
        return f"{persons} person{'s' * (persons != 1)}: with {len(self.pairs)} comparisons at least {fewest} show a difference"


def score(folder: ReadingFolder) -> Outcome:
    """Score the answers that are there, and write the tables.

    Raises:
        UsageError: reading-unanswered, reading-missing.
    """
    key, readers = folder.key, folder.readers()
    by_reader = {reader: folder.answers(reader) for reader in readers}
    answers = [
        Answer(reader, key[series]["Scan"], key[series]["Person"], key[series]["Method"], question, level)
        for reader, said in by_reader.items()
        for (series, question), level in sorted(said.items())
        if series in key
    ]
    if not answers:
        remedy = "let readers answer first (isovox reading serve)"
        raise UsageError("reading-unanswered", "answers", f"none in {folder.path}", remedy)
    whole = len(key) * len(QUESTIONS)
    unfinished = {reader: f"{len(said)} of {whole}" for reader, said in by_reader.items() if len(said) < whole}
    outcome = Outcome(answers, summaries(answers), agreements(folder, readers), pairs_of(answers), unfinished)
    _write(folder, outcome)
    return outcome


def summaries(answers: Sequence[Answer]) -> list[Summary]:
    """How often each level was given, by method and question."""
    counts = Counter((answer.method, answer.question, answer.level) for answer in answers)
    levels = range(1, len(LEVELS) + 1)
    rows = [
        Summary(method, question.name, tuple(counts[method, question.name, level] for level in levels))
        for method in sorted({answer.method for answer in answers})
        for question in QUESTIONS
    ]
    return [row for row in rows if any(row.counts)]


def agreements(folder: ReadingFolder, readers: Sequence[str]) -> dict[str, Agreement]:
    """How far the readers agree, by name of the question."""
    series = sorted(folder.key)
    said = {reader: folder.answers(reader) for reader in readers}
    levels = {
        question.name: np.array([[said[reader].get((each, question.name), np.nan) for each in series] for reader in readers])
        for question in QUESTIONS
    }
    return {name: agreement(readers, values) for name, values in levels.items()}


def pairs_of(answers: Sequence[Answer]) -> list[Pair]:
    """All pairs of methods on all questions: differences of means of the same scans and readers, by person."""
    methods = sorted({answer.method for answer in answers})
    pairs = [pair for question in QUESTIONS for a, b in combinations(methods, 2) for pair in _pair(answers, question.name, a, b)]
    adjusted = holm([pair.comparison.p for pair in pairs])
    return [replace(pair, comparison=replace(pair.comparison, p_holm=p)) for pair, p in zip(pairs, adjusted, strict=True)]


def _pair(answers: Sequence[Answer], question: str, a: str, b: str) -> Iterable[Pair]:
    asked = [answer for answer in answers if answer.question == question]
    mine, theirs = ({(each.reader, each.scan): each for each in asked if each.method == method} for method in (a, b))
    both = sorted(mine.keys() & theirs.keys())
    if both:
        first, second = ({question: [float(side[each].level) for each in both]} for side in (mine, theirs))
        persons = [mine[each].person for each in both]
        yield from (Pair(a, b, each) for each in compare(first, second, persons=persons, bootstraps=None))


# -- tables -----------------------------------------------------------------------------------------------------------------


def _write(folder: ReadingFolder, outcome: Outcome) -> None:
    """Write the tables."""
    tables: dict[str, tuple[Sequence[str], Iterable[Sequence[Any]]]] = {
        "answers": (
            ("reader", "scan", "person", "method", "question", "level"),
            (astuple(answer) for answer in outcome.answers),
        ),
        "summary": (
            ("method", "question", *LEVELS, "most frequent", "mean"),
            ((row.method, row.question, *row.counts, row.most_frequent, f"{row.mean:.4g}") for row in outcome.summaries),
        ),
        "agreement": (
            ("question", "readers", "weighted kappa", "Krippendorff's alpha"),
            ((name, " ".join(each.readers), text(each.kappa), text(each.alpha)) for name, each in _agreed(outcome)),
        ),
        "comparisons": (
            ("question", "a", "b", "persons", "difference", "low", "high", "p", "p after Holm", "better"),
            (_compared(pair) for pair in outcome.pairs),
        ),
    }
    for name, (head, rows) in tables.items():
        files.write_atomic(str(folder.scores / f"{name}.csv"), _csv(head, rows).encode())


def _agreed(outcome: Outcome) -> Iterable[tuple[str, Agreement]]:
    """All readers', then each pair's."""
    for name, whole in outcome.agreements.items():
        yield name, whole
        for pair, kappa in whole.kappas.items() if len(whole.readers) > 2 else ():
            yield name, Agreement(pair, {pair: kappa}, None)


def _compared(pair: Pair) -> Sequence[Any]:
    each = pair.comparison
    low, high = each.interval or (None, None)
    figures = (text(value) for value in (each.difference, low, high, each.p, each.p_holm))
    return (each.metric, pair.a, pair.b, each.n, *figures, pair.better)


def text(value: float | None) -> str:
    """A figure in a table; empty where there is none."""
    return "" if value is None else f"{value:.4g}"


def _csv(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return buffer.getvalue()
