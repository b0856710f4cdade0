"""How fast the stages of a restoration go: seconds of one worker a million restored voxels, by stage; for forecasts."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from core.methods.base import Method

STAGES = ("ingest", "restore", "export", "report")
BESIDES = {"ingest": 0.2, "export": 2.0, "report": 2.0}  # as measured at 1 mm on one core; plans start from them

Pace = Mapping[str, float]


def first_pace(method: Method) -> dict[str, float]:
    """Of a method before anything is measured here."""
    return {**BESIDES, "restore": 1e6 * method.passes / method.voxels_per_second}


def pace_of(seconds: Mapping[str, float], voxels: int) -> dict[str, float]:
    """Of one scan.

    Args:
        seconds: that its stages took.
        voxels: of its restored image.
    """
    return {stage: float(f"{1e6 * seconds[stage] / voxels:.4g}") for stage in STAGES if seconds.get(stage, 0.0) > 0}


def median_pace(paces: Sequence[Pace]) -> dict[str, float]:
    """Of several scans, stage by stage; a stage that none of them tells of is left out."""
    by_stage = {stage: [pace[stage] for pace in paces if stage in pace] for stage in STAGES}
    return {stage: statistics.median(values) for stage, values in by_stage.items() if values}
