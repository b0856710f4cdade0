"""The five methods: latent diffusion with codes or slices interpolated, and three that no diffusion is part of.

latent-zoom  coarse slice --LDM--> code            lerp of codes    --decode, EDSR--> slice
pixel-zoom   coarse slice --LDM, decode, EDSR--> slice              lerp of slices
bicubic-ae   slice, cubic --autoencoder--> code    lerp of codes    --decode--> slice
srgan-si     coarse slice --SRGAN--> slice                          lerp of slices
wdsr-si      coarse slice --WDSR--> slice                           lerp of slices
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from core.diffusion.declared import build_schedule
from core.diffusion.samplers import SAMPLERS, START, Noise, ddim, prior
from core.errors import UsageError
from core.geometry.grid import Array, Grid
from core.geometry.slices import Padding
from core.methods.base import Measured, MethodSettings, Piece
from core.methods.latent_zoom import latent
from core.methods.latent_zoom.presets import AUTOENCODER, BETWEEN, DEBLUR, DENOISER, FINER, LATENT, REGRESSION, SCHEDULE
from core.methods.latent_zoom.window import Window, around
from core.methods.latent_zoom.zoom import Zoom, ZoomSettings, is_coarse
from core.methods.samples import SampledMethod, SampledSettings, Sampling, drawn, over_samples
from core.methods.slicewise import Slice, slice_noise
from core.models.bundle import NETWORK

LEVELS = 255  # of 8 bits
BLACK, FAINT = -1.0, 0.01  # in the networks' units; how much brighter still counts as black


class LdmSettings(ZoomSettings, SampledSettings):
    """Settings of the two with a diffusion model; what the paper sets is said where ours differs.

    Samples of slices that are sharp already are all the same: nothing is drawn.
    """

    sampler: Literal["ddim", "plms", "dpm-solver++", "sde-dpm-solver++"] | None = Field(
        None,
        title="Sampler",
        description="of the codes; the second and third are deterministic; default: 'ddim', and 'plms' for several samples, "
        "which keeps 0.86 to 1.08 of a spread in 20 steps without quantising",
    )
    steps: int = Field(20, ge=2, title="Steps", description="of the sampler; the paper's: 200")
    eta: float = Field(1.0, ge=0, le=1, title="Eta", description="noise of ddim's steps; the paper's: 1")
    noise: Literal["slice", "shared"] = Field(
        "slice", title="Noise", description="of each slice its own, as the paper's, or the same for all along an axis"
    )
    quantise: Literal["after", "before", "none"] | None = Field(
        None,
        title="Quantise",
        description="codes snap to the codebook after their interpolation, as the paper's, before, or not; default: after, and "
        "not for several samples",
    )
    begin: Literal["noise", "regression"] | None = Field(
        None,
        title="Begin",
        description="sampling from noise, as the paper's, or from the codes of WDSR's slice under the noise of an earlier time; "
        "default: 'regression' where the model has it and one sample is drawn",
    )
    begin_time: int = Field(
        300, ge=2, le=1000, title="Begin's time", description="of the schedule's 1000, where a regression begins"
    )
    box: bool = Field(
        default=True,
        title="Box",
        description="work within the part of a slice that is not black, and leave black what is beyond",
    )
    deblur: bool = Field(
        default=True, title="Deblur", description="sharpen by EDSR the slices that diffusion made, where the model has one"
    )
    eight_bits: bool = Field(
        default=False,
        title="Eight bits",
        description="slices of 256 levels before the diffusion model, after the decoder and after EDSR, as the paper's",
    )

    @model_validator(mode="after")
    def _steps_fit(self) -> LdmSettings:
        """Refuse before any scan steps that the samplers' grid of all the schedule does not have."""
        if self.begin == "noise" or (self.begin is None and self.samples > 1):
            try:
                latent.times(self.steps, clean=False)
            except UsageError as error:
                raise ValueError(str(error)) from error
        return self


