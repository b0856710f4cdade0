"""Which scans, how they came about, and how they are cut."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from core.settings.base import Settings


class Selection(Settings):
    """Which scans of a BIDS dataset; an empty list means all."""

    participant_label: tuple[str, ...] = Field(
        (), title="Participants", description="labels without 'sub-'", examples=[["01", "02"]]
    )
    session_label: tuple[str, ...] = Field((), title="Sessions", description="labels without 'ses-'")
    suffix: tuple[str, ...] = Field((), title="Suffixes", description="BIDS suffixes such as T1w, T2w, FLAIR", examples=[["T1w"]])
    acquisition: tuple[str, ...] = Field((), title="Acquisitions", description="values of the BIDS entity acq-")
    exclude: tuple[str, ...] = Field(
        (),
        title="Exclude",
        description="scans to leave out: a path, a pattern such as *_acq-loc_*, an entity such as run-02, or a table .tsv",
        examples=[["sub-07/anat/sub-07_T1w.nii.gz", "run-02"]],
    )


class AcquisitionSettings(Settings):
    """How thick slices came from the anatomy, as far as the user says; what is said wins over what is known of a scan."""

    slice_profile: Literal["box", "gaussian", "point"] | None = Field(
        None,
        title="Slice profile",
        description="sensitivity across a slice; 'point': slices were dropped, not averaged; default: as simulated, else box",
    )
    slice_gap: float | None = Field(
        None,
        ge=0.0,
        lt=1.0,
        title="Slice gap",
        description="fraction of the slices' distance; default: as simulated, by the sidecar's SliceThickness, or by the voxels",
    )

    def digested(self) -> dict[str, Any]:
        """The JSON value that enters digests: where nothing is said, the profile counts as a box."""
        return {"slice_profile": self.slice_profile or "box", "slice_gap": self.slice_gap}


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


SELECTION = Field(Selection(), title="Selection", description="which scans of the dataset; empty lists mean all")
TILING = Field(TilingSettings(), title="Tiling", description="how methods that work in patches cut a volume")
