"""What an earlier run into the same output read from the voxels of the same bytes: taken from its plan, not read again."""

from __future__ import annotations

from collections import defaultdict
from functools import lru_cache

from core import __version__
from core.engine.plan import CohortPlan, ScanPlan
from core.io import files
from core.io.output import Output
from core.io.validation import Trust
from core.settings.run import RunSettings


def as_planned(sha256: str, settings: RunSettings) -> list[ScanPlan]:
    """The scans of those bytes as the plan has them that lay in the output when it was first asked for.

    Args:
        sha256: of the bytes.
        settings: of the run.
    """
    return _by_bytes(settings.out, settings.trust).get(sha256, [])


@lru_cache(maxsize=8)
def _by_bytes(out: str, trust: Trust | None) -> dict[str, list[ScanPlan]]:
    """The scans of an output's plan, where this version made it and read as is trusted now."""
    try:
        plan = CohortPlan.model_validate(files.read_json(Output(out).plan))
    except (FileNotFoundError, ValueError):
        return {}
    alike = plan.version == __version__ and plan.settings.trust == trust
    scans: dict[str, list[ScanPlan]] = defaultdict(list)
    for scan in plan.scans if alike else ():
        scans[scan.sha256].append(scan)
    return dict(scans)
