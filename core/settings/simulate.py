"""Simulation of scans of low resolution."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core.settings.base import Command
from core.settings.degradation import DEGRADATION, Degradation
from core.settings.run import Compute
from core.settings.scans import SELECTION, Selection


class SimulateSettings(Command):
    """Scans of low resolution made from a cohort of sharp ones."""

    input: str = Field(title="Input", description="sharp scans: BIDS dataset, folder of NIfTI, or TSV table; local or s3://")
    out: str = Field(title="Output", description="folder of the BIDS dataset that is made; local or s3://")
    degradation: Degradation = DEGRADATION
    axis: Literal["auto", "R", "A", "S"] = Field(
        "auto", title="Axis", description="along which slices become thick: right, anterior or superior; auto: superior"
    )
    labels: str | None = Field(
        None,
        title="Labels",
        description="tissues of low field: BIDS dataset with dseg images, TSV table, or one label image "
        "(FreeSurfer's aseg, or 1 CSF, 2 GM, 3 WM); default: a fit to the intensities",
    )
    selection: Selection = SELECTION
    trust: Literal["sform", "qform"] | None = Field(
        None, title="Trust", description="which transform to use where qform and sform disagree"
    )
    compute: Compute = Field(Compute(), title="Compute", description="where the work runs, and on how many workers")
    seed: int = Field(0, ge=0, title="Seed", description="of contrast and noise, with each scan's digest")
