"""A trial of harmonisation against a truth: the same persons as several simulated scanners see them."""

from __future__ import annotations

from pydantic import Field

from core.settings.base import Command
from core.settings.run import Compute
from core.settings.scans import SELECTION, Selection


class HarmonisationTrial(Command):
    """Ways to make volumes alike, held against what the reference scanner shows of the same persons."""

    cohort: str = Field(
        title="Cohort",
        description="sharp T1w scans, one a person: BIDS dataset, folder or table; local or s3://",
        examples=["/data/sharp"],
    )
    out: str = Field(title="Output", description="folder of simulated scans, features and tables; local or s3://")
    scanners: int = Field(4, ge=2, le=32, title="Scanners", description="that see each person; the first is the reference")
    trial_voxel: float = Field(
        2.0, ge=0.5, le=4, title="Voxel", description="mm, cubic, of the sharp scans and of what is compared"
    )
    atrophy: float = Field(
        0.2, ge=0, le=1, title="Atrophy", description="per cent of its volume that a brain loses in a year of age"
    )
    selection: Selection = SELECTION
    compute: Compute = Field(Compute(), title="Compute", description="where the work runs, and on how many workers")
    seed: int = Field(0, ge=0, title="Seed", description="of noise, ages and folds")
