"""What all settings share."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, ValidationError

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


def _rule(text: str) -> str:
    """What pydantic says of an input, to stand after the setting's name."""
    rule = text.partition(", unable to parse")[0]
    return rule.replace("Input should be", " to be", 1) if rule.startswith("Input should be ") else f" ({rule})"
