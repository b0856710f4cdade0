"""What all settings share."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from core.places import at_home

EXTRA = "extra_forbidden"  # pydantic's name of the fault that there is no such field


@dataclass(frozen=True)
class PerStage:
    """Marks a number that may also be said for stages of a recipe by name: on the command line STAGE=NUMBER, several times."""


@dataclass(frozen=True)
class FormOnly:
    """Marks a field that is no option of the command line."""


class Settings(BaseModel):
    """Base: immutable, and an unknown name is an error rather than silently ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Command(Settings):
    """Base of what a command, a file or a form says of one piece of work.

    A place that begins with ~/ is one below the user's home: shells write it out, but not in --out=~/x, and forms never do.
    """

    @field_validator("*", mode="after")
    @classmethod
    def _home_is_written_out(cls, value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(at_home(part) if isinstance(part, str) else part for part in value)
        return at_home(value) if isinstance(value, str) else value


def wrong(error: ValueError) -> str:
    """What is wrong with a value, in one line: each field with its fault, or the error's own text where it is of no model."""
    if not isinstance(error, ValidationError):
        return str(error)
    return "; ".join(": ".join(filter(None, [".".join(map(str, fault["loc"])), fault["msg"]])) for fault in error.errors())


def refused(error: ValidationError) -> tuple[str, str]:
    """What was expected of settings and what came, as the ends of "expected …" and "but got …".

    Args:
        error: of a model; a fault becomes "voxel_size to be greater than 0.1" and "0 for voxel_size".
    """
    faults = [(".".join(map(str, fault["loc"])) or "settings", fault) for fault in error.errors()]
    wanted = [f"no setting {name}" if fault["type"] == EXTRA else f"{name}{_rule(fault['msg'])}" for name, fault in faults]
    return " and ".join(wanted), " and ".join(f"{fault['input']!r} for {name}" for name, fault in faults)


def as_meant(error: ValidationError) -> str:
    """How a file is to write texts that YAML reads as something else, and lists; "" where it is not that."""
    kinds = {fault["type"] for fault in error.errors() if isinstance(fault["input"], str | int | float | date)}
    ways = {"string_type": 'put texts of digits alone, dates, yes and no in quotes ("01")', "tuple_type": 'write a list (["01"])'}
    return " and ".join(way for kind, way in ways.items() if kind in kinds)


def _rule(text: str) -> str:
    """What pydantic says of an input, to stand after the setting's name."""
    rule = text.partition(", unable to parse")[0].replace("a valid tuple", "a list").replace("a valid string", "a text")
    return rule.replace("Input should be", " to be", 1) if rule.startswith("Input should be ") else f" ({rule})"
