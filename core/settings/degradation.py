"""How scans of low resolution are made from sharp ones."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from core.settings.base import Settings


class Degradation(Settings):
    """How scans of low resolution are made from sharp ones."""

    operator: Literal["slice-profile", "slice-mask", "low-field"] = Field(
        "slice-profile",
        title="Operator",
        description="thick slices, dropped slices, or the low-field simulator of Lin et al. 2023",
    )
    factor: int = Field(4, ge=2, title="Factor", description="voxels of the sharp scan from slice to slice")
    slice_profile: Literal["box", "gaussian"] = Field(
        "box", title="Slice profile", description="sensitivity across a slice; of low field gaussian unless said"
    )
    slice_gap: float = Field(
        0.0, ge=0.0, lt=1.0, title="Slice gap", description="as a fraction of the slices' distance; of low field 0.25 unless said"
    )
    contrast: Literal["T1w", "FLAIR"] = Field("T1w", title="Contrast", description="of low-field scans")

    @model_validator(mode="before")
    @classmethod
    def _of_low_field(cls, values: Any) -> Any:
        """Slices of low field are those of Lin et al. 2023 unless said: gaussian, of every 8 voxels 6 and a gap of 2."""
        low = isinstance(values, dict) and values.get("operator") == "low-field"
        return {"slice_profile": "gaussian", "slice_gap": 0.25} | values if low else values


DEGRADATION = Field(Degradation(), title="Degradation", description="how scans of low resolution are made from sharp ones")
