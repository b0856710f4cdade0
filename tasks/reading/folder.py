"""What lies in the folder of a reading; the only module that knows its names.

READING/
    reading.json              the series, without what they are
    series/<id>/01.png …      their slices
    key.json                  what they are: never shown to a reader, and read by the score alone
    answers/<reader>.jsonl    a line an answer, as it came; the last one to a question holds
    scores/                   tables
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from core.errors import UsageError
from core.evaluation.reading import LEVELS, QUESTIONS
from core.io import files

READER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
Answers = dict[tuple[str, str], int]  # level by series and name of the question


class ReadingFolder:
    """A reading on this machine.

    Args:
        uri: its folder.

    Raises:
        UsageError: reading-remote: answers are appended, which buckets cannot do.
    """

    def __init__(self, uri: str) -> None:
        if files.is_remote(uri):
            raise UsageError("reading-remote", "a folder on this machine", uri, "name a local folder, and copy it afterwards")
        self.path = Path(uri)

    @property
    def scores(self) -> Path:
        """Folder of the tables."""
        return self.path / "scores"

    @property
    def content(self) -> dict[str, Any]:
        """What readers may know: series with their ids, in the order of these; without it there is no reading.

        Raises:
            UsageError: reading-missing.
        """
        return self._json("reading.json")

    @property
    def key(self) -> dict[str, dict[str, str]]:
        """Scan, person and method by series.

        Raises:
            UsageError: reading-missing.
        """
        series: dict[str, dict[str, str]] = self._json("key.json")["Series"]
        return series

    def _json(self, name: str) -> dict[str, Any]:
        try:
            value: dict[str, Any] = files.read_json(str(self.path / name))
        except (FileNotFoundError, NotADirectoryError, ValueError) as error:
            got, remedy = f"no {name} that can be read in {self.path}", "make it by isovox reading make"
            raise UsageError("reading-missing", "a folder of a reading", got, remedy) from error
        return value

    def digest(self) -> str:
        """Of what the series were made of; empty before they were made."""
        try:
            return str(self.content["Digest"])
        except UsageError:
            return ""

    def write(self, content: dict[str, Any], key: dict[str, dict[str, str]]) -> None:
        """Write what the series are, and last that they are there."""
        files.write_json(str(self.path / "key.json"), {"Series": key})
        files.write_json(str(self.path / "reading.json"), content)

    def picture(self, series: str, number: int) -> str:
        """Where a slice of a series lies; numbers count from 1."""
        return str(self.path / "series" / series / f"{number:02}.png")

    # -- answers ----------------------------------------------------------------------------------------------------------------

    def readers(self) -> list[str]:
        """Who has answered anything."""
        return sorted(file.stem for file in self.path.glob("answers/*.jsonl") if READER.fullmatch(file.stem))

    def _file(self, reader: str) -> Path:
        """A reader's file; names that differ in capitals alone are one, as on some disks they would be."""
        if not READER.fullmatch(reader):
            remedy = "write 1 to 32 letters, digits, - or _, a letter or digit first"
            raise UsageError("reader-name", "a short name of the reader", repr(reader[:40]), remedy)
        return self.path / "answers" / f"{reader.lower()}.jsonl"

    def answers(self, reader: str) -> Answers:
        """What a reader has answered so far; a line that was cut off as the machine went down is no answer.

        Raises:
            UsageError: reader-name.
        """
        try:
            lines = self._file(reader).read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return {}
        said = [answer for line in lines if (answer := _answer(line)) is not None]
        return {(series, question): level for series, question, level in said}

    def add(self, reader: str, series: str, question: str, level: int) -> None:
        """Keep an answer: when this returns it is on disk.

        Raises:
            UsageError: reader-name; reading-answer: no such series, question or level.
        """
        file = self._file(reader)
        known = {each["Id"] for each in self.content["Series"]}
        if series not in known or question not in {each.name for each in QUESTIONS} or level not in range(1, len(LEVELS) + 1):
            wanted, got = f"a series, one of its questions and a level of 1 to {len(LEVELS)}", f"{series}, {question}, {level}"
            raise UsageError("reading-answer", wanted, got, "reload the page")
        line = json.dumps({"series": series, "question": question, "level": level})
        file.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            size = os.fstat(handle).st_size
            torn = size and os.pread(handle, 1, size - 1) != b"\n"
            os.write(handle, f"{chr(10) if torn else ''}{line}\n".encode())
            os.fsync(handle)
        finally:
            os.close(handle)


def _answer(line: str) -> tuple[str, str, int] | None:
    try:
        value = json.loads(line)
        return str(value["series"]), str(value["question"]), int(value["level"])
    except (ValueError, KeyError, TypeError):
        return None
