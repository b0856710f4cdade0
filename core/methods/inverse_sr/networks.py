"""An autoencoder that a CPU can train: its convolutions work at half resolution and below, voxels are shuffled into channels.

    image --unshuffle--> 8 channels at 1/2 --blocks, stride 2, blocks--> mean and spread of the code at 1/4
    code --blocks, nearest x2, blocks--> 8 channels at 1/2 --shuffle--> image
    image --slowest cosines of blocks of 4 x 4 x 4 voxels--> added to the mean;    code --the same, back--> added to the image

Three quarters of the work of a decoder at full resolution lie there, so this one costs half as much at twice the channels.
Nothing is normalised over a patch: a crop is coded like the whole. Training begins at the transform of the blocks, which with 8
channels is the image at half its resolution, and learns what that lacks. The paper's own networks are MONAI's.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from core.networks.shuffle import shuffle, unshuffle

HALF = (2, 2, 2)
MOMENTUM = 0.02  # of the statistics of codes
LOG_VARIANCE = -30.0, 20.0
SURE = -8.0  # the first log-variance of a code: little noise, so that training begins with clear images
SMALL = 0.1  # of the first weights of what is added to something

Run = Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]  # a block and its input to its output


def plainly(block: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    """Run a block."""
    return block(image)


def cosines(count: int) -> Tensor:
    """The ``count`` slowest of the 64 products of cosines on 4 x 4 x 4 voxels (DCT-II), orthonormal, (count, 1, 4, 4, 4)."""
    places = (torch.arange(4) + 0.5) * (torch.pi / 4)
    lines = torch.stack([(places * k).cos() for k in range(4)])
    lines = lines / lines.norm(dim=1, keepdim=True)
    waves = sorted(((x, y, z) for x in range(4) for y in range(4) for z in range(4)), key=lambda k: (sum(n * n for n in k), k))
    return torch.stack([torch.einsum("x,y,z->xyz", *(lines[k] for k in wave)) for wave in waves[:count]])[:, None]


@torch.no_grad()
def _begin(transform: nn.Conv3d | nn.ConvTranspose3d, last: nn.Conv3d) -> None:
    """Make a transform that of the blocks, and the network beside it little."""
    transform.weight.copy_(cosines(len(transform.weight)))
    last.weight.mul_(SMALL)
    last.get_parameter("bias").zero_()


class Residual(nn.Module):
    """Adds to its input two convolutions of it.

    Args:
        width: channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv3d(width, width, 3, padding=1), nn.Conv3d(width, width, 3, padding=1)
        with torch.no_grad():
            self.second.weight.mul_(SMALL)

    def forward(self, image: Tensor) -> Tensor:
        """(n, width, x, y, z) to the same shape."""
        added: Tensor = self.second(nn.functional.silu(self.first(nn.functional.silu(image))))
        return image + added


class Doubled(nn.Module):
    """Twice the voxels along each axis, by the nearest, and a convolution.

    Args:
        width: channels of the input.
        to: of the output.
    """

    def __init__(self, width: int, to: int) -> None:
        super().__init__()
        self.mix = nn.Conv3d(width, to, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """(n, width, x, y, z) to (n, to, 2x, 2y, 2z)."""
        mixed: Tensor = self.mix(nn.functional.interpolate(image, scale_factor=2.0, mode="nearest"))
        return mixed


class ShuffleAutoencoder(nn.Module):
    """A variational autoencoder of volumes, a quarter of their size along each axis; see the module.

    Args:
        latent: channels of a code, 64 at most.
        half: channels at half resolution.
        quarter: at a quarter.
        blocks: residual blocks at each of them.

    Attributes:
        latent_mean, latent_std: of each channel of the codes, as training saw them; priors work on codes that they standardise.
    """

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, latent: int, half: int, quarter: int, blocks: int = 2) -> None:
        super().__init__()
        coded, made = nn.Conv3d(quarter, 2 * latent, 3, padding=1), nn.Conv3d(half, 8, 3, padding=1)
        self.encoder = nn.Sequential(
            nn.Conv3d(8, half, 3, padding=1),
            *(Residual(half) for _ in range(blocks)),
            nn.Conv3d(half, quarter, 3, stride=2, padding=1),
            *(Residual(quarter) for _ in range(blocks)),
            coded,
        )
        self.blocks = nn.ModuleList(
            [
                nn.Conv3d(latent, quarter, 3, padding=1),
                *(Residual(quarter) for _ in range(blocks)),
                Doubled(quarter, half),
                *(Residual(half) for _ in range(blocks)),
                made,
            ]
        )
        self.coarse = nn.Conv3d(1, latent, 4, stride=4, bias=False)
        self.fine = nn.ConvTranspose3d(latent, 1, 4, stride=4, bias=False)
        _begin(self.coarse, coded)
        _begin(self.fine, made)
        with torch.no_grad():
            coded.get_parameter("bias")[latent:].fill_(SURE)
        self.register_buffer("latent_mean", torch.zeros(latent))
        self.register_buffer("latent_std", torch.ones(latent))

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the codes of images (n, 1, x, y, z) whose edges are multiples of 4."""
        mean, log_variance = self.encoder(unshuffle(image, HALF)).chunk(2, 1)
        return mean + self.coarse(image), (0.5 * log_variance.clamp(*LOG_VARIANCE)).exp()

    def decode(self, code: Tensor, run: Run = plainly) -> Tensor:
        """Images (n, 1, x, y, z) of codes (n, latent, x / 4, y / 4, z / 4).

        Args:
            code: see above.
            run: how a block is run, such as anew for a gradient.
        """
        features = code
        for block in self.blocks:
            features = run(block, features)
        image: Tensor = shuffle(features, HALF) + self.fine(code)
        return image

    def forward(self, image: Tensor) -> Tensor:
        """The decoded means."""
        return self.decode(self.encode(image)[0])

    @torch.no_grad()
    def observe(self, codes: Tensor) -> None:
        """Take codes of a training into the statistics."""
        axes, codes = [0, 2, 3, 4], codes.float()  # of any precision
        self.latent_mean.lerp_(codes.mean(axes), MOMENTUM)
        self.latent_std.lerp_(codes.std(axes), MOMENTUM)
