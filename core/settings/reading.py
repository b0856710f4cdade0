"""A blind reading of restored scans."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core.settings.base import Command


class ReadingSettings(Command):
    """Unlabelled series of slices of the same scans, as several methods restored them."""

    out: str = Field(title="Output", description="folder of the reading; local")
    sources: tuple[str, ...] = Field(
        title="Sources",
        description="NAME=FOLDER of restored scans, or of the truth; or folders of evaluations, which hold several methods",
    )
    scans: tuple[str, ...] = Field(
        (), title="Scans", description="names or patterns such as sub-01*; default: all that every source has"
    )
    plane: Literal["axial", "coronal", "sagittal"] = Field("axial", title="Plane", description="of the slices that are shown")
    slices: int = Field(10, ge=2, le=100, title="Slices", description="of a series, next to one another")
    seed: int = Field(0, ge=0, title="Seed", description="of names, places and orders")
