"""What the Prefect server does by itself: runs that died are told so, events start runs, and people hear of what went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from prefect.automations import AutomationCore, ChangeFlowRunState, EventTrigger, Posture, RunDeployment, SendNotification
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.schemas.events import Event, Resource

from infra.group.state import AGAIN, TAG

ARRIVED = "isovox.objects-arrived"
FLAGGED = "isovox.cohort-flagged"
BEAT, RUNNING = "prefect.flow-run.heartbeat", "prefect.flow-run.Running"
ENDS = {f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed")}
MISSED = 3  # heartbeats, after which a run counts as dead
OURS = {"prefect.resource.id": f"prefect.tag.{TAG}", "prefect.resource.role": "tag"}
RUNS = {"prefect.resource.id": "prefect.flow-run.*"}


def resource_of(cohort: str) -> str:
    """What events about a cohort name as their resource."""
    return f"isovox.cohort.{cohort}"


def ensure(client: SyncPrefectClient, automation: AutomationCore) -> UUID:
    """Make an automation, or bring the one of that name up to date."""
    known = client.read_automations_by_name(automation.name)
    if known:
        client.update_automation(known[0].id, automation)
        for double in known[1:]:
            client.delete_automation(double.id)
        return known[0].id
    return client.create_automation(automation)


def crashed(heartbeat: int) -> AutomationCore:
    """A run without a sign of life for three heartbeats, the first included, is Crashed: its process or its machine died."""
    window = timedelta(seconds=MISSED * heartbeat)
    trigger = EventTrigger(
        after={BEAT, RUNNING}, expect={BEAT, *ENDS}, match=RUNS, match_related=OURS, for_each={"prefect.resource.id"},
        posture=Posture.Proactive, threshold=1, within=window,
    )  # fmt: skip
    message = f"no sign of life for {window.seconds} s: its process died; the next run goes on where it stood"
    action = ChangeFlowRunState(state=StateType.CRASHED, name="Crashed", message=message)
    about = "marks isovox's runs whose process died"
    return AutomationCore(name="isovox: dead runs", description=about, trigger=trigger, actions=[action])


def arrivals(cohort: str, deployment: UUID, quiet: int) -> AutomationCore:
    """Objects that arrive start a run of their cohort.

    Many arrive together: the first starts the clock, the rest of the next ``quiet`` seconds belong to it, and the run begins
    when these are over, so that it sees them all.
    """
    trigger = EventTrigger(
        expect={ARRIVED}, match={"prefect.resource.id": resource_of(cohort)}, posture=Posture.Reactive, threshold=1,
        within=timedelta(seconds=quiet),
    )  # fmt: skip
    action = RunDeployment(deployment_id=deployment, schedule_after=timedelta(seconds=quiet))
    about = f"starts a run of cohort {cohort} when objects have arrived"
    return AutomationCore(name=f"isovox: arrivals of {cohort}", description=about, trigger=trigger, actions=[action])


def arrived(client: SyncPrefectClient, cohort: str) -> None:
    """Tell the server that objects of a cohort have arrived."""
    event = Event(event=ARRIVED, resource=Resource({"prefect.resource.id": resource_of(cohort)}), payload={})
    client.request("POST", "/events", json=[event.model_dump(mode="json")]).raise_for_status()


# -- who hears of it --------------------------------------------------------------------------------------------------------

WHICH = "{{ deployment.name if deployment else flow.name }} ({{ flow_run.name }})"  # a cohort has a deployment of its name
PAGE = "{{ flow_run|ui_url }}"


def notices(blocks: Sequence[UUID], late: int, *, supervised: bool = True) -> list[AutomationCore]:
    """Automations that tell people of failed, flagged and late cohorts.

    Args:
        blocks: of notifications, each of which is told.
        late: minutes a run may wait for a worker.
        supervised: crashed runs are begun anew once, and told when they crash again.
    """
    bad = {f"prefect.flow-run.{state}" for state in ("Failed", "TimedOut", *(() if supervised else ("Crashed",)))}
    again = {"prefect.resource.id": f"prefect.tag.{AGAIN}", "prefect.resource.role": "tag"}
    begun = {f"prefect.flow-run.{state}" for state in ("Pending", "Running")} | ENDS
    after, waiting = {"prefect.flow-run.Late"}, timedelta(minutes=late)
    failed = EventTrigger(expect=bad, match=RUNS, match_related=OURS, for_each={"prefect.resource.id"})
    crashed = EventTrigger(
        expect={"prefect.flow-run.Crashed"}, match=RUNS, match_related=[OURS, again], for_each={"prefect.resource.id"}
    )
    flagged = EventTrigger(expect={FLAGGED}, match={"prefect.resource.id": resource_of("*")})
    overdue = EventTrigger(
        after=after, expect=begun, match=RUNS, match_related=OURS, for_each={"prefect.resource.id"},
        posture=Posture.Proactive, threshold=1, within=waiting,
    )  # fmt: skip
    counted = "{{ event.payload.flagged }} flagged, {{ event.payload.done }} done, {{ event.payload.skipped }} as before"
    triggers: dict[str, tuple[EventTrigger, str, str]] = {
        "failed": (failed, f"isovox: {WHICH} failed", "{{ flow_run.state.name }}: {{ flow_run.state.message }}\n" + PAGE),
        "crashed": (crashed, f"isovox: {WHICH} crashed twice", "{{ flow_run.state.message }}\n" + PAGE),
        "flagged": (flagged, "isovox: {{ event.resource.name }} has flagged scans", f"{counted}\n{PAGE}"),
        "late": (overdue, f"isovox: {WHICH} is late", f"No worker has begun it for {late} min.\n{PAGE}"),
    }
    if not supervised:
        del triggers["crashed"]
    return [
        AutomationCore(
            name=f"isovox: {kind} cohorts",
            description=f"tells people of {kind} cohorts",
            trigger=trigger,
            actions=[SendNotification(block_document_id=block, subject=subject, body=body) for block in blocks],
        )
        for kind, (trigger, subject, body) in triggers.items()
    ]
