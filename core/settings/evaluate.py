"""Evaluation of methods on a cohort whose truth is known."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from core.settings.base import Command
from core.settings.degradation import Degradation
from core.settings.run import Compute
from core.settings.scans import SELECTION, TILING, Selection, TilingSettings


def _protocols(schema: dict[str, Any]) -> None:
    """A form offers the protocols that there are, and says what they are."""
    from core.methods import registry

    protocols = registry.protocols()
    schema["enum"] = list(protocols)
    schema["description"] = "; ".join(f"{name}: {entry.title}" for name, entry in protocols.items())


class EvaluationSettings(Command):
    """Restoration of a cohort whose truth is known, by several methods, scored against it."""

    protocol: str = Field(
        title="Protocol", description="how scans are degraded, which count, and by what figures", json_schema_extra=_protocols
    )
    cohort: str = Field(
        title="Cohort",
        description="sharp scans that are degraded first, or simulated ones with their truth; local or s3://",
        examples=["/data/sharp"],
    )
    out: str = Field(
        title="Output",
        description="folder of tables, report, simulated and restored scans; local or s3://",
        examples=["/data/evaluation"],
    )
    methods: tuple[str, ...] = Field(
        ("cubic", "unires"),
        title="Methods",
        description="names, or METHOD=MODEL (a folder or models:/name@alias), or champion: every champion of the registry; "
        "METHOD+repair: brought to agree with its scan, as a run does",
        examples=[["cubic,unires", "METHOD=models:/NAME@champion"]],
    )
    method_options: dict[str, Any] = Field({}, title="Methods' options", description="METHOD.OPTION=VALUE")
    fold: int | None = Field(
        None, ge=1, title="Fold", description="of the protocol's parts of the persons, score this one alone; default: all persons"
    )
    degradation: tuple[str, ...] = Field(
        (),
        title="Degradations",
        description="of a protocol with several, these alone; default: all",
        examples=[["4mm0box"]],
    )
    factor: int | None = Field(
        None, ge=2, title="Factor", description="sharp voxels from slice to slice; default: the protocol's"
    )
    slice_profile: Literal["box", "gaussian"] | None = Field(None, title="Slice profile", description="default: the protocol's")
    slice_gap: float | None = Field(
        None, ge=0.0, lt=1.0, title="Slice gap", description="fraction of the slices' distance; default: the protocol's"
    )
    contrast: Literal["T1w", "FLAIR"] = Field("T1w", title="Contrast", description="of low-field scans")
    axis: Literal["auto", "R", "A", "S"] = Field(
        "auto", title="Axis", description="along which slices become thick: right, anterior or superior; auto: superior"
    )
    labels: str | None = Field(None, title="Labels", description="tissues of low field, as for isovox simulate")
    segmenter: str = Field(
        "tissues",
        title="Segmenter",
        description="for the mean IoU: tissues (fitted classes), fastsurfer, a model (a folder or models:/name@alias), "
        "a command with {image} and {labels}, or none",
    )
    lpips: bool | None = Field(None, title="LPIPS", description="perceptual distance of slices; default: the protocol's")
    tiling: TilingSettings = TILING
    selection: Selection = SELECTION
    trust: Literal["sform", "qform"] | None = Field(
        None, title="Trust", description="which transform to use where qform and sform disagree"
    )
    tracking_uri: str | None = Field(
        None, title="MLflow tracking URI", description="default: a sqlite file in isovox's own folder"
    )
    compute: Compute = Field(Compute(), title="Compute", description="where the work runs, and on how many workers")
    seed: int = Field(0, ge=0, title="Seed", description="of what is drawn, with each scan's digest")

    @field_validator("methods", mode="before")
    @classmethod
    def _split_at_commas(cls, values: Any) -> Any:
        """``a,b c`` names three methods."""
        words = [values] if isinstance(values, str) else values
        return tuple(part.strip() for word in words for part in str(word).split(",") if part.strip())

    @property
    def _given(self) -> dict[str, Any]:
        """What is said of all degradations alike."""
        given = {"slice_profile": self.slice_profile, "slice_gap": self.slice_gap, "factor": self.factor}
        return {name: value for name, value in given.items() if value is not None}

    @property
    def degradations(self) -> dict[str, Degradation]:
        """How scans of low resolution are made from sharp ones by this protocol, by the names that it gives; those asked for."""
        from core.methods import registry

        return {
            name: Degradation.model_validate({"contrast": self.contrast} | dict(own) | self._given)
            for name, own in registry.protocol(self.protocol).degradations.items()
            if not self.degradation or name in self.degradation
        }

    @field_validator("protocol")
    @classmethod
    def _is_there(cls, name: str) -> str:
        """A protocol that is not there is refused, and the nearest one told."""
        from core.methods import registry

        return registry.protocol_entry(name).name

    @model_validator(mode="after")
    def _degradations_are_there(self) -> EvaluationSettings:
        """A degradation that the protocol does not have is refused, and the nearest one told."""
        from core.methods import registry

        known = [name for name in registry.protocol(self.protocol).degradations if name]
        for name in self.degradation:
            if name not in known:
                raise registry.unknown(
                    "degradation-unknown", name, known or ["no --degradation: there is one"], "correct --degradation"
                )
        return self

    @model_validator(mode="after")
    def _degradations_are_as_named(self) -> EvaluationSettings:
        """What a protocol's degradations are told apart by is refused for all alike: they would not be what they are called."""
        from core.methods import registry

        own = registry.protocol(self.protocol).degradations
        for name, value in self._given.items():
            kinds = {str(each[name]) for each in own.values() if name in each}
            if len(kinds) > 1 or any(kind.isalpha() and kind in label for kind in kinds for label in own):
                wanted = f"degradations of {self.protocol} as they are named ({', '.join([*own][:3])} …)"
                remedy = f"Leave out --{name.replace('_', '-')}, and name some by --degradation."
                raise ValueError(f"expected {wanted}, but got {name} {value} for all. {remedy}")
        return self