class _Ldm(SampledMethod, Zoom):
    """What the two with a diffusion model share."""

    Settings: ClassVar[type[MethodSettings]] = LdmSettings
    roles: ClassVar[tuple[str, ...]] = (AUTOENCODER, DENOISER)
    thickness: ClassVar[int] = 64  # measured slices at the border of two slabs are drawn for both: the thicker, the fewer
    voxels_per_second: ClassVar[float] = 2e4
    bytes_per_tile_voxel: ClassVar[float] = 100.0  # the paper's networks hold 3,100 bytes a voxel of the slice in hand
    settings: LdmSettings

    @property
    def quantise(self) -> Literal["after", "before", "none"]:
        """When codes snap to the codebook; not in samples that tell a spread."""
        return self.settings.quantise or ("none" if self.settings.samples > 1 else "after")

    @property
    def begin(self) -> Literal["noise", "regression"]:
        """What sampling starts from; samples that tell a spread from noise, for the earlier the time, the less they differ."""
        known = REGRESSION in self.bundle.parts and self.settings.samples == 1
        return self.settings.begin or ("regression" if known else "noise")

    @property
    def needs(self) -> tuple[str, ...]:
        """See ``Zoom.needs``."""
        return (*self.roles, REGRESSION) if self.settings.begin == "regression" else self.roles

    @property
    def sampling(self) -> Sampling:
        """Of codes: by the paper's sampler, or, for a map, by one that keeps the spread."""
        settings = self.settings
        name = settings.sampler or ("plms" if settings.samples > 1 else "ddim")
        sampler = partial(ddim, eta=settings.eta) if name == "ddim" else SAMPLERS[name]
        first = latent.TIMES if self.begin == "noise" else settings.begin_time
        times = latent.times(settings.steps, clean=self.quantise == "none", first=first)
        return Sampling(name, sampler, build_schedule(self.bundle.schedule or SCHEDULE), times)

    def restore(self, measured: Sequence[Measured], target: Grid) -> list[Array]:
        """See ``Method.restore``; the mean of several samples, and their standard deviation."""
        once = super().restore
        if not self._draws(measured[0].grid, target):
            return self._undrawn(once(measured, target))
        return over_samples(lambda number: once(drawn(measured, number), target), self.settings.samples)

    def restore_many(self, pieces: Sequence[Piece]) -> list[list[Array]]:
        """See ``Method.restore_many``."""
        if self._draws(pieces[0].measured[0].grid, pieces[0].target):
            return super().restore_many(pieces)
        return [self._undrawn(images) for images in Zoom.restore_many(self, pieces)]

    @property
    def about_maps(self) -> dict[str, dict[str, Any]]:
        """See ``SampledMethod.about_maps``; of slices that are sharp already there is no spread to tell."""
        said = "It is 0 where the scan's slices are sharp already: nothing is drawn there, and 0 does not say that they are sure."
        return {name: {**about, "Description": f"{about['Description']} {said}"} for name, about in super().about_maps.items()}

    def _draws(self, source: Grid, target: Grid) -> bool:
        """Whether any slices are made by the diffusion model."""
        return any(is_coarse(source, target, axis) for axis in self.axes(source))

    def _undrawn(self, images: list[Array]) -> list[Array]:
        """Images of which every sample would be the same, and their standard deviations where several are wanted."""
        return images + [np.zeros_like(image) for image in images for _ in self.maps]

    def coded(self, planes: Tensor, slices: Sequence[Slice]) -> Tensor:
        """Codes of coarse slices, by the diffusion model."""
        window = self._window(planes, 1)
        part, whole = window.cut(planes), self._noise(slices, (planes.shape[-2], planes.shape[-1]))
        return self._within(window, lambda: self._drawn(part, lambda number: window.cut(whole(number))))

    def _drawn(self, planes: Tensor, noise: Noise) -> Tensor:
        """A sample of the codes of coarse slices."""
        sampling = self.sampling
        schedule = sampling.schedule
        denoise = latent.denoiser(self.network(DENOISER), planes, schedule, self.bundle.prediction or "eps")
        start = prior(schedule, noise) if self.begin == "noise" else self._regressed(planes, noise)
        return self._snapped(sampling.sampler(denoise, start, schedule, sampling.times, noise), "before")

    def _regressed(self, planes: Tensor, noise: Noise) -> Tensor:
        """Codes of what a regression makes of coarse slices, under the noise of the first time."""
        sampling, regression = self.sampling, self.network(REGRESSION)
        finer: Tensor = regression(planes.expand(-1, channels_of(regression), -1, -1)).mean(1, keepdim=True)
        alpha, sigma = sampling.schedule.alpha_sigma(sampling.times[0])
        return latent.encode(self.network(AUTOENCODER), finer) * alpha + noise(START) * sigma

    def encoded(self, planes: Tensor) -> Tensor:
        """Codes of sharp slices, by the autoencoder alone."""
        whole = Padding((planes.shape[-2], planes.shape[-1]), FINER).apply(planes)
        window, autoencoder = self._window(whole, FINER), self.network(AUTOENCODER)
        return self._within(window, lambda: self._snapped(latent.encode(autoencoder, window.cut(whole, FINER)), "before"))

    def decoded(self, codes: Tensor, *, made: bool = True) -> Tensor:
        """Slices (n, 1, …) of codes; black where the codes are that.

        Sharpened where asked for, and where the diffusion model ``made`` the codes, of whose slices alone EDSR has learned.
        """
        window = around(codes != self._black, codes.shape) if self.settings.box else Window.all_of(codes)
        image = codes.new_full((len(codes), 1, *(FINER * n for n in codes.shape[2:])), BLACK)
        if window.empty:
            return image
        rows, columns = window.slices(FINER)
        image[..., rows, columns] = self._shown(window.cut(codes), sharpen=made and self.settings.deblur)
        return image

    def _shown(self, codes: Tensor, *, sharpen: bool) -> Tensor:
        image = self.leveled(latent.decode(self.network(AUTOENCODER), self._snapped(codes, "after")))
        if sharpen and DEBLUR in self.bundle.parts:
            image = self.network(DEBLUR)(image)
            image = of_levels(image, torch.round) if self.settings.eight_bits else image
        return image.mean(1, keepdim=True)

    # -- the part of slices that is not black -----------------------------------------------------------------------------------

    @cached_property
    def _black(self) -> Tensor:
        """The code of black, (1, channels, 1, 1)."""
        edge = 8 * FINER
        with torch.no_grad():
            codes = latent.encode(self.network(AUTOENCODER), torch.full((1, 1, edge, edge), BLACK, device=self.device))
        return self._snapped(codes[:, :, 4:5, 4:5].float(), "before")

    def _window(self, planes: Tensor, step: int) -> Window:
        """The codes of what is not black in slices of which ``step`` rows and columns make one of a code."""
        shape = (*planes.shape[:2], *(n // step for n in planes.shape[2:]))
        if not self.settings.box:
            return Window.all_of(planes[..., ::step, ::step])
        seen = nn.functional.max_pool2d(planes, step) if step > 1 else planes
        return around(seen > BLACK + FAINT, shape)

    def _within(self, window: Window, make: Callable[[], Tensor]) -> Tensor:
        """Codes of the window, with the code of black around them."""
        if window.whole:
            return make()
        codes = self._black.expand(window.shape[0], -1, *window.shape[2:]).clone()
        if not window.empty:
            rows, columns = window.slices()
            codes[..., rows, columns] = make()
        return codes

    def leveled(self, planes: Tensor) -> Tensor:
        """Slices of 256 levels, cut off, where that is asked for."""
        return of_levels(planes, torch.floor) if self.settings.eight_bits else planes

    def _snapped(self, codes: Tensor, when: str) -> Tensor:
        return latent.quantised(codes, latent.codebook(self.network(AUTOENCODER))) if self.quantise == when else codes

    def _noise(self, slices: Sequence[Slice], shape: tuple[int, int]) -> Noise:
        if self.settings.noise == "slice":
            return slice_noise(slices, LATENT, shape, self.device)
        shared = slice_noise([replace(slices[0], place=0)], LATENT, shape, self.device)
        return lambda number: shared(number).expand(len(slices), -1, -1, -1)


def of_levels(planes: Tensor, whole: Callable[[Tensor], Tensor]) -> Tensor:
    """Slices in -1..1 as a file of 8 bits has them; ``whole`` makes whole numbers of levels."""
    return whole((planes.clamp(-1, 1) + 1) * (LEVELS / 2)) * (2 / LEVELS) - 1


def channels_of(network: nn.Module) -> int:
    """How many equal channels a network is shown."""
    return next(layer for layer in network.modules() if isinstance(layer, nn.Conv2d)).in_channels


class LatentSettings(LdmSettings):
    """Settings of the one that interpolates codes."""

    between: Literal["lerp", "learned"] | None = Field(
        None,
        title="Between",
        description="codes between two slices: their lerp, as the paper's, or by a network that adds to it; default: 'learned' "
        "where the model has it",
    )


class LatentZoom(_Ldm):
    """Slices by latent diffusion, those between them by interpolation of their codes."""

    name: ClassVar[str] = "latent-zoom"
    Settings: ClassVar[type[MethodSettings]] = LatentSettings
    settings: LatentSettings
    revision: ClassVar[int] = 5  # what lies below 0 is shifted

    @property
    def between_two(self) -> Literal["lerp", "learned"]:
        """How codes between two slices are made."""
        return self.settings.between or ("learned" if BETWEEN in self.bundle.parts else "lerp")

    @property
    def needs(self) -> tuple[str, ...]:
        """See ``Zoom.needs``."""
        return (*super().needs, BETWEEN) if self.settings.between == "learned" else super().needs

    def lerped(self, below: Tensor, above: Tensor, shares: Tensor) -> Tensor:
        """See ``SliceMethod.lerped``; by the network that learned it, where asked for."""
        plain = super().lerped(below, above, shares)
        if self.between_two == "lerp":
            return plain
        learned: Tensor = self.network(BETWEEN)(below, above, shares)
        return torch.where((plain == self._black).all(1, keepdim=True), plain, learned)

    def finer(self, planes: Tensor, slices: Sequence[Slice]) -> Tensor:
        """Codes."""
        return self.coded(planes, slices)

    def sharp(self, planes: Tensor) -> Tensor:
        """Codes."""
        return self.encoded(planes)

    def shown(self, codes: Tensor, *, made: bool) -> Tensor:
        """Decoded codes."""
        return self.decoded(codes, made=made)


class PixelZoom(_Ldm):
    """Slices by latent diffusion, those between them by interpolation of the decoded slices."""

    name: ClassVar[str] = "pixel-zoom"
    revision: ClassVar[int] = 4  # what lies below 0 is shifted

    def finer(self, planes: Tensor, slices: Sequence[Slice]) -> Tensor:
        """Decoded slices."""
        return self.decoded(self.coded(planes, slices))

    def sharp(self, planes: Tensor) -> Tensor:
        """The slices as they are."""
        return planes


class BicubicAutoencoder(Zoom):
    """Slices by cubic interpolation, those between them by interpolation of an autoencoder's codes."""

    name: ClassVar[str] = "bicubic-ae"
    roles: ClassVar[tuple[str, ...]] = (NETWORK,)
    voxels_per_second: ClassVar[float] = 2e5

    def plane_grid(self, source: Grid, target: Grid, axis: int) -> Grid:
        """The target's rows and columns: cubic interpolation is what makes coarse slices finer."""
        return target.with_axis(source, axis)

    def finer(self, planes: Tensor, slices: Sequence[Slice]) -> Tensor:  # noqa: ARG002 - interpolated already
        """Codes."""
        return self.sharp(planes)

    def sharp(self, planes: Tensor) -> Tensor:
        """Codes."""
        network: Any = self.network(NETWORK)
        codes: Tensor = network.encode(Padding((planes.shape[-2], planes.shape[-1]), FINER).apply((planes + 1) / 2))
        return codes

    def shown(self, codes: Tensor, *, made: bool) -> Tensor:  # noqa: ARG002 - the same for both
        """Decoded codes."""
        network: Any = self.network(NETWORK)
        image: Tensor = network.decode(codes) * 2 - 1
        return image


class _Regression(Zoom):
    """Slices by a network, those between them by interpolation."""

    roles: ClassVar[tuple[str, ...]] = (NETWORK,)
    voxels_per_second: ClassVar[float] = 2e5

    def finer(self, planes: Tensor, slices: Sequence[Slice]) -> Tensor:  # noqa: ARG002 - nothing is drawn
        """Slices 4 times finer."""
        channels = int(self.bundle.config["channels"])
        image: Tensor = self.network(NETWORK)(planes.expand(-1, channels, -1, -1))
        return image.mean(1, keepdim=True)

    def sharp(self, planes: Tensor) -> Tensor:
        """The slices as they are."""
        return planes


class SrganZoom(_Regression):
    """Slices by SRGAN's generator."""

    name: ClassVar[str] = "srgan-si"


class WdsrZoom(_Regression):
    """Slices by WDSR-B."""

    name: ClassVar[str] = "wdsr-si"
