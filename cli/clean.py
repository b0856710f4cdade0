"""The command ``isovox clean``: what of an output may go."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cli.helpers.console import OK, planned_run, say

if TYPE_CHECKING:
    from core.engine.plan import CohortPlan
    from core.io.output import Output
    from tasks.pipeline.clean import Item, Survey

SHOWN = 20  # items of a kind that are told one by one


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.add_argument("out", help="output folder of a run, or s3://…")
    parser.add_argument("--yes", action="store_true", help="remove without asking what is not scratch, too")
    parser.add_argument("--dry-run", action="store_true", help="only say what would go")


def _size(nbytes: float) -> str:
    for unit in ("B", "kB", "MB"):
        if nbytes < 1000:
            return f"{nbytes:.0f} {unit}" if unit == "B" else f"{nbytes:.1f} {unit}"
        nbytes /= 1000
    return f"{nbytes:.1f} GB"


def _sum(items: Sequence[Item]) -> tuple[int, int]:
    """Files and bytes."""
    return sum(len(item.paths) for item in items), sum(item.nbytes for item in items)


def _list(items: Sequence[Item]) -> None:
    for item in items[:SHOWN]:
        say(f"{item.kind:8} {_size(item.nbytes):>9} {len(item.paths):6} files  {item.what}")
    if len(items) > SHOWN:
        rest = items[SHOWN:]
        count = sum(len(item.paths) for item in rest)
        say(f"{rest[0].kind:8} {_size(sum(item.nbytes for item in rest)):>9} {count:6} files  {len(rest)} more")


def _agrees(question: str, *, yes: bool) -> bool:
    """Whether to go on: told so, or asked at a terminal."""
    if yes:
        return True
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        say(f"{question} not without --yes, as nobody can be asked here")
        return False
    return input(f"{question} [y/N] ").strip().lower() in {"y", "yes"}


def _chosen(leftovers: Survey, *, yes: bool) -> list[Item]:
    """What is to go: scratch, and the rest as told."""
    chosen = leftovers.of("scratch")
    for kind, text in (("kept", "what saves the next run some work"), ("orphan", "orphans")):
        items = leftovers.of(kind)  # type: ignore[arg-type]
        size = _size(sum(item.nbytes for item in items))
        if items and _agrees(f"remove {text} ({size}, {sum(len(item.paths) for item in items)} files)?", yes=yes):
            chosen += items
    return chosen


def _databases(out: Output, plan: CohortPlan) -> list[str]:
    """MLflow's databases of an output, and of the models that it may have used."""
    from flows.runs.home import home
    from infra.services import local_state

    own, models = (f"sqlite:///{folder / 'mlflow.db'}" for folder in (local_state(out.uri), home()))
    return list(dict.fromkeys([plan.settings.tracking_uri or own, own, models]))


def _clean_mlflow(out: Output, plan: CohortPlan, options: argparse.Namespace) -> tuple[int, int]:
    """Drop what MLflow keeps of deleted runs and models, when told; how many files and bytes that was."""
    from tasks.tracking.deleted import drop, kept_of

    there = [each for uri in _databases(out, plan) for each in kept_of(uri)]
    for each in there[:SHOWN]:
        say(f"{'MLflow':8} {_size(each.nbytes):>9} {each.files:6} files  {each.what}")
    count, nbytes = sum(each.files for each in there), sum(each.nbytes for each in there)
    question = f"drop what MLflow keeps of {len(there)} deleted runs and models ({_size(nbytes)}, {count} files)?"
    if there and options.dry_run:
        return count, nbytes
    if not there or not _agrees(question, yes=options.yes):
        return 0, 0
    drop(there)
    return count, nbytes


def execute(options: argparse.Namespace) -> int:
    """Say what may go and how much that is; remove scratch, and the rest when told."""
    from core.io.lock import cohort_lock
    from tasks.pipeline.clean import remove, survey

    out, plan = planned_run(options.out)
    with cohort_lock(out.lock):
        leftovers = survey(out, plan)
        for kind in ("scratch", "kept", "orphan"):
            _list(leftovers.of(kind))
        for note in leftovers.notes:
            say(f"note: {note}")
        chosen = leftovers.items if options.dry_run else _chosen(leftovers, yes=options.yes)
        count, nbytes = _sum(chosen) if options.dry_run else remove(out, chosen)
        more, size = _clean_mlflow(out, plan, options)
    say(_ending(count + more, nbytes + size, dry_run=options.dry_run) if leftovers.items or more else "nothing to remove")
    return OK


def _ending(count: int, nbytes: float, *, dry_run: bool) -> str:
    """What went, or would have gone."""
    return f"{'would remove' if dry_run else 'removed'} {count} files, {_size(nbytes)}"
