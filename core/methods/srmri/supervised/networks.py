"""Networks that make reduced slices finer, (n, 1, h, w) to (n, 1, s h, s w): SRCNN, D-DBPN, CARN, RCAN and ESRGAN's RRDB in 2-D.

One channel, mean 0, range 1: mean shifts of the authors (CARN, RCAN) are left out. SwinIR is in ``swin``, sizes in ``presets``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

SLOPE = 0.2  # of LeakyReLU in ESRGAN
SCALE = 0.2  # of what its blocks add


def _conv(channels: int, out: int, size: int = 3) -> nn.Conv2d:
    return nn.Conv2d(channels, out, size, padding=size // 2)


def _steps(scale: int) -> int:
    """How many doublings; 0 for scales that are no power of two."""
    return int(math.log2(scale)) if scale & (scale - 1) == 0 else 0


class SRCNN(nn.Module):
    """Three convolutions on the interpolated slice (Dong et al. 2014): 9-1-5 with 64 and 32 channels.

    Args:
        scale: of the interpolation before them.
    """

    def __init__(self, scale: int = 2) -> None:
        super().__init__()
        self.scale = scale
        self.layers = nn.Sequential(_conv(1, 64, 9), nn.ReLU(), _conv(64, 32, 1), nn.ReLU(), _conv(32, 1, 5))

    def forward(self, x: Tensor) -> Tensor:
        """The finer slices."""
        fine: Tensor = self.layers(functional.interpolate(x, scale_factor=self.scale, mode="bicubic"))
        return fine


def _projection(channels: int, out: int, scale: int, *, up: bool) -> nn.Sequential:
    """A convolution that makes images finer or coarser by ``scale``, and PReLU."""
    size = {2: (6, 2), 4: (8, 2), 8: (12, 2)}[scale]
    kind = nn.ConvTranspose2d if up else nn.Conv2d
    return nn.Sequential(kind(channels, out, size[0], stride=scale, padding=size[1]), nn.PReLU())


class BackProjection(nn.Module):
    """An up- or down-projection unit of D-DBPN: there, back, and the error there again (Haris et al. 2018, figure 3).

    Args:
        channels: in, brought to ``width`` by a 1 x 1 convolution where that differs.
        width: of the unit.
        scale: of the network.
        up: whether it makes finer.
    """

    def __init__(self, channels: int, width: int, scale: int, *, up: bool) -> None:
        super().__init__()
        self.squeeze = nn.Sequential(_conv(channels, width, 1), nn.PReLU()) if channels != width else nn.Identity()
        self.there, self.back, self.again = (_projection(width, width, scale, up=way) for way in (up, not up, up))

    def forward(self, x: Tensor) -> Tensor:
        """Finer or coarser features."""
        x = self.squeeze(x)
        moved: Tensor = self.there(x)
        rest: Tensor = self.again(self.back(moved) - x)
        return moved + rest


class DDBPN(nn.Module):
    """D-DBPN (Haris et al. 2018): seven up-projections, all of which the last layer sees, and the down-projections between.

    Args:
        scale: 2, 4 or 8.
        features: of the first convolution.
        width: of the units.
        stages: up-projections.
    """

    def __init__(self, scale: int = 2, features: int = 256, width: int = 64, stages: int = 7) -> None:
        super().__init__()
        self.head = nn.Sequential(_conv(1, features), nn.PReLU(), _conv(features, width, 1), nn.PReLU())
        self.ups = nn.ModuleList(BackProjection(max(1, n) * width, width, scale, up=True) for n in range(stages))
        self.downs = nn.ModuleList(BackProjection((n + 1) * width, width, scale, up=False) for n in range(stages - 1))
        self.last = _conv(stages * width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The finer slices."""
        fine: list[Tensor] = [self.ups[0](self.head(x))]
        coarse: list[Tensor] = []
        for down, up in zip(self.downs, list(self.ups)[1:], strict=True):
            coarse.append(down(torch.cat(fine[::-1], 1)))
            fine.append(up(torch.cat(coarse[::-1], 1)))
        restored: Tensor = self.last(torch.cat(fine[::-1], 1))
        return restored


