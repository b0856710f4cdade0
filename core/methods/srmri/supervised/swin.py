"""SwinIR (Liang et al. 2021): attention in windows of pixels, shifted by half a window in every second layer (Liu et al. 2021).

    q k' / sqrt(d) + B       B from a table of relative places, one value a head
    shifted windows          the picture rolled by half a window; pixels that were not neighbours do not see each other

Without the authors' stochastic depth, which their paper does not tell of.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

SPREAD = 0.02  # standard deviation of weights as they begin
SLOPE = 0.01  # of LeakyReLU before pixels are made finer
LAST = 64  # channels there


def _windows(x: Tensor, size: int) -> Tensor:
    """Pictures (n, h, w, c) as windows (n h w / size^2, size^2, c)."""
    n, h, w, c = x.shape
    cells = x.reshape(n, h // size, size, w // size, size, c).transpose(2, 3)
    return cells.reshape(-1, size * size, c)


def _joined(windows: Tensor, size: int, shape: torch.Size) -> Tensor:
    """What ``_windows`` took apart, of a shape (n, h, w, c)."""
    n, h, w, c = shape
    return windows.reshape(n, h // size, w // size, size, size, c).transpose(2, 3).reshape(n, h, w, c)


def relative_places(size: int) -> Tensor:
    """Row of the table for each pair of pixels of a window, (size^2, size^2)."""
    rows, columns = (each.flatten() for each in torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij"))
    down, right = (line[:, None] - line[None] + size - 1 for line in (rows, columns))
    return down * (2 * size - 1) + right


def strangers(rows: int, columns: int, size: int, shift: int) -> Tensor:
    """Which pixels of a window do not see each other once the picture is rolled: (windows, 1, size^2, size^2), True where not."""
    bands = [(torch.arange(n) >= n - size).int() + (torch.arange(n) >= n - shift).int() for n in (rows, columns)]
    regions = _windows((3 * bands[0][:, None] + bands[1])[None, :, :, None], size)[..., 0]
    return (regions[:, :, None] != regions[:, None]).unsqueeze(1)


class WindowAttention(nn.Module):
    """Attention among the pixels of each window.

    Args:
        width: channels.
        heads: that share them.
        size: edge of a window in pixels.
        shift: by which windows are moved, in pixels.
    """

    places: Tensor

    def __init__(self, width: int, heads: int, size: int, shift: int) -> None:
        super().__init__()
        self.heads, self.size, self.shift = heads, size, shift
        self.table = nn.Parameter(SPREAD * torch.randn((2 * size - 1) ** 2, heads))
        self.ask, self.give = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.register_buffer("places", relative_places(size), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Features (n, h, w, c) of the same shape."""
        n, rows, columns, width = x.shape
        moved = x.roll((-self.shift, -self.shift), (1, 2)) if self.shift else x
        asked = self.ask(_windows(moved, self.size)).reshape(-1, self.size**2, 3, self.heads, width // self.heads)
        query, key, value = asked.permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(query, key, value, self._bias(n, rows, columns).to(query))
        given = self.give(seen.transpose(1, 2).reshape(-1, self.size**2, width))
        joined = _joined(given, self.size, x.shape)
        return joined.roll((self.shift, self.shift), (1, 2)) if self.shift else joined

    def _bias(self, n: int, rows: int, columns: int) -> Tensor:
        """What is added to the logits: (1 or windows, heads, size^2, size^2)."""
        bias = self.table[self.places].permute(2, 0, 1)[None]
        if not self.shift:
            return bias
        apart = strangers(rows, columns, self.size, self.shift).to(bias.device)
        return torch.where(apart, float("-inf"), bias).repeat(n, 1, 1, 1)


class Layer(nn.Module):
    """Attention and a perceptron, each after a LayerNorm and added to what came in (Liang et al. 2021, equation 9).

    Args:
        width: channels.
        heads: of the attention.
        size: edge of a window.
        shift: of the windows.
    """

    def __init__(self, width: int, heads: int, size: int, shift: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.LayerNorm(width), WindowAttention(width, heads, size, shift))
        self.perceptron = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Features (n, h, w, c) of the same shape."""
        seen: Tensor = x + self.attention(x)
        changed: Tensor = self.perceptron(seen)
        return seen + changed


class Group(nn.Module):
    """Layers and a convolution, added to what came in (equation 6)."""

    def __init__(self, width: int, heads: int, size: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(Layer(width, heads, size, size // 2 * (n % 2)) for n in range(layers)))
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Features (n, h, w, c) of the same shape."""
        added: Tensor = self.conv(self.layers(x).permute(0, 3, 1, 2))
        return x + added.permute(0, 2, 3, 1)


def _finer(scale: int, width: int, *, direct: bool) -> nn.Sequential:
    """From features to finer pixels: in one convolution, or by doublings of 64 channels."""
    if direct:
        return nn.Sequential(nn.Conv2d(width, scale**2, 3, padding=1), nn.PixelShuffle(scale))
    steps: list[nn.Module] = [nn.Conv2d(width, LAST, 3, padding=1), nn.LeakyReLU(SLOPE)]
    for _ in range(scale.bit_length() - 1):
        steps += [nn.Conv2d(LAST, 4 * LAST, 3, padding=1), nn.PixelShuffle(2)]
    return nn.Sequential(*steps, nn.Conv2d(LAST, 1, 3, padding=1))


def _begin(module: nn.Module) -> None:
    """Weights of linear layers, as the authors'."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=SPREAD)
        nn.init.zeros_(module.bias)


class SwinIR(nn.Module):
    """SwinIR for slices whose sides are multiples of the window, (n, 1, h, w) to (n, 1, s h, s w).

    Args:
        scale: 2 or 4.
        width: channels.
        groups: how many.
        layers: of a group.
        heads: of each layer.
        window: edge in pixels.
        direct: whether the last step is one convolution, as in the authors' lightweight sizes.
    """

    def __init__(
        self,
        scale: int = 2,
        width: int = 180,
        groups: int = 6,
        layers: int = 6,
        heads: int = 6,
        window: int = 8,
        *,
        direct: bool = False,
    ) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, width, 3, padding=1)
        body = [Group(width, heads, window, layers) for _ in range(groups)]
        self.body = nn.Sequential(nn.LayerNorm(width), *body, nn.LayerNorm(width))
        self.after = nn.Conv2d(width, width, 3, padding=1)
        self.finer = _finer(scale, width, direct=direct)
        self.apply(_begin)

    def forward(self, x: Tensor) -> Tensor:
        """The finer slices."""
        shallow = self.first(x)
        deep = self.body(shallow.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        fine: Tensor = self.finer(shallow + self.after(deep))
        return fine
