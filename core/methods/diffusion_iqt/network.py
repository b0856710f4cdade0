"""DiffusionIQT (Kim et al. 2023): the U-Net that tells the sharp image from a noisy one and the blurred scan.

    x, scan -> conv -> level 1 --unshuffle--> level 2 --unshuffle--> level 3 -> middle -> stage 3
                          |                     |                                            | shuffle
                          |                     +------------------------------------ (cat) stage 2
                          |                                                                  | shuffle
                          +--------------------------------------------------------- (cat) stage 1 -> block -> x0

Inferred, for the paper does not say so: which levels have a transformer (two, three and the middle: only these give its 15.2
million parameters), that level three has no skip (there is no stage on its grid to take one), that the middle's transformer makes
tokens of 2 x 2 x 2 voxels, the activation inside squeeze-excite, and the convolution of 3 x 3 x 3 at the start.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from core.errors import RestorationError
from core.methods.diffusion_iqt.cross_batch import merge, split, windows
from core.networks.shuffle import shuffle, unshuffle

TWICE = (2, 2, 2)
CELL = 8  # voxels in a cell of TWICE
REDUCTION = 16  # of squeeze-excite
SINUSOIDS = 8  # learned frequencies, each as sine and cosine
TOKENS = (None, 4, 2)  # edge of a token's cell at each level, None where there is no transformer
MIDDLE_TOKENS = 2


class LogSnrEmbedding(nn.Module):
    """log-SNR, and its sine and cosine at learned frequencies, through two layers.

    Args:
        width: of the embedding.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.frequencies = nn.Parameter(torch.randn(SINUSOIDS))
        self.layers = nn.Sequential(nn.Linear(2 * SINUSOIDS + 1, width), nn.Mish(), nn.Linear(width, width))

    def forward(self, log_snr: Tensor) -> Tensor:
        """(n,) to (n, width)."""
        angles = 2 * math.pi * log_snr[:, None] * self.frequencies
        embedding: Tensor = self.layers(torch.cat([log_snr[:, None], angles.sin(), angles.cos()], 1))
        return embedding


