"""Settings, as one set of pydantic models: the command line, a YAML file, a schedule and a web form say the same."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


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
    window: Literal["gaussian", "hann"] = Field("gaussian", title="Window", description="blending weights in the overlap")


class Compute(Settings):
    """Where the work runs."""

    cluster: str = Field(
        "in-process",
        title="Cluster",
        description="in-process, local, cuda, slurm, kubernetes, or the address of a Dask scheduler (tcp://…, tls://…)",
    )
    workers: int = Field(2, ge=1, title="Workers", description="processes (threads where in-process)")
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


class RunSettings(Settings):
    """One run over a cohort."""

    input: str = Field(title="Input", description="BIDS dataset, folder of NIfTI, DICOM folders, or TSV table; local or s3://")
    out: str = Field(title="Output", description="folder of the derivatives; local or s3://")
    method: str = Field("cubic", title="Method", description="how scans are restored")
    method_options: dict[str, Any] = Field({}, title="Method's options", description="settings of the method by name")
    model: str | None = Field(
        None, title="Model", description="weights: folder with model.safetensors and config.json, or models:/name@alias"
    )
    voxel_size: float = Field(1.0, gt=0.1, le=10, title="Voxel size", description="mm, isotropic")
    fuse: bool = Field(default=False, title="Fuse", description="restore all selected scans of one person and session together")
    trust: Literal["sform", "qform"] | None = Field(
        None, title="Trust", description="which transform to use where qform and sform disagree"
    )
    reference: str | None = Field(None, title="Reference", description="BIDS dataset or folder with the truth, to score against")
    selection: Selection = Selection()
    slices: AcquisitionSettings = AcquisitionSettings()
    tiling: TilingSettings = TilingSettings()
    compute: Compute = Compute()
    quality: QualityThresholds = QualityThresholds()
    tracking_uri: str | None = Field(None, title="MLflow tracking URI", description="default: a sqlite file in the output")
    seed: Annotated[int, Field(ge=0, title="Seed", description="of methods that draw random numbers")] = 0
