"""What isovox logs, shown on the terminal: in this process and in those that it starts."""

from __future__ import annotations

import logging
import os
import sys

OWN = ("cli", "core", "deployments", "flows", "infra", "tasks")  # top-level packages, whose loggers bear their names
SHOWN = "ISOVOX_VERBOSE"  # environment variable; set: logs are shown
FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


class _Stderr(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to what is the error stream at that moment: a progress bar puts its own in place while it is shown."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        self.stream = sys.stderr
        super().emit(record)


def shown() -> bool:
    """Whether logs were asked for in this process, or in the one that started it."""
    return bool(os.environ.get(SHOWN))


def show() -> None:
    """Show what isovox logs from INFO on, once, and let processes that are started from here do the same."""
    os.environ[SHOWN] = "1"
    handler = _Stderr()
    handler.setFormatter(logging.Formatter(FORMAT, "%H:%M:%S"))
    for name in OWN:
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        if not any(isinstance(each, _Stderr) for each in logger.handlers):
            logger.addHandler(handler)
            logger.propagate = False  # else the root's handler, where a library made one, tells it twice
