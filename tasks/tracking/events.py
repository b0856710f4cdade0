"""What a run tells MLflow, as values: kept as lines of JSON where the server is away, and told by the next run."""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from core.engine.records import ScanRecord
from core.settings.base import Settings

Status = Literal["FINISHED", "FAILED", "KILLED"]


class _Event(Settings):
    """What all share: the digest of the run's plan, and when it was told (milliseconds since 1970)."""

    plan: str
    at: int


class CohortOpened(_Event):
    """A cohort's run begins, or goes on.

    Attributes:
        name: shown in MLflow.
        params: settings, flat.
        tags: more to be found by.
    """

    kind: Literal["cohort"] = "cohort"
    name: str
    params: dict[str, str]
    tags: dict[str, str]


class ScanEnded(_Event):
    """A scan came to its outcome.

    Attributes:
        record: its outcome.
        files: URIs of pages and pictures.
    """

    kind: Literal["scan"] = "scan"
    record: ScanRecord
    files: tuple[str, ...]


class ReportWritten(_Event):
    """Files of the whole cohort were written.

    Attributes:
        files: their URIs.
    """

    kind: Literal["report"] = "report"
    files: tuple[str, ...]


class CohortClosed(_Event):
    """A cohort's run is over.

    Attributes:
        status: how it ended.
        figures: of the cohort.
    """

    kind: Literal["end"] = "end"
    status: Status
    figures: dict[str, float]


Event = Annotated[CohortOpened | ScanEnded | ReportWritten | CohortClosed, Field(discriminator="kind")]
_ADAPTER: TypeAdapter[Event] = TypeAdapter(Event)


def to_line(event: Event) -> str:
    """An event as a line of JSON; figures that are not finite stay so."""
    return json.dumps(event.model_dump(mode="json"))


def read_event(line: str) -> Event:
    """An event from its line.

    Raises:
        ValueError: half a line, or an event of another version.
    """
    return _ADAPTER.validate_python(json.loads(line))
