"""How fast the stages of a restoration go: seconds of one worker a million restored voxels, by stage; for forecasts.

What is done beside a restoration costs something of each scan, however small it is: as much as ``EACH`` voxels.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from core.methods.base import Method

STAGES = ("ingest", "restore", "export", "report")
EACH = 5e6  # between scans of 0.4 and 7.6 million voxels, as measured
BESIDES = {"ingest": 0.1, "export": 1.2, "report": 0.5}  # so measured, on one core of a busy machine; plans start from them

Pace = Mapping[str, float]


def seconds_at(pace: Pace, shape: Sequence[int]) -> dict[str, float]:
    """What the stages of a scan take at a pace, by the shape of its restored image."""
    return {stage: each * _millions(stage, shape) for stage, each in pace.items()}


def _millions(stage: str, shape: Sequence[int]) -> float:
    return (math.prod(shape) + (0.0 if stage == "restore" else EACH)) / 1e6


def first_pace(method: Method) -> dict[str, float]:
    """Of a method before anything is measured here."""
    return {**BESIDES, "restore": 1e6 * method.passes / method.speed}


def pace_of(seconds: Mapping[str, float], shape: Sequence[int], scans: int = 1) -> dict[str, float]:
    """Of one scan.

    Args:
        seconds: that its stages took.
        shape: of its restored image.
        scans: that went through the stages together, of one shape.
    """
    known = [stage for stage in STAGES if seconds.get(stage, 0.0) > 0]
    return {stage: float(f"{seconds[stage] / scans / _millions(stage, shape):.4g}") for stage in known}


def median_pace(paces: Sequence[Pace]) -> dict[str, float]:
    """Of several scans, stage by stage; a stage that none of them tells of is left out."""
    by_stage = {stage: [pace[stage] for pace in paces if stage in pace] for stage in STAGES}
    return {stage: statistics.median(values) for stage, values in by_stage.items() if values}
