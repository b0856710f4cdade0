"""Settings, as one set of pydantic models: the command line, a YAML file, a schedule and a web form say the same."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


def _methods(schema: dict[str, Any]) -> None:
    """A form offers the methods that there are."""
    from core.methods import METHODS

    schema["enum"] = list(METHODS)


class Settings(BaseModel):
    """Base: immutable, and an unknown name is an error rather than silently ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Selection(Settings):
    """Which scans of a BIDS dataset; an empty list means all."""

    participant_label: tuple[str, ...] = Field(
        (), title="Participants", description="labels without 'sub-'", examples=[["01", "02"]]
    )
    session_label: tuple[str, ...] = Field((), title="Sessions", description="labels without 'ses-'")
    suffix: tuple[str, ...] = Field((), title="Suffixes", description="BIDS suffixes such as T1w, T2w, FLAIR", examples=[["T1w"]])
    acquisition: tuple[str, ...] = Field((), title="Acquisitions", description="values of the BIDS entity acq-")


class Acquisition(Settings):
    """How thick slices came from the anatomy."""

    slice_profile: Literal["box", "gaussian", "point"] = Field(
        "box", title="Slice profile", description="sensitivity across a slice; 'point': slices were dropped, not averaged"
    )
    slice_gap: float = Field(
        0.0, ge=0.0, lt=1.0, title="Slice gap", description="gap between slices as a fraction of their distance"
    )


class AcquisitionSettings(Settings):
    """How thick slices came from the anatomy, as far as the user says."""

    slice_profile: Literal["box", "gaussian", "point"] = Field(
        "box", title="Slice profile", description="sensitivity across a slice; 'point': slices were dropped, not averaged"
    )
    slice_gap: float | None = Field(
        None,
        ge=0.0,
        lt=1.0,
        title="Slice gap",
        description="fraction of the slices' distance; default: from the sidecar's SliceThickness",
    )

    def resolve(self, thickness: float | None, distance: float) -> Acquisition:
        """The acquisition of one scan.

        Args:
            thickness: slice thickness in mm from the scan's metadata, None where unknown.
            distance: distance of the slices' centres in mm.
        """
        gap = self.slice_gap
        if gap is None:
            gap = round(1 - thickness / distance, 3) if thickness and 0 < thickness < distance * 0.99 else 0.0
        return Acquisition(slice_profile=self.slice_profile, slice_gap=gap)


class TilingSettings(Settings):
    """How methods that work in patches cut a volume, and where the work runs."""

    mode: Literal["auto", "scan", "tile"] = Field(
        "auto", title="Mode", description="'scan': one task a scan; 'tile': the tiles of a scan spread over workers; same bytes"
    )
    patch: int = Field(64, ge=8, title="Patch", description="edge of a patch in voxels")
    overlap: int = Field(16, ge=0, title="Overlap", description="voxels that neighbouring patches share")
    window: Literal["gaussian", "hann", "halo"] = Field(
        "gaussian",
        title="Window",
        description="blending weights in the overlap; 'halo': blend nothing, read as far around each patch as the network sees",
    )


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


