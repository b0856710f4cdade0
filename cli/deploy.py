"""The command ``isovox deploy``: flows, cohorts, schedules and notifications on a Prefect server."""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from cli.helpers.console import OK, calm, say
from core.errors import UsageError
from infra.quiet import ServiceError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

    from deployments.cohorts import Cohort, Schedule
    from deployments.register import Place

EXAMPLE = "--cohort study=s3://bucket/study=s3://bucket/derivatives/study"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a command's arguments to its parser."""
    from cli.helpers.options import add_settings
    from deployments.cohorts import NOTIFY, how_model

    parser.add_argument("state_dir", nargs="?", type=Path, help="of isovox up (default: the user's own group)")
    when = parser.add_argument_group("cohorts")
    when.add_argument("--cohort", action="append", default=[], metavar="NAME=INPUT=OUT", help=f"such as {EXAMPLE}")
    when.add_argument("--cron", default="0 2 * * *", help="when cohorts are looked through; '' for never (default: %(default)s)")
    when.add_argument("--timezone", help="of the cron line (default: this machine's)")
    when.add_argument(
        "--poll", type=at_least(0), default=0, metavar="MINUTES", help="between quick looks for new objects; 0: none"
    )
    gathered = "that arrivals are gathered for (default: %(default)s)"
    when.add_argument("--quiet-seconds", type=at_least(1), default=30, help=gathered)
    notifications = parser.add_argument_group("notifications")
    notifications.add_argument("--notify", action="append", default=[], metavar="KIND=WHERE", help=NOTIFY)
    notifications.add_argument(
        "--late", type=at_least(1), default=15, metavar="MINUTES", help="a run may wait for a worker (default: %(default)s)"
    )
    where = parser.add_argument_group("workers")
    where.add_argument("--pool", help="work pool (default: the group's, else isovox)")
    where.add_argument("--directory", help="in which runs stand on the worker's machine (default: STATE_DIR/work)")
    signs = "seconds between signs of life of a run (default: %(default)s)"
    where.add_argument("--heartbeat", type=at_least(1), default=60, help=signs)
    add_settings(parser, how_model(), ())


def at_least(least: int) -> Callable[[str], int]:
    """Reads a whole number that is not smaller."""

    def read(word: str) -> int:
        try:
            number = int(word)
        except ValueError:
            number = least - 1
        if number < least:
            raise argparse.ArgumentTypeError(f"expected a whole number of {least} or more, but got {word!r}")
        return number

    return read


@contextmanager
def server() -> Iterator[SyncPrefectClient]:
    """The group's Prefect server; call it once prefect may be imported.

    Raises:
        ServiceError: it cannot be reached, or does not take the password.
    """
    import httpx
    from prefect.client.orchestration import get_client

    wanted = f"a Prefect server at {os.environ['PREFECT_API_URL']}"
    try:
        with get_client(sync_client=True) as client:
            yield client
    except httpx.TransportError as error:
        remedy = "start it (isovox up), or correct PREFECT_API_URL"
        raise ServiceError("server-gone", wanted, str(error) or type(error).__name__, remedy) from error
    except httpx.HTTPStatusError as error:
        if error.response.status_code not in {401, 403}:
            raise
        remedy = "take the password of the file that isovox up names, as PREFECT_API_AUTH_STRING"
        raise ServiceError(
            "server-forbidden", f"{wanted} that takes the password", error.response.reason_phrase, remedy
        ) from error


def enter_group(state_dir: Path | None) -> None:
    """Take up the group's environment, before prefect is imported.

    Raises:
        UsageError: there is no server.
    """
    from infra.group.state import enter

    calm()
    enter(state_dir)
    if not os.environ.get("PREFECT_API_URL"):
        raise UsageError("no-server", "a Prefect server", "no group that is up and no PREFECT_API_URL", "start one: isovox up")


