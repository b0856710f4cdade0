"""The settings of the family: what all share, and what searches have beside it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from core.errors import UsageError
from core.methods.base import Method, MethodSettings
from core.methods.inverse_sr.search.chain import STEPS
from core.methods.inverse_sr.search.data_term import Kind, Norm


def start_of(said: str) -> Method:
    """The method whose result is refined.

    Args:
        said: METHOD, or METHOD=MODEL.

    Raises:
        UsageError: no such method, or a model missing or not wanted.
    """
    from core.methods.registry import build_method

    name, _, model = said.partition("=")
    return build_method(name, {}, model or None)


class PriorSettings(MethodSettings):
    """Settings that all share."""

    model: str = Field(title="Model", description="folder of a brain prior: decoder, encoder and noise network")
    start: str = Field(
        "", title="Start", description="a method whose result is refined, or METHOD=MODEL; default: the prior's mean, or noise"
    )
    starts: int = Field(1, ge=1, le=32, title="Starts", description="from 2 on the result is their mean, with a map of their SD")
    register_scan: bool = Field(
        default=True, title="Register", description="find the scan in the prior's frame; else its header's world is taken for it"
    )
    keep_measured: bool = Field(
        default=True, title="Keep measured", description="put voxels back that the target has as measured (dropped slices, masks)"
    )
    precision: Literal["float32", "bfloat16"] = Field("float32", title="Precision", description="of the networks' arithmetic")

    @field_validator("start")
    @classmethod
    def _startable(cls, said: str) -> str:
        """Refuse before any scan what no method could be built of."""
        try:
            if said:
                start_of(said)
        except UsageError as error:
            raise ValueError(str(error)) from error
        return said


class InversionSettings(PriorSettings):
    """Settings of searches by gradients."""

    steps: int = Field(600, ge=1, title="Steps", description="of the search at most")
    rate: float = Field(0.07, gt=0, title="Rate", description="of Adam at the first step; it falls by a cosine")
    settled: float = Field(
        0.01, ge=0, lt=1, title="Settled", description="end where 50 steps lower the loss by less than this share; 0: all steps"
    )
    loss: Norm = Field("l1", title="Loss", description="of the voxels: absolute or squared differences")
    features: Kind = Field(
        "gradients", title="Features", description="beside the voxels: gradients within slices at three scales, lpips, or none"
    )
    feature_share: float = Field(
        1.0, ge=0, title="Features' share", description="length of their gradient at the first step, relative to the voxels'"
    )
    fill: Literal[0, 1] = Field(1, title="Fill", description="of what was not measured, where features are LPIPS; authors: 1")


class LdmSettings(InversionSettings):
    """Settings of a search through the chain."""

    last: int = Field(STEPS, ge=1, le=STEPS, title="Last steps", description="of the chain that are searched through; paper: 46")
