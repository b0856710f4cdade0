"""The first sign of life of a command that takes seconds: a line on the terminal before anything heavy is imported."""

from __future__ import annotations

import sys
from collections.abc import Sequence

LONG = ("run", "plan", "train", "simulate", "evaluate", "harmonize")
SILENT = {"--quiet", "-h", "--help"}


def greet(words: Sequence[str]) -> None:
    """Say that options, input, output and model are looked at first.

    Args:
        words: of the command line.
    """
    command = "run" if "participant" in words[2:3] else "".join(words[:1])
    if command in LONG and not SILENT & set(words) and sys.stderr.isatty():
        sys.stderr.write(f"isovox {command}: looking at options, output and model …\n")
        sys.stderr.flush()