def execute(options: argparse.Namespace) -> int:
    """Register flows, cohorts and automations on the server; doing it again brings them up to date."""
    from cli.helpers.options import settings_from
    from deployments.cohorts import Schedule, cohort_of, how_model, local_timezone, merged
    from flows.runs.group import of_group

    enter_group(options.state_dir)  # before prefect is imported
    from deployments.notifications import block_of
    from deployments.register import schedules_of

    how = settings_from(options, how_model()).model_dump(mode="json", exclude_unset=True)
    group = of_group(os.environ)
    cohorts = [cohort_of(words, merged(group, how)) for words in options.cohort]
    _apart(cohorts)
    schedule = Schedule(options.cron, options.timezone or local_timezone(), options.poll)
    schedules_of(schedule)  # what is wrong is told before anything is made
    blocks = [block_of(words) for words in options.notify]
    with server() as client:
        place = _place(options)
        _flows(client, place, group)
        _cohorts(client, cohorts, place, schedule, options.quiet_seconds)
        _automations(client, blocks, options)
    say(f"their forms: {os.environ['PREFECT_API_URL'].removesuffix('/api')}/deployments")
    return OK


def _apart(cohorts: Sequence[Cohort]) -> None:
    """Refuse a name or an output that two would have: the later one would take the place of the other.

    Raises:
        UsageError: cohort-twice, cohort-out-twice.
    """
    from core.io import files
    from deployments.catalogue import COHORT

    names = Counter([COHORT.name, *(cohort.name for cohort in cohorts)])
    if twice := [name for name, count in names.items() if count > 1]:
        got = f"{twice[0]} twice" if twice[0] != COHORT.name else f"{COHORT.name}, as the form for all cohorts is called"
        raise UsageError("cohort-twice", "a name of its own for each cohort", got, "choose another name")
    by_out: dict[str, str] = {}
    for cohort in cohorts:
        out = cohort.settings["out"]
        if (other := by_out.setdefault(files.real(out), cohort.name)) != cohort.name:
            got = f"{out} for {other} and {cohort.name}"
            raise UsageError("cohort-out-twice", "an output of its own for each cohort", got, "choose another OUT")


def _place(options: argparse.Namespace) -> Place:
    from deployments.register import Place
    from flows.runs.home import home

    folder = Path(options.directory or (options.state_dir or home() / "group").expanduser() / "work").absolute()
    if not options.directory:
        folder.mkdir(parents=True, exist_ok=True)
    return Place(options.pool or os.environ.get("ISOVOX_POOL") or "isovox", str(folder), options.heartbeat)


def _flows(client: SyncPrefectClient, place: Place, group: dict[str, Any]) -> None:
    from deployments.catalogue import CATALOGUE
    from deployments.register import ensure_pool, register

    ensure_pool(client, place.pool)
    for entry in CATALOGUE:
        flow = entry.find()
        if flow is None:
            say(f"left out: {entry.name}, for there is no such flow in {' or '.join(entry.modules)}")
            continue
        register(client, entry, flow, place, _defaults(flow[1], group))
        say(f"deployed: {entry.name}")


def _defaults(flow: Any, group: dict[str, Any]) -> dict[str, Any]:
    """What a form says at first: the group's services, as far as the flow's settings know of them."""
    known = get_type_hints(flow.fn)["settings"].model_fields
    defaults = {name: value for name, value in group.items() if name in known}
    return {"settings": defaults} if defaults else {}


def _cohorts(client: SyncPrefectClient, cohorts: list[Cohort], place: Place, schedule: Schedule, quiet: int) -> None:
    from deployments.automations import arrivals, ensure
    from deployments.register import register_cohort

    for cohort in cohorts:
        made = register_cohort(client, cohort, place, schedule)
        ensure(client, arrivals(cohort.name, made, quiet))
        times = [f"at '{schedule.cron}' {schedule.timezone}"] if schedule.cron else []
        times += [f"every {schedule.poll} min where a listing tells of something new"] if schedule.poll else []
        say(f"deployed: reprocess-cohort/{cohort.name}, {' and '.join([*times, f'by isovox notify {cohort.name}'])}")


def _automations(client: SyncPrefectClient, blocks: list[Any], options: argparse.Namespace) -> None:
    from deployments.automations import crashed, ensure, notices
    from deployments.notifications import save
    from infra.group.state import environment

    ensure(client, crashed(options.heartbeat))
    if blocks:
        for automation in notices(save(blocks), options.late, supervised=bool(environment(options.state_dir))):
            ensure(client, automation)
        say(f"told of failed, flagged and late cohorts: {', '.join(kind for kind, _ in blocks)}")
