"""One run over a cohort."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, TypeAdapter, WrapValidator, field_validator, model_validator

from core.settings.base import Command, Settings
from core.settings.scans import SELECTION, TILING, AcquisitionSettings, Selection, TilingSettings


def _methods(schema: dict[str, Any]) -> None:
    """A form offers the methods that there are."""
    from core.methods import registry

    schema["enum"] = [*registry.pickers(), *registry.methods()]


def _fallbacks(schema: dict[str, Any]) -> None:
    """A form offers the methods that need no model of the user's."""
    from core.methods import registry

    schema["enum"] = [name for name, entry in registry.methods().items() if not entry.takes.model or entry.champion]


class Compute(Settings):
    """Where the work runs."""

    cluster: str = Field(
        "in-process",
        title="Cluster",
        description="in-process, local, cuda, slurm, kubernetes, group (of isovox up), or a Dask scheduler's tcp://… or tls://…",
    )
    workers: int = Field(2, ge=1, title="Workers", description="processes (threads where in-process)")
    fewest_workers: int | None = Field(
        None,
        ge=0,
        title="Fewest workers",
        description="where set, the cluster grows and shrinks with the work, between these and 'workers'",
    )
    memory_limit: str = Field("auto", title="Memory limit", description="of each worker, such as 8GiB")
    retries: int = Field(3, ge=0, title="Retries", description="of a storage fault, with back-off")
    state_minutes: float = Field(
        3.0,
        ge=0,
        title="Minutes between states",
        description="a method that restores step by step keeps its state so often, and goes on from it after a crash",
    )


LATER = frozenset(  # thresholds that digests know only where they are set
    f"max_{name}"
    for name in (
        *("consistency_ratio", "slice_ratio", "cluster_ratio", "blur", "grain", "across", "repeated", "levels"),
        *("again_ratio", "spot_ratio", "stripes"),
    )
)


class QualityThresholds(Settings):
    """A restored scan that misses one of these is flagged, not silently passed."""

    max_consistency: float = Field(
        12.0, gt=0, title="Consistency", description="RMS of A x - y over the head, in standard deviations of the noise"
    )
    max_local: float = Field(
        0.15,
        gt=0,
        title="Local difference",
        description="largest mean of A x - y over a cube of 12 mm, relative to the foreground's",
    )
    max_shift: float = Field(0.3, gt=0, title="Shift", description="displacement against the measured scan, in mm")
    max_gain_error: float = Field(0.03, gt=0, title="Gain error", description="relative change of the mean intensity")
    max_overshoot: float = Field(
        1.0, gt=0, title="Overshoot", description="how far voxels leave the measured range, relative to it"
    )
    max_seam: float = Field(1.1, gt=0, title="Seam score", description="mean gradient across tile faces relative to elsewhere")
    max_volume_change: float = Field(0.05, gt=0, title="Volume", description="relative change of the volume of head or brain")
    max_consistency_ratio: float = Field(
        2.2, gt=0, title="Consistency against cubic", description="RMS of A x - y over that of cubic interpolation of the scan"
    )
    max_slice_ratio: float = Field(
        2.8, gt=0, title="Slice against cubic", description="the same of one slice, the largest of all slices"
    )
    max_cluster_ratio: float = Field(
        3.0, gt=0, title="Cluster against cubic", description="largest cluster of A x - y, 5 to 14 mm wide, over cubic's"
    )
    max_again_ratio: float = Field(
        2.5,
        gt=0,
        title="Repair again",
        description="what a second repair would change, over that of cubic interpolation",
    )
    max_spot_ratio: float = Field(
        4.0, gt=0, title="Spot against cubic", description="largest spot of 4 mm that a second repair would change, over cubic's"
    )
    max_blur: float = Field(
        1.5, gt=0, title="Blur", description="detail within the slices of cubic interpolation over the restored scan's"
    )
    max_grain: float = Field(
        1.5,
        gt=0,
        title="Grain",
        description="detail within the restored scan's slices over cubic interpolation's, relative to what sharp anatomy shows",
    )
    max_across: float = Field(
        3.0,
        gt=0,
        title="Detail across",
        description="detail across the restored scan's slices over cubic interpolation's, relative to what sharp anatomy shows",
    )
    max_stripes: float = Field(
        0.05, gt=0, title="Stripes", description="by how much planes are brighter and darker in turn, four in a row"
    )
    max_repeated: float = Field(
        30.0, gt=0, title="Repeated plane", description="difference of neighbouring planes, the usual one over the least"
    )
    max_levels: float = Field(
        2.0, gt=0, title="Grey levels", description="distinct values of the measured scan over the restored one's"
    )
    check_faces: bool = Field(
        default=False, title="Check faces", description="flag scans in which a face can probably be seen; none is changed"
    )

    def digested(self) -> dict[str, Any]:
        """The JSON value that enters digests: the thresholds that came later only where they are set."""
        fields, plain = self.model_dump(mode="json"), QualityThresholds()
        return {name: value for name, value in fields.items() if name not in LATER or value != getattr(plain, name)}


