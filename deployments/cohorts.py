"""Cohorts that are restored again and again: each a deployment of its own, with its schedules."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError, create_model

from core.errors import UsageError
from core.io import claim, files
from core.io.scans import TABLES
from core.settings.base import as_meant, refused
from core.settings.run import RunSettings

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
PLACED = ("input", "out")
NOTIFY = "webhook=URL, slack=URL or email=ADDRESS; env:NAME in place of a URL reads it from the environment"


def how_model() -> type[BaseModel]:
    """How cohorts are restored: the settings of a run but where it reads and writes."""
    defaults: dict[str, Any] = {
        name: (field.annotation, field) for name, field in RunSettings.model_fields.items() if name not in PLACED
    }
    return create_model("How", **defaults)


@dataclass(frozen=True)
class Schedule:
    """When cohorts are looked at.

    Attributes:
        cron: every file is read to see whether it changed; empty for never.
        timezone: in which the cron line is meant.
        poll: minutes between two quick looks at a listing; 0 for none.
    """

    cron: str = ""
    timezone: str = "UTC"
    poll: int = 0


@dataclass(frozen=True)
class Cohort:
    """A cohort under a name.

    Attributes:
        name: of its deployment.
        settings: of its runs, as JSON, only what was said.
    """

    name: str
    settings: dict[str, Any] = field(default_factory=dict)


def cohort_of(said: str, how: Mapping[str, Any]) -> Cohort:
    """The cohort that NAME=INPUT=OUT names.

    Args:
        said: of the command line.
        how: settings of its runs.

    Raises:
        UsageError: not of this form, an input that is not there, an output that is the input or lies in it, or settings that
            cannot be.
    """
    parts = said.split("=")
    if len(parts) != 3 or not all(parts):
        raise UsageError("cohort-form", "NAME=INPUT=OUT", repr(said), "write --cohort study=/data/study=/data/derivatives/study")
    name, source, out = parts
    if not NAME.fullmatch(name):
        raise UsageError("cohort-name", "a name of lower-case letters, digits, '-' and '_'", repr(name), "choose another name")
    source, out = _absolute(source), _absolute(out)
    if not files.exists(source):
        raise UsageError("input-missing", f"the input of cohort {name}", f"nothing at {source}", "check the path")
    claim.check_apart(out, [source])
    settings = {**_from_here(how), "input": source, "out": out}
    try:
        RunSettings.model_validate(settings)
    except ValidationError as error:
        wanted, got = refused(error)
        raise UsageError("settings", f"of cohort {name} {wanted}", got, as_meant(error) or "correct it") from error
    return Cohort(name, settings)


def _from_here(how: Mapping[str, Any]) -> dict[str, Any]:
    """Settings whose files and folders are named from the root: a worker stands elsewhere than who deploys."""
    places: dict[str, Any] = {
        name: _absolute(how[name]) for name in ("reference", "model") if how.get(name) and "models:" not in how[name][:7]
    }
    selection = how.get("selection") or {}
    if words := selection.get("exclude"):
        tables = [_absolute(word) if word.lower().endswith(TABLES) else word for word in words]
        places["selection"] = {**selection, "exclude": tables}
    return {**how, **places}


def _absolute(place: str) -> str:
    return place if files.is_remote(place) else str(Path(place).expanduser().absolute())


def merged(base: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with those of the other laid over them, nested ones name by name."""
    result = dict(base)
    for name, value in other.items():
        below = result.get(name)
        result[name] = merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return result


def local_timezone() -> str:
    """The IANA name of this machine's time zone; UTC where it tells none."""
    said = os.environ.get("TZ", "").lstrip(":")
    if said and not said.startswith("/"):
        return said
    zone = Path(said or "/etc/localtime")
    _, separator, name = str(zone.resolve()).partition("/zoneinfo/")
    return name if separator and name not in {"Etc/UTC", "UCT", "Universal", "Zulu"} else "UTC"
