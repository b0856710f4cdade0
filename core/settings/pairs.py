"""Pairing of the slices of two scans of a person."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core.settings.base import Command, Settings
from core.settings.scans import SELECTION, Selection


class Voting(Settings):
    """How slices are found that show the same (SRMRI, section A.2)."""

    axis: Literal["auto", "R", "A", "S"] = Field(
        "auto", title="Axis", description="along which the slices follow each other; auto: the coarse scan's own, of cubes A"
    )
    dimension: float = Field(
        0.95, gt=0, title="Dimension", description="of the principal components: below 1 the variance they explain, else how many"
    )
    window: float = Field(
        10.0, gt=0, title="Window", description="mm on either side of where the headers put a slice, that candidates come from"
    )
    margin: float = Field(
        0.05, ge=0, lt=0.5, title="Margin", description="share of the coarse scan's slices that are left out at each end"
    )
    ties: Literal["ranks", "drop"] = Field(
        "ranks", title="Ties", description="three votes for three slices: the best by the sum of ranks, or no pair"
    )


class PairSettings(Command):
    """Pairs of slices from a fine and a coarse scan of each person."""

    input: str = Field(title="Input", description="BIDS dataset, folder of NIfTI, or TSV table; local or s3://")
    out: str = Field(title="Output", description="folder of the pairs; local or s3://")
    fine: str = Field(title="Fine", description="name of the finer scans, or a pattern", examples=["*_T1w"])
    coarse: str = Field(title="Coarse", description="name of the coarser scans, or a pattern", examples=["*_inplaneT2"])
    voting: Voting = Field(Voting(), title="Voting", description="how slices are found that show the same")
    selection: Selection = SELECTION
    trust: Literal["sform", "qform"] | None = Field(
        None, title="Trust", description="which transform to use where qform and sform disagree"
    )
