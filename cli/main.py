"""The command line: ``isovox``. Nothing heavy is imported before a command is known."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator
from difflib import get_close_matches
from importlib import import_module
from itertools import chain, pairwise
from pathlib import Path
from typing import NoReturn

from infra.own_packages import HOME, REMEDY, foreign

USAGE = 2
COMMANDS = {  # what each does; the module of that name beside this one has its add_arguments(parser) and execute(options)
    "run": "restore a cohort: the main job",
    "plan": "print what run would do, with forecast memory, disk and time; refuses what cannot fit",
    "train": "train a method's network on a cohort and register it",
    "simulate": "make scans of low resolution from a cohort of sharp ones, as BIDS with the truth's path",
    "evaluate": "restore a cohort whose truth is known by several methods, score and compare them",
    "pairs": "slices of two scans of a person that show the same, by vote: a table, BIDS pairs and pages to look them through",
    "reading": "put restored scans before readers who do not know what restored them, and score what they say",
    "harmonize": "make scans and features of several sites comparable, and register how",
    "monitor": "compare new scans' features with a reference's; exit code 3 where they drift",
    "methods": "what can restore a scan, what each method takes and which model it would use; of one its options",
    "models": "which models there are, which one is champion, and how another becomes it",
    "deploy": "flows, cohorts, schedules and notifications on a group's Prefect server",
    "notify": "say that objects of a deployed cohort have arrived: a run starts",
    "status": "what is done, flagged, failed and why",
    "report": "rebuild the report and open it",
    "verify": "re-read an output and check every digest",
    "clean": "remove scratch from an output and, when told, what belongs to scans that are gone",
    "ui": "Prefect and MLflow pages of an output on this machine",
    "up": "bring up what a group needs on this machine: Prefect, MLflow, a worker and Dask workers, supervised",
    "down": "end the services that up started",
    "doctor": "what this machine has, what is missing and the remedy",
    "demo": "restore a small real cohort that ships with a package",
}
EPILOG = """exit codes: 0 all scans done or skipped, 2 usage error, 3 some scans failed,
something is damaged or a challenger is not better, 75 another run works on this output,
130 stopped by Ctrl-C, 143 by SIGTERM.
`isovox BIDS OUT participant` is the same as `isovox run BIDS OUT`. For research, not for diagnosis."""


def _bids_app(argv: list[str]) -> list[str]:
    """Turn the order of BIDS Apps (input, output, level) into ``run``."""
    levels = [n for n, word in enumerate(argv) if word == "participant"]
    if len(argv) >= 3 and argv[0] not in COMMANDS and 2 in levels:
        return ["run", *argv[:2], *argv[3:]]
    return argv


def _method_of(words: list[str]) -> str:
    """The method that is named among the words; empty for none."""
    apart = (word for before, word in pairwise(words) if before == "--method")
    joined = (word.partition("=")[2] for word in words if word.startswith("--method="))
    return next(chain(apart, joined), "")


class _Parser(argparse.ArgumentParser):
    """A parser that says which option was probably meant.

    Attributes:
        named: the program and its command, where that is known before its words are parsed.
        method: the one that is named among the words; empty for none.
    """

    named = ""
    method = ""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, what was probably meant and where all options stand, and end with exit code 2."""
        options = [word.rstrip(":") for word in message.split() if word.startswith("--")]
        known = {name[2:] for command in _every(self) for name in command._option_string_actions if name.startswith("--")}  # noqa: SLF001
        unknown = [name for word in options if (name := word.partition("=")[0][2:]) not in known]
        hints = [hint for name in unknown if (hint := _of_method(self.method, name) or _near(name, known))]
        if chosen := re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message):
            hints += [
                f"{chosen[1]}: did you mean {near_word}?"
                for near_word in get_close_matches(chosen[1], re.findall(r"[\w.-]+", chosen[2]), 1)
            ]
        sentences = [f"{message[:1].upper()}{message[1:]}.", *hints, f"See {self.named or self.prog} --help."]
        self.exit(USAGE, f"isovox: {' '.join(sentences)}\n")


def _near(name: str, known: set[str]) -> str:
    """Which option was probably meant; empty where none is near."""
    near = get_close_matches(name, sorted(known), 1)
    return f"--{name}: did you mean --{near[0]}?" if near else ""


def _of_method(method: str, name: str) -> str:
    """How an option is given that is one of the method's own; empty where it is none."""
    from core.methods.registry import method_class, methods

    option = name.replace("-", "_")
    if method not in methods() or option not in method_class(method).Settings.model_fields:
        return ""
    return f"--{name} is an option of {method}: --method-options {option}=…"


def _every(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser, and those of its commands."""
    yield parser
    for action in parser._actions:  # noqa: SLF001 - argparse tells them nowhere else
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for command in action.choices.values():
                yield from _every(command)


def _parser(command: str | None, words: list[str]) -> argparse.ArgumentParser:
    from core import __version__

    formatter = argparse.RawDescriptionHelpFormatter
    parser = _Parser(
        "isovox", description="Isotropic, comparable brain MRI from clinical cohorts.", epilog=EPILOG, formatter_class=formatter
    )
    parser.named = f"isovox {command}" if command else ""
    parser.method = _method_of(words)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in COMMANDS.items():
        each = commands.add_parser(name, help=text, description=text, formatter_class=formatter)
        if name == command:
            import_module(f"cli.{name}").add_arguments(each)
            _verbose(each)
    return parser


def _verbose(parser: argparse.ArgumentParser) -> None:
    """The option of every command, and of the commands of a command."""
    for each in _every(parser):
        each.add_argument("--verbose", action="store_true", default=argparse.SUPPRESS, help="show what is logged, with times")


def main(argv: list[str] | None = None) -> int:
    """Run a command.

    Returns:
        the exit code.
    """
    if others := foreign():
        sys.stderr.write(f"isovox: foreign-package: expected isovox's own packages in {HOME}, but got {others}. {REMEDY}\n")
        return USAGE
    words = _bids_app(sys.argv[1:] if argv is None else argv)
    command = words[0] if words and words[0] in COMMANDS else None
    places = [*words, *([_here()] if command else [])]  # relative paths lie in the folder of the call
    if odd := next((word for word in places if os.fsencode(word) != word.encode(errors="replace")), None):
        sys.stderr.write(f"isovox: {_not_text(odd)}\n")
        return USAGE
    return _execute(command, words)


def _here() -> str:
    """The folder of the call; empty where it is gone."""
    try:
        return str(Path.cwd())
    except FileNotFoundError:
        return ""


def _not_text(word: str) -> Exception:
    from core.errors import UsageError

    return UsageError("name-encoding", "paths in UTF-8", word, "rename the folder (convmv -f latin1 -t utf8), or name another")


def _execute(command: str | None, words: list[str]) -> int:
    options = _parser(command, words).parse_args(words)
    if getattr(options, "verbose", False):
        from core import logs

        logs.show()
    from cli.helpers.console import guarded

    return guarded(import_module(f"cli.{options.command}").execute, options)