Millimetres = Annotated[float, Field(gt=0.1, le=10)]
MILLIMETRES: TypeAdapter[float] = TypeAdapter(Millimetres)


def _number_or_auto(value: Any, _: Any) -> float | Literal["auto"]:
    """A fault is told of the number, not of each of the two that it could have been."""
    return "auto" if value == "auto" else MILLIMETRES.validate_python(value)


VoxelSize = Annotated[Millimetres | Literal["auto"], WrapValidator(_number_or_auto)]


class RunSettings(Command):
    """One run over a cohort."""

    input: str = Field(
        title="Input",
        description="BIDS dataset, folder of NIfTI, DICOM folders, or TSV table; local or s3://",
        examples=["/data/study", "s3://openneuro.org/ds000001"],
    )
    out: str = Field(
        title="Output",
        description="folder of the derivatives; local or s3://",
        examples=["/data/study/derivatives/isovox", "s3://bucket/derivatives/study"],
    )
    method: str = Field("auto", title="Method", description="how scans are restored", json_schema_extra=_methods)
    method_options: dict[str, Any] = Field(
        {}, title="Method's options", description="settings of the method by name", examples=[{"iterations": 20}]
    )
    model: str | None = Field(
        None,
        title="Model",
        description="weights: folder with model.safetensors and config.json, or models:/name@alias",
        examples=["models:/NAME@champion"],
    )
    on_new_model: Literal["report", "redo"] = Field(
        "report",
        title="On a new model",
        description="where the registry's alias has come to name another model than the one that made the output: "
        "'report': go on with the output's model and say what would be redone; 'redo': restore all scans again by the new one",
    )
    voxel_size: VoxelSize = Field(1.0, title="Voxel size", description="mm, isotropic; auto: the smallest that each scan has")
    fuse: bool = Field(default=False, title="Fuse", description="restore all selected scans of one person and session together")
    repair: bool = Field(
        default=True,
        title="Repair",
        description="add to every restored scan, smoothly, what the measured one says and it leaves; not where contrasts differ",
    )
    carry_labels: bool = Field(
        default=False,
        title="Carry labels",
        description="take masks and labels that lie beside a scan onto its restored grid, by partial volume",
    )
    trust: Literal["sform", "qform"] | None = Field(
        None, title="Trust", description="which transform to use where qform and sform disagree"
    )
    outside_domain: bool = Field(
        default=False,
        title="Outside domain",
        description="restore also scans that the method or its model is not for, and flag them; else they are refused",
    )
    fallback: str | None = Field(
        None,
        title="Fallback",
        description="the method, with its defaults, for scans that the method or its model is not for; else they are refused",
        json_schema_extra=_fallbacks,
    )
    reference: str | None = Field(None, title="Reference", description="BIDS dataset or folder with the truth, to score against")
    selection: Selection = SELECTION
    slices: AcquisitionSettings = Field(AcquisitionSettings(), title="Slices", description="how thick slices came about")
    tiling: TilingSettings = TILING
    compute: Compute = Field(Compute(), title="Compute", description="where the work runs, and on how many workers")
    quality: QualityThresholds = Field(
        QualityThresholds(), title="Quality", description="thresholds beyond which a restored scan is flagged"
    )
    tracking_uri: str | None = Field(None, title="MLflow tracking URI", description="default: a sqlite file in the output")
    seed: Annotated[int, Field(ge=0, title="Seed", description="of methods that draw random numbers")] = 0

    @field_validator("method_options", mode="before")
    @classmethod
    def _none_are_said(cls, value: Any) -> Any:
        """A form that says nothing of a method's options says null."""
        return {} if value is None else value

    @model_validator(mode="after")
    def _options_are_the_methods(self) -> Self:
        """An option that the method does not have is refused; an unknown method is told where it is built."""
        from core.methods import registry

        if self.method in registry.pickers() and (self.method_options or self.model):
            given = "options of a method" if self.method_options else "a model"
            raise ValueError(f"expected no more than the method {self.method}, which chooses, but got {given}. Name the method.")
        if self.method_options and self.method in registry.methods():
            registry.check_options(self.method, self.method_options)
        return self
