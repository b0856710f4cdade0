"""Deployments on a Prefect server: flows under a name, with their forms, schedules and limits."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from pydantic import ValidationError

from core import __version__
from core.errors import UsageError
from core.methods.registry import VARIABLE
from deployments.catalogue import COHORT, Entry, Found
from deployments.cohorts import Cohort, Schedule
from deployments.forms import form_of
from infra.group.state import TAG


@dataclass(frozen=True)
class Place:
    """Where runs of deployments go.

    Attributes:
        pool: name of the work pool; made for processes on the worker's machine where there is none.
        directory: in which a run stands, on the worker's machine.
        heartbeat: seconds between two signs of life of a run.
    """

    pool: str
    directory: str
    heartbeat: int


def _families() -> dict[str, str]:
    """The families of other folders that the forms offer, which a run must know as well."""
    return {VARIABLE: families} if (families := os.environ.get(VARIABLE)) else {}


def ensure_pool(client: SyncPrefectClient, name: str) -> None:
    """Make the work pool where there is none."""
    try:
        client.read_work_pool(name)
    except ObjectNotFound:
        try:
            client.create_work_pool(WorkPoolCreate(name=name, type="process", description="isovox's runs"))
        except ObjectAlreadyExists:  # another one was quicker
            return


def register(client: SyncPrefectClient, entry: Entry, flow: Found, place: Place, defaults: dict[str, Any]) -> UUID:
    """Deploy a flow to be started by hand.

    Args:
        client: of the server.
        entry: of the catalogue.
        flow: its flow.
        place: where its runs go.
        defaults: what its form says before anybody fills it in.

    Returns:
        the deployment's id; registering again keeps it.
    """
    return _create(client, entry, flow, place, name=entry.name, parameters=defaults, tags=[TAG])


def register_cohort(client: SyncPrefectClient, cohort: Cohort, place: Place, schedule: Schedule) -> UUID:
    """Deploy the restoration of a cohort, one run of it at a time; what comes meanwhile waits for its turn."""
    flow = COHORT.find()
    assert flow is not None  # noqa: S101 - it is part of isovox
    return _create(
        client,
        COHORT,
        flow,
        place,
        name=cohort.name,
        parameters={"settings": cohort.settings},
        tags=[TAG, f"cohort:{cohort.name}"],
        schedules=schedules_of(schedule),
        concurrency_limit=1,
        concurrency_options=ConcurrencyOptions(collision_strategy=ConcurrencyLimitStrategy.ENQUEUE),
    )


def _create(client: SyncPrefectClient, entry: Entry, located: Found, place: Place, **said: Any) -> UUID:
    entrypoint, flow = located
    return client.create_deployment(
        flow_id=client.create_flow(flow),
        version=__version__,
        description=entry.text,
        entrypoint=entrypoint,
        parameter_openapi_schema=form_of(flow),
        enforce_parameter_schema=True,
        work_pool_name=place.pool,
        # Without a pull step a run would stand in an empty folder and look there for code that is installed.
        pull_steps=[{"prefect.deployments.steps.set_working_directory": {"directory": place.directory}}],
        job_variables={"env": {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(place.heartbeat)} | _families()},
        **said,
    )


def schedules_of(said: Schedule) -> Sequence[DeploymentScheduleCreate]:
    """The schedules of a cohort: thorough ones by cron, quick ones between them.

    Raises:
        UsageError: a cron line or a time zone that cannot be.
    """
    schedules = []
    if said.cron:
        try:
            cron = CronSchedule(cron=said.cron, timezone=said.timezone)
        except ValidationError as error:
            what = f"{said.cron!r} in {said.timezone}: {error.errors()[0]['msg']}"
            if error.errors()[0]["loc"] == ("timezone",):
                wanted = "the name of a time zone, such as Europe/Berlin"
                raise UsageError("timezone", wanted, repr(said.timezone), "name it by --timezone") from error
            raise UsageError("cron", "minute hour day month weekday", what, 'write --cron "0 2 * * *"') from error
        schedules.append(DeploymentScheduleCreate(schedule=cron, slug="nightly", parameters={"quick": False}))
    if said.poll:
        interval = IntervalSchedule(interval=timedelta(minutes=said.poll))
        schedules.append(DeploymentScheduleCreate(schedule=interval, slug="poll", parameters={"quick": True}))
    return schedules
