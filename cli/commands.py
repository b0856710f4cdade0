"""What each command of the command line does."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import warnings
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import AccessError, BusyError, IsovoxError, PlanError, UsageError
from core.settings.run import RunSettings
from core.settings.train import TrainSettings

if TYPE_CHECKING:
    from core.engine.plan import CohortPlan
    from core.engine.records import ScanRecord

OK, USAGE, FAILED, BUSY = 0, 2, 3, 75


def add_arguments(command: str, parser: argparse.ArgumentParser) -> None:
    """Add a command's own arguments to its parser."""
    if command in {"run", "plan"}:
        from cli.options import add_settings

        add_settings(parser)
        parser.add_argument("--quiet", action="store_true", help="no progress bars, no table")
    elif command == "train":
        from cli.options import add_settings

        add_settings(parser, TrainSettings, ("method", "cohort"))
        parser.add_argument("--quiet", action="store_true", help="no progress bars")
    elif command == "demo":
        parser.add_argument("out", nargs="?", default="demo-out", help="folder for the demo (default: %(default)s)")
    elif command == "report":
        parser.add_argument("out", help="output folder of a run")
        parser.add_argument("--no-open", action="store_true", help="write the pages without opening them")
    elif command == "doctor":
        parser.add_argument("state_dir", nargs="?", type=Path, metavar="STATE_DIR", help="of a group that isovox up brought up")
    else:
        parser.add_argument("out", help="output folder of a run")


def execute(options: argparse.Namespace) -> int:
    """Run the command."""
    return guarded(COMMANDS[options.command], options)


