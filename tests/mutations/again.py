"""Changes that no test noticed in an earlier run, as its log tells them, to be tried again on the code of now."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

SURVIVED = re.compile(r"^survived: (?P<module>\S+\.py):(?P<line>\d+)\n(?P<changed>(?:[-+].*\n)+)", re.MULTILINE)


@dataclass(frozen=True)
class Survivor:
    """A change of whole lines.

    Attributes:
        module: that was changed, relative to the project.
        line: where, then.
        before: the lines that were taken.
        after: the lines that were put.
    """

    module: Path
    line: int
    before: tuple[str, ...]
    after: tuple[str, ...]

    def tell(self) -> str:
        """As the log tells it."""
        changed = [*(f"-{line}" for line in self.before), *(f"+{line}" for line in self.after)]
        return "\n".join([f"{self.module}:{self.line}", *changed])

    def applied(self, source: str) -> str | None:
        """The module's text with the change, at the place nearest to that of then; None where its lines are no longer there."""
        lines, many = source.split("\n"), len(self.before)
        places = [at for at in range(len(lines) - many + 1) if tuple(lines[at : at + many]) == self.before]
        if not places:
            return None
        at = min(places, key=lambda place: abs(place + 1 - self.line))
        return "\n".join([*lines[:at], *self.after, *lines[at + many :]])


def survivors_of(log: str) -> list[Survivor]:
    """The changes that a run's log tells of as survived.

    Args:
        log: its text.
    """
    return [
        Survivor(Path(told["module"]), int(told["line"]), _lines(told["changed"], "-"), _lines(told["changed"], "+"))
        for told in SURVIVED.finditer(log)
    ]


def _lines(changed: str, mark: str) -> tuple[str, ...]:
    return tuple(line[1:] for line in changed.splitlines() if line.startswith(mark))
