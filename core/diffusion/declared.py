"""Schedules as a model's config says them: a kind and its numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from core.diffusion.schedules import Cosine, Discrete, Geometric, Schedule
from core.errors import UsageError, WeightsError

KINDS: dict[str, Callable[..., Schedule]] = {
    "cosine": Cosine,
    "linear": Discrete.linear,
    "scaled-linear": Discrete.scaled_linear,
    "geometric": Geometric,
}


def build_schedule(said: Mapping[str, Any]) -> Schedule:
    """The schedule that a config says.

    Args:
        said: ``kind`` ("cosine", "linear", "scaled-linear", "geometric") and the arguments of its constructor by name, as
            {"kind": "scaled-linear", "steps": 1000, "first": 0.0015, "last": 0.0205}.

    Raises:
        WeightsError: a kind that is not known, or arguments that it refuses.
    """
    arguments = {name: value for name, value in said.items() if name != "kind"}
    if (kind := said.get("kind")) not in KINDS:
        raise WeightsError("schedule-unknown", f"one of {', '.join(KINDS)}", str(kind), "correct the schedule in config.json")
    try:
        return KINDS[kind](**arguments)
    except (TypeError, ValueError, UsageError) as error:
        wanted = f"arguments of a {kind} schedule"
        raise WeightsError("schedule-invalid", wanted, str(error), "correct the schedule in config.json") from error
