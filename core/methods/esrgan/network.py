"""ESRGAN (Wang et al. 2018) in three dimensions: a generator of residual-in-residual dense blocks, and its discriminator.

The generator works on the interpolated grid. Interpolation by ``factors`` has added no knowledge, so cells of that many voxels
become channels, the trunk works on the coarse grid, and the last layers on the fine one:

    image --unshuffle--> conv -+-> RRDB ... RRDB -> conv -(+)-> conv --shuffle--> conv -> conv -> image
                               +-------------------------+
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from core.networks.shuffle import shuffle, unshuffle

SLOPE = 0.2  # of LeakyReLU
SCALE = 0.2  # of what a block adds to its input
SMALLER = 0.1  # initial weights of the blocks, against He et al. 2015 (section 3.1 of the paper: smaller ones train more easily)
DENSE = 5  # convolutions of a dense block


def _conv(channels: int, out: int) -> nn.Conv3d:
    return nn.Conv3d(channels, out, 3, padding=1)


class DenseBlock(nn.Module):
    """Five convolutions, each of which sees the input and what those before it gave; scaled and added to the input.

    Args:
        width: channels in and out.
        growth: channels that each convolution adds.
    """

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        outputs = [growth] * (DENSE - 1) + [width]
        self.convs = nn.ModuleList(_conv(width + number * growth, out) for number, out in enumerate(outputs))
        for conv in self.convs:
            _start_small(conv)

    def forward(self, x: Tensor) -> Tensor:
        """(n, width, x, y, z) to the same shape."""
        seen = x
        *inner, last = self.convs
        for conv in inner:
            seen = torch.cat([seen, nn.functional.leaky_relu(conv(seen), SLOPE)], 1)
        added: Tensor = last(seen)
        return x + SCALE * added


def _start_small(conv: nn.Module) -> None:
    """Weights for LeakyReLU by He et al., made smaller; no bias."""
    if isinstance(conv, nn.Conv3d) and conv.bias is not None:
        nn.init.kaiming_normal_(conv.weight, a=SLOPE)
        with torch.no_grad():
            conv.weight.mul_(SMALLER)
        nn.init.zeros_(conv.bias)


class RRDB(nn.Module):
    """Three dense blocks, scaled and added to the input (figure 4 of the paper).

    Args:
        width: channels in and out.
        growth: see ``DenseBlock``.
    """

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(DenseBlock(width, growth) for _ in range(3)))

    def forward(self, x: Tensor) -> Tensor:
        """(n, width, x, y, z) to the same shape."""
        added: Tensor = self.blocks(x)
        return x + SCALE * added


class ESRGAN(nn.Module):
    """The generator; no normalisation, as the paper has it.

    The 3-D baseline of Kim et al. 2023 has 28.7 million parameters; its sizes are not given, so those of the preset are our own.

    Args:
        factors: voxels along x, y and z that become channels; the slices' factor along their axis fits.
        width: channels of the trunk.
        growth: channels that each dense convolution adds.
        blocks: RRDBs.
        head: channels on the fine grid.
    """

    def __init__(
        self, factors: Sequence[int] = (1, 1, 4), width: int = 64, growth: int = 32, blocks: int = 13, head: int = 64
    ) -> None:
        super().__init__()
        self.factors = tuple(factors)
        cell = math.prod(self.factors)
        self.first = _conv(cell, width)
        self.trunk = nn.Sequential(*(RRDB(width, growth) for _ in range(blocks)), _conv(width, width))
        self.up = _conv(width, head * cell)
        self.fine, self.last = _conv(head, head), _conv(head, 1)

    def forward(self, image: Tensor) -> Tensor:
        """(n, 1, x, y, z) on the fine grid to the same shape.

        Raises:
            GridError: edges that are not multiples of ``factors``.
        """
        coarse = self.first(unshuffle(image, self.factors))
        fine = shuffle(self.up(coarse + self.trunk(coarse)), self.factors)
        fine = self.fine(nn.functional.leaky_relu(fine, SLOPE))
        restored: Tensor = self.last(nn.functional.leaky_relu(fine, SLOPE))
        return restored


def _halve(channels: int, out: int) -> list[nn.Module]:
    """Two normalised convolutions, the second of which halves the grid."""
    steps: list[nn.Module] = []
    for conv in (_conv(channels, out), nn.Conv3d(out, out, 4, stride=2, padding=1)):
        steps += [conv, nn.GroupNorm(min(8, out), out), nn.LeakyReLU(SLOPE)]
    return steps


class ESRGANDiscriminator(nn.Module):
    """Tells true patches from restored ones: VGG-style, but a logit for each region rather than one of dense layers.

    So that it takes patches of any size and batches of one, it has group normalisation where the paper has batch normalisation,
    and ends in a convolution, whose logits are averaged by the relativistic losses.

    Args:
        width: channels at first, doubled wherever the grid is halved.
        levels: times that it is halved.
    """

    def __init__(self, width: int = 32, levels: int = 3) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(levels)]
        pairs = zip([width, *widths[:-1]], widths, strict=True)
        steps = [step for channels, out in pairs for step in _halve(channels, out)]
        self.layers = nn.Sequential(_conv(1, width), nn.LeakyReLU(SLOPE), *steps, _conv(widths[-1], 1))

    def forward(self, image: Tensor) -> Tensor:
        """(n, 1, x, y, z) to logits (n, 1, x // 8, y // 8, z // 8); edges at least 8 voxels, for three levels."""
        logits: Tensor = self.layers(image)
        return logits
