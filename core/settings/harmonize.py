"""Settings of harmonisation and of the watch for drift: options of the commands, and the forms of their deployments."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from core.settings.base import Command, Settings
from core.settings.run import Compute, QualityThresholds
from core.settings.scans import TILING, AcquisitionSettings, TilingSettings

PRESERVED = ("age", "sex")


class VolumeSteps(Settings):
    """What makes volumes alike beside their intensities; each step is taken where it is wanted, in this order."""

    bias_field: bool = Field(
        default=False,
        title="Bias field",
        description="take away what N4 finds of a bias field beyond the reference's: anatomy, which it takes for one too, stays",
    )
    resolution: bool = Field(
        default=False,
        title="Resolution",
        description="bring all scans to the sharpness of the least sharp site; none is sharpened",
    )
    curve: bool = Field(
        default=False,
        title="Curve",
        description="bring each site's contrast within tissues onto the reference's, by one rising curve a site",
    )
    noise_level: bool = Field(
        default=False,
        title="Noise level",
        description="add noise up to that of the noisiest site at each frequency; none is taken away",
    )
    brain_only: bool = Field(
        default=False,
        title="Brain only",
        description="set to 0 what lies beyond the rough brain mask (thresholds and balls, no segmentation), so that heads and "
        "stripped brains have one extent",
    )

    @property
    def looked(self) -> bool:
        """Whether scans are looked at again before the model is whole: as it prepares them."""
        return self.bias_field or self.resolution or self.curve or self.noise_level

    def wanted(self) -> list[str]:
        """The names of the steps that are taken."""
        return [name for name, taken in self.model_dump().items() if taken]


class HarmonizeSettings(Command):
    """Scans and features of several sites made comparable."""

    sites: tuple[str, ...] = Field(
        min_length=1,
        title="Sites",
        description="NAME=PATH of each site's BIDS dataset, folder or table; or a table with the columns path and site (and age, "
        "sex); or a BIDS dataset whose participants.tsv has a column site. A column person names who was seen at several sites",
        examples=[["berlin=/data/berlin", "oslo=s3://scans/oslo"], ["cohort.tsv"]],
    )
    out: str = Field(title="Output", description="folder of restored and harmonised scans, tables and report; local or s3://")
    intensity: Literal["nyul", "z-score", "white-stripe", "fcm", "kde", "tissues", "none"] = Field(
        "nyul",
        title="Intensity",
        description="how intensities come on one scale; tissues: fluid, grey and white matter on the reference's, whatever their "
        "shares; none: they are left as they are",
    )
    steps: VolumeSteps = Field(VolumeSteps(), title="Steps", description="what else makes the volumes alike, each if wanted")
    combat: bool = Field(default=True, title="ComBat", description="take what is the sites' out of the features")
    bayes: bool = Field(
        default=True,
        title="Empirical Bayes",
        description="draw a site's effects together over the features; else each stands alone",
    )
    spread: bool = Field(
        default=False,
        title="Spread",
        description="preserve also what age and sex do to the spread of the features (ComBatLS), not to their mean alone",
    )
    smooth_age: bool = Field(
        default=False, title="Smooth age", description="preserve the effect of age as a cubic spline has it, not a straight line"
    )
    person_intercept: bool = Field(
        default=False,
        title="Person's intercept",
        description="give each person an intercept in ComBat, so that repeated scans of one do not weigh as several persons'",
    )
    maps: bool = Field(
        default=False,
        title="Maps",
        description="also bring the harmonised scans to one space, by affine registration, and take there what is the sites' out "
        "of each voxel (ComBat)",
    )
    map_voxel: float = Field(4.0, ge=1, le=10, title="Map's voxel", description="mm, cubic, of the maps")
    preserve: tuple[str, ...] = Field(
        PRESERVED, title="Preserve", description="whose effects on the features stay, of the columns age and sex; or none"
    )
    reference_site: str | None = Field(
        None,
        title="Reference site",
        description="on whose scans intensities are fitted, and whose features and maps ComBat leaves as they are; "
        "default: all sites'",
    )
    model: str | None = Field(
        None,
        title="Model",
        description="models:/name@alias or a folder: apply what was fitted before, to new scans; nothing is fitted",
        examples=["models:/harmonize-nyul/1"],
    )
    name: str | None = Field(None, title="Name", description="of the model in the registry; default: harmonize- and the method's")
    contrast: Literal["T1w", "T2w", "FLAIR"] = Field("T1w", title="Contrast", description="of the scans that are taken")
    method: str = Field("cubic", title="Method", description="how scans are restored to isotropic voxels")
    method_options: dict[str, Any] = Field({}, title="Method's options", description="settings of the method by name")
    weights: str | None = Field(
        None, title="Weights", description="of a method that learned: folder or models:/name@alias; default: its champion"
    )
    outside_domain: bool = Field(
        default=False,
        title="Outside domain",
        description="take also scans that the method or its weights are not for, and flag them; else they are refused",
    )
    ratings: str | None = Field(
        None,
        title="Ratings",
        description="table that a cohort's page wrote: scans rated reject are left out",
        examples=["ratings.tsv"],
    )
    voxel_size: float = Field(1.0, gt=0.1, le=10, title="Voxel size", description="mm, isotropic")
    field_of_view: tuple[float, float, float] = Field(
        (192.0, 224.0, 192.0), title="Field of view", description="mm along right, anterior, superior, centred on the brain"
    )
    participant_label: tuple[str, ...] = Field(
        (),
        title="Participants",
        description="labels without 'sub-', of all sites together; default: all",
        examples=[["01", "02"]],
    )
    trust: Literal["sform", "qform"] | None = Field(
        None, title="Trust", description="which transform to use where qform and sform disagree"
    )
    slices: AcquisitionSettings = Field(AcquisitionSettings(), title="Slices", description="how thick slices came about")
    tiling: TilingSettings = TILING
    compute: Compute = Field(Compute(), title="Compute", description="where the work runs, and on how many workers")
    quality: QualityThresholds = Field(
        QualityThresholds(), title="Quality", description="thresholds beyond which a restored scan is flagged"
    )
    tracking_uri: str | None = Field(
        None, title="MLflow tracking URI", description="of the registry; default: a sqlite file in isovox's own folder"
    )
    seed: int = Field(0, ge=0, title="Seed", description="of methods that draw random numbers, and of the report's classifier")

    @field_validator("preserve")
    @classmethod
    def _age_and_sex_alone(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if names == ("none",):
            return ()
        if not set(names) <= set(PRESERVED):
            raise ValueError(f"expected {', '.join(PRESERVED)} or none")
        return tuple(dict.fromkeys(names))

    @model_validator(mode="after")
    def _curves_have_a_scale(self) -> Self:
        if self.steps.curve and self.intensity == "none" and self.model is None:
            raise ValueError("curve: expected intensities on one scale, on which curves are held; choose --intensity tissues")
        return self

    @property
    def combat_options(self) -> dict[str, Any]:
        """How ComBat is fitted, as ``Combat.fit`` takes it."""
        options = {"bayes": self.bayes, "spread": self.spread, "smooth": self.smooth_age, "intercept": self.person_intercept}
        return options | {"reference_site": self.reference_site}


class MonitorSettings(Command):
    """New scans held against a reference: do they still measure alike?"""

    new: str = Field(title="New", description="features.tsv, or the output folder of isovox harmonize, of the new cohort")
    reference: str = Field(title="Reference", description="likewise of the reference")
    out: str | None = Field(None, title="Output", description="where the table drift.tsv is written; default: nowhere")
    features: tuple[str, ...] = Field((), title="Features", description="that are compared; default: all that both have")