class Cascade(nn.Module):
    """Three blocks, after each of which a 1 x 1 convolution sees all features so far (Ahn et al. 2018, figure 2)."""

    def __init__(self, blocks: list[nn.Module], width: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.mixes = nn.ModuleList(nn.Sequential(_conv((n + 2) * width, width, 1), nn.ReLU()) for n in range(len(blocks)))

    def forward(self, x: Tensor) -> Tensor:
        """Features of the same shape."""
        seen, now = x, x
        for block, mix in zip(self.blocks, self.mixes, strict=True):
            seen = torch.cat([seen, block(now)], 1)
            now = mix(seen)
        return now


class Plain(nn.Module):
    """CARN's residual block: two convolutions, ReLU after the sum."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(_conv(width, width), nn.ReLU(), _conv(width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Features of the same shape."""
        return functional.relu(self.layers(x) + x)


def _doubling(width: int, *, rectified: bool) -> list[nn.Module]:
    """A convolution, and its channels as finer pixels."""
    return [_conv(width, 4 * width), *([nn.ReLU()] if rectified else []), nn.PixelShuffle(2)]


class CARN(nn.Module):
    """CARN (Ahn et al. 2018): cascades of cascades of residual blocks.

    Args:
        scale: 2 or 4.
        width: channels.
    """

    def __init__(self, scale: int = 2, width: int = 64) -> None:
        super().__init__()
        cascades: list[nn.Module] = [Cascade([Plain(width) for _ in range(3)], width) for _ in range(3)]
        ups = [layer for _ in range(_steps(scale)) for layer in _doubling(width, rectified=True)]
        self.layers = nn.Sequential(_conv(1, width), Cascade(cascades, width), *ups, _conv(width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """The finer slices."""
        fine: Tensor = self.layers(x)
        return fine


class Attended(nn.Module):
    """RCAN's residual block with channel attention (Zhang et al. 2018, figures 3 and 4)."""

    def __init__(self, width: int, reduction: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(width, width), nn.ReLU(), _conv(width, width))
        squeezed = width // reduction
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), _conv(width, squeezed, 1), nn.ReLU(), _conv(squeezed, width, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Features of the same shape."""
        body: Tensor = self.body(x)
        gate: Tensor = self.gate(body)
        return x + body * gate


class Added(nn.Module):
    """Layers whose output is added to their input, times a factor."""

    def __init__(self, *layers: nn.Module, scale: float = 1.0) -> None:
        super().__init__()
        self.layers, self.scale = nn.Sequential(*layers), scale

    def forward(self, x: Tensor) -> Tensor:
        """Features of the same shape."""
        added: Tensor = self.layers(x)
        return x + self.scale * added


class RCAN(nn.Module):
    """RCAN (Zhang et al. 2018): groups of attended residual blocks, each group and all of them with a shortcut.

    Args:
        scale: 2 or 4.
        width: channels.
        groups: how many.
        blocks: of a group.
        reduction: of the channels in a gate.
    """

    def __init__(self, scale: int = 2, width: int = 64, groups: int = 10, blocks: int = 20, reduction: int = 16) -> None:
        super().__init__()
        each = [Added(*(Attended(width, reduction) for _ in range(blocks)), _conv(width, width)) for _ in range(groups)]
        ups = [layer for _ in range(_steps(scale)) for layer in _doubling(width, rectified=False)]
        self.layers = nn.Sequential(_conv(1, width), Added(*each, _conv(width, width)), *ups, _conv(width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """The finer slices."""
        fine: Tensor = self.layers(x)
        return fine


class Dense(nn.Module):
    """ESRGAN's dense block: each of five convolutions sees all before it (Wang et al. 2018, figure 4)."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        outs = [growth] * 4 + [width]
        self.convs = nn.ModuleList(_conv(width + n * growth, out) for n, out in enumerate(outs))

    def forward(self, x: Tensor) -> Tensor:
        """Features of the same shape."""
        seen = x
        for conv in list(self.convs)[:-1]:
            seen = torch.cat([seen, functional.leaky_relu(conv(seen), SLOPE)], 1)
        added: Tensor = self.convs[-1](seen)
        return x + SCALE * added


class Finer(nn.Module):
    """Pixels repeated, a convolution, LeakyReLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = _conv(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Features twice as fine."""
        return functional.leaky_relu(self.conv(functional.interpolate(x, scale_factor=2)), SLOPE)


class RRDBNet(nn.Module):
    """ESRGAN's generator (Wang et al. 2018): residual-in-residual dense blocks, and two doublings.

    For a scale of 2 it sees cells of 2 x 2 pixels as channels, so that its trunk works at half the size.

    Args:
        scale: 2 or 4.
        width: channels.
        growth: channels that a dense convolution adds.
        blocks: how many.
    """

    def __init__(self, scale: int = 2, width: int = 64, growth: int = 32, blocks: int = 23) -> None:
        super().__init__()
        self.cell = 4 // scale
        body = [Added(*(Dense(width, growth) for _ in range(3)), scale=SCALE) for _ in range(blocks)]
        self.first, self.trunk = _conv(self.cell**2, width), Added(*body, _conv(width, width))
        self.layers = nn.Sequential(Finer(width), Finer(width), _conv(width, width), nn.LeakyReLU(SLOPE), _conv(width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """The finer slices; sides that divide by 4 over the scale."""
        fine: Tensor = self.layers(self.trunk(self.first(functional.pixel_unshuffle(x, self.cell))))
        return fine
