"""How scans of low resolution are made from sharp ones, as a user says it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from core.settings.base import Settings

if TYPE_CHECKING:
    from core.operators.forward_model import ForwardModel

FACTOR = 4  # of BSRGAN-light
LOW_FIELD: dict[str, Any] = {"slice_profile": "gaussian", "slice_gap": 0.25}  # Lin et al. 2023: of every 8 voxels 6
LATER = ("phase", "kernel", "centre", "every", "scanner")  # fields that digests know only where they are set


def _by_operator(schema: dict[str, Any]) -> None:
    """A form tells these defaults and does not fill them in: that would say them, and low field has others."""
    for name in LOW_FIELD:
        field = schema["properties"][name]
        field["description"] += f" (default: {field.pop('default')})"


class Degradation(Settings):
    """How scans of low resolution are made from sharp ones: flat, for options and forms; ``forward`` is what is meant."""

    model_config = ConfigDict(json_schema_extra=_by_operator)

    operator: Literal["slice-profile", "slice-mask", "low-field", "in-plane", "k-space", "scanner", "bsrgan-light"] = Field(
        "slice-profile",
        title="Operator",
        description="thick slices, dropped slices, the low-field simulator of Lin et al. 2023, coarser voxels within the slices, "
        "k-space lines left out, a scanner of another brightness, bias field, sharpness, voxel size and noise, or slices 4 times "
        "coarser, blurred, noisy and compressed by BSRGAN-light's draws",
    )
    factor: int = Field(
        4,
        ge=2,
        title="Factor",
        description="voxels of the sharp scan from slice to slice; k-space: one line in so many is kept",
    )
    slice_profile: Literal["box", "gaussian"] = Field(
        "box", title="Slice profile", description="sensitivity across a slice; of low field gaussian unless said"
    )
    slice_gap: float = Field(
        0.0, ge=0.0, lt=1.0, title="Slice gap", description="as a fraction of the slices' distance; of low field 0.25 unless said"
    )
    contrast: Literal["T1w", "FLAIR"] = Field("T1w", title="Contrast", description="of low-field scans")
    phase: int | None = Field(None, ge=0, title="Phase", description="of dropped slices, the number of the first that is kept")
    kernel: Literal["bicubic", "bilinear", "lanczos2", "lanczos3", "box"] | None = Field(
        None, title="Kernel", description="of coarser voxels within the slices; default: bicubic"
    )
    every: int | None = Field(
        None,
        ge=2,
        title="Every",
        description="of the slices within which voxels are coarser, one in so many is kept; default: all",
    )
    centre: float | None = Field(
        None, ge=0.0, le=1.0, title="Centre", description="of k-space, the fraction of lines that are all kept; default: 0.08"
    )
    scanner: int | None = Field(
        None,
        ge=0,
        title="Scanner",
        description="number of a simulated scanner, from which all is drawn that it does to scans; 0, the default: the reference",
    )

    @model_validator(mode="before")
    @classmethod
    def _of_low_field(cls, values: Any) -> Any:
        """Slices of low field are those of Lin et al. 2023 unless said."""
        low = isinstance(values, dict) and values.get("operator") == "low-field"
        return LOW_FIELD | values if low else values

    @model_validator(mode="after")
    def _phase_within(self) -> Degradation:
        if self.phase is not None and self.phase >= self.factor:
            raise ValueError(f"expected a phase below the factor {self.factor}, but got {self.phase}. Count slices from 0.")
        return self

    @model_validator(mode="after")
    def _only_by_four(self) -> Degradation:
        if self.operator == "bsrgan-light" and self.factor != FACTOR:
            raise ValueError(f"expected a factor of {FACTOR} of bsrgan-light, but got {self.factor}. Leave the factor out.")
        return self

    @model_serializer(mode="wrap")
    def _set_ones(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Fields that came later are left out where they are not set: what was made before keeps its digest."""
        return {name: value for name, value in write(self).items() if name not in LATER or value is not None}

    def stated(self, *, defaults: bool) -> list[str]:
        """Names of the fields that were said, in their order; not of those that only follow from the operator.

        Args:
            defaults: whether one counts that was said as it would be unsaid.
        """
        follow = Degradation(operator=self.operator)
        names = [name for name in type(self).model_fields if name in self.model_fields_set]
        followed = {name for name in names if name in follow.model_fields_set and getattr(self, name) == getattr(follow, name)}
        said = [name for name in names if name == "operator" or name not in followed]
        return [name for name in said if defaults or getattr(self, name) != type(self).model_fields[name].default]

    @property
    def forward(self) -> ForwardModel:
        """The forward model that is meant: the operator's own fields, its defaults where nothing is said."""
        from core.operators.forward_model import KINDS, forward_of
        from core.operators.scanner import Scanner

        if self.operator == "scanner":
            return Scanner.drawn(self.scanner or 0)
        values = self.model_dump(exclude={"operator"})
        own = {name: value for name, value in values.items() if name in KINDS[self.operator].model_fields}
        return forward_of(own | {"kind": self.operator})


DEGRADATION = Field(Degradation(), title="Degradation", description="how scans of low resolution are made from sharp ones")