def guarded(command: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """Run a command; errors raised on purpose become one line and an exit code."""
    try:
        return command(options)
    except BusyError as error:
        return _complain(error, BUSY)
    except (AccessError, PlanError, UsageError) as error:
        return _complain(error, USAGE)
    except IsovoxError as error:
        return _complain(error, FAILED)


def _complain(error: IsovoxError, code: int) -> int:
    sys.stderr.write(f"isovox: {error}\n")
    return code


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _calm() -> None:
    """Keep libraries' chatter off the terminal; what matters is in the table, the records and Prefect's log."""
    warnings.simplefilter("ignore")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW", "ignore")
    logging.getLogger("distributed").setLevel(logging.CRITICAL)


def _plan(options: argparse.Namespace) -> CohortPlan:
    from cli.options import settings_from
    from flows.weights import choose_weights
    from infra.clusters import gpu_memory
    from tasks.pipeline.discover import check_plan, plan_cohort

    settings = settings_from(options, RunSettings)
    choice = choose_weights(settings)
    plan = plan_cohort(settings, choice.weights)
    check_plan(plan, gpu_memory(settings.compute))
    if choice.newer and choice.weights and not options.quiet:
        newer, kept = choice.newer, choice.weights
        _say(
            f"{newer.name} version {newer.version} is there; this output keeps to version {kept.version}, which made it: "
            f"{len(plan.scans)} scans would be restored again with --on-new-model redo"
        )
    return plan


def run(options: argparse.Namespace) -> int:
    """Restore a cohort; where all is done already, nothing is started."""
    from cli.options import settings_from
    from core.io.lock import owner
    from core.io.output import Output
    from flows.progress import be_quiet
    from tasks.pipeline.discover import unfinished

    _calm()
    if options.quiet:
        be_quiet()
    out = Output(settings_from(options, RunSettings).out)
    if other := owner(out.lock):
        got = f"a run by {other['user']} on {other['host']} (process {other['pid']}) since {other['since']}"
        raise BusyError("already-running", "one run at a time on an output folder", got, "wait for it to end, or stop it")
    plan = _plan(options)
    if plan.refused or unfinished(plan) or not _page_is_of(out, plan):
        records = run_flow(plan)
    else:
        from tasks.pipeline.results import verified_records, with_skipped

        records = with_skipped(verified_records(out, plan), {scan.key for scan in plan.scans})
    if not options.quiet:
        show(records, out)
    return FAILED if any(record.state == "failed" for record in records) else OK


def train(options: argparse.Namespace) -> int:
    """Train a network, or go on where a training was stopped."""
    from cli.options import settings_from
    from flows.home import training_folder
    from flows.progress import be_quiet
    from infra.services import local_state, prefect_server
    from infra.signals import terminable

    _calm()
    if options.quiet:
        be_quiet()
    os.environ["PREFECT_LOGGING_LEVEL"] = "CRITICAL"  # what is wrong is said in one line
    settings = settings_from(options, TrainSettings)
    with terminable(), prefect_server(local_state(training_folder(settings))):  # each its own: trainings run side by side
        from flows.train import train_network

        _say(train_network(settings))
    return OK


def _page_is_of(out: Any, plan: CohortPlan) -> bool:
    """Whether a run of this plan came to its very end, and its plan and the cohort's page are whole."""
    from core.io import files

    try:
        kept = files.read_json(out.plan).get("digest") == plan.digest
    except (FileNotFoundError, ValueError):
        return False
    return kept and _counted(out, plan) and bool(out.page_whole(out.cohort_page))


def run_flow(plan: CohortPlan) -> list[ScanRecord]:
    """Run the flow with a Prefect server at hand; the records of all planned scans, as this run's table shows them."""
    from contextlib import ExitStack

    from core.io import files
    from core.io.output import Output
    from infra.services import local_state, prefect_server
    from infra.signals import terminable
    from tasks.pipeline.results import verified_records, with_skipped

    out = Output(plan.settings.out)
    with ExitStack() as stack:
        stack.enter_context(terminable())
        stack.enter_context(prefect_server(local_state(out.uri)))
        from flows.reprocess import reprocess_cohort

        state = reprocess_cohort(plan.settings, return_state=True)
        if state.is_crashed() or (state.is_failed() and not _counted(out, plan)):
            error = state.result(raise_on_failure=False)
            raise error if isinstance(error, Exception) else RuntimeError(state.message)
    told = files.read_json(out.ending)
    return with_skipped(verified_records(out, plan), told["skipped"])


def _counted(out: Any, plan: CohortPlan) -> bool:
    """Whether the run came to its end and counted its scans."""
    from core.io import files

    try:
        return bool(files.read_json(out.ending)["plan"] == plan.digest)
    except (FileNotFoundError, ValueError, KeyError):
        return False


def show(records: list[ScanRecord], out: Any) -> None:
    """Print the table of scans and where to look on."""
    from rich.console import Console

    from cli.tables import scan_table, summary

    console = Console(highlight=False, soft_wrap=False, width=None if sys.stdout.isatty() else 140)
    console.print(scan_table(records))
    console.print(summary(records))
    _say(f"report: {out.cohort_page}")
    _say(f"pages of Prefect and MLflow: isovox ui {out.uri}")


def plan(options: argparse.Namespace) -> int:
    """Print what a run would do; nothing is written."""
    from rich.console import Console

    from cli.tables import plan_summary, plan_table
    from tasks.pipeline.discover import unfinished

    _calm()
    planned = _plan(options)
    if not options.quiet:
        console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
        console.print(plan_table(planned, unfinished(planned)))
        console.print(plan_summary(planned))
    return FAILED if planned.refused else OK


def _planned(out: str) -> tuple[Any, CohortPlan]:
    from core.engine.plan import CohortPlan
    from core.io import files
    from core.io.output import Output

    place = Output(out)
    try:
        return place, CohortPlan.model_validate(files.read_json(place.plan))
    except (FileNotFoundError, ValueError) as error:
        raise UsageError(
            "no-run", f"an output folder of isovox with {place.plan}", str(error), "name the OUT of a run"
        ) from error


def status(options: argparse.Namespace) -> int:
    """Print each planned scan's state, re-read from its files."""
    from core.io.lock import owner
    from tasks.pipeline.results import verified_records

    out, planned = _planned(options.out)
    records = verified_records(out, planned)
    show(records, out)
    if other := owner(out.lock):
        _say(f"a run works here: {other['user']} on {other['host']}, process {other['pid']}, since {other['since']}")
    return FAILED if any(record.state == "failed" for record in records) else OK


def _notes(out: Any) -> list[str]:
    """What the latest run had to say beside the scans."""
    from core.io import files

    try:
        return list(files.read_json(out.ending).get("notes", ()))
    except (FileNotFoundError, ValueError):
        return []


def report(options: argparse.Namespace) -> int:
    """Write all pages anew from the store and open the cohort's."""
    from core.io import files
    from tasks.pipeline.pages import report as write_pages
    from tasks.pipeline.pages import write_cohort_page
    from tasks.pipeline.results import verified_records
    from tasks.restore.work import Job

    _calm()
    out, planned = _planned(options.out)
    records = verified_records(out, planned)
    for record in records:
        if record.outputs:
            write_pages(Job(out.uri, planned.digest, (record.key,)))
    write_cohort_page(out, planned, records, _notes(out))
    _say(out.cohort_page)
    if not options.no_open and not files.is_remote(out.uri):
        webbrowser.open(Path(out.cohort_page).absolute().as_uri())
    return OK


def ui(options: argparse.Namespace) -> int:
    """Serve the Prefect and MLflow pages of an output until interrupted."""
    from infra.services import serve_ui
    from infra.signals import terminable

    out, planned = _planned(options.out)
    with terminable(), serve_ui(out.uri, tracking_uri=planned.settings.tracking_uri) as pages:
        _say(f"Prefect {pages.prefect}\nMLflow  {pages.mlflow}\nCtrl-C ends them")
        sys.stdout.flush()
        pages.wait()
    return OK


def doctor(options: argparse.Namespace) -> int:
    """Print what this machine and its group's services have, what is missing and the remedy."""
    from rich.console import Console

    from cli.tables import doctor_table
    from infra.doctor import checks
    from infra.group.checks import group_checks
    from infra.group.state import State

    found = [*checks(), *group_checks(State.at(options.state_dir), asked=options.state_dir is not None)]
    Console(highlight=False, width=None if sys.stdout.isatty() else 140).print(doctor_table(found))
    return FAILED if any(check.state == "missing" for check in found) else OK


def demo(options: argparse.Namespace) -> int:
    """Restore a small real cohort and print how close each method came to the truth."""
    from cli.demo import run_demo

    _calm()
    return run_demo(options.out)


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "run": run,
    "plan": plan,
    "train": train,
    "status": status,
    "report": report,
    "ui": ui,
    "doctor": doctor,
    "demo": demo,
}
