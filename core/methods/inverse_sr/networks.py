"""The three parts of a brain prior: autoencoder, noise network, and where it lies (Pinaya et al. 2022).

Both networks are MONAI's, with the sizes of the preset. Codes leave the autoencoder with unit variance a channel (of the paper's
prior the scale is 1): schedule, rate and z_T ~ N(0, 1) mean nothing otherwise. Nothing is clipped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from monai.networks.nets import AutoencoderKL, DiffusionModelUNet
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class BrainAutoencoder(nn.Module):
    """Images (n, 1, x, y, z) of about 0 to 1 and their codes (n, latent, x / f, y / f, z / f), f = 2^(levels - 1).

    Args:
        channels: of the levels.
        latent: of a code.
        blocks: residual blocks a level.
        groups: of the normalisation.
    """

    def __init__(self, channels: Sequence[int], latent: int, blocks: int = 2, groups: int = 32) -> None:
        super().__init__()
        self.network = AutoencoderKL(
            spatial_dims=3,
            in_channels=1,
            out_channels=1,
            channels=tuple(channels),
            latent_channels=latent,
            num_res_blocks=(blocks,) * len(channels),
            attention_levels=(False,) * len(channels),
            norm_num_groups=groups,
            norm_eps=1e-6,
            with_encoder_nonlocal_attn=False,
            with_decoder_nonlocal_attn=False,
        )
        self.register_buffer("scale", torch.ones(latent))

    def encode(self, image: Tensor) -> Tensor:
        """The mean code of an image."""
        mean: Tensor = self.network.encode(image)[0]
        return mean * self.get_buffer("scale")[:, None, None, None]

    def decode(self, code: Tensor, *, recompute: bool = False) -> Tensor:
        """The image of a code.

        Args:
            code: to be decoded.
            recompute: keep for the gradient of each block its input alone.
        """
        image: Tensor = self.network.post_quant_conv(code / self.get_buffer("scale")[:, None, None, None])
        for block in self.network.decoder.blocks:
            image = _made_anew(block, image) if recompute else block(image)
        return image

    def forward(self, image: Tensor) -> Tensor:
        """The image from its own code."""
        return self.decode(self.encode(image))


def _made_anew(block: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    made: Tensor = checkpoint(block, image, use_reentrant=False)
    return made


class BrainDenoiser(nn.Module):
    """The noise in a code, of its timestep and the conditions, which enter beside the code and by cross-attention.

    Args:
        latent: channels of a code.
        conditions: how many.
        channels: of the levels.
        attention: which levels have it.
        blocks: residual blocks a level.
        groups: of the normalisation.
        upcast: attention in float32, as the paper's; float64 does not run with it.
    """

    def __init__(
        self,
        latent: int,
        conditions: int,
        channels: Sequence[int],
        attention: Sequence[bool],
        blocks: int = 2,
        groups: int = 32,
        *,
        upcast: bool = True,
    ) -> None:
        super().__init__()
        self.network = DiffusionModelUNet(
            spatial_dims=3,
            in_channels=latent + conditions,
            out_channels=latent,
            channels=tuple(channels),
            attention_levels=tuple(attention),
            num_res_blocks=(blocks,) * len(channels),
            num_head_channels=tuple(width if has else 0 for width, has in zip(channels, attention, strict=True)),
            norm_num_groups=groups,
            norm_eps=1e-6,
            resblock_updown=True,
            with_conditioning=True,
            cross_attention_dim=conditions,
            upcast_attention=upcast,
        )

    def forward(self, code: Tensor, t: Tensor, conditions: Tensor) -> Tensor:
        """The noise.

        Args:
            code: (n, latent, x, y, z).
            t: (n,) whole timesteps.
            conditions: (n, how many).
        """
        maps = conditions[:, :, None, None, None].expand(-1, -1, *code.shape[2:])
        noise: Tensor = self.network(torch.cat((code, maps), 1), t, conditions[:, None])
        return noise


class BrainFrame(nn.Module):
    """Where the prior's images lie, its mean code and its conditions.

    Args:
        shape: of an image.
        affine: from its voxels to mm of the prior's world (MNI), 4x4.
        code: shape of a code.
        conditions: name and range of each, in their order; of sex F and M.
    """

    def __init__(
        self,
        shape: Sequence[int],
        affine: Sequence[Sequence[float]],
        code: Sequence[int],
        conditions: Mapping[str, Sequence[float]],
    ) -> None:
        super().__init__()
        self.shape, self.affine, self.conditions = tuple(shape), affine, {name: tuple(ends) for name, ends in conditions.items()}
        self.register_buffer("mean_code", torch.zeros(1, *code))