class QualityThresholds(Settings):
    """A restored scan that misses one of these is flagged, not silently passed."""

    max_consistency: float = Field(
        12.0, gt=0, title="Consistency", description="RMS of A x - y over the foreground, in standard deviations of the noise"
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
    max_volume_change: float = Field(0.05, gt=0, title="Volume", description="relative change of the foreground's volume")
    check_faces: bool = Field(
        default=False, title="Check faces", description="flag scans in which a face can probably be seen; none is changed"
    )


SELECTION = Field(Selection(), title="Selection", description="which scans of the dataset; empty lists mean all")
TILING = Field(TilingSettings(), title="Tiling", description="how methods that work in patches cut a volume")


class RunSettings(Settings):
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
    method: str = Field("cubic", title="Method", description="how scans are restored", json_schema_extra=_methods)
    method_options: dict[str, Any] = Field(
        {}, title="Method's options", description="settings of the method by name", examples=[{"iterations": 20}]
    )
    model: str | None = Field(
        None,
        title="Model",
        description="weights: folder with model.safetensors and config.json, or models:/name@alias",
        examples=["models:/resunet-3d@champion"],
    )
    on_new_model: Literal["report", "redo"] = Field(
        "report",
        title="On a new model",
        description="where the registry's alias has come to name another model than the one that made the output: "
        "'report': go on with the output's model and say what would be redone; 'redo': restore all scans again by the new one",
    )
    voxel_size: float = Field(1.0, gt=0.1, le=10, title="Voxel size", description="mm, isotropic")
    fuse: bool = Field(default=False, title="Fuse", description="restore all selected scans of one person and session together")
    trust: Literal["sform", "qform"] | None = Field(
        None, title="Trust", description="which transform to use where qform and sform disagree"
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


class SimulateSettings(Settings):
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
    seed: int = Field(0, ge=0, title="Seed", description="of contrast and noise, with each scan's digest")


class Training(Settings):
    """How a network learns."""

    steps: int = Field(20_000, ge=1, title="Steps", description="of the optimiser, at most")
    minutes: float | None = Field(None, gt=0, title="Minutes", description="of training in this call, at most; the next goes on")
    batch: int = Field(4, ge=1, title="Batch", description="patches at once")
    accumulate: int = Field(1, ge=1, title="Accumulate", description="batches whose gradients are summed before a step")
    patch: int | None = Field(None, ge=16, title="Patch", description="edge in voxels; default: the preset's")
    learning_rate: float = Field(3e-4, gt=0, title="Learning rate", description="of Adam, falling by half a cosine")
    warmup: int = Field(100, ge=1, title="Warm-up", description="steps over which the learning rate rises")
    clip: float = Field(1.0, gt=0, title="Clip", description="largest norm of a gradient")
    ema: float = Field(0.999, ge=0, lt=1, title="EMA", description="decay of the moving average of the weights, which restores")
    precision: Literal["float32", "bfloat16"] = Field("float32", title="Precision", description="of the arithmetic")
    validate_every: int = Field(500, ge=1, title="Validate every", description="steps")
    validation_pairs: int = Field(
        32, ge=1, title="Validation pairs", description="patches of the held-out persons, always the same"
    )
    patience: int = Field(20, ge=1, title="Patience", description="validations without a better one, after which training ends")
    checkpoint_minutes: float = Field(3.0, ge=0, title="Checkpoint", description="minutes between checkpoints")
    loaders: int = Field(0, ge=0, title="Loaders", description="processes that draw patches; 0: the training process itself")
    seed: int = Field(0, ge=0, title="Seed", description="of weights, patches and noise")


class Split(Settings):
    """Which persons are trained on; the rest of the cohort."""

    validation: tuple[str, ...] = Field(
        (), title="Validation", description="labels of the held-out persons; default: every eighth"
    )
    test: tuple[str, ...] = Field((), title="Test", description="labels of persons that training must never see")


class TrainSettings(Settings):
    """Training of a method's network on a cohort."""

    method: Literal["unet-3d", "resunet-3d", "esrgan-3d", "diffusion-iqt", "diffusion-iqt-deep", "diffusion-iqt-base"] = Field(
        title="Method", description="what is trained; -deep is without cross-batch, -base also without the deep feature module"
    )
    cohort: str = Field(
        title="Cohort",
        description="BIDS dataset, folder of NIfTI, or TSV table of sharp scans; local or s3://",
        examples=["/data/sharp"],
    )
    out: str | None = Field(None, title="Output", description="folder of the training; default: by name in isovox's own folder")
    name: str | None = Field(None, title="Name", description="of the model in the registry; default: the method's")
    preset: Literal["paper", "small", "tiny"] = Field("small", title="Preset", description="size of the network")
    degradation: Degradation = DEGRADATION
    training: Training = Field(Training(), title="Training", description="steps, batches, learning rate and when to stop")
    split: Split = Field(Split(), title="Split", description="which persons validate, and which the training must never see")
    selection: Selection = SELECTION
    trust: Literal["sform", "qform"] | None = Field(
        None, title="Trust", description="which transform to use where qform and sform disagree"
    )
    tracking_uri: str | None = Field(
        None, title="MLflow tracking URI", description="default: a sqlite file in isovox's own folder"
    )


class EvaluationSettings(Settings):
    """Restoration of a cohort whose truth is known, by several methods, scored against it."""

    protocol: Literal["thick-slice", "iqt"] = Field(
        title="Protocol", description="thick-slice: averaged slices, factor 4; iqt: low field, factor 8, as DiffusionIQT's tables"
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
        description="names, or METHOD=MODEL (a folder or models:/name@alias), or champion: every champion of the registry",
        examples=[["cubic,unires", "diffusion-iqt=models:/diffusion-iqt-base@champion"]],
    )
    method_options: dict[str, Any] = Field({}, title="Methods' options", description="METHOD.OPTION=VALUE")
    factor: int | None = Field(
        None, ge=2, title="Factor", description="sharp voxels from slice to slice; default: the protocol's"
    )
    slice_profile: Literal["box", "gaussian"] | None = Field(
        None, title="Slice profile", description="default: box, or gaussian for iqt"
    )
    slice_gap: float | None = Field(
        None, ge=0.0, lt=1.0, title="Slice gap", description="fraction of the slices' distance; default: 0, or 0.25 for iqt"
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
    lpips: bool | None = Field(None, title="LPIPS", description="perceptual distance of slices; default: for iqt")
    tiling: TilingSettings = TILING
    selection: Selection = SELECTION
    trust: Literal["sform", "qform"] | None = Field(
        None, title="Trust", description="which transform to use where qform and sform disagree"
    )
    tracking_uri: str | None = Field(
        None, title="MLflow tracking URI", description="default: a sqlite file in isovox's own folder"
    )
    seed: int = Field(0, ge=0, title="Seed", description="of what is drawn, with each scan's digest")

    @field_validator("methods", mode="before")
    @classmethod
    def _split_at_commas(cls, values: Any) -> Any:
        """``a,b c`` names three methods."""
        words = [values] if isinstance(values, str) else values
        return tuple(part.strip() for word in words for part in str(word).split(",") if part.strip())

    @property
    def degradation(self) -> Degradation:
        """How scans of low resolution are made from sharp ones by this protocol."""
        operator, factor = {"thick-slice": ("slice-profile", 4), "iqt": ("low-field", 8)}[self.protocol]
        said = {"slice_profile": self.slice_profile, "slice_gap": self.slice_gap, "factor": self.factor or factor}
        known = {name: value for name, value in said.items() if value is not None}
        return Degradation.model_validate({"operator": operator, "contrast": self.contrast} | known)
