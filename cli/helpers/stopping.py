"""What a command says when it is told to stop; it is watched for before anything else of isovox is imported."""

from __future__ import annotations

from collections.abc import Sequence

from infra.processes import signals

KEPT = "what is finished is kept, and the same command goes on from there"
NOTHING = "nothing was changed"
STOPPED = {  # by command; of the others NOTHING
    **dict.fromkeys(("run", "train", "simulate", "pairs", "evaluate", "harmonize", "report", "verify", "clean", "demo"), KEPT),
    **dict.fromkeys(("models", "reading", "deploy", "monitor", "notify", "down"), KEPT),
    "ui": "the pages are closed, and the output is as it was",
    "up": "what it started is being ended, and the same command starts it again",
}


def watch(words: Sequence[str]) -> None:
    """From now on Ctrl-C and SIGTERM end this process by one line.

    Args:
        words: of the command line; in the order of BIDS Apps they mean ``run``.
    """
    command = "run" if "participant" in words[2:3] else "".join(words[:1])
    signals.end_in_one_line(STOPPED.get(command, NOTHING))
