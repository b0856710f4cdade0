"""DiffusionIQT: a diffusion model that is shown the interpolated scan, sampled block by block (Kim et al. 2023, "DiffusionIQT").

A block is a tile; where the network attends across patches it is cut into its 3 x 3 x 3 neighbours. The noise is that of the
voxels (``core.noise``), so overlapping blocks start from the same noise and the result does not depend on who restores what.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from core.diffusion.declared import build_schedule
from core.diffusion.samplers import SAMPLERS, Noise, prior, stacked, voxel_noise
from core.diffusion.schedules import Cosine, continuous_times
from core.errors import WeightsError
from core.geometry.grid import Box, Grid
from core.geometry.tiles import Tiling, patches
from core.methods.base import MethodSettings, Piece
from core.methods.patch_network import NetworkMethod, NetworkSettings
from core.methods.samples import SampledMethod, SampledSettings, Sampling
from core.settings.scans import TilingSettings

if TYPE_CHECKING:
    from torch import Tensor

Network = Callable[..., "Tensor"]


class DiffusionIQTSettings(NetworkSettings, SampledSettings):
    """Settings of DiffusionIQT."""

    sampler: Literal["ancestral", "renoise", "ddim", "dpm-solver++"] | None = Field(
        None,
        title="Sampler",
        description="'ancestral': as the authors' code; 'renoise': as their paper's algorithm 2; of a narrow posterior's spread "
        "20 steps keep at least: 'ancestral' 0.36, 'renoise' 0.30, 'ddim' 0.68, 'dpm-solver++' 0.89; default: 'ancestral', and "
        "'dpm-solver++' for several samples",
    )
    steps: int = Field(20, ge=1, title="Steps", description="of the sampler")


class DiffusionIQT(SampledMethod, NetworkMethod):
    """Restores by sampling from a diffusion model that the interpolated scan conditions."""

    name: ClassVar[str] = "diffusion-iqt"
    Settings: ClassVar[type[MethodSettings]] = DiffusionIQTSettings
    voxels_per_second: ClassVar[float] = 4e3  # of the small preset, 20 steps
    settings: DiffusionIQTSettings

    @property
    def sampling(self) -> Sampling:
        """By the authors' sampler, or, for a map, by one that keeps the spread."""
        name = self.settings.sampler or ("dpm-solver++" if self.settings.samples > 1 else "ancestral")
        schedule = build_schedule(self.spec.schedule) if self.spec.schedule else Cosine()
        return Sampling(name, SAMPLERS[name], schedule, continuous_times(self.settings.steps))

    def tiling(self, source: Grid, target: Grid, wanted: TilingSettings) -> Tiling:  # noqa: ARG002
        """Blocks of the size that the network was trained on: it normalises over patches, so no other size is the same to it.

        Raises:
            WeightsError: a halo, which cannot be had.
        """
        if wanted.window == "halo":
            got = "'halo', which a network that normalises over its blocks cannot have"
            raise WeightsError("reach-unbounded", "a window that blends", got, "blend patches: --window gaussian")
        size = self.spec.multiple
        return patches(target.shape, size, min(wanted.overlap, size // 2), wanted.window)

    def _restored(self, network: Network, batch: Tensor, pieces: Sequence[Piece]) -> Tensor:
        """A sample for each block (n, 1, x, y, z), in the network's units.

        A model that says its scaling was trained in z-scores and is never darker than the background; those of before were not.
        """
        import torch

        from core.methods.diffusion_iqt.cross_batch import x0_of

        sampling = self.sampling
        schedule = sampling.schedule
        noise = stacked([self._noise(piece, tuple(batch.shape[2:])) for piece in pieces])

        def denoise(x: Tensor, t: float) -> Tensor:
            def image(part: Tensor) -> Tensor:
                return x0_of(network, part[:, :1], part[:, 1:], torch.full((len(part),), schedule.log_snr(t)).to(part))

            return self._predict(image, torch.cat([x, batch], 1))

        clamp = partial(torch.clamp_min, min=self.spec.scaling.low) if self.spec.scaling else None
        return sampling.sampler(denoise, prior(schedule, noise), schedule, sampling.times, noise, clamp=clamp)

    def _noise(self, piece: Piece, shape: tuple[int, ...]) -> Noise:
        """The noise of a block's voxels, its axes as the network wants them."""
        order = self._order(piece.measured[0].grid)
        size = [0, 0, 0]
        for axis, n in zip(order, shape, strict=True):
            size[axis] = n
        x, y, z = piece.box.start
        box = Box(piece.box.start, (x + size[0], y + size[1], z + size[2]))
        lying = voxel_noise(box, piece.measured[0].noise, self.device)
        return lambda step: lying(step).permute(order)