class Conv(nn.Conv3d):
    """A convolution of 3 x 3 x 3 that keeps the grid.

    Args:
        channels: in.
        out: channels out.
        cross_batch: what lies around a patch comes from its neighbours in the batch ("cross-batch padding"), else it is zeros.
    """

    def __init__(self, channels: int, out: int, *, cross_batch: bool) -> None:
        super().__init__(channels, out, 3, padding=0 if cross_batch else 1)
        self.cross_batch = cross_batch

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, x, y, z) to (n, out, x, y, z)."""
        return super().forward(windows(x, 1) if self.cross_batch else x)


class SqueezeExcite(nn.Module):
    """Channels weighted by what their means tell (Hu et al. 2018).

    Args:
        width: channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = max(2, width // REDUCTION)
        self.layers = nn.Sequential(nn.Linear(width, inner), nn.Mish(), nn.Linear(inner, width), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """(n, width, x, y, z) to the same shape."""
        weights: Tensor = self.layers(x.mean((2, 3, 4)))
        return x * weights[..., None, None, None]


class ResBlock(nn.Module):
    """Twice norm, Mish and convolution, the second scaled and shifted by the time; squeeze-excite; added to the input.

    Args:
        channels: in.
        out: channels out.
        time: width of the time's embedding.
        groups: of the normalisation, which is over each patch alone.
        excite: with squeeze-excite.
        cross_batch: see ``Conv``.
    """

    def __init__(self, channels: int, out: int, time: int, groups: int, *, excite: bool, cross_batch: bool) -> None:
        super().__init__()
        self.time = nn.Sequential(nn.Mish(), nn.Linear(time, 2 * out))
        self.first = nn.Sequential(nn.GroupNorm(groups, channels), nn.Mish(), Conv(channels, out, cross_batch=cross_batch))
        self.norm = nn.GroupNorm(groups, out)
        self.second = nn.Sequential(nn.Mish(), Conv(out, out, cross_batch=cross_batch))
        self.excite = SqueezeExcite(out) if excite else nn.Identity()
        self.past = nn.Conv3d(channels, out, 1) if channels != out else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """(n, channels, x, y, z) and (n, time) to (n, out, x, y, z)."""
        scale, shift = self.time(time)[..., None, None, None].chunk(2, 1)
        inner = self.norm(self.first(x)) * (scale + 1) + shift
        added: Tensor = self.past(x) + self.excite(self.second(inner))
        return added


class ChannelNorm(nn.Module):
    """Each voxel's channels to mean 0 and variance 1, then a gain a channel.

    Args:
        width: channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(n, width, x, y, z) to the same shape."""
        variance, mean = torch.var_mean(x, 1, unbiased=False, keepdim=True)
        return (x - mean) * (variance + 1e-5).rsqrt() * self.gain


def _separable(width: int, kernel: int, stride: int) -> nn.Sequential:
    """A convolution of each channel for itself, then one of 1 x 1 x 1."""
    alone = nn.Conv3d(width, width, kernel, stride, padding=(kernel - stride) // 2, groups=width)
    return nn.Sequential(alone, nn.Conv3d(width, width, 1))


def _projection(width: int, inner: int) -> nn.Sequential:
    """Queries, keys or values."""
    alone = nn.Conv3d(inner, inner, 3, padding=1, groups=inner, bias=False)
    return nn.Sequential(nn.Conv3d(width, inner, 1, bias=False), alone)


def linear_attention(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Attention whose cost grows with the number of tokens, not with its square (Shen et al. 2021, "efficient attention").

    Args:
        queries: (n, heads, d, tokens).
        keys: likewise.
        values: likewise.

    Returns:
        likewise: softmax(Q over d) d^-1/2 (softmax(K over tokens)' V).
    """
    context = torch.einsum("nhdt,nhet->nhde", keys.softmax(3), values)
    return torch.einsum("nhdt,nhde->nhet", queries.softmax(2) * queries.shape[2] ** -0.5, context)


class CrossBatchAttention(nn.Module):
    """Attention among the tokens of all 27 neighbours.

    Args:
        width: channels.
        cell: edge of a token, in voxels; the block's edges are multiples of it.
        heads: of the attention.
        head_width: channels of each.
    """

    def __init__(self, width: int, cell: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.heads, inner = heads, heads * head_width
        self.tokens = nn.Sequential(ChannelNorm(width), _separable(width, cell, cell), ChannelNorm(width))
        self.queries, self.keys, self.values = (_projection(width, inner) for _ in range(3))
        self.out = nn.Sequential(nn.Mish(), nn.Conv3d(inner, width, 1, bias=False), ChannelNorm(width))
        self.refine = nn.Sequential(_separable(width, 3, 1), ChannelNorm(width))

    def forward(self, block: Tensor) -> Tensor:
        """(n, width, x, y, z), merged, to the same shape."""
        tokens = self.tokens(block)
        shape = tokens.shape[2:]
        apart = (len(tokens), self.heads, -1, shape.numel())
        queries, keys, values = (project(tokens).reshape(apart) for project in (self.queries, self.keys, self.values))
        seen = self.out(linear_attention(queries, keys, values).reshape(len(tokens), -1, *shape))
        refined: Tensor = self.refine(nn.functional.interpolate(seen, size=block.shape[2:], mode="trilinear"))
        return refined


class Transformer(nn.Module):
    """Attention over the merged block and a feed-forward network, each added to its input.

    Args:
        width: channels.
        cell: see ``CrossBatchAttention``.
        heads: of the attention.
        head_width: channels of each.
    """

    def __init__(self, width: int, cell: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.attention = CrossBatchAttention(width, cell, heads, head_width)
        inner = 2 * width
        self.forward_network = nn.Sequential(
            ChannelNorm(width),
            nn.Conv3d(width, inner, 1, bias=False),
            nn.GELU(),
            ChannelNorm(inner),
            nn.Conv3d(inner, width, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(27 n, width, x, y, z) to the same shape."""
        block = merge(x)
        block = block + self.attention(block)
        return split(block + self.forward_network(block))


class Down(nn.Module):
    """Cells of 2 x 2 x 2 voxels to channels, then 1 x 1 x 1; or that alone.

    Args:
        channels: in.
        out: channels out.
        halve: the grid.
    """

    def __init__(self, channels: int, out: int, *, halve: bool) -> None:
        super().__init__()
        self.halve = halve
        self.mix = nn.Conv3d(CELL * channels if halve else channels, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, x, y, z) to (n, out, x // 2, y // 2, z // 2), or on the same grid."""
        mixed: Tensor = self.mix(unshuffle(x, TWICE) if self.halve else x)
        return mixed


class Up(nn.Module):
    """1 x 1 x 1, Mish, and channels to cells of 2 x 2 x 2 voxels, which begin alike (Aitken et al. 2017: no checkerboard).

    Args:
        channels: in.
        out: channels out.
    """

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.mix = nn.Conv3d(channels, CELL * out, 1)
        with torch.no_grad():
            self.mix.weight.copy_(self.mix.weight[::CELL].repeat_interleave(CELL, 0))
        nn.init.zeros_(self.mix.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, x, y, z) to (n, out, 2x, 2y, 2z)."""
        return shuffle(nn.functional.mish(self.mix(x)), TWICE)


class Chain(nn.ModuleList):
    """Blocks one after the other; those after the first keep the channels."""

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """(n, channels, x, y, z) and (n, time) to (n, out, x, y, z)."""
        for block in self:
            x = block(x, time)
        return x


class DiffusionIQT(nn.Module):
    """Predicts the sharp image x0.

    ``cross_batch`` makes the 27 patches of a block see each other, by transformers and by padding; without it each patch stands
    alone. Normalisation and squeeze-excite are over each patch in any case. On a GPU the gradient of the transformers' trilinear
    interpolation is not deterministic; on a CPU it is.

    Args:
        base: channels at first.
        multipliers: of ``base``, after each of the three levels.
        blocks: residual blocks a level and stage, after its first.
        groups: of the normalisation.
        heads: of the attention.
        head_width: channels of each.
        deep_feature: with the residual block in the middle (the paper's deep feature module).
        cross_batch: with cross-batch attention and padding.
        skip_scale: of the skips; the paper says 2^-1/2, its code does 1.
    """

    def __init__(
        self,
        base: int = 64,
        multipliers: Sequence[int] = (1, 2, 4),
        blocks: int = 2,
        groups: int = 8,
        heads: int = 8,
        head_width: int = 64,
        *,
        deep_feature: bool = True,
        cross_batch: bool = True,
        skip_scale: float = 0.5**0.5,
    ) -> None:
        super().__init__()
        self.skip_scale, self.cross_batch, self.blocks = skip_scale, cross_batch, blocks
        self.norm = groups, 4 * base
        self.attention = heads, head_width
        widths = [base, *(base * each for each in multipliers)]
        self.time = LogSnrEmbedding(4 * base)
        self.first = Conv(2, base, cross_batch=cross_batch)
        self._descend(widths)
        self.deep = self._block(widths[-1], widths[-1], excite=False) if deep_feature else None
        self.middle = self._transformer(widths[-1], MIDDLE_TOKENS)
        self._ascend(widths)
        self.final = self._block(base, base)
        self.last = nn.Conv3d(base, 1, 1)

    def _descend(self, widths: Sequence[int]) -> None:
        """The levels, which keep the channels, and the ways down from them."""
        last = len(widths) - 2
        self.entries = nn.ModuleList(self._block(width, width) for width in widths[:-1])
        self.transformers = nn.ModuleList(map(self._transformer, widths[:-1], TOKENS))
        self.levels = nn.ModuleList(self._chain(width, width, self.blocks) for width in widths[:-1])
        self.downs = nn.ModuleList(
            Down(channels, out, halve=level < last) for level, (channels, out) in enumerate(pairwise(widths))
        )

    def _ascend(self, widths: Sequence[int]) -> None:
        """The ways up, and the stages: all but the last take the skip of the level on their grid."""
        ways = list(pairwise(reversed(widths)))
        skips = widths[-3::-1]
        self.ups = nn.ModuleList(Up(channels, out) for channels, out in ways[:-1])
        taken = [out + skip for (_, out), skip in zip(ways[:-1], skips, strict=True)] + [ways[-1][0]]
        self.stages = nn.ModuleList(
            self._chain(channels, out, 1 + self.blocks) for channels, (_, out) in zip(taken, ways, strict=True)
        )

    def _block(self, channels: int, out: int, *, excite: bool = True) -> ResBlock:
        groups, time = self.norm
        return ResBlock(channels, out, time, groups, excite=excite, cross_batch=self.cross_batch)

    def _chain(self, channels: int, out: int, count: int) -> Chain:
        return Chain(self._block(channels if number == 0 else out, out) for number in range(count))

    def _transformer(self, width: int, cell: int | None) -> nn.Module:
        return nn.Identity() if cell is None or not self.cross_batch else Transformer(width, cell, *self.attention)

    def forward(self, x: Tensor, scan: Tensor, log_snr: Tensor) -> Tensor:
        """The sharp image.

        Args:
            x: the noisy image, (n, 1, p, p, p); p a multiple of 4, or with ``cross_batch`` of 8 and n one of 27, as ``split``
                gives them.
            scan: the blurred image on the same grid.
            log_snr: of each patch's noise, (n,).

        Returns:
            (n, 1, p, p, p).

        Raises:
            RestorationError: shapes that do not fit.
        """
        if x.shape != scan.shape or log_snr.shape != x.shape[:1]:
            got = f"{tuple(x.shape)}, {tuple(scan.shape)}, {tuple(log_snr.shape)}"
            raise RestorationError("shapes-differ", "x and scan of one shape, a log-SNR a patch", got, "give one of each a patch")
        time = self.time(log_snr)
        restored: Tensor = self.last(self.final(self._up(*self._down(self.first(torch.cat([x, scan], 1)), time), time), time))
        return restored

    def _down(self, x: Tensor, time: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Through the levels and the middle; and the skips, coarsest last."""
        skips = []
        for entry, transformer, level, down in zip(self.entries, self.transformers, self.levels, self.downs, strict=True):
            x = level(transformer(entry(x, time)), time)
            skips.append(x * self.skip_scale)
            x = down(x)
        x = x if self.deep is None else self.deep(x, time)
        return self.middle(x), skips[:-1]

    def _up(self, x: Tensor, skips: list[Tensor], time: Tensor) -> Tensor:
        """Through the stages."""
        *stages, last = self.stages
        for up, stage, skip in zip(self.ups, stages, reversed(skips), strict=True):
            x = stage(torch.cat([up(x), skip], 1), time)
        restored: Tensor = last(x, time)
        return restored
